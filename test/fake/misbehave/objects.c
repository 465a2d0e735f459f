/* SPDX-License-Identifier: Apache-2.0 */
#include "objects.h"

#include "dialect.h"
#include "handles.h"
#include "state.h"

static CK_RV show(CK_SESSION_HANDLE session, CK_RV rv, CK_OBJECT_HANDLE *object)
{
    if (rv == CKR_OK && object != NULL)
        *object = misbehave_handles_show(session, *object);
    return rv;
}

static bool is_on_token(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE real)
{
    CK_BBOOL token = CK_FALSE;
    CK_ATTRIBUTE attribute = { CKA_TOKEN, &token, sizeof(token) };
    return misbehave_real->C_GetAttributeValue(session, real, &attribute, 1) == CKR_OK &&
           token != CK_FALSE;
}

/* A limited user may not touch what is on the token. */
static bool is_protected(const struct misbehave_call *call, CK_SESSION_HANDLE session,
                         CK_OBJECT_HANDLE real)
{
    return call->manner.personality == MISBEHAVE_LUNA_CU && is_on_token(session, real);
}

CK_RV misbehave_C_CreateObject(struct misbehave_call *call, CK_SESSION_HANDLE session,
                               CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
    struct misbehave_template own;
    CK_ULONG class = 0;
    CK_RV rv = misbehave_template_copy(&own, template, count);
    if (rv != CKR_OK)
        return rv;
    if (misbehave_template_number(&own, CKA_CLASS, &class) && class == CKO_SECRET_KEY)
        rv = misbehave_adapt(call->manner.personality, MISBEHAVE_CREATE, &own);
    else if (call->manner.personality == MISBEHAVE_LUNA_CU &&
             misbehave_template_says(&own, CKA_TOKEN, true))
        rv = CKR_TOKEN_WRITE_PROTECTED;
    if (rv != CKR_OK)
        return rv;
    return show(session, misbehave_real->C_CreateObject(session, own.attributes, own.count, ret),
                ret);
}

CK_RV misbehave_C_CopyObject(struct misbehave_call *call, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count,
                             CK_OBJECT_HANDLE *ret)
{
    struct misbehave_template own;
    CK_OBJECT_HANDLE real = misbehave_handles_real(session, object);
    CK_RV rv = misbehave_template_copy(&own, template, count);
    if (rv == CKR_OK)
        rv = misbehave_adapt(call->manner.personality, MISBEHAVE_COPY, &own);
    if (rv != CKR_OK)
        return rv;
    /* A copy is where the original is, unless the template says otherwise. */
    if (is_protected(call, session, real) && !misbehave_template_says(&own, CKA_TOKEN, false))
        return CKR_TOKEN_WRITE_PROTECTED;
    return show(session,
                misbehave_real->C_CopyObject(session, real, own.attributes, own.count, ret), ret);
}

CK_RV misbehave_C_DestroyObject(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_OBJECT_HANDLE object)
{
    CK_OBJECT_HANDLE real = misbehave_handles_real(session, object);
    if (is_protected(call, session, real))
        return CKR_TOKEN_WRITE_PROTECTED;
    CK_RV rv = misbehave_real->C_DestroyObject(session, real);
    if (rv == CKR_OK)
        misbehave_handles_forget(real);
    return rv;
}

CK_RV misbehave_C_GetObjectSize(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_OBJECT_HANDLE object, CK_ULONG *ret)
{
    (void)call;
    return misbehave_real->C_GetObjectSize(session, misbehave_handles_real(session, object), ret);
}

CK_RV misbehave_C_GetAttributeValue(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
    (void)call;
    return misbehave_real->C_GetAttributeValue(session, misbehave_handles_real(session, object),
                                               template, count);
}

CK_RV misbehave_C_SetAttributeValue(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count)
{
    if (call->manner.personality == MISBEHAVE_LUNA_CU)
        return CKR_TOKEN_WRITE_PROTECTED;
    CK_OBJECT_HANDLE real = misbehave_handles_real(session, object);
    CK_RV rv = misbehave_real->C_SetAttributeValue(session, real, template, count);
    if (rv == CKR_OK)
        misbehave_handles_refresh(session, real);
    return rv;
}

CK_RV misbehave_C_FindObjects(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE *ret_objects, CK_ULONG max, CK_ULONG *ret_count)
{
    (void)call;
    CK_RV rv = misbehave_real->C_FindObjects(session, ret_objects, max, ret_count);
    for (CK_ULONG i = 0; rv == CKR_OK && i < *ret_count; i++)
        (void)show(session, rv, &ret_objects[i]);
    return rv;
}

/* --- only the handle is another --- */

CK_RV misbehave_C_DigestKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                            CK_OBJECT_HANDLE key)
{
    (void)call;
    return misbehave_real->C_DigestKey(session, misbehave_handles_real(session, key));
}

CK_RV misbehave_C_SignInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                           CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)call;
    return misbehave_real->C_SignInit(session, mechanism, misbehave_handles_real(session, key));
}

CK_RV misbehave_C_SignRecoverInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                  CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)call;
    return misbehave_real->C_SignRecoverInit(session, mechanism,
                                             misbehave_handles_real(session, key));
}

CK_RV misbehave_C_VerifyInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                             CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)call;
    return misbehave_real->C_VerifyInit(session, mechanism, misbehave_handles_real(session, key));
}

CK_RV misbehave_C_VerifyRecoverInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    (void)call;
    return misbehave_real->C_VerifyRecoverInit(session, mechanism,
                                               misbehave_handles_real(session, key));
}

/* 0 says that the operation has no such key. */
CK_RV misbehave_C_SetOperationState(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_BYTE *state, CK_ULONG len, CK_OBJECT_HANDLE encryption,
                                    CK_OBJECT_HANDLE authentication)
{
    (void)call;
    return misbehave_real->C_SetOperationState(session, state, len,
                                               misbehave_handles_real(session, encryption),
                                               misbehave_handles_real(session, authentication));
}
