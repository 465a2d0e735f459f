/* SPDX-License-Identifier: Apache-2.0 */
/* `renumber`: after C_Finalize and C_Initialize the handles of the token's objects are dealt out
 * anew, so that an old one names another object.  Without it handles pass as they are.  Thread-safe;
 * called without misbehave_lock(), and with a session to ask the module behind on. */
#ifndef MISBEHAVE_HANDLES_H
#define MISBEHAVE_HANDLES_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

/* At C_Initialize. */
void misbehave_handles_begin(bool renumber);

/* What the module behind calls @shown; CK_INVALID_HANDLE: nothing. */
CK_OBJECT_HANDLE misbehave_handles_real(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE shown);

/* What the application gets for @real. */
CK_OBJECT_HANDLE misbehave_handles_show(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE real);

/* @real's attributes were changed. */
void misbehave_handles_refresh(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE real);
void misbehave_handles_forget(CK_OBJECT_HANDLE real);
void misbehave_handles_forget_session(CK_SESSION_HANDLE session);

#endif
