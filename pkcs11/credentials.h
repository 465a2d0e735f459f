/* SPDX-License-Identifier: Apache-2.0 */
/* The PIN and the promise not to spend attempts: one C_Login for each PIN content. */
#ifndef PKCS11_CREDENTIALS_H
#define PKCS11_CREDENTIALS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "cryptoki.h"
#include "kms/error.h"
#include "kms/secret.h"

/* One login at a time: the caller sees to that.  Strings are borrowed. */
struct pkcs11_credentials {
    const char *pin_file;         /* or */
    const struct kms_secret *pin; /* borrowed */
    const char *user;             /* NULL: none */
    struct kms_secret refused;    /* owned: what the token refused last */
    atomic_bool forget_refused;   /* set by any thread */
};
void pkcs11_credentials_done(struct pkcs11_credentials *credentials);

/* Reads the PIN and logs in, unless this PIN was refused before: KMS_E_PRECONDITION then, without
 * touching the token. */
KMS_MUST_CHECK enum kms_code pkcs11_credentials_login(struct pkcs11_credentials *credentials,
                                                      CK_FUNCTION_LIST *fn,
                                                      CK_SESSION_HANDLE session, CK_SLOT_ID slot,
                                                      struct kms_error *err);

/* A refused PIN may be tried once more.  Thread-safe. */
void pkcs11_credentials_forget(struct pkcs11_credentials *credentials);

#endif
