/* SPDX-License-Identifier: Apache-2.0 */
/* Between wrap.c (the profiles), kat.c (one of them tried) and select.c (the choice). */
#ifndef PKCS11_PROFILE_H
#define PKCS11_PROFILE_H

#include "wrap.h"

/* Who makes the IV of AES-GCM.  All store it in front of what is encrypted, and read each other's. */
enum pkcs11_iv {
    PKCS11_IV_NONE,      /* the algorithm has none */
    PKCS11_IV_PREPENDED, /* the module, which gives and takes it with the ciphertext */
    PKCS11_IV_OURS,
    PKCS11_IV_WRITTEN, /* the module, over the zeros that it is given */
};

/* Profiles of one algorithm make the same bytes, or read each other's. */
struct pkcs11_wrap_profile {
    const char *name; /* stored nowhere, shown to people */
    enum kms_algorithm algorithm;
    bool cipher;    /* a KEK needs CKA_ENCRYPT and CKA_DECRYPT */
    CK_FLAGS flags; /* of the mechanism, as C_GetMechanismInfo tells them */
    enum pkcs11_iv iv;
    enum kms_code (*wrap)(const struct pkcs11_use *use, struct kms_bytes seed,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err);
    enum kms_code (*unwrap)(const struct pkcs11_use *use, struct kms_bytes wrapped,
                            struct kms_secret *ret_seed, struct kms_error *err);
};

/* In order of preference. */
extern const struct pkcs11_wrap_profile pkcs11_wrap_profiles[];
extern const size_t pkcs11_wrap_profile_count;

/* Destroys a session object; if it can't, the session is marked broken and takes the object along. */
void pkcs11_wrap_destroy(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                         CK_OBJECT_HANDLE object);

#endif
