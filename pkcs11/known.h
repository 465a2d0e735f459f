/* SPDX-License-Identifier: Apache-2.0 */
/* What the right answers are, under a key that everybody knows. */
#ifndef PKCS11_KNOWN_H
#define PKCS11_KNOWN_H

#include <stdbool.h>

#include "kms/bytes.h"
#include "kms/keystore.h"

enum { PKCS11_KNOWN_LEN = 32 }; /* bytes */

/* RFC 3394 section 4.6: 256 bits of key data under a 256-bit KEK. */
extern const uint8_t pkcs11_known_key[PKCS11_KNOWN_LEN];
extern const uint8_t pkcs11_known_data[PKCS11_KNOWN_LEN];

/* Whether @wrapped is @data under pkcs11_known_key, bound to @bound: AES key wrap of
 * pkcs11_known_data as the RFC has it, anything else as OpenSSL does it.  KMS_E_INTERNAL: OpenSSL
 * can't tell. */
KMS_MUST_CHECK enum kms_code pkcs11_known_check(const struct kms_wrapped *wrapped,
                                                struct kms_bytes data, struct kms_bytes bound,
                                                bool *ret_right, struct kms_error *err);

#endif
