/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a library loads and the token is there, without a login. */
#ifndef PKCS11_PRESENCE_H
#define PKCS11_PRESENCE_H

#include <stdbool.h>

#include "kms/error.h"
#include "pin.h"

struct pkcs11_seam;

struct pkcs11_presence {
    struct kms_error module_fault; /* code KMS_OK: the library loads and starts */
    struct kms_error
        token_fault; /* code KMS_OK: exactly one token matches, and what follows is its */
    char label[33];
    char serial[17];
    bool login_required, pin_initialized, write_protected;
    struct pkcs11_pin_flags pin;
};

/* Loads @module, looks for the token of @uri as a connection does, and unloads.  @lock_dir as in
 * pkcs11_keystore_options; @seam may be NULL.  Blocks for the login lock and for a token that is late,
 * some seconds each. */
void pkcs11_presence_look(const char *module, const char *uri, const char *lock_dir,
                          const struct pkcs11_seam *seam, struct pkcs11_presence *ret_presence);

#endif
