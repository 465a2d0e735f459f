/* SPDX-License-Identifier: Apache-2.0 */
/* Wrong PINs, counted over processes: a token that locks itself. */
#ifndef MISBEHAVE_PINS_H
#define MISBEHAVE_PINS_H

#include "call.h"

/* Sets the PIN flags of @info as the count says. */
void misbehave_pins_show(const struct misbehave_manner *manner, CK_TOKEN_INFO *info);

CK_RV misbehave_C_Login(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_USER_TYPE user,
                        CK_BYTE *pin, CK_ULONG pin_len);
/* By the security officer: it unlocks. */
CK_RV misbehave_C_InitPIN(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *pin,
                          CK_ULONG pin_len);

#endif
