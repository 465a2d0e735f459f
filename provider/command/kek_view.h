/* SPDX-License-Identifier: Apache-2.0 */
/* How a KEK is shown, wherever it was read from. */
#ifndef KMS_KEK_VIEW_H
#define KMS_KEK_VIEW_H

#include <jansson.h>

#include "kms/keystore.h"
#include "ring.h"
#include "text.h"

enum { KMS_KEY_ID_HASH_LEN = 7 + 2 * KMS_SHA256_LEN }; /* "sha256:" and digits */

/* "sha256:<hex>" as in kube-apiserver's metrics and logs; "" for an empty @key_id. */
void kms_key_id_hash(const char *key_id, char ret_hash[static KMS_KEY_ID_HASH_LEN + 1]);

/* Borrowed pointers; a NULL @state leaves state and reason out. */
struct kms_kek_view {
    const char *label, *key_id, *state, *reason;
    uint32_t generation;
    int64_t activation_utc_s;     /* 0: unknown */
    struct kms_bytes fingerprint; /* empty: none */
    uint32_t attributes;          /* enum kms_kek_attribute */
};
struct kms_kek_view kms_kek_view_of(const struct kms_ring_entry *entry);

/* Sets generation, label, key_id, key_id_hash, state, reason, activation, attributes and
 * fingerprint in @object. */
void kms_kek_view_json(const struct kms_kek_view *view, json_t *object);

/* One row each.  @wide: everything, in columns.  Otherwise what fits a terminal: a shortened
 * SHA-256, and lines under the row for what isn't as usual (reason, label, attributes). */
struct kms_table *kms_kek_view_table(bool wide);
void kms_kek_view_row(const struct kms_kek_view *view, bool wide, struct kms_table *table);

/* "2026-12-01T12:00:00Z", "-" for 0. */
void kms_time_text(int64_t utc_s, char *ret_text, size_t size);

#endif
