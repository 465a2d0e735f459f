/* SPDX-License-Identifier: Apache-2.0 */
/* Between wrap.c (the profiles) and kat.c (the test that chooses one). */
#ifndef PKCS11_PROFILE_H
#define PKCS11_PROFILE_H

#include "wrap.h"

/* All give the bytes of RFC 3394, so that each reads what another wrote. */
struct pkcs11_wrap_profile {
    const char *name; /* stored nowhere, shown to people */
    bool cipher;      /* a KEK needs CKA_ENCRYPT and CKA_DECRYPT */
    CK_FLAGS flags;   /* of the mechanism, as C_GetMechanismInfo tells them */
    enum kms_code (*wrap)(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                          CK_OBJECT_HANDLE kek, struct kms_bytes seed,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err);
    enum kms_code (*unwrap)(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                            CK_OBJECT_HANDLE kek, struct kms_bytes wrapped,
                            struct kms_secret *ret_seed, struct kms_error *err);
};

/* In order of preference. */
extern const struct pkcs11_wrap_profile pkcs11_wrap_profiles[];
extern const size_t pkcs11_wrap_profile_count;

/* Destroys a session object; if it can't, the session is marked broken and takes the object along. */
void pkcs11_wrap_destroy(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                         CK_OBJECT_HANDLE object);

#endif
