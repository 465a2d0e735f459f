/* SPDX-License-Identifier: Apache-2.0 */
/* The one thread that talks to the token on its own account: inventory, pins, promotion, canary;
 * it reconnects a token that went away.  Owns the health that Status answers from. */
#ifndef KMS_REFRESHER_H
#define KMS_REFRESHER_H

#include <stdbool.h>
#include <stdint.h>

#include "audit.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "ring.h"
#include "state.h"

struct kms_refresher;

struct kms_refresher_options {
    const char *ring;
    struct kms_keystore *keystore;   /* borrowed */
    struct kms_ring *keks;           /* borrowed */
    struct kms_state_dir *state_dir; /* borrowed */
    struct kms_audit *audit;         /* borrowed; NULL: none is configured */
    int64_t refresh_ms;
    int64_t canary_ms;
};

KMS_MUST_CHECK enum kms_code kms_refresher_open(const struct kms_refresher_options *options,
                                                struct kms_refresher **ret_refresher,
                                                struct kms_error *err);
/* Starts the thread. */
KMS_MUST_CHECK enum kms_code kms_refresher_start(struct kms_refresher *refresher,
                                                 struct kms_error *err);
/* Stops and joins the thread (waits for a token call in flight), then frees. */
void kms_refresher_close(struct kms_refresher *refresher);
KMS_DEFINE_CLOSE_PTR(struct kms_refresher *, kms_refresher_close)

/* Asks for a refresh soon and returns.  Thread-safe. */
void kms_refresher_kick(struct kms_refresher *refresher);

/* Waits for a refresh that begins after this call and completes.  KMS_OK: it listed everything;
 * KMS_E_UNAVAILABLE …: it failed; KMS_E_DEADLINE.  Concurrent callers share one refresh. */
KMS_MUST_CHECK enum kms_code kms_refresher_wait(struct kms_refresher *refresher,
                                                int64_t deadline_ms, struct kms_error *err);

/* A call on the token failed in a way that casts doubt on it: health is bad from now until a canary
 * that starts later is good; one is run at once. */
void kms_refresher_doubt(struct kms_refresher *refresher, const struct kms_error *err);

/* KMS_OK only while the last good canary is younger than twice the interval and no failure came
 * after it.  Never blocks. */
KMS_MUST_CHECK enum kms_code kms_refresher_health(struct kms_refresher *refresher,
                                                  int64_t *ret_since_utc_s, struct kms_error *err);

/* Waits until healthy or @deadline_ms; true if healthy. */
bool kms_refresher_wait_healthy(struct kms_refresher *refresher, int64_t deadline_ms);

#endif
