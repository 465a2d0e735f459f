/* SPDX-License-Identifier: Apache-2.0 */
/* How many values of each resource are under each key.  Bounded: what finds no room is counted
 * together, as "others". */
#ifndef KMS_REPORT_TALLY_H
#define KMS_REPORT_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "etcd/registry.h"
#include "etcd/value.h"
#include "kms/error.h"

enum {
    KMS_TALLY_RESOURCES_MAX = 4096,
    KMS_TALLY_KEYS_MAX = 1024,
    KMS_TALLY_ROWS_MAX = 16384,
    KMS_TALLY_NAME_MAX = 512, /* bytes of a group, resource, provider; longer ones are others */
};

struct kms_count {
    uint64_t current, history; /* values */
};

/* What values are encrypted by and under.  Spans are the tally's, and hostile bytes. */
struct kms_tally_key {
    bool others;
    enum kms_value_class class;
    struct kms_bytes provider, key_id; /* empty where the class has none */
    struct kms_count values;
    uint64_t sources; /* distinct DEKs or DEK seeds, as wrapped; KMS v2 only */
    uint64_t proven;  /* of these, those that a prover found good */
    bool lost;        /* its KEK isn't to be had */
};
struct kms_tally_resource {
    bool others;
    struct kms_bytes group, resource; /* both empty: of no known shape */
    struct kms_count values;
    uint64_t openable; /* current values of KMS v2 */
};
struct kms_tally_row {
    uint32_t resource, key; /* indexes of the two above */
    struct kms_count values;
};

/* Not thread-safe. */
struct kms_tally;
KMS_MUST_CHECK enum kms_code kms_tally_open(struct kms_tally **ret_tally, struct kms_error *err);
void kms_tally_close(struct kms_tally *tally);
KMS_DEFINE_CLOSE_PTR(struct kms_tally *, kms_tally_close)

/* Where a value was counted; good until the next. */
struct kms_tally_place {
    struct kms_tally_key *key;
    struct kms_tally_resource *resource;
};
/* Counts one value.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_tally_add(struct kms_tally *tally,
                                           const struct kms_registry_name *name,
                                           const struct kms_value *value, bool current,
                                           struct kms_tally_place *ret_place,
                                           struct kms_error *err);

/* All, in the order in which they were met; entry 0 of each are the others, which may have no values.
 * Borrowed. */
const struct kms_tally_key *kms_tally_keys(const struct kms_tally *tally, size_t *ret_count);
const struct kms_tally_resource *kms_tally_resources(const struct kms_tally *tally,
                                                     size_t *ret_count);
/* Sorted by resource and key.  Nothing may be added any more. */
const struct kms_tally_row *kms_tally_rows(struct kms_tally *tally, size_t *ret_count);

#endif
