/* SPDX-License-Identifier: Apache-2.0 */
/* RSA public keys, RSA-OAEP and a KEK's fingerprint by OpenSSL alone: for custodians who have no
 * token, and to compare the token's answers with. */
#ifndef PKCS11_OAEP_H
#define PKCS11_OAEP_H

#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/keystore.h"

enum {
    PKCS11_MODULUS_MAX = 1024, /* bytes: RSA-8192 */
    PKCS11_EXPONENT_MAX = 8,   /* bytes */
    PKCS11_PEM_MAX = 2048,     /* bytes, with the final NUL */
};

/* Big-endian, without leading zeros. */
struct pkcs11_rsa_numbers {
    uint8_t modulus[PKCS11_MODULUS_MAX];
    size_t modulus_len;
    uint8_t exponent[PKCS11_EXPONENT_MAX];
    size_t exponent_len;
};

/* Only RSA keys of 2048 to 8192 bits; else, and for what can't be parsed, KMS_E_INVALID. */
KMS_MUST_CHECK enum kms_code pkcs11_spki_from_numbers(const struct pkcs11_rsa_numbers *numbers,
                                                      struct kms_spki *ret_spki,
                                                      struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_spki_from_pem(struct kms_bytes pem, struct kms_spki *ret_spki,
                                                  struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_spki_to_numbers(const struct kms_spki *spki,
                                                    struct pkcs11_rsa_numbers *ret_numbers,
                                                    struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_spki_to_pem(const struct kms_spki *spki,
                                                char ret_pem[static PKCS11_PEM_MAX],
                                                struct kms_error *err);

/* RSA-OAEP of @key under @spki; MGF1 with the same hash, no label.  KMS_E_INVALID: no usable public
 * key; KMS_E_INTERNAL. */
KMS_MUST_CHECK enum kms_code pkcs11_oaep_encrypt(const struct kms_spki *spki,
                                                 enum kms_oaep_hash hash, struct kms_bytes key,
                                                 struct kms_transport_blob *ret_blob,
                                                 struct kms_error *err);

/* The fingerprint that a token gives for the AES-256 key with these bytes.  KMS_E_INVALID: not 32
 * bytes; KMS_E_INTERNAL. */
KMS_MUST_CHECK enum kms_code pkcs11_key_fingerprint(
    struct kms_bytes key, uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN],
    struct kms_error *err);

#endif
