/* SPDX-License-Identifier: Apache-2.0 */
/* The login lock: SoftHSM rewrites its token file at C_Login, not atomically, and other processes
 * that initialise meanwhile see no token.  So all hsm-kms processes of a host take turns. */
#ifndef PKCS11_LOCK_H
#define PKCS11_LOCK_H

#include <stdint.h>

#include "kms/compiler.h"

#define PKCS11_LOCK_DIR "/run/lock"
enum { PKCS11_LOCK_WAIT_MS = 10000 };

struct pkcs11_lock {
    int fd; /* -1: not held */
};

/* Waits for the lock of the module at @module_path for at most @wait_ms.  Where it can't be had the
 * caller goes on without, after a warning in the log: an inconvenience must not become an outage. */
struct pkcs11_lock pkcs11_lock_acquire(const char *lock_dir, const char *module_path,
                                       int64_t wait_ms);
void pkcs11_lock_release(struct pkcs11_lock *lock);

#endif
