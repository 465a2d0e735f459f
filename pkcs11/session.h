/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded pool of read-write sessions on one slot. */
#ifndef PKCS11_SESSION_H
#define PKCS11_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "cryptoki.h"
#include "kms/error.h"

enum {
    PKCS11_SESSIONS_MAX = 64,
    PKCS11_SHRUNK_MS = 30000, /* then the token is asked for more sessions again */
};

/* Whoever holds one sets @broken when it must not be used again, or when an object could not be
 * destroyed in it: it is closed then, and its session objects end with it. */
struct pkcs11_session {
    CK_SESSION_HANDLE handle;
    bool broken;
    bool open; /* guarded by the pool's mutex, as is busy */
    bool busy;
    bool lingers; /* the pool's: @remains couldn't be closed */
    CK_SESSION_HANDLE remains;
};

struct pkcs11_pool;

/* @fn is borrowed.  Opens no session yet.  A pool that had to shrink stays so for @shrunk_ms. */
KMS_MUST_CHECK enum kms_code pkcs11_pool_open(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, unsigned max,
                                              int64_t shrunk_ms, struct pkcs11_pool **ret_pool,
                                              struct kms_error *err);
/* Closes all sessions; none may be in use. */
void pkcs11_pool_close(struct pkcs11_pool *pool);
KMS_DEFINE_CLOSE_PTR(struct pkcs11_pool *, pkcs11_pool_close)

/* An idle session, or a new one, or waits until @deadline_ms for one.  Thread-safe; release it with
 * pkcs11_pool_release().  KMS_E_DEADLINE: it had passed already; KMS_E_BUSY: all were in use until
 * then, or the token gives none; KMS_E_UNAVAILABLE: the pool was stopped. */
KMS_MUST_CHECK enum kms_code pkcs11_pool_acquire(struct pkcs11_pool *pool, int64_t deadline_ms,
                                                 struct pkcs11_session **ret_session,
                                                 struct kms_error *err);
void pkcs11_pool_release(struct pkcs11_pool *pool, struct pkcs11_session *session);

/* The token is short of memory: for a while fewer sessions are in use at once than are now, though
 * always one.  From outside a session. */
void pkcs11_pool_shrink(struct pkcs11_pool *pool);

/* Sessions can't be had any more: those who wait give up now. */
void pkcs11_pool_stop(struct pkcs11_pool *pool);

#endif
