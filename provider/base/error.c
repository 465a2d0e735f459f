/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/error.h"

#include <stdio.h>
#include <string.h>

#undef kms_fail
#undef kms_fail_errno

enum kms_code kms_vfail(struct kms_error *err, enum kms_code code, const char *fmt, va_list args)
{
    if (err == NULL)
        return code;
    err->code = code;
    err->ckr = 0;
    err->op = NULL;
    if (vsnprintf(err->msg, sizeof err->msg, fmt, args) < 0)
        err->msg[0] = '\0';
    return code;
}

enum kms_code kms_fail(struct kms_error *err, enum kms_code code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    kms_vfail(err, code, fmt, args);
    va_end(args);
    return code;
}

enum kms_code kms_fail_errno(struct kms_error *err, enum kms_code code, const char *op, int errnum,
                             const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    kms_vfail(err, code, fmt, args);
    va_end(args);
    if (err == NULL)
        return code;

    err->op = op;
    char reason[128];
    size_t used = strlen(err->msg);
    snprintf(err->msg + used, sizeof err->msg - used, ": %s",
             strerror_r(errnum, reason, sizeof reason));
    return code;
}

const char *kms_code_name(enum kms_code code)
{
    switch (code) {
    case KMS_OK:
        return "ok";
    case KMS_E_INVALID:
        return "invalid";
    case KMS_E_KEY_UNKNOWN:
        return "key-unknown";
    case KMS_E_CORRUPT:
        return "corrupt";
    case KMS_E_PRECONDITION:
        return "precondition";
    case KMS_E_UNAVAILABLE:
        return "unavailable";
    case KMS_E_BUSY:
        return "busy";
    case KMS_E_DEADLINE:
        return "deadline";
    case KMS_E_INTERNAL:
        return "internal";
    }
    return "internal";
}
