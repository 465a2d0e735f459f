/* SPDX-License-Identifier: Apache-2.0 */
/* The sessions that the application has open.  All functions are called with misbehave_lock()
 * held. */
#ifndef MISBEHAVE_SESSIONS_H
#define MISBEHAVE_SESSIONS_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

enum misbehave_cipher_state { MISBEHAVE_IDLE, MISBEHAVE_ENCRYPTING, MISBEHAVE_DECRYPTING };

/* A key wrap operation that C_EncryptInit or C_DecryptInit began; see cipher.c. */
struct misbehave_cipher {
    enum misbehave_cipher_state state;
    CK_OBJECT_HANDLE key; /* of the module behind */
};

struct misbehave_session {
    CK_SESSION_HANDLE handle;
    CK_SLOT_ID slot;
    bool lost; /* with its token; open still in the module behind, until it is swept */
    struct misbehave_cipher cipher;
};

/* A place for one more session; false: @cap (0: none) is reached.  Filled, or given back. */
bool misbehave_sessions_reserve(unsigned long cap);
void misbehave_sessions_add(CK_SESSION_HANDLE handle, CK_SLOT_ID slot);
void misbehave_sessions_give_back(void);

/* NULL: the application has no such session. */
struct misbehave_session *misbehave_sessions_find(CK_SESSION_HANDLE handle);
void misbehave_sessions_remove(CK_SESSION_HANDLE handle);
void misbehave_sessions_clear(void);

/* One of @slot, lost only if @lost; returns false if there is none. */
bool misbehave_sessions_take(CK_SLOT_ID slot, bool lost, CK_SESSION_HANDLE *ret_handle);

void misbehave_sessions_lose_all(void);

#endif
