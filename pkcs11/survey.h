/* SPDX-License-Identifier: Apache-2.0 */
/* What a token is and can do, as an operator wants to know before it gets a KEK.  Knows no CK_ type:
 * commands read it. */
#ifndef PKCS11_SURVEY_H
#define PKCS11_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keystore.h"
#include "pin.h"

struct pkcs11_seam;

enum {
    PKCS11_SURVEY_MECHANISMS_MAX = 20,
    PKCS11_SURVEY_PROFILES_MAX = 16,
    PKCS11_SURVEY_REASON_MAX = 640, /* bytes, with the final NUL */
    PKCS11_SURVEY_ANSWER = 72,      /* the same */
};

/* One row of the mechanisms that matter here. */
struct pkcs11_survey_mechanism {
    const char *name;
    unsigned long number;
    bool listed;         /* by C_GetMechanismList */
    bool told;           /* by C_GetMechanismInfo; else what follows is 0 */
    const char *refusal; /* what it said otherwise; "" if @told.  Static */
    bool wraps, unwraps, encrypts, decrypts, generates, hardware;
    unsigned long min_size, max_size; /* in bits or bytes: modules differ */
};

/* One profile by one number, as tried with a throwaway key. */
struct pkcs11_survey_profile {
    const char *name; /* static */
    unsigned long number;
    bool works;
    bool chosen;
    const char *proof;                 /* how well it is proved; "" if it doesn't work.  Static */
    char answer[PKCS11_SURVEY_ANSWER]; /* why it doesn't */
};

/* Texts are trimmed and public. */
struct pkcs11_survey {
    struct kms_token_info token;
    const char *vendor; /* whose numbers are known here; "" if it needs none.  Static */
    bool login_required, pin_initialized, write_protected;
    struct pkcs11_pin_flags pin;
    unsigned long pin_min, pin_max;            /* bytes, as told */
    unsigned long sessions_max, sessions_open; /* 0: unlimited; ~0: the token doesn't tell */

    struct pkcs11_survey_mechanism mechanisms[PKCS11_SURVEY_MECHANISMS_MAX];
    size_t mechanism_count;
    struct pkcs11_survey_profile profiles[PKCS11_SURVEY_PROFILES_MAX];
    size_t profile_count;

    bool usable;          /* there is a wrap profile; its name is in @token */
    bool cipher;          /* KEKs need CKA_ENCRYPT and CKA_DECRYPT */
    bool tell_value_len;  /* templates to unwrap by have CKA_VALUE_LEN */
    unsigned long number; /* of the mechanism */
    const char
        *test_key; /* "imported", "generated", "none": what the profile was tried with. Static */
    bool compared; /* with RFC 3394, not just a round trip */
    char reason[PKCS11_SURVEY_REASON_MAX]; /* why this profile, or why none */
};

/* Connects, logs in, asks, and disconnects.  @seam may be NULL.  A token without a usable wrap profile
 * is described too; failures are those of a connection. */
KMS_MUST_CHECK enum kms_code pkcs11_survey(const struct pkcs11_keystore_options *options,
                                           const struct pkcs11_seam *seam, int64_t deadline_ms,
                                           struct pkcs11_survey *ret_survey, struct kms_error *err);

#endif
