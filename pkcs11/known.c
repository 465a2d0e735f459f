/* SPDX-License-Identifier: Apache-2.0 */
#include "known.h"

#include <string.h>

#include <openssl/evp.h>

const uint8_t pkcs11_known_key[PKCS11_KNOWN_LEN] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F,
};
const uint8_t pkcs11_known_data[PKCS11_KNOWN_LEN] = {
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
};
static const uint8_t known_wrapped[PKCS11_KNOWN_LEN + KMS_WRAP_OVERHEAD] = {
    0x28, 0xC9, 0xF4, 0x04, 0xC4, 0xB8, 0x10, 0xF4, 0xCB, 0xCC, 0xB3, 0x5C, 0xFB, 0x87,
    0xF8, 0x26, 0x3F, 0x57, 0x86, 0xE2, 0xD8, 0x0E, 0xD3, 0x26, 0xCB, 0xC7, 0xF0, 0xE7,
    0x1A, 0x99, 0xF4, 0x3B, 0xFB, 0x98, 0x8B, 0x9B, 0x7A, 0x02, 0xDD, 0x21,
};

static void close_cipher(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

static enum kms_code cannot_tell(const char *cipher, struct kms_error *err)
{
    return kms_fail(err, KMS_E_INTERNAL, "known-answer test: OpenSSL has no %s", cipher);
}

static enum kms_code check_key_wrap(const EVP_CIPHER *cipher, const struct kms_wrapped *wrapped,
                                    struct kms_bytes data, bool *ret_right, struct kms_error *err)
{
    KMS_CLEANUP(close_cipher) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t expected[KMS_WRAPPED_MAX + KMS_WRAP_OVERHEAD];
    int len = 0;
    if (ctx == NULL)
        return cannot_tell("memory", err);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_EncryptInit_ex(ctx, cipher, NULL, pkcs11_known_key, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, expected, &len, data.data, (int)data.len) != 1)
        return cannot_tell("id-aes256-wrap", err);
    *ret_right = kms_bytes_equal((struct kms_bytes){ expected, (size_t)len },
                                 (struct kms_bytes){ wrapped->data, wrapped->len });
    return KMS_OK;
}

/* Reads what the module made: its IV is its own. */
static enum kms_code check_gcm(const struct kms_wrapped *wrapped, struct kms_bytes data,
                               struct kms_bytes bound, bool *ret_right, struct kms_error *err)
{
    KMS_CLEANUP(close_cipher) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t plain[KMS_WRAPPED_MAX];
    uint8_t tag[KMS_GCM_TAG_LEN];
    int len = 0, rest = 0;
    memcpy(tag, wrapped->data + wrapped->len - sizeof(tag), sizeof(tag));
    if (ctx == NULL ||
        EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, pkcs11_known_key, wrapped->data) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &len, bound.data, (int)bound.len) != 1 ||
        EVP_DecryptUpdate(ctx, plain, &len, wrapped->data + KMS_GCM_IV_LEN,
                          (int)(wrapped->len - KMS_GCM_IV_LEN - sizeof(tag))) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, sizeof(tag), tag) != 1)
        return cannot_tell("aes-256-gcm", err);
    *ret_right = EVP_DecryptFinal_ex(ctx, plain + len, &rest) == 1 &&
                 kms_bytes_equal((struct kms_bytes){ plain, (size_t)len }, data);
    return KMS_OK;
}

enum kms_code pkcs11_known_check(const struct kms_wrapped *wrapped, struct kms_bytes data,
                                 struct kms_bytes bound, bool *ret_right, struct kms_error *err)
{
    const struct kms_bytes rfc = { known_wrapped, sizeof(known_wrapped) };
    switch (wrapped->algorithm) {
    case KMS_ALGORITHM_AES_KW:
        if (data.data != pkcs11_known_data)
            return check_key_wrap(EVP_aes_256_wrap(), wrapped, data, ret_right, err);
        *ret_right = kms_bytes_equal((struct kms_bytes){ wrapped->data, wrapped->len }, rfc);
        return KMS_OK;
    case KMS_ALGORITHM_AES_KWP:
        return check_key_wrap(EVP_aes_256_wrap_pad(), wrapped, data, ret_right, err);
    case KMS_ALGORITHM_AES_GCM:
        return check_gcm(wrapped, data, bound, ret_right, err);
    }
    return kms_fail(err, KMS_E_INTERNAL, "known-answer test: an unknown algorithm");
}
