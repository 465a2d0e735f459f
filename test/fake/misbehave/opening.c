/* SPDX-License-Identifier: Apache-2.0 */
#include "opening.h"

#include "handles.h"
#include "sessions.h"
#include "state.h"

static bool take(CK_SLOT_ID slot, bool lost, CK_SESSION_HANDLE *ret_session)
{
    misbehave_lock();
    bool found = misbehave_sessions_take(slot, lost, ret_session);
    misbehave_unlock();
    return found;
}

/* Sessions that went with the token are still open in the module behind, and logged in. */
static void sweep(struct misbehave_call *call, CK_SLOT_ID slot)
{
    CK_SESSION_HANDLE lost = CK_INVALID_HANDLE;
    if (!take(slot, true, &lost))
        return;
    misbehave_alone_begin(call);
    do {
        (void)misbehave_real->C_CloseSession(lost);
        misbehave_handles_forget_session(lost);
    } while (take(slot, true, &lost));
    misbehave_alone_end(call);
}

static bool reserve(unsigned long cap)
{
    misbehave_lock();
    bool reserved = misbehave_sessions_reserve(cap);
    misbehave_unlock();
    return reserved;
}

static void settle(CK_RV rv, const CK_SESSION_HANDLE *session, CK_SLOT_ID slot)
{
    misbehave_lock();
    if (rv == CKR_OK)
        misbehave_sessions_add(*session, slot);
    else
        misbehave_sessions_give_back();
    misbehave_unlock();
}

CK_RV misbehave_C_OpenSession(struct misbehave_call *call, CK_SLOT_ID slot, CK_FLAGS flags,
                              void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
    sweep(call, slot);
    if (!reserve(call->manner.session_cap)) {
        call->injected = true;
        return call->manner.session_cap_rv;
    }
    CK_RV rv = misbehave_real->C_OpenSession(slot, flags, application, notify, ret);
    settle(rv, ret, slot);
    return rv;
}

CK_RV misbehave_C_CloseSession(struct misbehave_call *call, CK_SESSION_HANDLE session)
{
    (void)call;
    CK_RV rv = misbehave_real->C_CloseSession(session);
    if (rv != CKR_OK)
        return rv;
    misbehave_lock();
    misbehave_sessions_remove(session);
    misbehave_unlock();
    misbehave_handles_forget_session(session);
    return CKR_OK;
}

CK_RV misbehave_C_CloseAllSessions(struct misbehave_call *call, CK_SLOT_ID slot)
{
    (void)call;
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
    CK_RV rv = misbehave_real->C_CloseAllSessions(slot);
    while (rv == CKR_OK && take(slot, false, &session))
        misbehave_handles_forget_session(session);
    return rv;
}
