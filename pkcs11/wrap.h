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
    PKCS11_PROOF_NONE,       /* the module makes no key to try with, or nobody tried */
    PKCS11_PROOF_ROUND_TRIP, /* by a key that it generated: right lengths, and the same comes back */
    PKCS11_PROOF_COMPUTED,   /* the same, and the answer is right by AES blocks of that key */
    PKCS11_PROOF_KNOWN_ANSWER, /* the answer is right by an imported key, which OpenSSL has too */
};

/* One way of a module to wrap by one algorithm.  A plain value. */
struct pkcs11_way {
    const struct pkcs11_wrap_profile *profile; /* NULL: there is none */
    CK_MECHANISM_TYPE mechanism;               /* the number by which the module knows it */
    enum pkcs11_wrap_proof proof;
    bool tell_value_len; /* in unwrap templates: some modules demand it, others refuse it */
};

/* By which calls a KEK gives the bytes of RFC 3394, which are its fingerprint in every profile. */
enum pkcs11_rung {
    PKCS11_RUNG_UNKNOWN, /* nobody has looked yet */
    PKCS11_RUNG_OBJECTS, /* C_WrapKey */
    PKCS11_RUNG_CIPHER,  /* C_Encrypt */
    PKCS11_RUNG_BLOCKS,  /* C_Encrypt of single AES blocks (blocks.h): never for seeds */
};

enum { PKCS11_REASON_MAX = 640 }; /* bytes, with the final NUL */

/* What was found to work on this module; frozen until the next connection.  A plain value; @fn is
 * borrowed. */
struct pkcs11_wrap {
    CK_FUNCTION_LIST *fn;
    enum kms_algorithm algorithm;                  /* of new seeds */
    struct pkcs11_way objects, cipher;             /* AES key wrap's two */
    struct pkcs11_way others[KMS_ALGORITHM_COUNT]; /* by algorithm; AES key wrap's is unused */
    bool blocks;                                   /* fingerprints by AES blocks, if need be */
    bool tell_value_len;            /* in the template of any key that is unwrapped */
    char reason[PKCS11_REASON_MAX]; /* why this profile and number: public text */
};

/* --- the choice --- */

struct pkcs11_probe {
    CK_FUNCTION_LIST *fn;
    const struct pkcs11_token *token;
    struct pkcs11_session *session;
    enum kms_profile profile; /* what is asked for */
    bool kept;                /* because it was chosen before */
};

enum { PKCS11_TRIALS_MAX = 16, PKCS11_ANSWER_MAX = 72 };

/* One profile by one number, as the module answered. */
struct pkcs11_trial {
    const struct pkcs11_wrap_profile *profile;
    CK_MECHANISM_TYPE mechanism;
    bool works;
    enum pkcs11_wrap_proof proof;
    char answer[PKCS11_ANSWER_MAX]; /* why not: public text */
};
struct pkcs11_trials {
    struct pkcs11_trial list[PKCS11_TRIALS_MAX];
    size_t count;
};

/* Tries profiles and numbers in turn with an imported session key, compared with RFC 3394's own answer
 * and with OpenSSL.  A module that can't import the key is tried with a generated one.  AES key wrap
 * is tried always, another algorithm where it is asked for, or AES key wrap can't be had; all are if
 * @ret_trials isn't NULL, which is filled whatever comes out.  The choice is logged.
 * KMS_E_PRECONDITION: everything is refused or answered wrongly.  An outage ends the search: the
 * choice must not depend on it. */
KMS_MUST_CHECK enum kms_code pkcs11_wrap_select(const struct pkcs11_probe *probe,
                                                struct pkcs11_wrap *ret_wrap,
                                                struct pkcs11_trials *ret_trials,
                                                struct kms_error *err);

/* What new seeds are wrapped by. */
const struct pkcs11_way *pkcs11_wrap_chosen(const struct pkcs11_wrap *wrap);
const char *pkcs11_wrap_name(const struct pkcs11_wrap *wrap);

/* How a KEK that has @rung wraps by @algorithm; NULL: not at all. */
const struct pkcs11_way *pkcs11_wrap_way(const struct pkcs11_wrap *wrap, enum pkcs11_rung rung,
                                         enum kms_algorithm algorithm);

/* Whether a KEK needs CKA_ENCRYPT and CKA_DECRYPT beside CKA_WRAP and CKA_UNWRAP. */
bool pkcs11_wrap_is_cipher(const struct pkcs11_wrap *wrap);
/* Whether it does for its fingerprint alone. */
bool pkcs11_wrap_fingerprints_by_cipher(const struct pkcs11_wrap *wrap);

const char *pkcs11_profile_name(const struct pkcs11_wrap_profile *profile);
enum kms_algorithm pkcs11_way_algorithm(const struct pkcs11_way *way);

/* --- use --- */

/* One use of a KEK.  Borrowed. */
struct pkcs11_use {
    CK_FUNCTION_LIST *fn;
    const struct pkcs11_way *way;
    struct pkcs11_session *session;
    CK_OBJECT_HANDLE kek;
    struct kms_bytes bound; /* what an authenticating algorithm binds the seed to */
};

/* @seed is KMS_SEED_MIN … KMS_SEED_MAX bytes, a multiple of 8 (else KMS_E_INVALID, and the module is
 * not asked: some pad in silence).  Leaves no object behind: where that can't be had the session is
 * marked broken.  Other failures as pkcs11_fail() says; a wrong length is KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code pkcs11_wrap_seed(const struct pkcs11_use *use, struct kms_bytes seed,
                                              struct kms_wrapped *ret_wrapped,
                                              struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_unwrap_seed(const struct pkcs11_use *use,
                                                struct kms_bytes wrapped,
                                                struct kms_secret *ret_seed, struct kms_error *err);

/* The length rules alone. */
KMS_MUST_CHECK enum kms_code pkcs11_wrap_check_seed(struct kms_bytes seed, struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_wrap_check_wrapped(enum kms_algorithm algorithm,
                                                       struct kms_bytes wrapped,
                                                       struct kms_error *err);

#endif
