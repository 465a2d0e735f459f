/* SPDX-License-Identifier: Apache-2.0 */
/* What each KEK of an inventory is to this node: a pure function of the inventory, the pins, the
 * promoted number and what was seen before. */
#ifndef KMS_JUDGE_H
#define KMS_JUDGE_H

#include "ring.h"
#include "vouched.h"

/* How often a generation's KEK was listed in a row. */
struct kms_sighting {
    uint32_t generation;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    unsigned consecutive;
    unsigned everywhere; /* of these the last ones in a row on every token that must have it */
    int64_t since_utc_s;
    char distrust[160]; /* not empty: its canary failed in this refresh, and why */
};

struct kms_evidence {
    const char *ring;
    const struct kms_vouched *vouched; /* the configuration's word */
    const struct kms_token_rules *tokens;
    const struct kms_state *state;
    uint32_t promoted; /* to be shown as active; 0: none */
    const struct kms_inventory *inventory;
    const struct kms_sighting *sightings;
    size_t sighting_count;
    int64_t now_utc_s;
    const char
        *held; /* why nothing can be promoted whatever its time; NULL: nothing is in the way */
};

/* Fills entries, promoted, key_id, label, fingerprint, code and problem of a new snapshot with one
 * reference; @complete, sequence and time are the caller's.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_judge(const struct kms_evidence *evidence,
                                       struct kms_snapshot **ret_snapshot, struct kms_error *err);

/* The pin of @generation: this node's own, else the configuration's; NULL if none. */
const struct kms_pin *kms_evidence_pin(const struct kms_evidence *evidence, uint32_t generation);

/* The sighting of exactly this KEK, NULL if none. */
const struct kms_sighting *kms_evidence_sighting(const struct kms_evidence *evidence,
                                                 uint32_t generation, const uint8_t *fingerprint);

#endif
