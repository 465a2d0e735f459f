/* SPDX-License-Identifier: Apache-2.0 */
#include "oaep.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

enum { BITS_MIN = 2048, BITS_MAX = 8 * PKCS11_MODULUS_MAX, KEY_LEN = 32 };

static void free_key(EVP_PKEY *const *key)
{
    EVP_PKEY_free(*key);
}

static void free_key_ctx(EVP_PKEY_CTX *const *ctx)
{
    EVP_PKEY_CTX_free(*ctx);
}

static void free_cipher_ctx(EVP_CIPHER_CTX *const *ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

static void free_bn(BIGNUM *const *number)
{
    BN_free(*number);
}

static void free_builder(OSSL_PARAM_BLD *const *builder)
{
    OSSL_PARAM_BLD_free(*builder);
}

static void free_params(OSSL_PARAM *const *params)
{
    OSSL_PARAM_free(*params);
}

static void free_bio(BIO *const *bio)
{
    (void)BIO_free(*bio);
}

static void free_der(uint8_t *const *der)
{
    OPENSSL_free(*der);
}

static enum kms_code no_key(struct kms_error *err)
{
    return kms_fail(err, KMS_E_INVALID, "this is no RSA public key of %d to %d bits", BITS_MIN,
                    BITS_MAX);
}

/* --- public keys --- */

static enum kms_code to_spki(const EVP_PKEY *key, struct kms_spki *ret_spki, struct kms_error *err)
{
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || EVP_PKEY_get_bits(key) < BITS_MIN ||
        EVP_PKEY_get_bits(key) > BITS_MAX)
        return no_key(err);
    KMS_CLEANUP(free_der) uint8_t *der = NULL;
    int len = i2d_PUBKEY(key, &der);
    if (len <= 0 || (size_t)len > sizeof(ret_spki->data))
        return no_key(err);
    memcpy(ret_spki->data, der, (size_t)len);
    ret_spki->len = (size_t)len;
    return KMS_OK;
}

static EVP_PKEY *from_spki(const struct kms_spki *spki)
{
    const uint8_t *at = spki->data;
    return d2i_PUBKEY(NULL, &at, (long)spki->len);
}

static EVP_PKEY *build_key(const struct pkcs11_rsa_numbers *numbers)
{
    KMS_CLEANUP(free_bn)
    BIGNUM *n = BN_bin2bn(numbers->modulus, (int)numbers->modulus_len, NULL);
    KMS_CLEANUP(free_bn)
    BIGNUM *e = BN_bin2bn(numbers->exponent, (int)numbers->exponent_len, NULL);
    KMS_CLEANUP(free_builder) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (n == NULL || e == NULL || builder == NULL ||
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) != 1)
        return NULL;
    KMS_CLEANUP(free_params) OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    KMS_CLEANUP(free_key_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return key;
}

enum kms_code pkcs11_spki_from_numbers(const struct pkcs11_rsa_numbers *numbers,
                                       struct kms_spki *ret_spki, struct kms_error *err)
{
    KMS_CLEANUP(free_key) EVP_PKEY *key = build_key(numbers);
    return key != NULL ? to_spki(key, ret_spki, err) : no_key(err);
}

enum kms_code pkcs11_spki_from_pem(struct kms_bytes pem, struct kms_spki *ret_spki,
                                   struct kms_error *err)
{
    if (pem.len == 0 || pem.len > PKCS11_PEM_MAX)
        return no_key(err);
    KMS_CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    if (bio == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a public key");
    KMS_CLEANUP(free_key) EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    return key != NULL ? to_spki(key, ret_spki, err) : no_key(err);
}

static bool get_number(const EVP_PKEY *key, const char *name, uint8_t *ret_data, size_t cap,
                       size_t *ret_len)
{
    KMS_CLEANUP(free_bn) BIGNUM *number = NULL;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1 || (size_t)BN_num_bytes(number) > cap)
        return false;
    *ret_len = (size_t)BN_bn2bin(number, ret_data);
    return true;
}

enum kms_code pkcs11_spki_to_numbers(const struct kms_spki *spki,
                                     struct pkcs11_rsa_numbers *ret_numbers, struct kms_error *err)
{
    struct pkcs11_rsa_numbers numbers;
    KMS_CLEANUP(free_key) EVP_PKEY *key = from_spki(spki);
    if (key == NULL ||
        !get_number(key, OSSL_PKEY_PARAM_RSA_N, numbers.modulus, sizeof(numbers.modulus),
                    &numbers.modulus_len) ||
        !get_number(key, OSSL_PKEY_PARAM_RSA_E, numbers.exponent, sizeof(numbers.exponent),
                    &numbers.exponent_len))
        return no_key(err);
    *ret_numbers = numbers;
    return KMS_OK;
}

enum kms_code pkcs11_spki_to_pem(const struct kms_spki *spki, char ret_pem[static PKCS11_PEM_MAX],
                                 struct kms_error *err)
{
    KMS_CLEANUP(free_key) EVP_PKEY *key = from_spki(spki);
    KMS_CLEANUP(free_bio) BIO *bio = BIO_new(BIO_s_mem());
    if (key == NULL || bio == NULL || PEM_write_bio_PUBKEY(bio, key) != 1)
        return no_key(err);
    int len = BIO_read(bio, ret_pem, PKCS11_PEM_MAX - 1);
    if (len <= 0 || len == PKCS11_PEM_MAX - 1)
        return no_key(err);
    ret_pem[len] = '\0';
    return KMS_OK;
}

/* --- keys under them --- */

static const EVP_MD *hash_of(enum kms_oaep_hash hash)
{
    return hash == KMS_OAEP_SHA256 ? EVP_sha256() : EVP_sha1();
}

enum kms_code pkcs11_oaep_encrypt(const struct kms_spki *spki, enum kms_oaep_hash hash,
                                  struct kms_bytes key, struct kms_transport_blob *ret_blob,
                                  struct kms_error *err)
{
    KMS_CLEANUP(free_key) EVP_PKEY *recipient = from_spki(spki);
    if (recipient == NULL)
        return no_key(err);
    KMS_CLEANUP(free_key_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(recipient, NULL);
    struct kms_transport_blob blob = { .hash = hash, .len = sizeof(blob.data) };
    if (ctx == NULL || EVP_PKEY_encrypt_init(ctx) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(ctx, hash_of(hash)) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, hash_of(hash)) != 1 ||
        EVP_PKEY_encrypt(ctx, blob.data, &blob.len, key.data, key.len) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL can't encrypt with RSA-OAEP");
    *ret_blob = blob;
    return KMS_OK;
}

enum kms_code pkcs11_key_fingerprint(struct kms_bytes key,
                                     uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN],
                                     struct kms_error *err)
{
    if (key.len != KEY_LEN)
        return kms_fail(err, KMS_E_INVALID, "an AES-256 key has %d bytes, not %zu", KEY_LEN,
                        key.len);
    uint8_t c[KMS_SHA256_LEN];
    kms_sha256(kms_bytes_of(KMS_FINGERPRINT_SEED_TEXT), c);
    const size_t domain_len = strlen(KMS_FINGERPRINT_DOMAIN);
    uint8_t input[sizeof(KMS_FINGERPRINT_DOMAIN) + sizeof(c) + 2 * KMS_WRAP_OVERHEAD];
    memcpy(input, KMS_FINGERPRINT_DOMAIN, domain_len);

    KMS_CLEANUP(free_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx != NULL)
        EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    int len = 0;
    if (ctx == NULL || EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap(), NULL, key.data, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, input + domain_len, &len, c, (int)sizeof(c)) != 1 ||
        len != (int)sizeof(c) + KMS_WRAP_OVERHEAD)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL can't wrap with AES key wrap");
    kms_sha256((struct kms_bytes){ input, domain_len + (size_t)len }, ret_fingerprint);
    return KMS_OK;
}
