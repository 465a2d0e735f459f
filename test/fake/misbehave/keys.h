/* SPDX-License-Identifier: Apache-2.0 */
/* Cryptoki functions that make, wrap and unwrap keys. Those of 8 parameters take their session from
 * @call. */
#ifndef MISBEHAVE_KEYS_H
#define MISBEHAVE_KEYS_H

#include "call.h"

CK_RV misbehave_C_GenerateKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG count,
                              CK_OBJECT_HANDLE *ret);
CK_RV misbehave_C_GenerateKeyPair(struct misbehave_call *call, CK_MECHANISM *mechanism,
                                  CK_ATTRIBUTE *public_template, CK_ULONG public_count,
                                  CK_ATTRIBUTE *private_template, CK_ULONG private_count,
                                  CK_OBJECT_HANDLE *ret_public, CK_OBJECT_HANDLE *ret_private);
CK_RV misbehave_C_WrapKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                          CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping, CK_OBJECT_HANDLE key,
                          CK_BYTE *wrapped, CK_ULONG *wrapped_len);
CK_RV misbehave_C_UnwrapKey(struct misbehave_call *call, CK_MECHANISM *mechanism,
                            CK_OBJECT_HANDLE unwrapping, CK_BYTE *wrapped, CK_ULONG wrapped_len,
                            CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret);
CK_RV misbehave_C_DeriveKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                            CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base, CK_ATTRIBUTE *template,
                            CK_ULONG count, CK_OBJECT_HANDLE *ret);

#endif
