/* SPDX-License-Identifier: Apache-2.0 */
#include "blocks.h"

#include <string.h>

#include "rv.h"

enum { HALF = 8, BLOCK = 16, ROUNDS = 6 }; /* bytes; RFC 3394 section 2.2.1 */

/* Whose blocks are encrypted, by what. */
struct cipher {
    CK_FUNCTION_LIST *fn;
    struct pkcs11_session *session;
    CK_OBJECT_HANDLE key;
};

static enum kms_code encrypt_block(const struct cipher *cipher, uint8_t block[static BLOCK],
                                   struct kms_error *err)
{
    CK_MECHANISM mechanism = { CKM_AES_ECB, NULL, 0 };
    uint8_t out[BLOCK + BLOCK];
    CK_ULONG len = sizeof(out);
    CK_RV rv = cipher->fn->C_EncryptInit(cipher->session->handle, &mechanism, cipher->key);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_EncryptInit", rv, "encrypting an AES block");
    rv = cipher->fn->C_Encrypt(cipher->session->handle, block, BLOCK, out, &len);
    if (rv != CKR_OK) {
        cipher->session->broken = true; /* the operation may go on */
        return pkcs11_fail(err, "C_Encrypt", rv, "encrypting an AES block");
    }
    if (len != BLOCK)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "C_Encrypt: the module made %lu bytes of one AES block", len);
    memcpy(block, out, BLOCK);
    return KMS_OK;
}

static void mix_in(uint8_t half[static HALF], uint64_t step)
{
    for (int i = 0; i < HALF; i++)
        half[HALF - 1 - i] ^= (uint8_t)(step >> (8 * i));
}

/* RFC 3394 section 2.2.3.1, or RFC 5649 section 3. */
static void begin(enum kms_algorithm algorithm, size_t len, uint8_t half[static HALF])
{
    static const uint8_t padded[HALF] = { 0xA6, 0x59, 0x59, 0xA6 };
    memset(half, 0xA6, HALF);
    if (algorithm != KMS_ALGORITHM_AES_KWP)
        return;
    memcpy(half, padded, HALF);
    mix_in(half, len);
}

enum kms_code pkcs11_blocks_wrap(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                                 CK_OBJECT_HANDLE key, enum kms_algorithm algorithm,
                                 struct kms_bytes data, struct kms_wrapped *ret_wrapped,
                                 struct kms_error *err)
{
    const struct cipher cipher = { fn, session, key };
    struct kms_wrapped wrapped = { .len = data.len + HALF, .algorithm = algorithm };
    size_t halves = data.len / HALF;
    uint8_t block[BLOCK];
    begin(algorithm, data.len, block);
    memcpy(wrapped.data + HALF, data.data, data.len);
    for (uint64_t step = 1; step <= ROUNDS * halves; step++) {
        uint8_t *half = wrapped.data + HALF + (step - 1) % halves * HALF;
        memcpy(block + HALF, half, HALF);
        enum kms_code rc = encrypt_block(&cipher, block, err);
        if (rc != KMS_OK)
            return rc;
        mix_in(block, step);
        memcpy(half, block + HALF, HALF);
    }
    memcpy(wrapped.data, block, HALF);
    *ret_wrapped = wrapped;
    return KMS_OK;
}
