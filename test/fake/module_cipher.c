/* SPDX-License-Identifier: Apache-2.0 */
/* Key wrap as a cipher, where the test wants that. */
#include <assert.h>

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
    if (type != the->behaviour.key_wrap)
        return fake_end(CKR_MECHANISM_INVALID);
    CK_FLAGS ciphers = the->behaviour.ciphers ? CKF_ENCRYPT | CKF_DECRYPT : 0;
    CK_FLAGS wraps = the->behaviour.import_seed_rv == CKR_OK ? CKF_WRAP | CKF_UNWRAP : 0;
    *info = (CK_MECHANISM_INFO){ .ulMinKeySize = 16, .ulMaxKeySize = 32, .flags = ciphers | wraps };
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

/* The mutex is held. */
static CK_RV init(CK_SESSION_HANDLE session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key,
                  bool encrypts)
{
    struct operation *operation = &the->operations[session];
    struct object *with = fake_object_at(key);
    if (operation->active)
        return CKR_OPERATION_ACTIVE;
    bool blocks = the->behaviour.blocks && encrypts && mechanism->mechanism == CKM_AES_ECB;
    bool wraps = the->behaviour.ciphers && mechanism->mechanism == the->behaviour.key_wrap;
    if ((!blocks && !wraps) || mechanism->ulParameterLen != 0)
        return CKR_MECHANISM_INVALID;
    if (with == NULL)
        return CKR_KEY_HANDLE_INVALID;
    if (!fake_flag_of(with, encrypts ? CKA_ENCRYPT : CKA_DECRYPT))
        return CKR_KEY_FUNCTION_NOT_PERMITTED;
    *operation = (struct operation){ true, encrypts, blocks, key };
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
    if (operation->blocks)
        return data_len == 16 &&
                       encrypt_block(fake_attribute_of(with, CKA_VALUE), data, out, out_len)
                   ? CKR_OK
                   : CKR_DATA_LEN_RANGE;
    if (!fake_rfc3394(encrypts, fake_attribute_of(with, CKA_VALUE), data, data_len, out, out_len))
        return the->behaviour.tamper_rv;
    if (encrypts && the->behaviour.wraps_wrongly)
        out[0] ^= 1;
    *out_len += (CK_ULONG)(encrypts ? the->behaviour.wrap_len_error
                                    : the->behaviour.value_len_error);
    return CKR_OK;
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
