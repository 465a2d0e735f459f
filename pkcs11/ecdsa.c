/* SPDX-License-Identifier: Apache-2.0 */
#include "signing.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/x509.h>

enum { NUMBER_LEN = PKCS11_P256_RAW_LEN / 2, OCTET_STRING = 0x04, UNCOMPRESSED = 0x04 };

static void free_key(EVP_PKEY *const *key)
{
    EVP_PKEY_free(*key);
}

static void free_key_ctx(EVP_PKEY_CTX *const *ctx)
{
    EVP_PKEY_CTX_free(*ctx);
}

static void free_signature(ECDSA_SIG *const *signature)
{
    ECDSA_SIG_free(*signature);
}

static void free_der(uint8_t *const *der)
{
    OPENSSL_free(*der);
}

static EVP_PKEY *build_key(struct kms_bytes point)
{
    char group[] = "prime256v1";
    uint8_t copy[PKCS11_P256_POINT_LEN]; /* OpenSSL wants it writable */
    memcpy(copy, point.data, sizeof(copy));
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, copy, sizeof(copy)),
        OSSL_PARAM_construct_end(),
    };
    KMS_CLEANUP(free_key_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return key;
}

enum kms_code pkcs11_spki_from_point(struct kms_bytes point, struct kms_spki *ret_spki,
                                     struct kms_error *err)
{
    if (point.len == PKCS11_P256_POINT_LEN + 2 && point.data[0] == OCTET_STRING &&
        point.data[1] == PKCS11_P256_POINT_LEN)
        point = (struct kms_bytes){ point.data + 2, PKCS11_P256_POINT_LEN };
    if (point.len != PKCS11_P256_POINT_LEN || point.data[0] != UNCOMPRESSED)
        return kms_fail(err, KMS_E_INVALID, "this is no uncompressed point of P-256");
    KMS_CLEANUP(free_key) EVP_PKEY *key = build_key(point);
    KMS_CLEANUP(free_der) uint8_t *der = NULL;
    int len = key != NULL ? i2d_PUBKEY(key, &der) : 0;
    if (len <= 0 || (size_t)len > sizeof(ret_spki->data))
        return kms_fail(err, KMS_E_INVALID, "this is no point of P-256");
    memcpy(ret_spki->data, der, (size_t)len);
    ret_spki->len = (size_t)len;
    return KMS_OK;
}

enum kms_code pkcs11_ecdsa_to_der(const uint8_t raw[static PKCS11_P256_RAW_LEN],
                                  struct kms_signature *signature, struct kms_error *err)
{
    KMS_CLEANUP(free_signature) ECDSA_SIG *both = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, NUMBER_LEN, NULL);
    BIGNUM *s = BN_bin2bn(raw + NUMBER_LEN, NUMBER_LEN, NULL);
    if (both == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(both, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL has no memory for a signature");
    }
    KMS_CLEANUP(free_der) uint8_t *der = NULL;
    int len = i2d_ECDSA_SIG(both, &der);
    if (len <= 0 || (size_t)len > sizeof(signature->data))
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL can't write a signature");
    memcpy(signature->data, der, (size_t)len);
    signature->len = (size_t)len;
    return KMS_OK;
}
