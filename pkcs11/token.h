/* SPDX-License-Identifier: Apache-2.0 */
/* The one token that a URI names, and the login on it. */
#ifndef PKCS11_TOKEN_H
#define PKCS11_TOKEN_H

#include "cryptoki.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/secret.h"
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

/* One C_Login as CKU_USER, for the whole process; CKR_USER_ALREADY_LOGGED_IN is success.  Refuses to
 * spend the last attempt (CKF_USER_PIN_FINAL_TRY) and to try a locked PIN. */
KMS_MUST_CHECK enum kms_code pkcs11_token_login(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                                CK_SLOT_ID slot, const struct kms_secret *pin,
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
