/* SPDX-License-Identifier: Apache-2.0 */
/* Wrap profiles: the ways in which a module can carry a seed in and out under a KEK. */
#ifndef PKCS11_WRAP_H
#define PKCS11_WRAP_H

#include "cryptoki.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/secret.h"
#include "session.h"
#include "token.h"

struct pkcs11_wrap_profile;

/* The better the higher. */
enum pkcs11_wrap_proof {
    PKCS11_PROOF_NONE,         /* the module makes no key to try with */
    PKCS11_PROOF_ROUND_TRIP,   /* by a key that it generated: 32 bytes become 40, and come back */
    PKCS11_PROOF_COMPUTED,     /* the same, and the 40 are RFC 3394 by AES blocks of that key */
    PKCS11_PROOF_KNOWN_ANSWER, /* RFC 3394's own answer, by an imported key */
};

enum { PKCS11_REASON_MAX = 448 }; /* bytes, with the final NUL */

/* What the known-answer test found to work on this module; frozen until the next connection.  A
 * plain value; @fn is borrowed. */
struct pkcs11_wrap {
    CK_FUNCTION_LIST *fn;
    const struct pkcs11_wrap_profile *profile;
    CK_MECHANISM_TYPE mechanism; /* the number by which the module knows RFC 3394 */
    enum pkcs11_wrap_proof proof;
    bool tell_value_len; /* in unwrap templates: some modules demand it, others refuse it */
    char reason[PKCS11_REASON_MAX]; /* why this profile and number: public text */
};

/* Tries profiles and numbers in turn with RFC 3394 section 4.6 (an imported session key), compared
 * with OpenSSL too.  A module that can't import the key is tried with a generated one.  The choice is
 * logged.  KMS_E_PRECONDITION: every one is refused or answered wrongly. An outage ends the search:
 * the choice must not depend on it. */
KMS_MUST_CHECK enum kms_code pkcs11_wrap_select(CK_FUNCTION_LIST *fn,
                                                const struct pkcs11_token *token,
                                                struct pkcs11_session *session,
                                                struct pkcs11_wrap *ret_wrap,
                                                struct kms_error *err);

/* Whether a KEK needs CKA_ENCRYPT and CKA_DECRYPT beside CKA_WRAP and CKA_UNWRAP. */
bool pkcs11_wrap_is_cipher(const struct pkcs11_wrap *wrap);

const char *pkcs11_wrap_name(const struct pkcs11_wrap *wrap);

/* @seed is KMS_SEED_MIN … KMS_SEED_MAX bytes, a multiple of 8 (else KMS_E_INVALID, and the module is
 * not asked: some pad in silence).  Leaves no object behind: where that can't be had the session is
 * marked broken.  Other failures as pkcs11_fail() says; a wrong length is KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code pkcs11_wrap_seed(const struct pkcs11_wrap *wrap,
                                              struct pkcs11_session *session, CK_OBJECT_HANDLE kek,
                                              struct kms_bytes seed,
                                              struct kms_wrapped *ret_wrapped,
                                              struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_unwrap_seed(const struct pkcs11_wrap *wrap,
                                                struct pkcs11_session *session,
                                                CK_OBJECT_HANDLE kek, struct kms_bytes wrapped,
                                                struct kms_secret *ret_seed, struct kms_error *err);

/* The length rules alone. */
KMS_MUST_CHECK enum kms_code pkcs11_wrap_check_seed(struct kms_bytes seed, struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_wrap_check_wrapped(struct kms_bytes wrapped,
                                                       struct kms_error *err);

#endif
