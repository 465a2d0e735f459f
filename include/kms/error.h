/* SPDX-License-Identifier: Apache-2.0 */
/* How a function says that it failed: a code that tells the caller what it can do, and a struct on
 * the caller's stack with the rest.  Reporting a failure never allocates.  Only pkcs11/rv.c turns a
 * CKR into a code; only provider/status.c turns a code into a gRPC status. */
#ifndef KMS_ERROR_H
#define KMS_ERROR_H

#include <stdarg.h>

#include "kms/compiler.h"

enum kms_code {
    KMS_OK = 0,
    KMS_E_INVALID,      /* the request is wrong; the caller must change it */
    KMS_E_KEY_UNKNOWN,  /* every token was listed completely: no such KEK, and no pin of it */
    KMS_E_CORRUPT,      /* the token is well, the ciphertext isn't */
    KMS_E_PRECONDITION, /* an operator must mend something first */
    KMS_E_UNAVAILABLE,  /* the token is away; it is being reconnected */
    KMS_E_BUSY,         /* out of sessions, memory or queue places; retry */
    KMS_E_DEADLINE,     /* the caller's deadline passed first */
    KMS_E_INTERNAL,     /* everything else */
};
enum { KMS_CODE_COUNT = KMS_E_INTERNAL + 1 };

enum { KMS_ERROR_MSG_MAX = 512 }; /* bytes, with the final NUL */

/* @op is a string constant ("C_UnwrapKey", "open") or NULL; @ckr is the token's CK_RV or 0; @msg is
 * public: it reaches API clients and logs, so never a PIN, key, plaintext, handle or secret's path. */
struct kms_error {
    enum kms_code code;
    unsigned long ckr;
    const char *op;
    char msg[KMS_ERROR_MSG_MAX];
};

/* Fills *err (which may be NULL) and returns @code, so that `return kms_fail(err, …)` reads well.
 * Thread-safe; never allocates. */
enum kms_code kms_fail(struct kms_error *err, enum kms_code code, const char *fmt, ...)
    KMS_PRINTF(3, 4);
enum kms_code kms_vfail(struct kms_error *err, enum kms_code code, const char *fmt, va_list args)
    KMS_PRINTF(3, 0);

/* The same with ": <strerror(errnum)>" appended; @op names the system call. */
enum kms_code kms_fail_errno(struct kms_error *err, enum kms_code code, const char *op, int errnum,
                             const char *fmt, ...) KMS_PRINTF(5, 6);

/* Compilers and analyzers don't look into error.c: this tells them that a failure is never KMS_OK,
 * or each caller of a function that fails would seem to go on without its outputs. */
static inline enum kms_code kms_not_ok(enum kms_code code)
{
    return code != KMS_OK ? code : KMS_E_INTERNAL;
}
#define kms_fail(...) kms_not_ok(kms_fail(__VA_ARGS__))
#define kms_fail_errno(...) kms_not_ok(kms_fail_errno(__VA_ARGS__))

/* The code's name in lower case ("key-unknown"): for logs, JSON and metrics.  Static. */
const char *kms_code_name(enum kms_code code);

#endif
