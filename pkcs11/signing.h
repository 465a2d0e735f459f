/* SPDX-License-Identifier: Apache-2.0 */
/* The key pair that signs the audit log's checkpoints.  Both its keys stay on the token, under one label
 * and CKA_ID: a private EC key doesn't tell its public one.  A public key that somebody put in its place
 * shows, since every signature is checked by it. */
#ifndef PKCS11_SIGNING_H
#define PKCS11_SIGNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/keystore.h"

enum { PKCS11_P256_RAW_LEN = 64, PKCS11_P256_POINT_LEN = 65 };

/* @point: uncompressed, bare or as a DER OCTET STRING (both are met with).  KMS_E_INVALID. */
KMS_MUST_CHECK enum kms_code pkcs11_spki_from_point(struct kms_bytes point,
                                                    struct kms_spki *ret_spki,
                                                    struct kms_error *err);
/* A token's r and s as OpenSSL wants them.  KMS_E_INTERNAL. */
KMS_MUST_CHECK enum kms_code pkcs11_ecdsa_to_der(const uint8_t raw[static PKCS11_P256_RAW_LEN],
                                                 struct kms_signature *signature,
                                                 struct kms_error *err);

/* The operations of the keystore, as include/kms/keystore.h says. */
KMS_MUST_CHECK enum kms_code pkcs11_sign(struct kms_keystore *base, const char *label,
                                         struct kms_bytes message, int64_t deadline_ms,
                                         struct kms_signature *ret_signature,
                                         struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_audit_key(struct kms_keystore *base, const char *label,
                                              bool make, int64_t deadline_ms,
                                              struct kms_audit_key *ret_key, struct kms_error *err);

#endif
