/* SPDX-License-Identifier: Apache-2.0 */
/* The algorithms that seeds are wrapped by, and what an operator may choose about them. */
#ifndef KMS_ALGORITHM_H
#define KMS_ALGORITHM_H

#include <stdbool.h>
#include <stddef.h>

#include "kms/bytes.h"

/* How a seed is wrapped.  All ways of AES key wrap make the same bytes. */
enum kms_algorithm {
    KMS_ALGORITHM_AES_KW,  /* RFC 3394 */
    KMS_ALGORITHM_AES_KWP, /* RFC 5649 */
    KMS_ALGORITHM_AES_GCM, /* NIST SP 800-38D: IV (12 bytes), ciphertext, tag (16 bytes) */
};
enum { KMS_ALGORITHM_COUNT = KMS_ALGORITHM_AES_GCM + 1 };

enum {
    KMS_GCM_IV_LEN = 12,  /* bytes */
    KMS_GCM_TAG_LEN = 16, /* bytes */
};

/* "aes-kw", "aes-kwp", "aes-gcm": as the annotation of a ciphertext has it. */
const char *kms_algorithm_name(enum kms_algorithm algorithm);
KMS_MUST_CHECK bool kms_algorithm_parse(struct kms_bytes text, enum kms_algorithm *ret_algorithm);

/* Bytes that a ciphertext has more than its seed. */
size_t kms_algorithm_overhead(enum kms_algorithm algorithm);

/* Whether any algorithm here wraps that many bytes, and whether that is what @algorithm makes. */
bool kms_seed_len_is_valid(size_t len);
bool kms_wrapped_len_is_valid(enum kms_algorithm algorithm, size_t len);

/* What the configuration asks for.  AUTO: AES key wrap, and another only where that can't be had. */
enum kms_profile {
    KMS_PROFILE_AUTO,
    KMS_PROFILE_AES_KW,
    KMS_PROFILE_AES_KWP,
    KMS_PROFILE_AES_GCM,
};
const char *kms_profile_name(enum kms_profile profile);
KMS_MUST_CHECK bool kms_profile_parse(const char *text, enum kms_profile *ret_profile);
enum kms_profile kms_profile_of(enum kms_algorithm algorithm);

/* As whom the service logs in. */
enum kms_user_type {
    KMS_USER_TYPE_USER,        /* CKU_USER */
    KMS_USER_TYPE_CRYPTO_USER, /* a vendor's limited user, who can neither make nor change keys */
};
const char *kms_user_type_name(enum kms_user_type type);
KMS_MUST_CHECK bool kms_user_type_parse(const char *text, enum kms_user_type *ret_type);

#endif
