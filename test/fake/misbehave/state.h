/* SPDX-License-Identifier: Apache-2.0 */
/* What all files of the module share.  Nothing here is on the heap: whoever unloads the module, or
 * looks for leaks, finds none. */
#ifndef MISBEHAVE_STATE_H
#define MISBEHAVE_STATE_H

#include <p11-kit/pkcs11.h>

#include "kms/compiler.h"

/* The module behind.  Set once, before any call. */
extern CK_FUNCTION_LIST *misbehave_real;

/* Guards the control file, the rules, the sessions, and the list of calls.  Never held across a
 * call of the module behind. */
void misbehave_lock(void);
void misbehave_unlock(void);

/* A line with the process's number; @path "": nothing is written. */
void misbehave_log(const char *path, const char *fmt, ...) KMS_PRINTF(2, 3);

/* Says it on stderr and in the log, and aborts. */
KMS_NORETURN void misbehave_die(const char *log_path, const char *fmt, ...) KMS_PRINTF(2, 3);

#endif
