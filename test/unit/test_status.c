/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "status.h"

static void every_code_has_the_status_of_the_architecture(void **state)
{
    (void)state;
    assert_int_equal(kms_status_of(KMS_OK), GRPC_STATUS_OK);
    assert_int_equal(kms_status_of(KMS_E_INVALID), GRPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(kms_status_of(KMS_E_KEY_UNKNOWN), GRPC_STATUS_NOT_FOUND);
    assert_int_equal(kms_status_of(KMS_E_CORRUPT), GRPC_STATUS_DATA_LOSS);
    assert_int_equal(kms_status_of(KMS_E_PRECONDITION), GRPC_STATUS_FAILED_PRECONDITION);
    assert_int_equal(kms_status_of(KMS_E_UNAVAILABLE), GRPC_STATUS_UNAVAILABLE);
    assert_int_equal(kms_status_of(KMS_E_BUSY), GRPC_STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(kms_status_of(KMS_E_DEADLINE), GRPC_STATUS_DEADLINE_EXCEEDED);
    assert_int_equal(kms_status_of(KMS_E_INTERNAL), GRPC_STATUS_INTERNAL);
}

static void a_code_survives_the_way_to_the_client_and_back(void **state)
{
    (void)state;
    for (int code = KMS_OK; code < KMS_CODE_COUNT; code++)
        assert_int_equal(kms_status_code_of(kms_status_of((enum kms_code)code)), code);
}

static void a_cancelled_call_means_that_the_server_is_away(void **state)
{
    (void)state;
    assert_int_equal(kms_status_code_of(GRPC_STATUS_CANCELLED), KMS_E_UNAVAILABLE);
}

static void a_status_that_we_never_send_is_internal(void **state)
{
    (void)state;
    assert_int_equal(kms_status_code_of(GRPC_STATUS_UNIMPLEMENTED), KMS_E_INTERNAL);
    assert_int_equal(kms_status_code_of((grpc_status_code)99), KMS_E_INTERNAL);
}

static void statuses_have_grpcs_names(void **state)
{
    (void)state;
    assert_string_equal(kms_grpc_status_name(GRPC_STATUS_OK), "OK");
    assert_string_equal(kms_grpc_status_name(GRPC_STATUS_NOT_FOUND), "NOT_FOUND");
    assert_string_equal(kms_grpc_status_name(GRPC_STATUS_UNAUTHENTICATED), "UNAUTHENTICATED");
    assert_string_equal(kms_grpc_status_name((grpc_status_code)17), "UNKNOWN");
    assert_string_equal(kms_grpc_status_name((grpc_status_code)-1), "UNKNOWN");
}

static void the_text_is_the_errors_message(void **state)
{
    (void)state;
    struct kms_error err;
    (void)kms_fail(&err, KMS_E_UNAVAILABLE, "C_UnwrapKey: CKR_DEVICE_REMOVED");
    char text[KMS_STATUS_TEXT_MAX + 1];
    kms_status_text(&err, text, sizeof text);
    assert_string_equal(text, "C_UnwrapKey: CKR_DEVICE_REMOVED");
}

static void the_text_ends_after_200_characters(void **state)
{
    (void)state;
    struct kms_error err = { .code = KMS_E_INTERNAL };
    memset(err.msg, 'x', sizeof err.msg - 1);
    char text[KMS_ERROR_MSG_MAX];
    kms_status_text(&err, text, sizeof text);
    assert_int_equal(strlen(text), 200);
    assert_string_equal(text + 196, "x...");
}

static void the_text_keeps_to_the_callers_buffer(void **state)
{
    (void)state;
    struct kms_error err;
    (void)kms_fail(&err, KMS_E_INTERNAL, "abcdefghijk");
    char text[8] = "1234567";
    kms_status_text(&err, text, 6);
    assert_string_equal(text, "ab...");
    assert_int_equal(text[6], '7');
}

static void the_text_is_printable_ascii(void **state)
{
    (void)state;
    struct kms_error err;
    (void)kms_fail(&err, KMS_E_INVALID, "a\nb\x1b[31m\xff");
    char text[KMS_STATUS_TEXT_MAX + 1];
    kms_status_text(&err, text, sizeof text);
    assert_string_equal(text, "a?b?[31m?");
}

static void an_error_without_a_message_is_named_by_its_code(void **state)
{
    (void)state;
    const struct kms_error err = { .code = KMS_E_BUSY };
    char text[KMS_STATUS_TEXT_MAX + 1];
    kms_status_text(&err, text, sizeof text);
    assert_string_equal(text, "busy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_the_status_of_the_architecture),
        cmocka_unit_test(a_code_survives_the_way_to_the_client_and_back),
        cmocka_unit_test(a_cancelled_call_means_that_the_server_is_away),
        cmocka_unit_test(a_status_that_we_never_send_is_internal),
        cmocka_unit_test(statuses_have_grpcs_names),
        cmocka_unit_test(the_text_is_the_errors_message),
        cmocka_unit_test(the_text_ends_after_200_characters),
        cmocka_unit_test(the_text_keeps_to_the_callers_buffer),
        cmocka_unit_test(the_text_is_printable_ascii),
        cmocka_unit_test(an_error_without_a_message_is_named_by_its_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
