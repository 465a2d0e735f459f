/* SPDX-License-Identifier: Apache-2.0 */
/* Pointer and length, hexadecimal, and the text checks of the wire contract. */
#ifndef KMS_BYTES_H
#define KMS_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/compiler.h"

/* Borrowed, never owned. */
struct kms_bytes {
    const uint8_t *data;
    size_t len; /* bytes */
};

/* The bytes of @text without its NUL. */
struct kms_bytes kms_bytes_of(const char *text);

/* Not constant-time: for public values only (compare secrets with CRYPTO_memcmp). */
bool kms_bytes_equal(struct kms_bytes a, struct kms_bytes b);

/* Writes 2 × @bytes.len lower-case digits and a NUL; @ret_text holds at least that. */
void kms_hex_encode(struct kms_bytes bytes, char *ret_text);

/* Reads exactly @len bytes from 2 × @len digits of either case; false if @text is anything else. */
KMS_MUST_CHECK bool kms_hex_decode(const char *text, uint8_t *ret_bytes, size_t len);

/* True for well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms) without control
 * characters (C0, DEL, C1), NUL included. */
bool kms_text_is_clean(struct kms_bytes text);

/* SHA-256 of @bytes. Cannot fail short of a broken OpenSSL, which aborts. */
enum { KMS_SHA256_LEN = 32 };
void kms_sha256(struct kms_bytes bytes, uint8_t ret_digest[static KMS_SHA256_LEN]);

#endif
