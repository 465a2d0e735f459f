/* SPDX-License-Identifier: Apache-2.0 */
/* Cryptoki functions that open and close sessions. */
#ifndef MISBEHAVE_OPENING_H
#define MISBEHAVE_OPENING_H

#include "call.h"

CK_RV misbehave_C_OpenSession(struct misbehave_call *call, CK_SLOT_ID slot, CK_FLAGS flags,
                              void *application, CK_NOTIFY notify, CK_SESSION_HANDLE *ret);
CK_RV misbehave_C_CloseSession(struct misbehave_call *call, CK_SESSION_HANDLE session);
CK_RV misbehave_C_CloseAllSessions(struct misbehave_call *call, CK_SLOT_ID slot);

#endif
