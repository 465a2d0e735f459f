/* SPDX-License-Identifier: Apache-2.0 */
/* Wrap profiles: the ways in which a module can carry a seed in and out under a KEK. */
#ifndef PKCS11_WRAP_H
#define PKCS11_WRAP_H

#include "cryptoki.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/secret.h"
#include "session.h"

struct pkcs11_wrap_profile;

/* What the known-answer test found to work on this module; frozen until the next connection.  A
 * plain value; @fn is borrowed. */
struct pkcs11_wrap {
    CK_FUNCTION_LIST *fn;
    const struct pkcs11_wrap_profile *profile;
    bool tell_value_len; /* in the unwrap template: some modules demand it, others refuse it */
};

/* Tries the profiles in turn with RFC 3394 section 4.6 (an imported session key), compared with
 * OpenSSL too.  A module that can't import the key says so in the log and is tried with a generated
 * one.  KMS_E_PRECONDITION: it answers wrongly, or lacks the mechanism. */
KMS_MUST_CHECK enum kms_code pkcs11_wrap_select(CK_FUNCTION_LIST *fn,
                                                struct pkcs11_session *session,
                                                struct pkcs11_wrap *ret_wrap,
                                                struct kms_error *err);

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
