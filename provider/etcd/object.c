/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/object.h"

#include <endian.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { DEK_LEN = 32 }; /* bytes of a DEK made from a seed */

/* The three parts of what AES-GCM sealed. */
struct sealed {
    const uint8_t *nonce; /* KMS_VALUE_NONCE_LEN bytes */
    struct kms_bytes ciphertext;
    const uint8_t *tag; /* KMS_VALUE_TAG_LEN bytes */
};

void kms_plaintext_done(struct kms_plaintext *object)
{
    OPENSSL_clear_free(object->data, object->len);
    *object = (struct kms_plaintext){ 0 };
}

enum kms_code kms_plaintext_init(struct kms_plaintext *object, size_t len, struct kms_error *err)
{
    uint8_t *data = OPENSSL_zalloc(len > 0 ? len : 1);
    if (data == NULL)
        return kms_fail(err, KMS_E_BUSY, "no memory for an object of %zu bytes", len);
    *object = (struct kms_plaintext){ .data = data, .len = len };
    return KMS_OK;
}

enum kms_code kms_plaintext_copy(struct kms_plaintext *object, struct kms_bytes bytes,
                                 struct kms_error *err)
{
    enum kms_code rc = kms_plaintext_init(object, bytes.len, err);
    if (rc == KMS_OK && bytes.len > 0)
        memcpy(object->data, bytes.data, bytes.len);
    return rc;
}

/* RFC 5869 section 2.3 for one block: T(1) = HMAC(PRK, info | 0x01). */
static enum kms_code expand_seed(struct kms_bytes seed, const uint8_t *info,
                                 struct kms_secret *ret_dek, struct kms_error *err)
{
    uint8_t input[KMS_VALUE_INFO_LEN + 1];
    memcpy(input, info, KMS_VALUE_INFO_LEN);
    input[KMS_VALUE_INFO_LEN] = 0x01;

    KMS_CLEANUP(kms_secret_done) struct kms_secret dek = { 0 };
    enum kms_code rc = kms_secret_init(&dek, DEK_LEN, err);
    if (rc != KMS_OK)
        return rc;
    if (HMAC(EVP_sha256(), seed.data, (int)seed.len, input, sizeof input, dek.data, NULL) == NULL)
        return kms_fail(err, KMS_E_BUSY, "no memory to derive a DEK");
    *ret_dek = kms_secret_take(&dek);
    return KMS_OK;
}

/* The AES key that @dek_source stands for. */
static enum kms_code make_dek(const struct kms_value *value, const struct kms_secret *dek_source,
                              struct kms_secret *ret_dek, struct kms_error *err)
{
    struct kms_bytes source = kms_secret_bytes(dek_source);
    if (value->dek_type == KMS_DEK_KEY)
        return kms_secret_copy(ret_dek, source, err);
    if (source.len < KMS_OBJECT_SEED_MIN || source.len > KMS_OBJECT_SEED_MAX)
        return kms_fail(err, KMS_E_CORRUPT, "the DEK seed has %zu bytes, not %d to %d", source.len,
                        KMS_OBJECT_SEED_MIN, KMS_OBJECT_SEED_MAX);
    return expand_seed(source, value->data.data, ret_dek, err);
}

static const EVP_CIPHER *cipher_for(size_t key_len)
{
    switch (key_len) {
    case 16:
        return EVP_aes_128_gcm();
    case 24:
        return EVP_aes_192_gcm();
    case 32:
        return EVP_aes_256_gcm();
    default:
        return NULL;
    }
}

/* Classifying has seen that all of it is there. */
static struct sealed sealed_parts(const struct kms_value *value)
{
    size_t info_len = value->dek_type == KMS_DEK_SEED ? KMS_VALUE_INFO_LEN : 0;
    size_t around = info_len + KMS_VALUE_NONCE_LEN + KMS_VALUE_TAG_LEN;
    const uint8_t *nonce = value->data.data + info_len;
    struct kms_bytes ciphertext = { nonce + KMS_VALUE_NONCE_LEN, value->data.len - around };
    return (struct sealed){ .nonce = nonce,
                            .ciphertext = ciphertext,
                            .tag = ciphertext.data + ciphertext.len };
}

/* Everything but the tag's verdict; @out holds at least as much as the ciphertext has. */
static bool feed(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const struct kms_secret *dek,
                 const struct sealed *sealed, struct kms_bytes aad, uint8_t *out)
{
    int len = 0;
    uint8_t tag[KMS_VALUE_TAG_LEN];
    memcpy(tag, sealed->tag, sizeof tag); /* OpenSSL wants it writable */
    return EVP_DecryptInit_ex(ctx, cipher, NULL, dek->data, sealed->nonce) == 1 &&
           EVP_DecryptUpdate(ctx, NULL, &len, aad.data, (int)aad.len) == 1 &&
           EVP_DecryptUpdate(ctx, out, &len, sealed->ciphertext.data,
                             (int)sealed->ciphertext.len) == 1 &&
           EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1;
}

static void free_cipher(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx); /* wipes the key schedule */
}

static enum kms_code open_sealed(const struct sealed *sealed, const struct kms_secret *dek,
                                 struct kms_bytes aad, struct kms_plaintext *ret_object,
                                 struct kms_error *err)
{
    const EVP_CIPHER *cipher = cipher_for(dek->len);
    if (cipher == NULL)
        return kms_fail(err, KMS_E_CORRUPT, "the DEK has %zu bytes, which no AES key has",
                        dek->len);

    size_t cap = sealed->ciphertext.len > 0 ? sealed->ciphertext.len : 1;
    KMS_CLEANUP(free_cipher) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    KMS_CLEANUP(kms_plaintext_done)
    struct kms_plaintext object = { .data = OPENSSL_zalloc(cap), .len = cap };
    if (ctx == NULL || object.data == NULL || !feed(ctx, cipher, dek, sealed, aad, object.data))
        return kms_fail(err, KMS_E_BUSY, "no memory to open an object of %zu bytes", cap);

    int len = 0;
    uint8_t none[1];
    if (EVP_DecryptFinal_ex(ctx, none, &len) != 1)
        return kms_fail(err, KMS_E_CORRUPT,
                        "the object doesn't open: its value, its etcd key or its DEK source isn't "
                        "the one it was written with");
    *ret_object = object;
    ret_object->len = sealed->ciphertext.len;
    object = (struct kms_plaintext){ 0 };
    return KMS_OK;
}

enum kms_code kms_object_open(const struct kms_value *value, struct kms_bytes etcd_key,
                              const struct kms_secret *dek_source, struct kms_plaintext *ret_object,
                              struct kms_error *err)
{
    if (value->class != KMS_VALUE_KMS_V2)
        return kms_fail(err, KMS_E_INVALID, "the value is %s; only kms-v2 can be opened",
                        kms_value_class_name(value->class));
    size_t total = value->data.len + etcd_key.len;
    if (total > KMS_OBJECT_MAX)
        return kms_fail(err, KMS_E_INVALID, "value and key have %zu bytes; %d is the most", total,
                        KMS_OBJECT_MAX);

    KMS_CLEANUP(kms_secret_done) struct kms_secret dek = { 0 };
    enum kms_code rc = make_dek(value, dek_source, &dek, err);
    if (rc != KMS_OK)
        return rc;
    struct sealed sealed = sealed_parts(value);
    return open_sealed(&sealed, &dek, etcd_key, ret_object, err);
}

/* Each part with its length in front, so that no two lists of parts are the same bytes. */
static bool digest_part(EVP_MD_CTX *ctx, struct kms_bytes part)
{
    uint64_t len = htobe64(part.len);
    return EVP_DigestUpdate(ctx, &len, sizeof len) == 1 &&
           EVP_DigestUpdate(ctx, part.data, part.len) == 1;
}

static bool digest_annotations(EVP_MD_CTX *ctx, struct kms_bytes message)
{
    struct kms_value_annotation annotation;
    while (kms_value_annotation_next(&message, &annotation)) {
        if (!digest_part(ctx, annotation.key) || !digest_part(ctx, annotation.value))
            return false;
    }
    return true;
}

static void free_digest(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

enum kms_code kms_object_source_digest(const struct kms_value *value,
                                       uint8_t ret_digest[static KMS_SHA256_LEN],
                                       struct kms_error *err)
{
    uint8_t type = (uint8_t)value->dek_type;
    KMS_CLEANUP(free_digest) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(ctx, &type, sizeof type) != 1 || !digest_part(ctx, value->provider) ||
        !digest_part(ctx, value->key_id) || !digest_part(ctx, value->dek_source) ||
        !digest_annotations(ctx, value->message) || EVP_DigestFinal_ex(ctx, ret_digest, NULL) != 1)
        return kms_fail(err, KMS_E_BUSY, "no memory for a digest");
    return KMS_OK;
}
