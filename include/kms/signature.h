/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures of a token, checked without it: by OpenSSL. */
#ifndef KMS_SIGNATURE_H
#define KMS_SIGNATURE_H

#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/keystore.h"

/* "ecdsa-p256-sha256", "rsa-pkcs1-sha256".  Static. */
const char *kms_signing_name(enum kms_signing signing);

/* The public key of a PEM file, if it is one that checkpoints may be signed by: EC P-256, or RSA of 2048
 * bits or more.  KMS_E_INVALID: it isn't; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_spki_of_signer(struct kms_bytes pem, struct kms_spki *ret_key,
                                                struct kms_error *err);

/* KMS_E_CORRUPT: @signature isn't @key's of @message; KMS_E_INVALID: @key is no key; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_signature_check(const struct kms_spki *key,
                                                 struct kms_bytes message,
                                                 struct kms_bytes signature, struct kms_error *err);

#endif
