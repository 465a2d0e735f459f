/* SPDX-License-Identifier: Apache-2.0 */
/* C_Encrypt and C_Decrypt.  Where key wrap is a cipher (strict-fips, luna), RFC 3394 is computed
 * here from single AES blocks of the module behind: so CKA_ENCRYPT and CKA_DECRYPT decide who may,
 * as they should, and not CKA_WRAP. */
#ifndef MISBEHAVE_CIPHER_H
#define MISBEHAVE_CIPHER_H

#include "call.h"

CK_RV misbehave_C_EncryptInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV misbehave_C_Encrypt(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *data,
                          CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV misbehave_C_EncryptUpdate(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV misbehave_C_EncryptFinal(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *out,
                               CK_ULONG *out_len);
CK_RV misbehave_C_DecryptInit(struct misbehave_call *call, CK_SESSION_HANDLE session,
                              CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
CK_RV misbehave_C_Decrypt(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *data,
                          CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV misbehave_C_DecryptUpdate(struct misbehave_call *call, CK_SESSION_HANDLE session,
                                CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV misbehave_C_DecryptFinal(struct misbehave_call *call, CK_SESSION_HANDLE session, CK_BYTE *out,
                               CK_ULONG *out_len);

#endif
