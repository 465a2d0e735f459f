/* SPDX-License-Identifier: Apache-2.0 */
/* AES-GCM: the IV (12 bytes), what is encrypted, the tag (16 bytes), whoever makes the IV. */
#ifndef PKCS11_GCM_H
#define PKCS11_GCM_H

#include "profile.h"

/* As pkcs11_wrap_profile has them.  A module that used no IV, or zeros, is KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code pkcs11_gcm_wrap(const struct pkcs11_use *use, struct kms_bytes seed,
                                             struct kms_wrapped *ret_wrapped,
                                             struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_gcm_unwrap(const struct pkcs11_use *use,
                                               struct kms_bytes wrapped,
                                               struct kms_secret *ret_seed, struct kms_error *err);

#endif
