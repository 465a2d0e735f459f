/* SPDX-License-Identifier: Apache-2.0 */
/* KEKs that come to the token under its RSA transport key.  Only the private key is kept there: the
 * public key is computed from it, so that nobody can put another in its place. */
#ifndef PKCS11_TRANSPORT_H
#define PKCS11_TRANSPORT_H

#include <stdbool.h>

#include "cryptoki.h"
#include "kms/error.h"
#include "kms/keystore.h"

/* Static parameters for C_WrapKey and C_UnwrapKey. */
struct pkcs11_oaep {
    CK_RSA_PKCS_OAEP_PARAMS params;
    CK_MECHANISM mechanism;
};
/* @oaep must stay where it is. */
void pkcs11_oaep_init(struct pkcs11_oaep *oaep, enum kms_oaep_hash hash);

/* The operations of the keystore, as include/kms/keystore.h says. */
KMS_MUST_CHECK enum kms_code pkcs11_transport_key(struct kms_keystore *base, const char *label,
                                                  bool make, int64_t deadline_ms,
                                                  struct kms_transport_key *ret_key,
                                                  struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_transport_import(struct kms_keystore *base,
                                                     const struct kms_transport_import *import,
                                                     int64_t deadline_ms,
                                                     struct kms_kek_info *ret_kek,
                                                     struct kms_error *err);

#endif
