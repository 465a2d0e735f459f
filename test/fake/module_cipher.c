/* SPDX-License-Identifier: Apache-2.0 */
/* Key wrap as a cipher, where the test wants that. */
#include <assert.h>
#include <string.h>

#include <openssl/evp.h>

#include "module_state.h"

static bool encrypt_block(const struct attribute *key, const unsigned char *data,
                          unsigned char *out, CK_ULONG *out_len)
{
    int len = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert(ctx != NULL);
    bool ok = key != NULL && key->len == 32 &&
              EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, key->data, NULL) == 1 &&
              EVP_EncryptUpdate(ctx, out, &len, data, 16) == 1;
    EVP_CIPHER_CTX_free(ctx);
    *out_len = (CK_ULONG)len;
    return ok;
}

CK_RV fake_get_mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    BEGIN("C_GetMechanismInfo");
    (void)slot;
    const struct fake_behaviour *behaviour = &the->behaviour;
    bool gcm = behaviour->gcm_iv != FAKE_GCM_NONE && type == behaviour->gcm;
    bool wraps = type == behaviour->key_wrap ||
                 (behaviour->padded != 0 && type == behaviour->padded);
    if (!gcm && !wraps)
        return fake_end(CKR_MECHANISM_INVALID);
    *info = (CK_MECHANISM_INFO){ .ulMinKeySize = 16, .ulMaxKeySize = 32 };
    if (gcm || behaviour->ciphers)
        info->flags |= CKF_ENCRYPT | CKF_DECRYPT;
    if (wraps && behaviour->import_seed_rv == CKR_OK)
        info->flags |= CKF_WRAP | CKF_UNWRAP;
    return fake_end(CKR_OK);
}

CK_RV fake_get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
    BEGIN("C_GetMechanismList");
    (void)slot;
    if (list != NULL && *count < 1)
        return fake_end(CKR_BUFFER_TOO_SMALL);
    *count = 1;
    if (list != NULL)
        list[0] = the->behaviour.key_wrap;
    return fake_end(CKR_OK);
}

/* --- AES-GCM: what is encrypted, and the tag --- */

enum { IV = 12, TAG = 16 };

static CK_RV check_params(const CK_GCM_PARAMS *params, bool encrypts)
{
    static const unsigned char zeros[IV];
    bool prepends = the->behaviour.gcm_iv == FAKE_GCM_PREPENDED;
    if (params->ulTagBits != TAG * 8 || prepends != (params->pIv == NULL) ||
        params->ulIvLen != (prepends ? 0 : IV))
        return CKR_MECHANISM_PARAM_INVALID;
    if (encrypts && the->behaviour.gcm_iv == FAKE_GCM_WRITTEN &&
        memcmp(params->pIv, zeros, IV) != 0)
        return CKR_MECHANISM_PARAM_INVALID;
    return CKR_OK;
}

static void make_iv(unsigned char iv[static IV])
{
    static unsigned char next;
    memset(iv, 0, IV);
    iv[0] = the->behaviour.gcm_makes_no_iv ? 0 : 0x80;
    if (!the->behaviour.gcm_repeats_iv && !the->behaviour.gcm_makes_no_iv)
        iv[1] = ++next;
}

static bool run_gcm(const struct operation *operation, const struct attribute *key,
                    const unsigned char *iv, const unsigned char *data, CK_ULONG len,
                    unsigned char *out)
{
    const CK_GCM_PARAMS *params = operation->gcm;
    CK_ULONG aad_len = the->behaviour.gcm_ignores_aad ? 0 : params->ulAADLen;
    CK_ULONG text_len = operation->encrypts ? len : len - TAG;
    unsigned char tag[TAG];
    int done = 0, rest = 0;
    memcpy(tag, data + len - TAG, TAG);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert(ctx != NULL);
    bool ok = EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->data, iv, operation->encrypts) ==
                  1 &&
              EVP_CipherUpdate(ctx, NULL, &done, params->pAAD, (int)aad_len) == 1 &&
              EVP_CipherUpdate(ctx, out, &done, data, (int)text_len) == 1;
    if (ok && !operation->encrypts)
        ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1;
    ok = ok && EVP_CipherFinal_ex(ctx, out + text_len, &rest) == 1;
    if (ok && operation->encrypts)
        ok = EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + text_len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

/* The mutex is held. */
static CK_RV encrypt_gcm(const struct operation *operation, const struct attribute *key,
                         const unsigned char *data, CK_ULONG len, unsigned char *out,
                         CK_ULONG *out_len)
{
    bool prepends = the->behaviour.gcm_iv == FAKE_GCM_PREPENDED;
    unsigned char *iv = prepends ? out : operation->gcm->pIv;
    if (the->behaviour.gcm_iv != FAKE_GCM_CALLER)
        make_iv(iv);
    unsigned char *text = prepends ? out + IV : out;
    *out_len = (prepends ? IV : 0) + len + TAG - (the->behaviour.gcm_lacks_a_byte ? 1 : 0);
    return run_gcm(operation, key, iv, data, len, text) ? CKR_OK : CKR_GENERAL_ERROR;
}

static CK_RV decrypt_gcm(const struct operation *operation, const struct attribute *key,
                         const unsigned char *data, CK_ULONG len, unsigned char *out,
                         CK_ULONG *out_len)
{
    bool prepends = the->behaviour.gcm_iv == FAKE_GCM_PREPENDED;
    CK_ULONG iv_len = prepends ? IV : 0;
    const unsigned char *iv = prepends ? data : operation->gcm->pIv;
    if (len < iv_len + TAG)
        return CKR_ENCRYPTED_DATA_LEN_RANGE;
    *out_len = len - iv_len - TAG + (CK_ULONG)the->behaviour.value_len_error;
    return run_gcm(operation, key, iv, data + iv_len, len - iv_len, out) ? CKR_OK
                                                                         : the->behaviour.tamper_rv;
}

/* --- operations --- */

/* The mutex is held. */
static CK_RV init(CK_SESSION_HANDLE session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key,
                  bool encrypts)
{
    const struct fake_behaviour *behaviour = &the->behaviour;
    struct operation *operation = &the->operations[session];
    struct object *with = fake_object_at(key);
    CK_MECHANISM_TYPE type = mechanism->mechanism;
    if (operation->active)
        return CKR_OPERATION_ACTIVE;
    bool gcm = behaviour->gcm_iv != FAKE_GCM_NONE && type == behaviour->gcm;
    bool blocks = behaviour->blocks && encrypts && type == CKM_AES_ECB;
    bool padded = behaviour->ciphers && behaviour->padded != 0 && type == behaviour->padded;
    bool wraps = padded || (behaviour->ciphers && type == behaviour->key_wrap);
    if ((!blocks && !wraps && !gcm) || (mechanism->ulParameterLen != 0) != gcm)
        return CKR_MECHANISM_INVALID;
    if (with == NULL)
        return CKR_KEY_HANDLE_INVALID;
    if (!fake_flag_of(with, encrypts ? CKA_ENCRYPT : CKA_DECRYPT))
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    CK_RV rv = gcm ? check_params(mechanism->pParameter, encrypts) : CKR_OK;
    if (rv == CKR_OK)
        *operation = (struct operation){ true, encrypts, blocks,
                                         key,  padded,   gcm ? mechanism->pParameter : NULL };
    return rv;
}

static CK_RV run_key_wrap(const struct operation *operation, const struct attribute *key,
                          const unsigned char *data, CK_ULONG len, unsigned char *out,
                          CK_ULONG *out_len)
{
    bool encrypts = operation->encrypts;
    if (!fake_key_wrap(operation->padded, encrypts, key, data, len, out, out_len))
        return the->behaviour.tamper_rv;
    if (encrypts && the->behaviour.wraps_wrongly)
        out[0] ^= 1;
    *out_len += (CK_ULONG)(encrypts ? the->behaviour.wrap_len_error
                                    : the->behaviour.value_len_error);
    return CKR_OK;
}

/* The mutex is held.  As the standard wants it, too small a buffer leaves the operation active. */
static CK_RV run(CK_SESSION_HANDLE session, bool encrypts, const unsigned char *data,
                 CK_ULONG data_len, unsigned char *out, CK_ULONG *out_len)
{
    struct operation *operation = &the->operations[session];
    if (!operation->active || operation->encrypts != encrypts)
        return CKR_OPERATION_NOT_INITIALIZED;
    if (*out_len < (encrypts ? data_len + 8 : data_len - 8))
        return CKR_BUFFER_TOO_SMALL;
    operation->active = false;
    struct object *with = fake_object_at(operation->key);
    if (with == NULL)
        return CKR_KEY_HANDLE_INVALID;
    const struct attribute *key = fake_attribute_of(with, CKA_VALUE);
    if (operation->blocks)
        return data_len == 16 && encrypt_block(key, data, out, out_len) ? CKR_OK
                                                                        : CKR_DATA_LEN_RANGE;
    if (operation->gcm == NULL)
        return run_key_wrap(operation, key, data, data_len, out, out_len);
    return encrypts ? encrypt_gcm(operation, key, data, data_len, out, out_len)
                    : decrypt_gcm(operation, key, data, data_len, out, out_len);
}

CK_RV fake_encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    BEGIN_IN_SESSION("C_EncryptInit", session);
    return fake_end(init(session, mechanism, key, true));
}

CK_RV fake_encrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                   unsigned char *out, CK_ULONG *out_len)
{
    BEGIN_IN_SESSION("C_Encrypt", session);
    return fake_end(run(session, true, data, data_len, out, out_len));
}

CK_RV fake_decrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    BEGIN_IN_SESSION("C_DecryptInit", session);
    return fake_end(init(session, mechanism, key, false));
}

CK_RV fake_decrypt(CK_SESSION_HANDLE session, unsigned char *data, CK_ULONG data_len,
                   unsigned char *out, CK_ULONG *out_len)
{
    BEGIN_IN_SESSION("C_Decrypt", session);
    return fake_end(run(session, false, data, data_len, out, out_len));
}
