/* SPDX-License-Identifier: Apache-2.0 */
/* `-o json`: one object on stdout whose "schema" names command and version.  All functions end the
 * program with a message when out of memory. */
#ifndef KMS_JSON_H
#define KMS_JSON_H

#include <stdint.h>

#include <jansson.h>

#include "kms/bytes.h"

/* For KMS_CLEANUP.  NULL is a no-op. */
static inline void kms_json_done(json_t *const *value)
{
    json_decref(*value);
}

/* { "schema": "hsm-kms/<command>/v1" }. Released by kms_json_print(). */
json_t *kms_json_open(const char *command);
/* @object takes @value. */
void kms_json_set(json_t *object, const char *key, json_t *value);
void kms_json_append(json_t *array, json_t *value);

/* Escaped as in tables, so that any bytes make valid JSON; null for NULL, "" and no bytes. */
json_t *kms_json_text(const char *text);
json_t *kms_json_bytes(struct kms_bytes bytes);
json_t *kms_json_hex(struct kms_bytes bytes);
/* RFC 3339, null for 0. */
json_t *kms_json_time(int64_t utc_s);

/* Writes @object to stdout and releases it. */
void kms_json_print(json_t *object);

#endif
