/* SPDX-License-Identifier: Apache-2.0 */
/* One login that an operator asked for, to learn whether a PIN is the right one. */
#ifndef PKCS11_PIN_CHECK_H
#define PKCS11_PIN_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "keystore.h"
#include "pin.h"

struct pkcs11_seam;

enum pkcs11_pin_outcome {
    PKCS11_PIN_NOT_TRIED, /* as asked */
    PKCS11_PIN_WITHHELD,  /* it would have been the last attempt */
    PKCS11_PIN_GOOD,
    PKCS11_PIN_REFUSED,
    PKCS11_PIN_LOCKED, /* it was already, or this attempt did it */
};

/* What was known of this PIN on this token before. */
enum pkcs11_pin_memory {
    PKCS11_PIN_MEMORY_NONE,
    PKCS11_PIN_MEMORY_GOOD,
    PKCS11_PIN_MEMORY_REFUSED,
    PKCS11_PIN_MEMORY_UNFINISHED, /* a login with it was cut short */
    PKCS11_PIN_MEMORY_DAMAGED,    /* there is a latch file, and it can't be used */
    PKCS11_PIN_MEMORY_UNKEPT,     /* there is no place for it, or it can't be used */
};

struct pkcs11_pin_trial {
    bool spend;        /* in: log in, whatever is remembered; else only look */
    bool last_attempt; /* in: even if it is the last attempt */

    enum pkcs11_pin_outcome outcome;
    enum pkcs11_pin_memory memory; /* before */
    bool spent;                    /* C_Login was called */
    bool kept;                     /* what came out is on disk */
    char token_label[33];
    char token_serial[17];
    struct pkcs11_pin_flags before;
    struct pkcs11_pin_flags after; /* as @before unless @spent */
    struct kms_error why;          /* REFUSED, LOCKED, WITHHELD: in words */
};

/* Connects, tries the PIN of @options, updates the latch and disconnects.  @seam may be NULL.  A
 * failure says nothing of the PIN: KMS_E_PRECONDITION, KMS_E_UNAVAILABLE and what else a token may
 * say.  The outputs of @trial are set on success. */
KMS_MUST_CHECK enum kms_code pkcs11_pin_check(const struct pkcs11_keystore_options *options,
                                              const struct pkcs11_seam *seam, int64_t deadline_ms,
                                              struct pkcs11_pin_trial *trial,
                                              struct kms_error *err);

#endif
