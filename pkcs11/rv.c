/* SPDX-License-Identifier: Apache-2.0 */
#include "rv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Public: these sentences reach API clients. */
#define ADVICE_NONE "this is no failure"
#define ADVICE_AGAIN "the token is out of sessions or memory for now: retry"
#define ADVICE_RECONNECT "the connection is being made again: retry"
#define ADVICE_AWAY "the token is away and is being reconnected: retry"
#define ADVICE_DEVICE "the token or its library failed: retry, and see the HSM's own log"
#define ADVICE_KEY_AWAY                                                                            \
    "the key is not on the token now: do not delete objects: they come back with the key"
#define ADVICE_CORRUPT                                                                             \
    "the ciphertext is damaged or was wrapped by another key: restore it from a backup of etcd"
#define ADVICE_REQUEST "the token refuses this input"
#define ADVICE_PIN "put the right PIN into the PIN file; this one is not tried again"
#define ADVICE_PIN_LOCKED "the HSM's security officer must unlock the user PIN"
#define ADVICE_PIN_UNSET "the HSM's security officer must set the user PIN"
#define ADVICE_LOGIN "another kind of user is logged in: give the plugin a login of its own"
#define ADVICE_KEY_ATTRIBUTES "the key's attributes forbid this use: mend them on the HSM"
#define ADVICE_KEY_KIND "the key is of the wrong type or size: an AES-256 key is needed"
#define ADVICE_MECHANISM "the module lacks CKM_AES_KEY_WRAP, or the HSM's policy forbids it"
#define ADVICE_MODULE                                                                              \
    "the module refuses what AES key wrap needs: check its configuration and policy"
#define ADVICE_START                                                                               \
    "the HSM is away, or the module's own configuration is wrong; do not delete objects"
#define ADVICE_READ_ONLY "the token is read-only, or lets this user only read"
#define ADVICE_NO_CHANGE                                                                           \
    "the token doesn't let this key be changed (CKA_MODIFIABLE, or its policy): use the vendor's " \
    "tool"
#define ADVICE_NO_COPY                                                                             \
    "the token doesn't let this key be copied (CKA_COPYABLE, or its policy): use the vendor's "    \
    "tool"
#define ADVICE_NO_SUCH_CALL "this token can't do that: use the vendor's tool"
#define ADVICE_REPORT "this is unexpected: report it with the module's name and version"

#define ON(call, ckr, code, class, advice)                                                         \
    {                                                                                              \
        (call), (ckr), #ckr, KMS_E_##code, PKCS11_CLASS_##class, (advice)                          \
    }
#define ANY(ckr, code, class, advice)                                                              \
    {                                                                                              \
        NULL, (ckr), #ckr, KMS_E_##code, PKCS11_CLASS_##class, (advice)                            \
    }

/* The first row that fits decides; rows for one call stand before the rows for any call. */
static const struct row {
    const char *call; /* NULL: any */
    CK_RV rv;
    const char *name;
    enum kms_code code;
    enum pkcs11_class class;
    const char *advice;
} table[] = {
    ON("C_UnwrapKey", CKR_TEMPLATE_INCONSISTENT, PRECONDITION, SESSION, ADVICE_MODULE),
    ON("C_CreateObject", CKR_TEMPLATE_INCONSISTENT, PRECONDITION, SESSION, ADVICE_MODULE),
    ON("C_UnwrapKey", CKR_DATA_INVALID, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_UnwrapKey", CKR_DATA_LEN_RANGE, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_UnwrapKey", CKR_ENCRYPTED_DATA_INVALID, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_UnwrapKey", CKR_ENCRYPTED_DATA_LEN_RANGE, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_UnwrapKey", CKR_WRAPPED_KEY_INVALID, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_UnwrapKey", CKR_WRAPPED_KEY_LEN_RANGE, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_Decrypt", CKR_DATA_INVALID, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_Decrypt", CKR_DATA_LEN_RANGE, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_Decrypt", CKR_ENCRYPTED_DATA_INVALID, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_Decrypt", CKR_ENCRYPTED_DATA_LEN_RANGE, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_Decrypt", CKR_WRAPPED_KEY_INVALID, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_Decrypt", CKR_WRAPPED_KEY_LEN_RANGE, CORRUPT, REQUEST, ADVICE_CORRUPT),
    ON("C_Decrypt", CKR_SIGNATURE_INVALID, CORRUPT, REQUEST, ADVICE_CORRUPT), /* a tag of AES-GCM */
    ON("C_WrapKey", CKR_DATA_INVALID, INVALID, REQUEST, ADVICE_REQUEST),
    ON("C_WrapKey", CKR_DATA_LEN_RANGE, INVALID, REQUEST, ADVICE_REQUEST),
    ON("C_CreateObject", CKR_DATA_INVALID, INVALID, REQUEST, ADVICE_REQUEST),
    ON("C_CreateObject", CKR_DATA_LEN_RANGE, INVALID, REQUEST, ADVICE_REQUEST),
    ON("C_Encrypt", CKR_DATA_INVALID, INVALID, REQUEST, ADVICE_REQUEST),
    ON("C_Encrypt", CKR_DATA_LEN_RANGE, INVALID, REQUEST, ADVICE_REQUEST),
    ON("C_SetAttributeValue", CKR_ACTION_PROHIBITED, PRECONDITION, CONFIG, ADVICE_NO_CHANGE),
    ON("C_SetAttributeValue", CKR_ATTRIBUTE_READ_ONLY, PRECONDITION, CONFIG, ADVICE_NO_CHANGE),
    ON("C_SetAttributeValue", CKR_FUNCTION_REJECTED, PRECONDITION, CONFIG, ADVICE_NO_CHANGE),
    ON("C_SetAttributeValue", CKR_FUNCTION_NOT_SUPPORTED, PRECONDITION, CONFIG,
       ADVICE_NO_SUCH_CALL),
    ON("C_CopyObject", CKR_ACTION_PROHIBITED, PRECONDITION, CONFIG, ADVICE_NO_COPY),
    ON("C_CopyObject", CKR_ATTRIBUTE_READ_ONLY, PRECONDITION, CONFIG, ADVICE_NO_COPY),
    ON("C_CopyObject", CKR_TEMPLATE_INCONSISTENT, PRECONDITION, CONFIG, ADVICE_NO_COPY),
    ON("C_CopyObject", CKR_FUNCTION_REJECTED, PRECONDITION, CONFIG, ADVICE_NO_COPY),
    ON("C_CopyObject", CKR_FUNCTION_NOT_SUPPORTED, PRECONDITION, CONFIG, ADVICE_NO_SUCH_CALL),
    ON("C_Initialize", CKR_GENERAL_ERROR, UNAVAILABLE, MODULE, ADVICE_START),
    ON("C_Initialize", CKR_FUNCTION_FAILED, UNAVAILABLE, MODULE, ADVICE_START),
    ON("C_Initialize", CKR_ARGUMENTS_BAD, PRECONDITION, MODULE, ADVICE_MODULE),
    ON("C_OpenSession", CKR_ARGUMENTS_BAD, BUSY, CAPACITY, ADVICE_AGAIN),
    ANY(CKR_OK, INTERNAL, NONE, ADVICE_NONE),
    ANY(CKR_CANCEL, UNAVAILABLE, SESSION, ADVICE_RECONNECT),
    ANY(CKR_FUNCTION_CANCELED, UNAVAILABLE, SESSION, ADVICE_RECONNECT),
    ANY(CKR_HOST_MEMORY, BUSY, CAPACITY, ADVICE_AGAIN),
    ANY(CKR_DEVICE_MEMORY, BUSY, CAPACITY, ADVICE_AGAIN),
    ANY(CKR_SESSION_COUNT, BUSY, CAPACITY, ADVICE_AGAIN),
    ANY(CKR_SLOT_ID_INVALID, UNAVAILABLE, MODULE, ADVICE_RECONNECT),
    ANY(CKR_GENERAL_ERROR, UNAVAILABLE, AMBIGUOUS, ADVICE_DEVICE),
    ANY(CKR_FUNCTION_FAILED, UNAVAILABLE, AMBIGUOUS, ADVICE_DEVICE),
    ANY(CKR_DEVICE_ERROR, UNAVAILABLE, AMBIGUOUS, ADVICE_DEVICE),
    ANY(CKR_DEVICE_REMOVED, UNAVAILABLE, MODULE, ADVICE_AWAY),
    ANY(CKR_TOKEN_NOT_PRESENT, UNAVAILABLE, MODULE, ADVICE_AWAY),
    ANY(CKR_TOKEN_NOT_RECOGNIZED, UNAVAILABLE, MODULE, ADVICE_AWAY),
    ANY(CKR_CRYPTOKI_NOT_INITIALIZED, UNAVAILABLE, MODULE, ADVICE_RECONNECT),
    ANY(CKR_LIBRARY_LOAD_FAILED, UNAVAILABLE, MODULE, ADVICE_RECONNECT),
    ANY(CKR_SESSION_CLOSED, UNAVAILABLE, SESSION, ADVICE_RECONNECT),
    ANY(CKR_SESSION_HANDLE_INVALID, UNAVAILABLE, SESSION, ADVICE_RECONNECT),
    ANY(CKR_USER_NOT_LOGGED_IN, UNAVAILABLE, SESSION, ADVICE_RECONNECT),
    ANY(CKR_OPERATION_ACTIVE, UNAVAILABLE, SESSION, ADVICE_RECONNECT),
    ANY(CKR_OPERATION_NOT_INITIALIZED, UNAVAILABLE, SESSION, ADVICE_RECONNECT),
    ANY(CKR_KEY_HANDLE_INVALID, PRECONDITION, HANDLE, ADVICE_KEY_AWAY),
    ANY(CKR_OBJECT_HANDLE_INVALID, PRECONDITION, HANDLE, ADVICE_KEY_AWAY),
    ANY(CKR_UNWRAPPING_KEY_HANDLE_INVALID, PRECONDITION, HANDLE, ADVICE_KEY_AWAY),
    ANY(CKR_WRAPPING_KEY_HANDLE_INVALID, PRECONDITION, HANDLE, ADVICE_KEY_AWAY),
    ANY(CKR_PIN_INCORRECT, PRECONDITION, CREDENTIALS, ADVICE_PIN),
    ANY(CKR_PIN_INVALID, PRECONDITION, CREDENTIALS, ADVICE_PIN),
    ANY(CKR_PIN_LEN_RANGE, PRECONDITION, CREDENTIALS, ADVICE_PIN),
    ANY(CKR_PIN_EXPIRED, PRECONDITION, CREDENTIALS, ADVICE_PIN),
    ANY(CKR_PIN_LOCKED, PRECONDITION, CREDENTIALS, ADVICE_PIN_LOCKED),
    ANY(CKR_USER_PIN_NOT_INITIALIZED, PRECONDITION, CREDENTIALS, ADVICE_PIN_UNSET),
    ANY(CKR_USER_TYPE_INVALID, PRECONDITION, CREDENTIALS, ADVICE_LOGIN),
    ANY(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, PRECONDITION, CREDENTIALS, ADVICE_LOGIN),
    ANY(CKR_USER_TOO_MANY_TYPES, PRECONDITION, CREDENTIALS, ADVICE_LOGIN),
    ANY(CKR_KEY_FUNCTION_NOT_PERMITTED, PRECONDITION, CONFIG, ADVICE_KEY_ATTRIBUTES),
    ANY(CKR_KEY_NOT_WRAPPABLE, PRECONDITION, CONFIG, ADVICE_KEY_ATTRIBUTES),
    ANY(CKR_KEY_UNEXTRACTABLE, PRECONDITION, CONFIG, ADVICE_KEY_ATTRIBUTES),
    ANY(CKR_ACTION_PROHIBITED, PRECONDITION, CONFIG, ADVICE_KEY_ATTRIBUTES),
    ANY(CKR_FUNCTION_REJECTED, PRECONDITION, CONFIG, ADVICE_KEY_ATTRIBUTES),
    ANY(CKR_KEY_SIZE_RANGE, PRECONDITION, CONFIG, ADVICE_KEY_KIND),
    ANY(CKR_KEY_TYPE_INCONSISTENT, PRECONDITION, CONFIG, ADVICE_KEY_KIND),
    ANY(CKR_UNWRAPPING_KEY_SIZE_RANGE, PRECONDITION, CONFIG, ADVICE_KEY_KIND),
    ANY(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, PRECONDITION, CONFIG, ADVICE_KEY_KIND),
    ANY(CKR_WRAPPING_KEY_SIZE_RANGE, PRECONDITION, CONFIG, ADVICE_KEY_KIND),
    ANY(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, PRECONDITION, CONFIG, ADVICE_KEY_KIND),
    ANY(CKR_MECHANISM_INVALID, PRECONDITION, CONFIG, ADVICE_MECHANISM),
    ANY(CKR_MECHANISM_PARAM_INVALID, PRECONDITION, CONFIG, ADVICE_MECHANISM),
    ANY(CKR_FUNCTION_NOT_SUPPORTED, PRECONDITION, CONFIG, ADVICE_MECHANISM),
    ANY(CKR_ATTRIBUTE_READ_ONLY, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_ATTRIBUTE_SENSITIVE, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_ATTRIBUTE_TYPE_INVALID, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_ATTRIBUTE_VALUE_INVALID, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_TEMPLATE_INCOMPLETE, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_TEMPLATE_INCONSISTENT, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_TOKEN_WRITE_PROTECTED, PRECONDITION, CONFIG, ADVICE_READ_ONLY),
    ANY(CKR_SESSION_READ_ONLY, PRECONDITION, CONFIG, ADVICE_READ_ONLY),
    ANY(CKR_CANT_LOCK, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_NEED_TO_CREATE_THREADS, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_FIPS_SELF_TEST_FAILED, PRECONDITION, CONFIG, ADVICE_MODULE),
    ANY(CKR_DATA_INVALID, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_DATA_LEN_RANGE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_WRAPPED_KEY_INVALID, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_WRAPPED_KEY_LEN_RANGE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_ENCRYPTED_DATA_INVALID, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_ENCRYPTED_DATA_LEN_RANGE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_ARGUMENTS_BAD, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_BUFFER_TOO_SMALL, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_CRYPTOKI_ALREADY_INITIALIZED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_USER_ALREADY_LOGGED_IN, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_SESSION_PARALLEL_NOT_SUPPORTED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_SESSION_EXISTS, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_SESSION_READ_ONLY_EXISTS, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_SESSION_READ_WRITE_SO_EXISTS, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_FUNCTION_NOT_PARALLEL, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_NO_EVENT, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_MUTEX_BAD, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_MUTEX_NOT_LOCKED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_KEY_NOT_NEEDED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_KEY_CHANGED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_KEY_NEEDED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_KEY_INDIGESTIBLE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_SIGNATURE_INVALID, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_SIGNATURE_LEN_RANGE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_RANDOM_SEED_NOT_SUPPORTED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_RANDOM_NO_RNG, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_DOMAIN_PARAMS_INVALID, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_CURVE_NOT_SUPPORTED, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_SAVED_STATE_INVALID, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_INFORMATION_SENSITIVE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_STATE_UNSAVEABLE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_NEW_PIN_MODE, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_NEXT_OTP, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_EXCEEDED_MAX_ITERATIONS, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_PIN_TOO_WEAK, INTERNAL, CONFIG, ADVICE_REPORT),
    ANY(CKR_PUBLIC_KEY_INVALID, INTERNAL, CONFIG, ADVICE_REPORT),
};

static const struct row vendor_row = ANY(CKR_VENDOR_DEFINED, UNAVAILABLE, MODULE, ADVICE_DEVICE);
static const struct row unknown_row = {
    NULL, 0, "CKR_?", KMS_E_INTERNAL, PKCS11_CLASS_AMBIGUOUS, ADVICE_REPORT
};

static const struct row *row_of(const char *call, CK_RV rv)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        bool fits = table[i].call == NULL || (call != NULL && strcmp(table[i].call, call) == 0);
        if (fits && table[i].rv == rv)
            return &table[i];
    }
    return rv >= CKR_VENDOR_DEFINED ? &vendor_row : &unknown_row;
}

const char *pkcs11_rv_name(CK_RV rv)
{
    return row_of(NULL, rv)->name;
}

enum kms_code pkcs11_rv_code(const char *call, CK_RV rv)
{
    return row_of(call, rv)->code;
}

enum pkcs11_class pkcs11_rv_class(const char *call, CK_RV rv)
{
    return row_of(call, rv)->class;
}

enum pkcs11_class pkcs11_error_class(const struct kms_error *err)
{
    return err->ckr == CKR_OK ? PKCS11_CLASS_NONE : pkcs11_rv_class(err->op, err->ckr);
}

bool pkcs11_error_may_pass(const struct kms_error *err)
{
    return err->code != KMS_E_CORRUPT &&
           (pkcs11_error_class(err) == PKCS11_CLASS_CAPACITY || err->ckr == CKR_FUNCTION_FAILED);
}

enum kms_code pkcs11_fail(struct kms_error *err, const char *call, CK_RV rv, const char *fmt, ...)
{
    struct kms_error what;
    va_list args;
    va_start(args, fmt);
    (void)kms_vfail(&what, KMS_E_INTERNAL, fmt, args);
    va_end(args);

    const struct row *row = row_of(call, rv);
    bool named = row != &vendor_row && row != &unknown_row;
    char number[24] = "";
    if (!named)
        (void)snprintf(number, sizeof(number), " (0x%lx)", rv);
    (void)kms_fail(err, row->code, "%s: %s%s: %s; %s", call, row->name, number, what.msg,
                   row->advice);
    if (err != NULL) {
        err->ckr = rv;
        err->op = call;
    }
    return row->code;
}
