/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "rv.h"

static void every_row_of_the_recovery_table_is_as_designed(void **state)
{
    (void)state;
    static const struct {
        CK_RV rv;
        enum kms_code code;
        enum pkcs11_class class;
    } rows[] = {
        { CKR_WRAPPED_KEY_INVALID, KMS_E_INTERNAL, PKCS11_CLASS_CONFIG },
        { CKR_WRAPPED_KEY_LEN_RANGE, KMS_E_INTERNAL, PKCS11_CLASS_CONFIG },
        { CKR_GENERAL_ERROR, KMS_E_UNAVAILABLE, PKCS11_CLASS_AMBIGUOUS },
        { CKR_DEVICE_ERROR, KMS_E_UNAVAILABLE, PKCS11_CLASS_AMBIGUOUS },
        { CKR_FUNCTION_FAILED, KMS_E_UNAVAILABLE, PKCS11_CLASS_AMBIGUOUS },
        { CKR_KEY_HANDLE_INVALID, KMS_E_PRECONDITION, PKCS11_CLASS_HANDLE },
        { CKR_OBJECT_HANDLE_INVALID, KMS_E_PRECONDITION, PKCS11_CLASS_HANDLE },
        { CKR_WRAPPING_KEY_HANDLE_INVALID, KMS_E_PRECONDITION, PKCS11_CLASS_HANDLE },
        { CKR_UNWRAPPING_KEY_HANDLE_INVALID, KMS_E_PRECONDITION, PKCS11_CLASS_HANDLE },
        { CKR_SESSION_HANDLE_INVALID, KMS_E_UNAVAILABLE, PKCS11_CLASS_SESSION },
        { CKR_SESSION_CLOSED, KMS_E_UNAVAILABLE, PKCS11_CLASS_SESSION },
        { CKR_USER_NOT_LOGGED_IN, KMS_E_UNAVAILABLE, PKCS11_CLASS_SESSION },
        { CKR_SESSION_COUNT, KMS_E_BUSY, PKCS11_CLASS_CAPACITY },
        { CKR_DEVICE_MEMORY, KMS_E_BUSY, PKCS11_CLASS_CAPACITY },
        { CKR_HOST_MEMORY, KMS_E_BUSY, PKCS11_CLASS_CAPACITY },
        { CKR_DEVICE_REMOVED, KMS_E_UNAVAILABLE, PKCS11_CLASS_MODULE },
        { CKR_TOKEN_NOT_PRESENT, KMS_E_UNAVAILABLE, PKCS11_CLASS_MODULE },
        { CKR_TOKEN_NOT_RECOGNIZED, KMS_E_UNAVAILABLE, PKCS11_CLASS_MODULE },
        { CKR_CRYPTOKI_NOT_INITIALIZED, KMS_E_UNAVAILABLE, PKCS11_CLASS_MODULE },
        { CKR_SLOT_ID_INVALID, KMS_E_UNAVAILABLE, PKCS11_CLASS_MODULE },
        { CKR_VENDOR_DEFINED | 0x1A, KMS_E_UNAVAILABLE, PKCS11_CLASS_MODULE },
        { CKR_PIN_INCORRECT, KMS_E_PRECONDITION, PKCS11_CLASS_CREDENTIALS },
        { CKR_PIN_LOCKED, KMS_E_PRECONDITION, PKCS11_CLASS_CREDENTIALS },
        { CKR_PIN_EXPIRED, KMS_E_PRECONDITION, PKCS11_CLASS_CREDENTIALS },
        { CKR_USER_PIN_NOT_INITIALIZED, KMS_E_PRECONDITION, PKCS11_CLASS_CREDENTIALS },
        { CKR_MECHANISM_INVALID, KMS_E_PRECONDITION, PKCS11_CLASS_CONFIG },
        { CKR_KEY_FUNCTION_NOT_PERMITTED, KMS_E_PRECONDITION, PKCS11_CLASS_CONFIG },
        { CKR_CURVE_NOT_SUPPORTED, KMS_E_INTERNAL, PKCS11_CLASS_CONFIG },
        { 0x7777, KMS_E_INTERNAL, PKCS11_CLASS_AMBIGUOUS },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (pkcs11_rv_code("C_X", rows[i].rv) != rows[i].code ||
            pkcs11_rv_class("C_X", rows[i].rv) != rows[i].class)
            fail_msg("%s is judged otherwise", pkcs11_rv_name(rows[i].rv));
    }
}

static void a_row_for_one_call_wins(void **state)
{
    (void)state;
    assert_int_equal(pkcs11_rv_code("C_CreateObject", CKR_DATA_LEN_RANGE), KMS_E_INVALID);
    assert_int_equal(pkcs11_rv_code("C_UnwrapKey", CKR_DATA_LEN_RANGE), KMS_E_CORRUPT);
    assert_int_equal(pkcs11_rv_code("C_OpenSession", CKR_ARGUMENTS_BAD), KMS_E_BUSY);
    assert_int_equal(pkcs11_rv_code("C_Decrypt", CKR_SIGNATURE_INVALID), KMS_E_CORRUPT);
    assert_int_equal(pkcs11_rv_class("C_Decrypt", CKR_SIGNATURE_INVALID), PKCS11_CLASS_REQUEST);
}

static void a_token_that_forbids_a_change_says_what_to_do(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        CK_RV rv;
        const char *text;
    } rows[] = {
        { "C_SetAttributeValue", CKR_ACTION_PROHIBITED, "be changed (CKA_MODIFIABLE" },
        { "C_SetAttributeValue", CKR_ATTRIBUTE_READ_ONLY, "be changed (CKA_MODIFIABLE" },
        { "C_SetAttributeValue", CKR_FUNCTION_REJECTED, "be changed (CKA_MODIFIABLE" },
        { "C_SetAttributeValue", CKR_FUNCTION_NOT_SUPPORTED, "this token can't do that" },
        { "C_SetAttributeValue", CKR_SESSION_READ_ONLY, "the token is read-only" },
        { "C_CopyObject", CKR_ACTION_PROHIBITED, "be copied (CKA_COPYABLE" },
        { "C_CopyObject", CKR_ATTRIBUTE_READ_ONLY, "be copied (CKA_COPYABLE" },
        { "C_CopyObject", CKR_TEMPLATE_INCONSISTENT, "be copied (CKA_COPYABLE" },
        { "C_CopyObject", CKR_FUNCTION_REJECTED, "be copied (CKA_COPYABLE" },
        { "C_CopyObject", CKR_FUNCTION_NOT_SUPPORTED, "this token can't do that" },
        { "C_CopyObject", CKR_SESSION_READ_ONLY, "the token is read-only" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct kms_error err;
        assert_int_equal(pkcs11_fail(&err, rows[i].call, rows[i].rv, "x"), KMS_E_PRECONDITION);
        assert_int_equal(pkcs11_error_class(&err), PKCS11_CLASS_CONFIG);
        assert_contains(err.msg, rows[i].text);
    }
}

static void names_are_those_of_the_standard(void **state)
{
    (void)state;
    assert_string_equal(pkcs11_rv_name(CKR_OK), "CKR_OK");
    assert_string_equal(pkcs11_rv_name(0x113), "CKR_WRAPPING_KEY_HANDLE_INVALID");
    assert_string_equal(pkcs11_rv_name(0x1B), "CKR_ACTION_PROHIBITED");
    assert_string_equal(pkcs11_rv_name(0x200), "CKR_FUNCTION_REJECTED");
    assert_string_equal(pkcs11_rv_name(0x7777), "CKR_?");
    assert_string_equal(pkcs11_rv_name(0x80000001), "CKR_VENDOR_DEFINED");
}

static void a_failure_tells_call_name_place_and_advice(void **state)
{
    (void)state;
    struct kms_error err;
    assert_int_equal(pkcs11_fail(&err, "C_UnwrapKey", CKR_DEVICE_REMOVED, "KEK '%s'", "prod.v1"),
                     KMS_E_UNAVAILABLE);
    assert_string_equal(err.msg, "C_UnwrapKey: CKR_DEVICE_REMOVED: KEK 'prod.v1'; the token is "
                                 "away and is being reconnected: retry");
    assert_int_equal(err.ckr, CKR_DEVICE_REMOVED);
    assert_string_equal(err.op, "C_UnwrapKey");
    assert_int_equal(pkcs11_error_class(&err), PKCS11_CLASS_MODULE);
}

static void a_number_without_a_name_is_shown(void **state)
{
    (void)state;
    struct kms_error err;
    (void)pkcs11_fail(&err, "C_WrapKey", 0x80000042, "x");
    assert_contains(err.msg, "CKR_VENDOR_DEFINED (0x80000042)");
}

static void our_own_verdicts_have_no_class(void **state)
{
    (void)state;
    struct kms_error err;
    (void)kms_fail(&err, KMS_E_PRECONDITION, "x");
    assert_int_equal(pkcs11_error_class(&err), PKCS11_CLASS_NONE);
}

static void a_long_text_is_cut_and_not_overrun(void **state)
{
    (void)state;
    struct kms_error err;
    char label[2 * KMS_ERROR_MSG_MAX];
    memset(label, 'x', sizeof(label) - 1);
    label[sizeof(label) - 1] = '\0';
    (void)pkcs11_fail(&err, "C_WrapKey", CKR_GENERAL_ERROR, "KEK '%s'", label);
    assert_int_equal(strlen(err.msg), KMS_ERROR_MSG_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_of_the_recovery_table_is_as_designed),
        cmocka_unit_test(a_row_for_one_call_wins),
        cmocka_unit_test(a_token_that_forbids_a_change_says_what_to_do),
        cmocka_unit_test(names_are_those_of_the_standard),
        cmocka_unit_test(a_failure_tells_call_name_place_and_advice),
        cmocka_unit_test(a_number_without_a_name_is_shown),
        cmocka_unit_test(our_own_verdicts_have_no_class),
        cmocka_unit_test(a_long_text_is_cut_and_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
