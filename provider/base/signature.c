/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/signature.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

enum { RSA_BITS_MIN = 2048, PEM_MAX = 4096 };

static void free_key(EVP_PKEY *const *key)
{
    EVP_PKEY_free(*key);
}

static void free_bio(BIO *const *bio)
{
    (void)BIO_free(*bio);
}

static void free_digest(EVP_MD_CTX *const *digest)
{
    EVP_MD_CTX_free(*digest);
}

static void free_der(uint8_t *const *der)
{
    OPENSSL_free(*der);
}

const char *kms_signing_name(enum kms_signing signing)
{
    return signing == KMS_SIGNING_ECDSA_P256 ? "ecdsa-p256-sha256" : "rsa-pkcs1-sha256";
}

static bool may_sign(const EVP_PKEY *key)
{
    char group[sizeof("prime256v1")] = "";
    size_t len = 0;
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA)
        return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
    return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
           EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

enum kms_code kms_spki_of_signer(struct kms_bytes pem, struct kms_spki *ret_key,
                                 struct kms_error *err)
{
    static const char why[] = "this is no public key in PEM of EC P-256, or of RSA of 2048 bits or "
                              "more";
    if (pem.len == 0 || pem.len > PEM_MAX)
        return kms_fail(err, KMS_E_INVALID, "%s", why);
    KMS_CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    if (bio == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a public key");
    KMS_CLEANUP(free_key) EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    KMS_CLEANUP(free_der) uint8_t *der = NULL;
    int len = key != NULL && may_sign(key) ? i2d_PUBKEY(key, &der) : 0;
    if (len <= 0 || (size_t)len > sizeof(ret_key->data))
        return kms_fail(err, KMS_E_INVALID, "%s", why);
    memcpy(ret_key->data, der, (size_t)len);
    ret_key->len = (size_t)len;
    return KMS_OK;
}

enum kms_code kms_signature_check(const struct kms_spki *spki, struct kms_bytes message,
                                  struct kms_bytes signature, struct kms_error *err)
{
    const uint8_t *at = spki->data;
    KMS_CLEANUP(free_key) EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)spki->len);
    if (key == NULL)
        return kms_fail(err, KMS_E_INVALID, "this is no public key");
    KMS_CLEANUP(free_digest) EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (digest == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a signature");
    if (EVP_DigestVerifyInit(digest, NULL, EVP_sha256(), NULL, key) != 1)
        return kms_fail(err, KMS_E_INVALID, "this key signs nothing by SHA-256");
    if (EVP_DigestVerify(digest, signature.data, signature.len, message.data, message.len) != 1)
        return kms_fail(err, KMS_E_CORRUPT, "the signature isn't this key's");
    return KMS_OK;
}
