/* SPDX-License-Identifier: Apache-2.0 */
#include "recovery_rows.h"

#include "check.h"

/* CKR, status of Encrypt, of Decrypt, retried by Encrypt, by Decrypt, may mean a bad ciphertext. */
#define REQUEST(ckr)                                                                               \
    {                                                                                              \
        (ckr), GRPC_STATUS_INTERNAL, GRPC_STATUS_FAILED_PRECONDITION, false, true, true            \
    }
#define REFUSED(ckr)                                                                               \
    {                                                                                              \
        (ckr), GRPC_STATUS_FAILED_PRECONDITION, GRPC_STATUS_FAILED_PRECONDITION, false, true, true \
    }
#define AMBIGUOUS(ckr)                                                                             \
    {                                                                                              \
        (ckr), GRPC_STATUS_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE, false, true, true                 \
    }
#define BUSY_OR_BROKEN(ckr)                                                                        \
    {                                                                                              \
        (ckr), GRPC_STATUS_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE, true, true, true                  \
    }
#define HANDLE(ckr)                                                                                \
    {                                                                                              \
        (ckr), GRPC_STATUS_FAILED_PRECONDITION, GRPC_STATUS_FAILED_PRECONDITION, true, true, false \
    }
#define SESSION(ckr)                                                                               \
    {                                                                                              \
        (ckr), GRPC_STATUS_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE, true, true, false                 \
    }
#define TEMPLATE(ckr)                                                                              \
    {                                                                                              \
        (ckr), GRPC_STATUS_FAILED_PRECONDITION, GRPC_STATUS_FAILED_PRECONDITION, false, true,      \
            false                                                                                  \
    }
#define CAPACITY(ckr)                                                                              \
    {                                                                                              \
        (ckr), GRPC_STATUS_RESOURCE_EXHAUSTED, GRPC_STATUS_RESOURCE_EXHAUSTED, true, true, false   \
    }
#define MODULE(ckr)                                                                                \
    {                                                                                              \
        (ckr), GRPC_STATUS_UNAVAILABLE, GRPC_STATUS_UNAVAILABLE, false, false, false               \
    }
#define OPERATOR(ckr)                                                                              \
    {                                                                                              \
        (ckr), GRPC_STATUS_FAILED_PRECONDITION, GRPC_STATUS_FAILED_PRECONDITION, false, false,     \
            false                                                                                  \
    }
#define BUG(ckr)                                                                                   \
    {                                                                                              \
        (ckr), GRPC_STATUS_INTERNAL, GRPC_STATUS_INTERNAL, false, false, false                     \
    }

const struct recovery_row recovery_rows[] = {
    /* Request: the token says that the input is bad.  The canary knows better. */
    REQUEST(CKR_WRAPPED_KEY_INVALID),
    REQUEST(CKR_WRAPPED_KEY_LEN_RANGE),
    REQUEST(CKR_ENCRYPTED_DATA_INVALID),
    REQUEST(CKR_ENCRYPTED_DATA_LEN_RANGE),
    REFUSED(CKR_DATA_INVALID),
    REFUSED(CKR_DATA_LEN_RANGE),
    /* Ambiguous: input or device. */
    AMBIGUOUS(CKR_GENERAL_ERROR),
    AMBIGUOUS(CKR_DEVICE_ERROR),
    /* Ambiguous, and some HSMs say so when they are busy. */
    BUSY_OR_BROKEN(CKR_FUNCTION_FAILED),
    /* Handle: found again once. */
    HANDLE(CKR_KEY_HANDLE_INVALID),
    HANDLE(CKR_OBJECT_HANDLE_INVALID),
    HANDLE(CKR_UNWRAPPING_KEY_HANDLE_INVALID),
    HANDLE(CKR_WRAPPING_KEY_HANDLE_INVALID),
    /* Session: another, or a login, once. */
    SESSION(CKR_CANCEL),
    SESSION(CKR_FUNCTION_CANCELED),
    SESSION(CKR_OPERATION_ACTIVE),
    SESSION(CKR_OPERATION_NOT_INITIALIZED),
    SESSION(CKR_SESSION_CLOSED),
    SESSION(CKR_SESSION_HANDLE_INVALID),
    SESSION(CKR_USER_NOT_LOGGED_IN),
    /* A template that worked before: C_UnwrapKey says so when the login is lost. */
    TEMPLATE(CKR_TEMPLATE_INCONSISTENT),
    /* Capacity: later. */
    CAPACITY(CKR_HOST_MEMORY),
    CAPACITY(CKR_DEVICE_MEMORY),
    CAPACITY(CKR_SESSION_COUNT),
    /* Module: connected anew by the next listing. */
    MODULE(CKR_SLOT_ID_INVALID),
    MODULE(CKR_DEVICE_REMOVED),
    MODULE(CKR_TOKEN_NOT_PRESENT),
    MODULE(CKR_TOKEN_NOT_RECOGNIZED),
    MODULE(CKR_CRYPTOKI_NOT_INITIALIZED),
    MODULE(CKR_LIBRARY_LOAD_FAILED),
    MODULE(CKR_VENDOR_DEFINED),
    MODULE(0x80000001),
    MODULE(0x8000001A),
    MODULE(0xFFFFFFFF),
    /* Credentials and configuration: an operator's case. */
    OPERATOR(CKR_PIN_INCORRECT),
    OPERATOR(CKR_PIN_INVALID),
    OPERATOR(CKR_PIN_LEN_RANGE),
    OPERATOR(CKR_PIN_EXPIRED),
    OPERATOR(CKR_PIN_LOCKED),
    OPERATOR(CKR_USER_PIN_NOT_INITIALIZED),
    OPERATOR(CKR_USER_TYPE_INVALID),
    OPERATOR(CKR_USER_ANOTHER_ALREADY_LOGGED_IN),
    OPERATOR(CKR_USER_TOO_MANY_TYPES),
    OPERATOR(CKR_KEY_FUNCTION_NOT_PERMITTED),
    OPERATOR(CKR_KEY_NOT_WRAPPABLE),
    OPERATOR(CKR_KEY_UNEXTRACTABLE),
    OPERATOR(CKR_ACTION_PROHIBITED),
    OPERATOR(CKR_FUNCTION_REJECTED),
    OPERATOR(CKR_KEY_SIZE_RANGE),
    OPERATOR(CKR_KEY_TYPE_INCONSISTENT),
    OPERATOR(CKR_UNWRAPPING_KEY_SIZE_RANGE),
    OPERATOR(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT),
    OPERATOR(CKR_WRAPPING_KEY_SIZE_RANGE),
    OPERATOR(CKR_WRAPPING_KEY_TYPE_INCONSISTENT),
    OPERATOR(CKR_MECHANISM_INVALID),
    OPERATOR(CKR_MECHANISM_PARAM_INVALID),
    OPERATOR(CKR_FUNCTION_NOT_SUPPORTED),
    OPERATOR(CKR_ATTRIBUTE_READ_ONLY),
    OPERATOR(CKR_ATTRIBUTE_SENSITIVE),
    OPERATOR(CKR_ATTRIBUTE_TYPE_INVALID),
    OPERATOR(CKR_ATTRIBUTE_VALUE_INVALID),
    OPERATOR(CKR_TEMPLATE_INCOMPLETE),
    OPERATOR(CKR_TOKEN_WRITE_PROTECTED),
    OPERATOR(CKR_SESSION_READ_ONLY),
    OPERATOR(CKR_CANT_LOCK),
    OPERATOR(CKR_NEED_TO_CREATE_THREADS),
    OPERATOR(CKR_FIPS_SELF_TEST_FAILED),
    /* What these calls can't mean: a developer's case. */
    BUG(CKR_ARGUMENTS_BAD),
    BUG(CKR_BUFFER_TOO_SMALL),
    BUG(CKR_CRYPTOKI_ALREADY_INITIALIZED),
    BUG(CKR_USER_ALREADY_LOGGED_IN),
    BUG(CKR_SESSION_PARALLEL_NOT_SUPPORTED),
    BUG(CKR_SESSION_EXISTS),
    BUG(CKR_SESSION_READ_ONLY_EXISTS),
    BUG(CKR_SESSION_READ_WRITE_SO_EXISTS),
    BUG(CKR_FUNCTION_NOT_PARALLEL),
    BUG(CKR_NO_EVENT),
    BUG(CKR_MUTEX_BAD),
    BUG(CKR_MUTEX_NOT_LOCKED),
    BUG(CKR_KEY_NOT_NEEDED),
    BUG(CKR_KEY_CHANGED),
    BUG(CKR_KEY_NEEDED),
    BUG(CKR_KEY_INDIGESTIBLE),
    BUG(CKR_SIGNATURE_INVALID),
    BUG(CKR_SIGNATURE_LEN_RANGE),
    BUG(CKR_RANDOM_SEED_NOT_SUPPORTED),
    BUG(CKR_RANDOM_NO_RNG),
    BUG(CKR_DOMAIN_PARAMS_INVALID),
    BUG(CKR_CURVE_NOT_SUPPORTED),
    BUG(CKR_SAVED_STATE_INVALID),
    BUG(CKR_INFORMATION_SENSITIVE),
    BUG(CKR_STATE_UNSAVEABLE),
    BUG(CKR_NEW_PIN_MODE),
    BUG(CKR_NEXT_OTP),
    BUG(CKR_EXCEEDED_MAX_ITERATIONS),
    BUG(CKR_PIN_TOO_WEAK),
    BUG(CKR_PUBLIC_KEY_INVALID),
    /* In no standard: taken for a broken device by the canary, and told to a developer. */
    { 0x7777, GRPC_STATUS_INTERNAL, GRPC_STATUS_INTERNAL, false, true, true },
};
const size_t recovery_row_count = sizeof(recovery_rows) / sizeof(recovery_rows[0]);

const struct recovery_row *recovery_row(CK_RV rv)
{
    for (size_t i = 0; i < recovery_row_count; i++) {
        if (recovery_rows[i].rv == rv)
            return &recovery_rows[i];
    }
    fail_msg("0x%lx has no row", rv);
    return NULL;
}
