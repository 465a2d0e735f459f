/* SPDX-License-Identifier: Apache-2.0 */
/* What the configuration says of single KEKs: fingerprints to trust (pins:), and keys that join under
 * labels which somebody else chose (adopt:). */
#ifndef KMS_VOUCHED_H
#define KMS_VOUCHED_H

#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "state.h"

/* What a label of the ring would say of the key. */
struct kms_adoption {
    uint32_t generation;
    int64_t activation_utc_s;
};

/* What a part of the configuration file said. */
struct kms_source_mark {
    uint8_t sha256[KMS_SHA256_LEN];
    int64_t read_utc_s;
};

/* Release with kms_vouched_done(). */
struct kms_vouched {
    struct kms_pin *pins;
    size_t pin_count;
    struct kms_adoption *adoptions; /* each generation once */
    struct kms_kek_name *names;     /* of the adopted keys: one each, in the same order */
    size_t adoption_count;
    struct kms_source_mark mark;
};
void kms_vouched_done(struct kms_vouched *vouched);
KMS_MUST_CHECK enum kms_code kms_vouched_copy(const struct kms_vouched *from,
                                              struct kms_vouched *ret_to, struct kms_error *err);

/* NULL if there is none. */
const struct kms_pin *kms_vouched_pin(const struct kms_vouched *vouched, uint32_t generation);
/* The adoption of @generation: an index of @adoptions, and their count if there is none. */
size_t kms_vouched_adoption(const struct kms_vouched *vouched, uint32_t generation);

/* What @kek is in @ring: by its label, else by the first adoption that names it.  False: nothing. */
struct kms_membership {
    uint32_t generation;
    int64_t activation_utc_s;
    bool adopted;
};
bool kms_vouched_identify(const struct kms_vouched *vouched, const char *ring,
                          const struct kms_kek_info *kek, struct kms_membership *ret_membership);

/* The labels of @ring, given as "<ring>.v", and the adopted keys.  Borrows from both. */
struct kms_kek_filter kms_vouched_filter(const struct kms_vouched *vouched,
                                         const char *label_prefix);

#endif
