/* SPDX-License-Identifier: Apache-2.0 */
/* C_Encrypt and C_Decrypt of a seed at once: no object is made, so that no policy on secret keys
 * stands in the way. */
#ifndef PKCS11_CIPHER_H
#define PKCS11_CIPHER_H

#include "wrap.h"

/* Encrypts @seed, and appends what comes out to @wrapped, which has its algorithm's length then.  A
 * session whose operation may go on is marked broken. */
KMS_MUST_CHECK enum kms_code pkcs11_cipher_encrypt(const struct pkcs11_use *use,
                                                   CK_MECHANISM *mechanism, struct kms_bytes seed,
                                                   struct kms_wrapped *wrapped,
                                                   struct kms_error *err);
/* Decrypts @data to @seed_len bytes. */
KMS_MUST_CHECK enum kms_code pkcs11_cipher_decrypt(const struct pkcs11_use *use,
                                                   CK_MECHANISM *mechanism, struct kms_bytes data,
                                                   size_t seed_len, struct kms_secret *ret_seed,
                                                   struct kms_error *err);

/* The failure that says so: KMS_E_PRECONDITION. */
enum kms_code pkcs11_wrong_length(const char *call, size_t got, size_t expected,
                                  struct kms_error *err);

#endif
