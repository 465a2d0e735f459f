/* SPDX-License-Identifier: Apache-2.0 */
/* The known-answer test: a module's word for what a mechanism does is not taken. */
#ifndef PKCS11_KAT_H
#define PKCS11_KAT_H

#include "profile.h"

/* A throwaway key on the module. */
struct pkcs11_test_key {
    CK_OBJECT_HANDLE handle; /* CK_INVALID_HANDLE: the module makes none, which is its right */
    bool imported;           /* it is pkcs11_known_key */
    CK_RV import_rv;         /* else why not */
};

/* Makes one that may wrap and unwrap, and encrypt and decrypt too if @cipher.  The caller destroys it. */
KMS_MUST_CHECK enum kms_code pkcs11_test_key_make(CK_FUNCTION_LIST *fn,
                                                  struct pkcs11_session *session, bool cipher,
                                                  struct pkcs11_test_key *ret_key,
                                                  struct kms_error *err);

/* Wraps and unwraps two values by @way under @key, compares where that can be, and fills @way's proof
 * and template. KMS_E_PRECONDITION, or as the module's call says. */
KMS_MUST_CHECK enum kms_code pkcs11_kat(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                                        const struct pkcs11_test_key *key, struct pkcs11_way *way,
                                        struct kms_error *err);

/* Whether RFC 3394 can be had from AES blocks of @key. */
KMS_MUST_CHECK enum kms_code pkcs11_kat_blocks(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                                               const struct pkcs11_test_key *key,
                                               struct kms_error *err);

/* The token is away or full: nothing that it said about a profile. */
bool pkcs11_kat_is_outage(enum kms_code rc);

#endif
