/* SPDX-License-Identifier: Apache-2.0 */
#include "status.h"

#include <stdio.h>
#include <string.h>

static const grpc_status_code status_of_code[KMS_CODE_COUNT] = {
    [KMS_OK] = GRPC_STATUS_OK,
    [KMS_E_INVALID] = GRPC_STATUS_INVALID_ARGUMENT,
    [KMS_E_KEY_UNKNOWN] = GRPC_STATUS_NOT_FOUND,
    [KMS_E_CORRUPT] = GRPC_STATUS_DATA_LOSS,
    [KMS_E_PRECONDITION] = GRPC_STATUS_FAILED_PRECONDITION,
    [KMS_E_UNAVAILABLE] = GRPC_STATUS_UNAVAILABLE,
    [KMS_E_BUSY] = GRPC_STATUS_RESOURCE_EXHAUSTED,
    [KMS_E_DEADLINE] = GRPC_STATUS_DEADLINE_EXCEEDED,
    [KMS_E_INTERNAL] = GRPC_STATUS_INTERNAL,
};

static const char *const status_names[] = {
    [GRPC_STATUS_OK] = "OK",
    [GRPC_STATUS_CANCELLED] = "CANCELLED",
    [GRPC_STATUS_UNKNOWN] = "UNKNOWN",
    [GRPC_STATUS_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [GRPC_STATUS_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [GRPC_STATUS_NOT_FOUND] = "NOT_FOUND",
    [GRPC_STATUS_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [GRPC_STATUS_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [GRPC_STATUS_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [GRPC_STATUS_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [GRPC_STATUS_ABORTED] = "ABORTED",
    [GRPC_STATUS_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [GRPC_STATUS_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [GRPC_STATUS_INTERNAL] = "INTERNAL",
    [GRPC_STATUS_UNAVAILABLE] = "UNAVAILABLE",
    [GRPC_STATUS_DATA_LOSS] = "DATA_LOSS",
    [GRPC_STATUS_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

grpc_status_code kms_status_of(enum kms_code code)
{
    return (size_t)code < KMS_CODE_COUNT ? status_of_code[code] : GRPC_STATUS_INTERNAL;
}

enum kms_code kms_status_code_of(grpc_status_code status)
{
    if (status == GRPC_STATUS_CANCELLED)
        return KMS_E_UNAVAILABLE;
    for (size_t i = 0; i < KMS_CODE_COUNT; i++)
        if (status_of_code[i] == status)
            return (enum kms_code)i;
    return KMS_E_INTERNAL;
}

const char *kms_grpc_status_name(grpc_status_code status)
{
    size_t i = (size_t)status;
    return i < sizeof status_names / sizeof status_names[0] ? status_names[i] : "UNKNOWN";
}

void kms_status_text(const struct kms_error *err, char *ret_text, size_t size)
{
    if (size == 0)
        return;
    const char *msg = err->msg[0] != '\0' ? err->msg : kms_code_name(err->code);
    size_t cap = size - 1 < KMS_STATUS_TEXT_MAX ? size - 1 : KMS_STATUS_TEXT_MAX;
    size_t len = strnlen(msg, sizeof err->msg);
    size_t kept = len < cap ? len : cap;
    for (size_t i = 0; i < kept; i++)
        ret_text[i] = msg[i] >= 0x20 && msg[i] < 0x7f ? msg[i] : '?';
    if (kept < len && kept > 3)
        memset(ret_text + kept - 3, '.', 3);
    ret_text[kept] = '\0';
}
