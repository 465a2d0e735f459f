/* SPDX-License-Identifier: Apache-2.0 */
/* Unwraps DEK sources that were found in an etcd, with the KEKs of the ring. */
#ifndef KMS_UNWRAPPER_H
#define KMS_UNWRAPPER_H

#include "kms/keystore.h"
#include "report/report.h"
#include "snapshot.h"

/* Borrowed. */
struct kms_unwrapper {
    const char *ring;
    struct kms_keystore *keystore;
    const struct kms_snapshot *snapshot;
    uint32_t wanted; /* the generation that the question is about; 0: any */
};

/* As struct kms_prover wants it; @unwrapper is a kms_unwrapper.  Blocks on the token.  Fails when the
 * token does. */
KMS_MUST_CHECK enum kms_code kms_unwrapper_prove(void *unwrapper, const struct kms_value *value,
                                                 struct kms_proof *ret_proof,
                                                 struct kms_error *err);

#endif
