/* SPDX-License-Identifier: Apache-2.0 */
/* The one place that knows what a CK_RV means: its name, our code for it, and how to recover. */
#ifndef PKCS11_RV_H
#define PKCS11_RV_H

#include <stdarg.h>
#include <stdbool.h>

#include "cryptoki.h"
#include "kms/error.h"

/* What a failed call calls for. */
enum pkcs11_class {
    PKCS11_CLASS_NONE,        /* no CK_RV at all: our own verdict */
    PKCS11_CLASS_REQUEST,     /* the input is wrong; the token is well */
    PKCS11_CLASS_AMBIGUOUS,   /* bad input or bad token: a canary decides */
    PKCS11_CLASS_HANDLE,      /* find the object again */
    PKCS11_CLASS_SESSION,     /* open a new session, log in again */
    PKCS11_CLASS_CAPACITY,    /* wait, use fewer sessions */
    PKCS11_CLASS_MODULE,      /* finalize and initialize again */
    PKCS11_CLASS_CREDENTIALS, /* never by itself: an operator must act */
    PKCS11_CLASS_CONFIG,      /* module, token or key doesn't allow this */
};

/* "CKR_DEVICE_REMOVED"; "CKR_VENDOR_DEFINED" and "CKR_?" for what PKCS#11 v2.40 doesn't name.  Static. */
const char *pkcs11_rv_name(CK_RV rv);

enum kms_code pkcs11_rv_code(const char *call, CK_RV rv);
enum pkcs11_class pkcs11_rv_class(const char *call, CK_RV rv);

/* The class of an error that pkcs11_fail() filled; PKCS11_CLASS_NONE for any other. */
enum pkcs11_class pkcs11_error_class(const struct kms_error *err);

/* Whether the same call may do a moment later: short of something, or an HSM that says
 * CKR_FUNCTION_FAILED when it is busy (AWS CloudHSM). */
bool pkcs11_error_may_pass(const struct kms_error *err);

/* Fills *err with "CALL: CKR_NAME: <fmt…>; <what to do>", ckr and op, and returns the code.  @call is
 * a string constant ("C_UnwrapKey"). */
enum kms_code pkcs11_fail(struct kms_error *err, const char *call, CK_RV rv, const char *fmt, ...)
    KMS_PRINTF(4, 5);

#endif
