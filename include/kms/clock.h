/* SPDX-License-Identifier: Apache-2.0 */
/* Two clocks, never mixed: deadlines and ages are CLOCK_MONOTONIC milliseconds; activations and
 * log stamps are UTC. */
#ifndef KMS_CLOCK_H
#define KMS_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "kms/compiler.h"

#define KMS_DEADLINE_NEVER INT64_MAX

int64_t kms_monotonic_ms(void);
int64_t kms_monotonic_us(void);
int64_t kms_utc_s(void);
int64_t kms_utc_ms(void);

/* "20261201T120000Z": how an activation stands in a KEK's label. */
enum { KMS_STAMP_LEN = 16 };
void kms_stamp_format(int64_t utc_s, char ret_text[static KMS_STAMP_LEN + 1]);
KMS_MUST_CHECK bool kms_stamp_parse(const char *text, int64_t *ret_utc_s);

/* RFC 3339, UTC: "2026-12-01T12:00:00Z", with milliseconds "2026-12-01T12:00:00.000Z". */
enum { KMS_RFC3339_LEN = 24 };
void kms_rfc3339_format(int64_t utc_s, char ret_text[static KMS_RFC3339_LEN + 1]);
void kms_rfc3339_format_ms(int64_t utc_ms, char ret_text[static KMS_RFC3339_LEN + 1]);
KMS_MUST_CHECK bool kms_rfc3339_parse(const char *text, int64_t *ret_utc_s);

/* "30s", "5m", "72h", "1d", "500ms", "0s": a whole number and one unit.  Milliseconds. */
KMS_MUST_CHECK bool kms_duration_parse(const char *text, int64_t *ret_ms);
/* The shortest exact form of the above. */
enum { KMS_DURATION_LEN = 24 };
void kms_duration_format(int64_t ms, char ret_text[static KMS_DURATION_LEN + 1]);

/* A condition variable on CLOCK_MONOTONIC, and a wait on it until @deadline_ms. False: timed out. */
void kms_cond_init(pthread_cond_t *cond);
bool kms_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline_ms);

#endif
