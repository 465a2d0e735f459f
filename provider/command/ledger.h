/* SPDX-License-Identifier: Apache-2.0 */
/* state_dir/snapshots.jsonl: which etcd snapshots were seen to need which KEKs.  A line each, added by
 * `verify --record`, for `key destroy`; no daemon reads it. */
#ifndef KMS_LEDGER_H
#define KMS_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

#include "keyid.h"
#include "kms/bytes.h"
#include "kms/error.h"

enum { KMS_LEDGER_VERSION = 1 };

struct kms_ledger_key {
    char key_id[KMS_KEY_ID_LEN + 1];
    uint64_t current, history; /* values under it */
};
/* Borrowed. */
struct kms_ledger_line {
    uint8_t sha256[KMS_SHA256_LEN];
    int64_t utc_s; /* when it was looked at */
    const struct kms_ledger_key *keys;
    size_t key_count;
    uint64_t unsure; /* values that may be under any of the ring's KEKs */
};

/* Durably adds @line; waits for another command that does the same.  What a command that was killed
 * left of its line is cut off.  KMS_E_PRECONDITION: state_dir or the file can't be used. */
KMS_MUST_CHECK enum kms_code kms_ledger_append(const char *state_dir,
                                               const struct kms_ledger_line *line,
                                               struct kms_error *err);

/* Whether anything was ever recorded on this node. */
bool kms_ledger_exists(const char *state_dir);

struct kms_ledger_need {
    uint8_t sha256[KMS_SHA256_LEN];
    int64_t utc_s;
    uint64_t values; /* 0: it is one of the unsure ones */
};
/* The last line, of @since_utc_s or later, of a snapshot that needs or may need @generation of @ring.
 * *ret_found is false without the file.  KMS_E_PRECONDITION: it can't be read, or a line of it. */
KMS_MUST_CHECK enum kms_code kms_ledger_find(const char *state_dir, const char *ring,
                                             uint32_t generation, int64_t since_utc_s,
                                             bool *ret_found, struct kms_ledger_need *ret_need,
                                             struct kms_error *err);

#endif
