/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "check.h"
#include "fake/module.h"
#include "token.h"

struct bench {
    struct fake_module *module;
    CK_FUNCTION_LIST *fn;
    CK_SESSION_HANDLE session;
    bool proved; /* by the last login */
    struct kms_error err;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    *state = bench;
    bench->module = fake_module_new();
    bench->fn = fake_module_functions(bench->module);
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    assert_int_equal(bench->fn->C_Initialize(&args), CKR_OK);
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    fake_module_free(bench->module);
    free(bench);
    return 0;
}

static enum kms_code find(struct bench *bench, const char *text, struct pkcs11_token *ret_token)
{
    KMS_CLEANUP(pkcs11_uri_close_ptr) struct pkcs11_uri *uri = NULL;
    assert_ok(pkcs11_uri_open(text, &uri, &bench->err), &bench->err);
    return pkcs11_token_find(bench->fn, uri, ret_token, &bench->err);
}

static enum kms_code log_in(struct bench *bench, const char *text)
{
    struct pkcs11_token token = { 0 };
    assert_ok(find(bench, FAKE_URI, &token), &bench->err);
    assert_int_equal(bench->fn->C_OpenSession(token.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
                                              NULL, &bench->session),
                     CKR_OK);
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    assert_ok(kms_secret_copy(&pin, kms_bytes_of(text), &bench->err), &bench->err);
    struct pkcs11_attempts attempts = { 0 };
    assert_ok(pkcs11_token_attempts(bench->fn, token.slot, &attempts, &bench->err), &bench->err);
    return pkcs11_token_login(bench->fn, bench->session, CKU_USER, &attempts, &pin, &bench->proved,
                              &bench->err);
}

static void the_one_token_is_found(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    assert_ok(find(bench, FAKE_URI, &token), &bench->err);
    struct kms_token_info info = { 0 };
    pkcs11_token_describe(&token, &info);
    assert_string_equal(info.label, "fake");
    assert_string_equal(info.serial, "0001");
    assert_string_equal(info.firmware, "1.3");
    assert_string_equal(info.library, "fake module 2.7");
}

static void control_characters_in_texts_are_replaced(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    assert_ok(find(bench, FAKE_URI, &token), &bench->err);
    struct kms_token_info info = { 0 };
    pkcs11_token_describe(&token, &info);
    assert_string_equal(info.manufacturer, "hsm-kms?tests");
}

static void none_is_unavailable_and_lists_what_is_there(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    assert_int_equal(find(bench, "pkcs11:token=other", &token), KMS_E_UNAVAILABLE);
    assert_contains(bench->err.msg, "'fake' (serial 0001)");
}

static void several_are_refused_and_listed(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    fake_module_behaviour(bench->module)->tokens = 2;
    assert_int_equal(find(bench, FAKE_URI, &token), KMS_E_PRECONDITION);
    assert_contains(bench->err.msg, "serial 0001");
    assert_contains(bench->err.msg, "serial 0002");
    assert_ok(find(bench, "pkcs11:token=fake;serial=0002", &token), &bench->err);
}

static void no_slot_at_all_is_unavailable(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    fake_module_behaviour(bench->module)->tokens = 0;
    assert_int_equal(find(bench, FAKE_URI, &token), KMS_E_UNAVAILABLE);
    assert_contains(bench->err.msg, "no token at all");
}

static void a_list_that_grows_meanwhile_is_asked_for_again(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    fake_module_fail_after(bench->module, "C_GetSlotList", 1, CKR_BUFFER_TOO_SMALL);
    assert_ok(find(bench, FAKE_URI, &token), &bench->err);
}

static void a_token_that_leaves_meanwhile_is_no_candidate(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    fake_module_fail_next(bench->module, "C_GetTokenInfo", CKR_TOKEN_NOT_PRESENT);
    assert_int_equal(find(bench, FAKE_URI, &token), KMS_E_UNAVAILABLE);
}

static void the_right_pin_logs_in(void **state)
{
    struct bench *bench = *state;
    assert_ok(log_in(bench, FAKE_PIN), &bench->err);
}

static void being_logged_in_already_is_success_and_proves_nothing(void **state)
{
    struct bench *bench = *state;
    assert_ok(log_in(bench, FAKE_PIN), &bench->err);
    assert_true(bench->proved);
    assert_ok(log_in(bench, "any"), &bench->err);
    assert_false(bench->proved);
}

static void the_wrong_pin_is_a_case_for_the_operator(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(log_in(bench, "hunter2"), KMS_E_PRECONDITION);
    assert_int_equal(bench->err.ckr, CKR_PIN_INCORRECT);
    assert_null(strstr(bench->err.msg, "hunter2"));
}

static enum kms_code check_attempts(struct bench *bench, CK_FLAGS flags)
{
    struct pkcs11_token token = { 0 };
    struct pkcs11_attempts attempts = { 0 };
    fake_module_behaviour(bench->module)->token_flags = flags;
    assert_ok(find(bench, FAKE_URI, &token), &bench->err);
    assert_ok(pkcs11_token_attempts(bench->fn, token.slot, &attempts, &bench->err), &bench->err);
    return pkcs11_token_check_attempts(&attempts, &bench->err);
}

static void a_locked_pin_is_not_tried(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(check_attempts(bench, CKF_USER_PIN_LOCKED), KMS_E_PRECONDITION);
    assert_contains(bench->err.msg, "locked");
}

static void the_last_attempt_is_not_spent(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(check_attempts(bench, CKF_USER_PIN_FINAL_TRY), KMS_E_PRECONDITION);
    assert_contains(bench->err.msg, "by hand");
}

static void a_low_count_alone_stops_no_login(void **state)
{
    struct bench *bench = *state;
    assert_ok(check_attempts(bench, CKF_USER_PIN_COUNT_LOW), &bench->err);
}

static void tokens_that_differ_in_the_serial_number_have_different_identities(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_token token = { 0 };
    struct pkcs11_attempts first = { 0 }, second = { 0 };
    fake_module_behaviour(bench->module)->tokens = 2;
    assert_ok(find(bench, "pkcs11:token=fake;serial=0001", &token), &bench->err);
    assert_ok(pkcs11_token_attempts(bench->fn, token.slot, &first, &bench->err), &bench->err);
    assert_ok(find(bench, "pkcs11:token=fake;serial=0002", &token), &bench->err);
    assert_ok(pkcs11_token_attempts(bench->fn, token.slot, &second, &bench->err), &bench->err);
    assert_string_equal(first.label, second.label);
    assert_memory_not_equal(first.identity, second.identity, sizeof(first.identity));
}

static void a_lost_login_is_noticed(void **state)
{
    struct bench *bench = *state;
    assert_ok(log_in(bench, FAKE_PIN), &bench->err);
    struct pkcs11_token token = { 0 };
    assert_ok(find(bench, FAKE_URI, &token), &bench->err);
    assert_ok(pkcs11_token_check_login(bench->fn, bench->session, &token, &bench->err),
              &bench->err);
    fake_module_log_out(bench->module);
    assert_int_equal(pkcs11_token_check_login(bench->fn, bench->session, &token, &bench->err),
                     KMS_E_UNAVAILABLE);
    assert_int_equal(bench->err.ckr, CKR_USER_NOT_LOGGED_IN);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_one_token_is_found),
        TEST(control_characters_in_texts_are_replaced),
        TEST(none_is_unavailable_and_lists_what_is_there),
        TEST(several_are_refused_and_listed),
        TEST(no_slot_at_all_is_unavailable),
        TEST(a_list_that_grows_meanwhile_is_asked_for_again),
        TEST(a_token_that_leaves_meanwhile_is_no_candidate),
        TEST(the_right_pin_logs_in),
        TEST(being_logged_in_already_is_success_and_proves_nothing),
        TEST(the_wrong_pin_is_a_case_for_the_operator),
        TEST(a_locked_pin_is_not_tried),
        TEST(the_last_attempt_is_not_spent),
        TEST(a_low_count_alone_stops_no_login),
        TEST(tokens_that_differ_in_the_serial_number_have_different_identities),
        TEST(a_lost_login_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
