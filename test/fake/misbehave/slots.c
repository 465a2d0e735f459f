/* SPDX-License-Identifier: Apache-2.0 */
#include "slots.h"

#include <string.h>

#include "dialect.h"
#include "handles.h"
#include "pins.h"
#include "sessions.h"
#include "state.h"

enum { MECHANISMS = 512 };

static void forget_sessions(void)
{
    misbehave_lock();
    misbehave_sessions_clear();
    misbehave_unlock();
}

CK_RV misbehave_C_Initialize(struct misbehave_call *call, void *args)
{
    CK_RV rv = misbehave_real->C_Initialize(args);
    if (rv != CKR_OK)
        return rv;
    forget_sessions();
    misbehave_handles_begin(call->manner.renumber);
    return CKR_OK;
}

CK_RV misbehave_C_Finalize(struct misbehave_call *call, void *reserved)
{
    (void)call;
    CK_RV rv = misbehave_real->C_Finalize(reserved);
    if (rv == CKR_OK)
        forget_sessions();
    return rv;
}

CK_RV misbehave_C_GetInfo(struct misbehave_call *call, CK_INFO *ret)
{
    CK_RV rv = misbehave_real->C_GetInfo(ret);
    const char *name = misbehave_manufacturer(call->manner.personality);
    if (call->manner.manufacturer[0] != '\0')
        name = call->manner.manufacturer;
    if (rv != CKR_OK || name == NULL)
        return rv;
    memset(ret->manufacturerID, ' ', sizeof(ret->manufacturerID));
    memcpy(ret->manufacturerID, name, strnlen(name, sizeof(ret->manufacturerID)));
    return CKR_OK;
}

CK_RV misbehave_C_GetSlotList(struct misbehave_call *call, unsigned char present, CK_SLOT_ID *slots,
                              CK_ULONG *count)
{
    CK_RV rv = misbehave_real->C_GetSlotList(present, slots, count);
    bool small = rv == CKR_BUFFER_TOO_SMALL; /* for none there is room */
    if (!call->manner.absent || present == CK_FALSE || (rv != CKR_OK && !small))
        return rv;
    *count = 0;
    return CKR_OK;
}

CK_RV misbehave_C_GetSlotInfo(struct misbehave_call *call, CK_SLOT_ID slot, CK_SLOT_INFO *ret)
{
    CK_RV rv = misbehave_real->C_GetSlotInfo(slot, ret);
    if (rv == CKR_OK && call->manner.absent)
        ret->flags &= ~CKF_TOKEN_PRESENT;
    return rv;
}

CK_RV misbehave_C_GetTokenInfo(struct misbehave_call *call, CK_SLOT_ID slot, CK_TOKEN_INFO *ret)
{
    CK_RV rv = misbehave_real->C_GetTokenInfo(slot, ret);
    if (rv == CKR_OK && call->manner.pin_limit > 0)
        misbehave_pins_show(&call->manner, ret);
    return rv;
}

/* --- mechanisms --- */

CK_RV misbehave_C_GetMechanismList(struct misbehave_call *call, CK_SLOT_ID slot,
                                   CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
    CK_MECHANISM_TYPE all[MECHANISMS + 1];
    CK_ULONG got = MECHANISMS, kept = 0;
    enum misbehave_personality personality = call->manner.personality;
    if (misbehave_key_wrap(personality) == CKM_AES_KEY_WRAP || count == NULL)
        return misbehave_real->C_GetMechanismList(slot, list, count);
    CK_RV rv = misbehave_real->C_GetMechanismList(slot, all, &got);
    if (rv != CKR_OK)
        return rv;
    for (CK_ULONG i = 0; i < got; i++) {
        if (!misbehave_is_foreign(personality, all[i]))
            all[kept++] = all[i];
    }
    all[kept++] = misbehave_key_wrap(personality);
    bool fits = list == NULL || *count >= kept;
    *count = kept;
    if (list != NULL && fits)
        memcpy(list, all, kept * sizeof(*list));
    return fits ? CKR_OK : CKR_BUFFER_TOO_SMALL;
}

CK_RV misbehave_C_GetMechanismInfo(struct misbehave_call *call, CK_SLOT_ID slot,
                                   CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *ret)
{
    enum misbehave_personality personality = call->manner.personality;
    if (misbehave_is_foreign(personality, type))
        return CKR_MECHANISM_INVALID;
    bool wraps = type == misbehave_key_wrap(personality);
    CK_RV rv = misbehave_real->C_GetMechanismInfo(slot, wraps ? CKM_AES_KEY_WRAP : type, ret);
    if (rv == CKR_OK && wraps && misbehave_wraps_by_encrypting(personality))
        ret->flags |= CKF_ENCRYPT | CKF_DECRYPT;
    return rv;
}
