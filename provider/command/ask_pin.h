/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KMS_ASK_PIN_H
#define KMS_ASK_PIN_H

#include "kms/error.h"
#include "kms/secret.h"

/* Asks on the terminal (/dev/tty), without echo.  On success *ret_pin owns the PIN.
 * KMS_E_PRECONDITION: no terminal, an interrupt, an empty or over-long line.  Call before threads:
 * it sets signal handlers while it waits. */
KMS_MUST_CHECK enum kms_code kms_ask_pin(const char *prompt, struct kms_secret *ret_pin,
                                         struct kms_error *err);

#endif
