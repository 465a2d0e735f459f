/* SPDX-License-Identifier: Apache-2.0 */
#include "gcm.h"

#include <string.h>

#include <openssl/rand.h>

#include "cipher.h"

enum { BITS = 8 };

/* Must stay where it is from C_EncryptInit to the end of C_Encrypt: modules read the IV at either, and
 * some write it. */
struct gcm {
    CK_MECHANISM mechanism;
    CK_GCM_PARAMS params;
    uint8_t iv[KMS_GCM_IV_LEN];
};

static void init(struct gcm *gcm, const struct pkcs11_use *use)
{
    bool prepended = use->way->profile->iv == PKCS11_IV_PREPENDED;
    gcm->params = (CK_GCM_PARAMS){
        .pIv = prepended ? NULL : gcm->iv,
        .ulIvLen = prepended ? 0 : sizeof(gcm->iv),
        .ulIvBits = prepended ? 0 : sizeof(gcm->iv) * BITS,
        .pAAD = (CK_BYTE *)(uintptr_t)use->bound.data, /* Cryptoki's types have no const */
        .ulAADLen = use->bound.len,
        .ulTagBits = KMS_GCM_TAG_LEN * BITS,
    };
    gcm->mechanism = (CK_MECHANISM){ use->way->mechanism, &gcm->params, sizeof(gcm->params) };
}

static enum kms_code make_iv(enum pkcs11_iv kind, uint8_t iv[static KMS_GCM_IV_LEN],
                             struct kms_error *err)
{
    memset(iv, 0, KMS_GCM_IV_LEN);
    if (kind == PKCS11_IV_OURS && RAND_bytes(iv, KMS_GCM_IV_LEN) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL has no random bytes");
    return KMS_OK;
}

/* Zeros are what a module was given that should have written an IV, and didn't: the next seed would
 * have the same one. */
static enum kms_code check_iv(const uint8_t iv[static KMS_GCM_IV_LEN], struct kms_error *err)
{
    static const uint8_t zeros[KMS_GCM_IV_LEN];
    if (memcmp(iv, zeros, sizeof(zeros)) != 0)
        return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION,
                    "C_Encrypt: the module made no IV: AES-GCM can't be used on it");
}

enum kms_code pkcs11_gcm_wrap(const struct pkcs11_use *use, struct kms_bytes seed,
                              struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    enum pkcs11_iv kind = use->way->profile->iv;
    size_t iv_len = kind == PKCS11_IV_PREPENDED ? 0 : KMS_GCM_IV_LEN;
    struct kms_wrapped wrapped = { .len = iv_len, .algorithm = KMS_ALGORITHM_AES_GCM };
    struct gcm gcm;
    enum kms_code rc = make_iv(kind, gcm.iv, err);
    if (rc != KMS_OK)
        return rc;
    init(&gcm, use);
    rc = pkcs11_cipher_encrypt(use, &gcm.mechanism, seed, &wrapped, err);
    if (rc != KMS_OK)
        return rc;
    memcpy(wrapped.data, gcm.iv, iv_len);
    rc = check_iv(wrapped.data, err);
    if (rc == KMS_OK)
        *ret_wrapped = wrapped;
    return rc;
}

enum kms_code pkcs11_gcm_unwrap(const struct pkcs11_use *use, struct kms_bytes wrapped,
                                struct kms_secret *ret_seed, struct kms_error *err)
{
    size_t iv_len = use->way->profile->iv == PKCS11_IV_PREPENDED ? 0 : KMS_GCM_IV_LEN;
    struct gcm gcm = { .iv = { 0 } };
    memcpy(gcm.iv, wrapped.data, iv_len);
    init(&gcm, use);
    return pkcs11_cipher_decrypt(
        use, &gcm.mechanism, (struct kms_bytes){ wrapped.data + iv_len, wrapped.len - iv_len },
        wrapped.len - kms_algorithm_overhead(KMS_ALGORITHM_AES_GCM), ret_seed, err);
}
