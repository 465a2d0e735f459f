/* SPDX-License-Identifier: Apache-2.0 */
/* PINs come from files, never from flags or the environment. */
#ifndef PKCS11_PIN_H
#define PKCS11_PIN_H

#include <stdbool.h>

#include "kms/error.h"
#include "kms/secret.h"

enum { PKCS11_PIN_MAX = 255 }; /* bytes */

/* What a token tells of failed attempts at its user PIN; all false where it doesn't tell. */
struct pkcs11_pin_flags {
    bool count_low; /* failed ones since the last good login */
    bool final_try; /* the next failed one locks it */
    bool locked;
};

/* Reads a PIN file: a regular file, owned by root or the effective user, nothing for others, group
 * only inside $CREDENTIALS_DIRECTORY; one final newline (or CRLF) is stripped; 1..255 bytes, no NUL.
 * The read buffer is wiped.  *ret_pin owns the PIN.  KMS_E_PRECONDITION says which rule was broken
 * and how to mend it (chmod, chown). */
KMS_MUST_CHECK enum kms_code pkcs11_pin_read(const char *path, struct kms_secret *ret_pin,
                                             struct kms_error *err);

#endif
