/* SPDX-License-Identifier: Apache-2.0 */
/* The wrap profile that a token keeps as long as the process lives. */
#ifndef PKCS11_CHOICE_H
#define PKCS11_CHOICE_H

#include "wrap.h"

/* Zeroed: nothing was chosen yet.  A plain value. */
struct pkcs11_choice {
    struct pkcs11_wrap wrap;
    struct pkcs11_token token; /* as it was then */
};

/* Chooses as @probe says, or again at a new connection: then the algorithm stays what it was, and so do
 * the calls, those for fingerprints too, unless firmware or library have another version; templates are
 * learnt anew.
 * KMS_E_UNAVAILABLE: the module wavers, and is asked again.  KMS_E_PRECONDITION: it can't be used, or
 * no longer as before.  @choice changes only on success. */
KMS_MUST_CHECK enum kms_code pkcs11_choice_make(struct pkcs11_choice *choice,
                                                const struct pkcs11_probe *probe,
                                                struct kms_error *err);

#endif
