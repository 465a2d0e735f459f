/* SPDX-License-Identifier: Apache-2.0 */
/* PKCS#5 padding, then RFC 3394: what 0x2109 meant to AWS CloudHSM's SDK 3. 32 bytes give 48. */
#ifndef MISBEHAVE_PADDED_H
#define MISBEHAVE_PADDED_H

#include "template.h"

/* Of a key whose value can be read: the module behind can't pad.  Handles of the module behind. */
CK_RV misbehave_padded_wrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE wrapping,
                            CK_OBJECT_HANDLE key, CK_BYTE *wrapped, CK_ULONG *wrapped_len);
CK_RV misbehave_padded_unwrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE unwrapping,
                              CK_BYTE *wrapped, CK_ULONG wrapped_len,
                              struct misbehave_template *template, CK_OBJECT_HANDLE *ret);

#endif
