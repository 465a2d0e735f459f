/* SPDX-License-Identifier: Apache-2.0 */
#include "vendor.h"

#include <string.h>
#include <strings.h>

/* Generous marks do no harm: the known-answer test has the last word on each number. */
static const struct pkcs11_vendor vendors[] = {
    {
        .name = "Thales Luna",
        .key_wrap = PKCS11_CKM_LUNA_AES_KW,
        .padded = PKCS11_CKM_LUNA_AES_KWP,
        .crypto_user = PKCS11_CKU_LUNA_LIMITED_USER,
        .has_crypto_user = true,
        .marks = { "safenet", "gemalto", "thales", "chrystoki", "luna" },
    },
    {
        .name = "AWS CloudHSM",
        .key_wrap = PKCS11_CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD,
        .padded = PKCS11_CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD,
        .gcm = PKCS11_CKM_CLOUDHSM_AES_GCM,
        .other_standard = true, /* PKCS#5 padding first, in SDK 3 */
        .marks = { "cloudhsm", "cavium", "marvell", "amazon" },
    },
};

/* Cryptoki's texts have fixed lengths and no NUL. */
static bool contains(const unsigned char *text, size_t len, const char *mark)
{
    size_t mark_len = strlen(mark);
    for (size_t at = 0; at + mark_len <= len; at++) {
        if (strncasecmp((const char *)text + at, mark, mark_len) == 0)
            return true;
    }
    return false;
}

static bool is_marked(const struct pkcs11_token *token, const char *mark)
{
    const CK_INFO *library = &token->library;
    const CK_TOKEN_INFO *info = &token->info;
    return contains(library->manufacturerID, sizeof(library->manufacturerID), mark) ||
           contains(library->libraryDescription, sizeof(library->libraryDescription), mark) ||
           contains(info->manufacturerID, sizeof(info->manufacturerID), mark) ||
           contains(info->model, sizeof(info->model), mark);
}

const struct pkcs11_vendor *pkcs11_vendor_of(const struct pkcs11_token *token)
{
    for (size_t i = 0; i < sizeof(vendors) / sizeof(vendors[0]); i++) {
        for (const char *const *mark = vendors[i].marks; *mark != NULL; mark++) {
            if (is_marked(token, *mark))
                return &vendors[i];
        }
    }
    return NULL;
}

/* One that stands beside the standard's, unless that means something else there. */
static size_t wrap_numbers(const struct pkcs11_vendor *vendor, CK_MECHANISM_TYPE standard,
                           CK_MECHANISM_TYPE own,
                           CK_MECHANISM_TYPE ret_numbers[static PKCS11_NUMBERS_MAX])
{
    size_t count = 0;
    if (vendor == NULL || !vendor->other_standard)
        ret_numbers[count++] = standard;
    if (vendor != NULL)
        ret_numbers[count++] = own;
    return count;
}

size_t pkcs11_vendor_numbers(const struct pkcs11_vendor *vendor, enum kms_algorithm algorithm,
                             bool prepends,
                             CK_MECHANISM_TYPE ret_numbers[static PKCS11_NUMBERS_MAX])
{
    switch (algorithm) {
    case KMS_ALGORITHM_AES_KW:
        return wrap_numbers(vendor, CKM_AES_KEY_WRAP, vendor != NULL ? vendor->key_wrap : 0,
                            ret_numbers);
    case KMS_ALGORITHM_AES_KWP:
        return wrap_numbers(vendor, CKM_AES_KEY_WRAP_KWP, vendor != NULL ? vendor->padded : 0,
                            ret_numbers);
    case KMS_ALGORITHM_AES_GCM:
        break;
    }
    ret_numbers[0] = CKM_AES_GCM;
    if (!prepends)
        return 1;
    ret_numbers[0] = vendor != NULL ? vendor->gcm : 0;
    return ret_numbers[0] != 0 ? 1 : 0;
}
