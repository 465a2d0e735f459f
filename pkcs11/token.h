/* SPDX-License-Identifier: Apache-2.0 */
/* The one token that a URI names, and the login on it. */
#ifndef PKCS11_TOKEN_H
#define PKCS11_TOKEN_H

#include <stddef.h>

#include "cryptoki.h"
#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/secret.h"
#include "pin.h"
#include "uri.h"

struct pkcs11_token {
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info;
    CK_INFO library;
};

/* Exactly one token must match.  None: KMS_E_UNAVAILABLE (it may come back); several:
 * KMS_E_PRECONDITION; both list the candidates by label and serial. */
KMS_MUST_CHECK enum kms_code pkcs11_token_find(CK_FUNCTION_LIST *fn, const struct pkcs11_uri *uri,
                                               struct pkcs11_token *ret_token,
                                               struct kms_error *err);

/* What the token at a slot says before a login; read anew each time, since other processes spend
 * attempts too. */
struct pkcs11_attempts {
    struct pkcs11_pin_flags flags;
    char label[sizeof(((CK_TOKEN_INFO *)NULL)->label) + 1];
    char serial[sizeof(((CK_TOKEN_INFO *)NULL)->serialNumber) + 1];
    uint8_t identity[KMS_SHA256_LEN]; /* of label, manufacturer, model and serial number */
};
KMS_MUST_CHECK enum kms_code pkcs11_token_attempts(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot,
                                                   struct pkcs11_attempts *ret_attempts,
                                                   struct kms_error *err);

/* KMS_E_PRECONDITION where a login would spend the last attempt, or the PIN is locked. */
KMS_MUST_CHECK enum kms_code pkcs11_token_check_attempts(const struct pkcs11_attempts *attempts,
                                                         struct kms_error *err);

/* One C_Login as @user, for the whole process, whatever the attempts are.
 * CKR_USER_ALREADY_LOGGED_IN is success; *ret_proved tells whether @pin was what did it. */
KMS_MUST_CHECK enum kms_code pkcs11_token_login(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                                CK_USER_TYPE user,
                                                const struct pkcs11_attempts *attempts,
                                                const struct kms_secret *pin, bool *ret_proved,
                                                struct kms_error *err);

/* KMS_OK if @session is a logged-in user's, or the token needs no login; else as a call that failed
 * with CKR_USER_NOT_LOGGED_IN. */
KMS_MUST_CHECK enum kms_code pkcs11_token_check_login(CK_FUNCTION_LIST *fn,
                                                      CK_SESSION_HANDLE session,
                                                      const struct pkcs11_token *token,
                                                      struct kms_error *err);

/* Trimmed, and without control characters; leaves profile and connected alone. */
void pkcs11_token_describe(const struct pkcs11_token *token, struct kms_token_info *ret_info);

#endif
