/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/algorithm.h"

#include <string.h>

#include "kms/keystore.h"

enum { STEP = 8 }; /* bytes: RFC 3394 works on halves of an AES block */

static const char *const algorithm_names[KMS_ALGORITHM_COUNT] = {
    [KMS_ALGORITHM_AES_KW] = "aes-kw",
    [KMS_ALGORITHM_AES_KWP] = "aes-kwp",
    [KMS_ALGORITHM_AES_GCM] = "aes-gcm",
};

const char *kms_algorithm_name(enum kms_algorithm algorithm)
{
    return algorithm_names[algorithm];
}

bool kms_algorithm_parse(struct kms_bytes text, enum kms_algorithm *ret_algorithm)
{
    for (size_t i = 0; i < KMS_ALGORITHM_COUNT; i++) {
        if (kms_bytes_equal(text, kms_bytes_of(algorithm_names[i]))) {
            *ret_algorithm = (enum kms_algorithm)i;
            return true;
        }
    }
    return false;
}

size_t kms_algorithm_overhead(enum kms_algorithm algorithm)
{
    switch (algorithm) {
    case KMS_ALGORITHM_AES_KW:
    case KMS_ALGORITHM_AES_KWP:
        break;
    case KMS_ALGORITHM_AES_GCM:
        return KMS_GCM_IV_LEN + KMS_GCM_TAG_LEN;
    }
    return KMS_WRAP_OVERHEAD;
}

bool kms_seed_len_is_valid(size_t len)
{
    return len >= KMS_SEED_MIN && len <= KMS_SEED_MAX && len % STEP == 0;
}

bool kms_wrapped_len_is_valid(enum kms_algorithm algorithm, size_t len)
{
    size_t overhead = kms_algorithm_overhead(algorithm);
    return len > overhead && kms_seed_len_is_valid(len - overhead);
}

/* --- choices --- */

const char *kms_profile_name(enum kms_profile profile)
{
    switch (profile) {
    case KMS_PROFILE_AUTO:
        break;
    case KMS_PROFILE_AES_KW:
        return algorithm_names[KMS_ALGORITHM_AES_KW];
    case KMS_PROFILE_AES_KWP:
        return algorithm_names[KMS_ALGORITHM_AES_KWP];
    case KMS_PROFILE_AES_GCM:
        return algorithm_names[KMS_ALGORITHM_AES_GCM];
    }
    return "auto";
}

enum kms_profile kms_profile_of(enum kms_algorithm algorithm)
{
    switch (algorithm) {
    case KMS_ALGORITHM_AES_KW:
        break;
    case KMS_ALGORITHM_AES_KWP:
        return KMS_PROFILE_AES_KWP;
    case KMS_ALGORITHM_AES_GCM:
        return KMS_PROFILE_AES_GCM;
    }
    return KMS_PROFILE_AES_KW;
}

bool kms_profile_parse(const char *text, enum kms_profile *ret_profile)
{
    enum kms_algorithm algorithm = KMS_ALGORITHM_AES_KW;
    if (strcmp(text, kms_profile_name(KMS_PROFILE_AUTO)) == 0) {
        *ret_profile = KMS_PROFILE_AUTO;
        return true;
    }
    if (!kms_algorithm_parse(kms_bytes_of(text), &algorithm))
        return false;
    *ret_profile = kms_profile_of(algorithm);
    return true;
}

const char *kms_user_type_name(enum kms_user_type type)
{
    return type == KMS_USER_TYPE_CRYPTO_USER ? "crypto-user" : "user";
}

bool kms_user_type_parse(const char *text, enum kms_user_type *ret_type)
{
    for (enum kms_user_type type = KMS_USER_TYPE_USER; type <= KMS_USER_TYPE_CRYPTO_USER; type++) {
        if (strcmp(text, kms_user_type_name(type)) == 0) {
            *ret_type = type;
            return true;
        }
    }
    return false;
}
