/* SPDX-License-Identifier: Apache-2.0 */
#include "keys.h"

#include "dialect.h"
#include "handles.h"
#include "padded.h"
#include "state.h"
#include "template.h"

static CK_RV show(CK_SESSION_HANDLE session, CK_RV rv, CK_OBJECT_HANDLE *object)
{
    if (rv == CKR_OK && object != NULL)
        *object = misbehave_handles_show(session, *object);
    return rv;
}

CK_RV misbehave_C_GenerateKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG count,
                              CK_OBJECT_HANDLE *ret)
{
    struct misbehave_template own;
    CK_RV rv = misbehave_template_copy(&own, template, count);
    if (rv == CKR_OK)
        rv = misbehave_adapt(call->manner.personality, MISBEHAVE_GENERATE, &own);
    if (rv != CKR_OK)
        return rv;
    rv = misbehave_real->C_GenerateKey(session, mechanism, own.attributes, own.count, ret);
    return show(session, rv, ret);
}

CK_RV misbehave_C_GenerateKeyPair(struct misbehave_call *call, CK_MECHANISM *mechanism,
                                  CK_ATTRIBUTE *public_template, CK_ULONG public_count,
                                  CK_ATTRIBUTE *private_template, CK_ULONG private_count,
                                  CK_OBJECT_HANDLE *ret_public, CK_OBJECT_HANDLE *ret_private)
{
    struct misbehave_template public, private;
    CK_SESSION_HANDLE session = call->handle;
    CK_RV rv = misbehave_template_copy(&public, public_template, public_count);
    if (rv == CKR_OK)
        rv = misbehave_template_copy(&private, private_template, private_count);
    if (rv != CKR_OK)
        return rv;
    if (call->manner.personality == MISBEHAVE_LUNA_CU &&
        (misbehave_template_says(&public, CKA_TOKEN, true) ||
         misbehave_template_says(&private, CKA_TOKEN, true)))
        return CKR_TOKEN_WRITE_PROTECTED;
    rv = misbehave_real->C_GenerateKeyPair(session, mechanism, public_template, public_count,
                                           private_template, private_count, ret_public,
                                           ret_private);
    return show(session, show(session, rv, ret_public), ret_private);
}

CK_RV misbehave_C_DeriveKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                            CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, CK_ATTRIBUTE *template,
                            CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
    struct misbehave_template own;
    CK_RV rv = misbehave_template_copy(&own, template, count);
    if (rv == CKR_OK)
        rv = misbehave_adapt(call->manner.personality, MISBEHAVE_GENERATE, &own);
    if (rv != CKR_OK)
        return rv;
    rv = misbehave_real->C_DeriveKey(session, mechanism, misbehave_handles_real(session, base),
                                     own.attributes, own.count, ret);
    return show(session, rv, ret);
}

/* --- wrapping --- */

/* What the module behind knows it by. */
static CK_MECHANISM translate(const struct misbehave_call *call, const CK_MECHANISM *mechanism)
{
    CK_MECHANISM own = *mechanism;
    if (own.mechanism == misbehave_key_wrap(call->manner.personality))
        own.mechanism = CKM_AES_KEY_WRAP;
    return own;
}

/* A number that only looks familiar: a test may want to know that it was used at all. */
static bool is_foreign(const struct misbehave_call *call, const CK_MECHANISM *mechanism)
{
    if (!misbehave_is_foreign(call->manner.personality, mechanism->mechanism))
        return false;
    misbehave_log(call->manner.log, "%s: foreign mechanism 0x%lx", misbehave_names[call->function],
                  mechanism->mechanism);
    return true;
}

static bool is_padded(const struct misbehave_call *call, const CK_MECHANISM *mechanism)
{
    return call->manner.personality == MISBEHAVE_CLOUDHSM &&
           mechanism->mechanism == CKM_AES_KEY_WRAP;
}

CK_RV misbehave_C_WrapKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                          CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key,
                          CK_BYTE *wrapped, CK_ULONG *wrapped_len)
{
    if (mechanism == NULL || wrapped_len == NULL)
        return CKR_ARGUMENTS_BAD;
    CK_OBJECT_HANDLE real_wrapping = misbehave_handles_real(session, wrapping);
    CK_OBJECT_HANDLE real_key = misbehave_handles_real(session, key);
    if (is_foreign(call, mechanism))
        return is_padded(call, mechanism)
                   ? misbehave_padded_wrap(session, real_wrapping, real_key, wrapped, wrapped_len)
                   : CKR_MECHANISM_INVALID;
    CK_MECHANISM own = translate(call, mechanism);
    return misbehave_real->C_WrapKey(session, &own, real_wrapping, real_key, wrapped, wrapped_len);
}

/* A length in the template has to be the right one. */
static bool is_of_length(const struct misbehave_template *template, const CK_MECHANISM *mechanism,
                         CK_ULONG wrapped_len)
{
    CK_ULONG value_len = 0;
    return mechanism->mechanism != CKM_AES_KEY_WRAP ||
           !misbehave_template_number(template, CKA_VALUE_LEN, &value_len) ||
           wrapped_len == value_len + 8;
}

static CK_RV adapt_unwrapped(const struct misbehave_call *call, const CK_MECHANISM *mechanism,
                             CK_ULONG wrapped_len, struct misbehave_template *template)
{
    CK_ULONG class = 0;
    if (!misbehave_template_number(template, CKA_CLASS, &class))
        return CKR_TEMPLATE_INCOMPLETE;
    if (class != CKO_SECRET_KEY)
        return CKR_OK;
    bool fits = is_of_length(template, mechanism, wrapped_len);
    CK_RV rv = misbehave_adapt(call->manner.personality, MISBEHAVE_UNWRAP, template);
    return rv == CKR_OK && !fits ? CKR_WRAPPED_KEY_LEN_RANGE : rv;
}

CK_RV misbehave_C_UnwrapKey(struct misbehave_call *call, CK_MECHANISM *mechanism,
                            CK_OBJECT_HANDLE unwrapping, CK_BYTE *wrapped, CK_ULONG wrapped_len,
                            CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
    struct misbehave_template own;
    CK_SESSION_HANDLE session = call->handle;
    CK_OBJECT_HANDLE real = misbehave_handles_real(session, unwrapping);
    CK_RV rv = misbehave_template_copy(&own, template, count);
    if (rv != CKR_OK || mechanism == NULL)
        return CKR_ARGUMENTS_BAD;
    bool foreign = is_foreign(call, mechanism);
    if (foreign && !is_padded(call, mechanism))
        return CKR_MECHANISM_INVALID;
    CK_MECHANISM known = translate(call, mechanism);
    rv = adapt_unwrapped(call, &known, wrapped_len, &own);
    if (rv != CKR_OK)
        return rv;
    if (foreign)
        rv = misbehave_padded_unwrap(session, real, wrapped, wrapped_len, &own, ret);
    else
        rv = misbehave_real->C_UnwrapKey(session, &known, real, wrapped, wrapped_len,
                                         own.attributes, own.count, ret);
    return show(session, rv, ret);
}
