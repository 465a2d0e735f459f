/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_sealed.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

enum { NONCE_LEN = 12 };

static void free_ctx(EVP_CIPHER_CTX *const *ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

/* Ready for the text; the key's ID is bound to it. */
static EVP_CIPHER_CTX *begin(const struct kms_secret *key, const struct kms_audit_sealed *at,
                             bool seals)
{
    uint8_t nonce[NONCE_LEN] = { 0 };
    int len = 0;
    for (size_t i = 0; i < sizeof(at->number); i++)
        nonce[NONCE_LEN - 1 - i] = (uint8_t)(at->number >> (8 * i));
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx != NULL &&
        EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->data, nonce, seals ? 1 : 0) == 1 &&
        EVP_CipherUpdate(ctx, NULL, &len, (const uint8_t *)at->id, (int)strlen(at->id)) == 1)
        return ctx;
    EVP_CIPHER_CTX_free(ctx);
    return NULL;
}

size_t kms_audit_gcm_seal(const struct kms_secret *key, const struct kms_audit_sealed *at,
                          struct kms_bytes plain, uint8_t *ret_data)
{
    KMS_CLEANUP(free_ctx) EVP_CIPHER_CTX *ctx = begin(key, at, true);
    int len = 0, rest = 0;
    if (ctx == NULL || plain.len > INT_MAX / 2 ||
        EVP_CipherUpdate(ctx, ret_data, &len, plain.data, (int)plain.len) != 1 ||
        EVP_CipherFinal_ex(ctx, ret_data + len, &rest) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, KMS_AUDIT_SEAL_TAG_LEN,
                            ret_data + plain.len) != 1)
        return 0;
    return plain.len + KMS_AUDIT_SEAL_TAG_LEN;
}

size_t kms_audit_gcm_open(const struct kms_secret *key, const struct kms_audit_sealed *at,
                          struct kms_bytes data, uint8_t *ret_plain)
{
    uint8_t tag[KMS_AUDIT_SEAL_TAG_LEN];
    int len = 0, rest = 0;
    if (data.len <= sizeof(tag) || data.len > INT_MAX / 2)
        return 0;
    size_t plain_len = data.len - sizeof(tag);
    memcpy(tag, data.data + plain_len, sizeof(tag));
    KMS_CLEANUP(free_ctx) EVP_CIPHER_CTX *ctx = begin(key, at, false);
    if (ctx == NULL ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)sizeof(tag), tag) != 1 ||
        EVP_CipherUpdate(ctx, ret_plain, &len, data.data, (int)plain_len) != 1 ||
        EVP_CipherFinal_ex(ctx, ret_plain + len, &rest) != 1)
        return 0;
    return plain_len;
}

char *kms_audit_base64(struct kms_bytes bytes)
{
    char *text = bytes.len < INT_MAX / 2 ? malloc((bytes.len + 2) / 3 * 4 + 1) : NULL;
    if (text != NULL)
        (void)EVP_EncodeBlock((uint8_t *)text, bytes.data, (int)bytes.len);
    return text;
}

/* EVP_DecodeBlock takes more than one text for the same bytes: blanks around it, bits in its end. */
static bool is_base64_of(const char *text, struct kms_bytes bytes)
{
    char *only = kms_audit_base64(bytes);
    bool same = only != NULL && strcmp(only, text) == 0;
    free(only);
    return same;
}

uint8_t *kms_audit_unbase64(const char *text, size_t *ret_len)
{
    size_t len = strlen(text), pad = 0;
    if (len == 0 || len % 4 != 0 || len > INT_MAX / 2)
        return NULL;
    while (pad < 2 && text[len - 1 - pad] == '=')
        pad++;
    uint8_t *data = malloc(len / 4 * 3);
    if (data == NULL)
        return NULL;
    int got = EVP_DecodeBlock(data, (const uint8_t *)text, (int)len);
    if (got < (int)pad || !is_base64_of(text, (struct kms_bytes){ data, (size_t)got - pad })) {
        free(data);
        return NULL;
    }
    *ret_len = (size_t)got - pad;
    return data;
}
