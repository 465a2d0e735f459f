/* SPDX-License-Identifier: Apache-2.0 */
/* Cryptoki functions on the library, its slots, tokens and mechanisms. */
#ifndef MISBEHAVE_SLOTS_H
#define MISBEHAVE_SLOTS_H

#include "call.h"

CK_RV misbehave_C_Initialize(struct misbehave_call *call, void *args);
CK_RV misbehave_C_Finalize(struct misbehave_call *call, void *reserved);
CK_RV misbehave_C_GetInfo(struct misbehave_call *call, CK_INFO *ret);
CK_RV misbehave_C_GetSlotList(struct misbehave_call *call, unsigned char present, CK_SLOT_ID *slots,
                              CK_ULONG *count);
CK_RV misbehave_C_GetSlotInfo(struct misbehave_call *call, CK_SLOT_ID slot, CK_SLOT_INFO *ret);
CK_RV misbehave_C_GetTokenInfo(struct misbehave_call *call, CK_SLOT_ID slot, CK_TOKEN_INFO *ret);
CK_RV misbehave_C_GetMechanismList(struct misbehave_call *call, CK_SLOT_ID slot,
                                   CK_MECHANISM_TYPE *list, CK_ULONG *count);
CK_RV misbehave_C_GetMechanismInfo(struct misbehave_call *call, CK_SLOT_ID slot,
                                   CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *ret);

#endif
