/* SPDX-License-Identifier: Apache-2.0 */
#include "cipher.h"

#include <stdint.h>
#include <string.h>

#include "dialect.h"
#include "handles.h"
#include "sessions.h"
#include "state.h"

enum { HALF = 8, BLOCK = 16, ROUNDS = 6, DATA_MIN = 16, DATA_MAX = 4096 };

static const uint8_t initial[HALF] = { 0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6, 0xA6 };

typedef CK_RV cipher_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
typedef CK_RV cipher(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG len, CK_BYTE *out,
                     CK_ULONG *out_len);

/* --- RFC 3394 --- */

static CK_RV crypt_block(CK_SESSION_HANDLE session, enum misbehave_cipher_state state,
                         CK_OBJECT_HANDLE key, uint8_t block[static BLOCK])
{
    CK_MECHANISM ecb = { CKM_AES_ECB, NULL, 0 };
    uint8_t out[BLOCK];
    CK_ULONG len = sizeof(out);
    bool encrypts = state == MISBEHAVE_ENCRYPTING;
    CK_RV rv = encrypts ? misbehave_real->C_EncryptInit(session, &ecb, key)
                        : misbehave_real->C_DecryptInit(session, &ecb, key);
    if (rv == CKR_OK)
        rv = encrypts ? misbehave_real->C_Encrypt(session, block, BLOCK, out, &len)
                      : misbehave_real->C_Decrypt(session, block, BLOCK, out, &len);
    if (rv == CKR_OK)
        memcpy(block, out, sizeof(out));
    return rv;
}

static void mix_in(uint8_t half[static HALF], unsigned long t)
{
    for (int i = 0; i < HALF; i++)
        half[HALF - 1 - i] ^= (uint8_t)(t >> (8 * i));
}

/* @out: len + HALF bytes. */
static CK_RV wrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, const uint8_t *data,
                  CK_ULONG len, uint8_t *out)
{
    uint8_t block[BLOCK];
    CK_ULONG n = len / HALF;
    memcpy(block, initial, HALF);
    memcpy(out + HALF, data, len);
    for (CK_ULONG t = 1; t <= ROUNDS * n; t++) {
        uint8_t *half = out + HALF + (t - 1) % n * HALF;
        memcpy(block + HALF, half, HALF);
        CK_RV rv = crypt_block(session, MISBEHAVE_ENCRYPTING, key, block);
        if (rv != CKR_OK)
            return rv;
        mix_in(block, t);
        memcpy(half, block + HALF, HALF);
    }
    memcpy(out, block, HALF);
    return CKR_OK;
}

/* @out: len - HALF bytes. */
static CK_RV unwrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, const uint8_t *data,
                    CK_ULONG len, uint8_t *out)
{
    uint8_t block[BLOCK];
    CK_ULONG n = len / HALF - 1;
    memcpy(block, data, HALF);
    memcpy(out, data + HALF, len - HALF);
    for (CK_ULONG t = ROUNDS * n; t > 0; t--) {
        uint8_t *half = out + (t - 1) % n * HALF;
        memcpy(block + HALF, half, HALF);
        mix_in(block, t);
        CK_RV rv = crypt_block(session, MISBEHAVE_DECRYPTING, key, block);
        if (rv != CKR_OK)
            return rv;
        memcpy(half, block + HALF, HALF);
    }
    return memcmp(block, initial, HALF) == 0 ? CKR_OK : CKR_ENCRYPTED_DATA_INVALID;
}

/* --- operations --- */

static struct misbehave_cipher operation_of(CK_SESSION_HANDLE session)
{
    misbehave_lock();
    const struct misbehave_session *known = misbehave_sessions_find(session);
    struct misbehave_cipher operation = { .state = MISBEHAVE_IDLE };
    if (known != NULL)
        operation = known->cipher;
    misbehave_unlock();
    return operation;
}

static void set_operation(CK_SESSION_HANDLE session, struct misbehave_cipher operation)
{
    misbehave_lock();
    struct misbehave_session *known = misbehave_sessions_find(session);
    if (known != NULL)
        known->cipher = operation;
    misbehave_unlock();
}

static void end_operation(CK_SESSION_HANDLE session)
{
    set_operation(session, (struct misbehave_cipher){ .state = MISBEHAVE_IDLE });
}

static bool is_aes(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_KEY_TYPE type = 0;
    CK_ATTRIBUTE attribute = { CKA_KEY_TYPE, &type, sizeof(type) };
    return misbehave_real->C_GetAttributeValue(session, key, &attribute, 1) != CKR_OK ||
           type == CKK_AES; /* a handle that names nothing is for the module behind to refuse */
}

/* One block, for nothing: the module behind says whether the key may be used so. */
static CK_RV begin_operation(CK_SESSION_HANDLE session, const CK_MECHANISM *mechanism,
                             enum misbehave_cipher_state state, CK_OBJECT_HANDLE key)
{
    uint8_t block[BLOCK] = { 0 };
    if (mechanism->ulParameterLen != 0)
        return CKR_MECHANISM_PARAM_INVALID;
    if (!is_aes(session, key))
        return CKR_KEY_TYPE_INCONSISTENT;
    CK_RV rv = crypt_block(session, state, key, block);
    if (rv == CKR_OK)
        set_operation(session, (struct misbehave_cipher){ .state = state, .key = key });
    return rv;
}

static CK_RV init(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                  enum misbehave_cipher_state state, CK_OBJECT_HANDLE key)
{
    cipher_init *straight = state == MISBEHAVE_ENCRYPTING ? misbehave_real->C_EncryptInit
                                                          : misbehave_real->C_DecryptInit;
    enum misbehave_personality personality = call->manner.personality;
    CK_OBJECT_HANDLE real = misbehave_handles_real(session, key);
    if (operation_of(session).state != MISBEHAVE_IDLE)
        return CKR_OPERATION_ACTIVE;
    if (mechanism == NULL)
        return straight(session, mechanism, real);
    if (misbehave_is_foreign(personality, mechanism->mechanism))
        return CKR_MECHANISM_INVALID;
    bool wraps = mechanism->mechanism == misbehave_key_wrap(personality);
    if (wraps && misbehave_wraps_by_encrypting(personality))
        return begin_operation(session, mechanism, state, real);
    return straight(session, mechanism, real);
}

static CK_RV check_length(enum misbehave_cipher_state state, CK_ULONG len)
{
    if (state == MISBEHAVE_ENCRYPTING)
        return len % HALF == 0 && len >= DATA_MIN && len <= DATA_MAX ? CKR_OK : CKR_DATA_LEN_RANGE;
    return len % HALF == 0 && len >= DATA_MIN + HALF && len <= DATA_MAX
               ? CKR_OK
               : CKR_ENCRYPTED_DATA_LEN_RANGE;
}

/* As the standard wants it, asking for the length, or with too small a buffer, goes on. */
static CK_RV finish(CK_SESSION_HANDLE session, const struct misbehave_cipher *operation,
                    const CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
    bool encrypts = operation->state == MISBEHAVE_ENCRYPTING;
    CK_ULONG needed = encrypts ? len + HALF : len - HALF;
    uint8_t result[DATA_MAX + HALF];
    bool fits = out != NULL && *out_len >= needed;
    CK_RV rv = CKR_OK;
    if (out != NULL && !fits)
        rv = CKR_BUFFER_TOO_SMALL;
    *out_len = needed;
    if (!fits)
        return rv;
    rv = encrypts ? wrap(session, operation->key, data, len, result)
                  : unwrap(session, operation->key, data, len, result);
    if (rv == CKR_OK)
        memcpy(out, result, needed);
    explicit_bzero(result, sizeof(result));
    end_operation(session);
    return rv;
}

static CK_RV run(CK_SESSION_HANDLE session, enum misbehave_cipher_state state, CK_BYTE *data,
                 CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
    cipher *straight = state == MISBEHAVE_ENCRYPTING ? misbehave_real->C_Encrypt
                                                     : misbehave_real->C_Decrypt;
    struct misbehave_cipher operation = operation_of(session);
    if (operation.state == MISBEHAVE_IDLE)
        return straight(session, data, len, out, out_len);
    if (operation.state != state)
        return CKR_OPERATION_NOT_INITIALIZED;
    CK_RV rv = data == NULL || out_len == NULL ? CKR_ARGUMENTS_BAD : check_length(state, len);
    if (rv == CKR_OK)
        return finish(session, &operation, data, len, out, out_len);
    end_operation(session);
    return rv;
}

/* Key wrap is done at once or not at all. */
static bool ends_in_parts(CK_SESSION_HANDLE session)
{
    bool wraps = operation_of(session).state != MISBEHAVE_IDLE;
    if (wraps)
        end_operation(session);
    return wraps;
}

/* --- Cryptoki --- */

CK_RV misbehave_C_EncryptInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return init(call, session, mechanism, MISBEHAVE_ENCRYPTING, key);
}

CK_RV misbehave_C_Encrypt(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *data,
                          CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
    (void)call;
    return run(session, MISBEHAVE_ENCRYPTING, data, len, out, out_len);
}

CK_RV misbehave_C_EncryptUpdate(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
    (void)call;
    if (ends_in_parts(session))
        return CKR_FUNCTION_NOT_SUPPORTED;
    return misbehave_real->C_EncryptUpdate(session, data, len, out, out_len);
}

CK_RV misbehave_C_EncryptFinal(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *out,
                               CK_ULONG *out_len)
{
    (void)call;
    if (ends_in_parts(session))
        return CKR_FUNCTION_NOT_SUPPORTED;
    return misbehave_real->C_EncryptFinal(session, out, out_len);
}

CK_RV misbehave_C_DecryptInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return init(call, session, mechanism, MISBEHAVE_DECRYPTING, key);
}

CK_RV misbehave_C_Decrypt(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *data,
                          CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
    (void)call;
    return run(session, MISBEHAVE_DECRYPTING, data, len, out, out_len);
}

CK_RV misbehave_C_DecryptUpdate(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
    (void)call;
    if (ends_in_parts(session))
        return CKR_FUNCTION_NOT_SUPPORTED;
    return misbehave_real->C_DecryptUpdate(session, data, len, out, out_len);
}

CK_RV misbehave_C_DecryptFinal(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *out,
                               CK_ULONG *out_len)
{
    (void)call;
    if (ends_in_parts(session))
        return CKR_FUNCTION_NOT_SUPPORTED;
    return misbehave_real->C_DecryptFinal(session, out, out_len);
}
