/* SPDX-License-Identifier: Apache-2.0 */
/* Cryptoki functions that take or give object handles, but for ciphers. */
#ifndef MISBEHAVE_OBJECTS_H
#define MISBEHAVE_OBJECTS_H

#include "call.h"

CK_RV misbehave_C_CreateObject(struct misbehave_call *call, CK_SESSION_HANDLE session,
                               CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret);
CK_RV misbehave_C_CopyObject(struct misbehave_call *call, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count,
                             CK_OBJECT_HANDLE *ret);
CK_RV misbehave_C_DestroyObject(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_OBJECT_HANDLE object);
CK_RV misbehave_C_GetObjectSize(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_OBJECT_HANDLE object, CK_ULONG *ret);
CK_RV misbehave_C_GetAttributeValue(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                                    CK_ULONG count);
CK_RV misbehave_C_SetAttributeValue(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                                    CK_ULONG count);
CK_RV misbehave_C_FindObjects(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE *ret_objects, CK_ULONG max, CK_ULONG *ret_count);
CK_RV misbehave_C_DigestKey(struct misbehave_call *call, CK_SESSION_HANDLE session,
                            CK_OBJECT_HANDLE key);
CK_RV misbehave_C_SignInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                           CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV misbehave_C_SignRecoverInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                  CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV misbehave_C_VerifyInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                             CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV misbehave_C_VerifyRecoverInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV misbehave_C_SetOperationState(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                    CK_BYTE *state, CK_ULONG len, CK_OBJECT_HANDLE encryption,
                                    CK_OBJECT_HANDLE authentication);

#endif
