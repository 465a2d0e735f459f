/* SPDX-License-Identifier: Apache-2.0 */
#include "blocks.h"

#include <string.h>

enum { HALF = 8, BLOCK = 16, ROUNDS = 6 }; /* bytes; RFC 3394 section 2.2.1 */

static bool encrypt_block(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                          CK_OBJECT_HANDLE key, uint8_t block[static BLOCK])
{
    CK_MECHANISM mechanism = { CKM_AES_ECB, NULL, 0 };
    uint8_t out[BLOCK + BLOCK];
    CK_ULONG len = sizeof(out);
    if (fn->C_EncryptInit(session->handle, &mechanism, key) != CKR_OK)
        return false;
    if (fn->C_Encrypt(session->handle, block, BLOCK, out, &len) != CKR_OK) {
        session->broken = true; /* the operation may go on */
        return false;
    }
    if (len != BLOCK)
        return false;
    memcpy(block, out, BLOCK);
    return true;
}

static void mix_in(uint8_t half[static HALF], uint64_t step)
{
    for (int i = 0; i < HALF; i++)
        half[HALF - 1 - i] ^= (uint8_t)(step >> (8 * i));
}

bool pkcs11_blocks_wrap(CK_FUNCTION_LIST *fn, struct pkcs11_session *session, CK_OBJECT_HANDLE key,
                        struct kms_bytes data, struct kms_wrapped *ret_wrapped)
{
    struct kms_wrapped wrapped = { .len = data.len + HALF };
    size_t halves = data.len / HALF;
    uint8_t block[BLOCK];
    memset(block, 0xA6, HALF);
    memcpy(wrapped.data + HALF, data.data, data.len);
    for (uint64_t step = 1; step <= ROUNDS * halves; step++) {
        uint8_t *half = wrapped.data + HALF + (step - 1) % halves * HALF;
        memcpy(block + HALF, half, HALF);
        if (!encrypt_block(fn, session, key, block))
            return false;
        mix_in(block, step);
        memcpy(half, block + HALF, HALF);
    }
    memcpy(wrapped.data, block, HALF);
    *ret_wrapped = wrapped;
    return true;
}
