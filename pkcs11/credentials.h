/* SPDX-License-Identifier: Apache-2.0 */
/* The PIN and the promise not to spend attempts: one C_Login for each PIN content. */
#ifndef PKCS11_CREDENTIALS_H
#define PKCS11_CREDENTIALS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "cryptoki.h"
#include "kms/error.h"
#include "kms/secret.h"
#include "pin_check.h"

/* One login at a time: the caller sees to that.  Strings are borrowed. */
struct pkcs11_credentials {
    const char *pin_file;         /* or */
    const struct kms_secret *pin; /* borrowed */
    const char *user;             /* NULL: none */
    CK_USER_TYPE user_type;       /* of C_Login; set by the caller before each */
    const char *latch_dir;        /* NULL: what was refused is forgotten with the process */
    bool administrator;           /* the PIN isn't the service's: never kept as a good one */
    struct kms_secret refused;    /* owned: what the token refused last, if that isn't on disk */
    bool warned;                  /* that nothing is kept on disk */
    atomic_bool withheld;         /* the last login was refused, or wasn't made */
    atomic_bool forget_refused;   /* set by any thread */
};
void pkcs11_credentials_done(struct pkcs11_credentials *credentials);

/* Reads the PIN and logs in, unless the PIN was refused before, or attempts were spent that nobody
 * here can explain: KMS_E_PRECONDITION then, without a C_Login. */
KMS_MUST_CHECK enum kms_code pkcs11_credentials_login(struct pkcs11_credentials *credentials,
                                                      CK_FUNCTION_LIST *fn,
                                                      CK_SESSION_HANDLE session, CK_SLOT_ID slot,
                                                      struct kms_error *err);

/* Logs in knowingly, as @trial wants it, and says what came of it.  A failure says nothing of the
 * PIN. */
KMS_MUST_CHECK enum kms_code pkcs11_credentials_try(struct pkcs11_credentials *credentials,
                                                    CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                                    CK_SLOT_ID slot, struct pkcs11_pin_trial *trial,
                                                    struct kms_error *err);

/* A PIN that is held back may be tried once more.  Thread-safe. */
void pkcs11_credentials_forget(struct pkcs11_credentials *credentials);

#endif
