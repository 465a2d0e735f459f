/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "check.h"

static void fail_returns_the_code_and_fills_all(void **state)
{
    (void)state;
    struct kms_error err = { .ckr = 5, .op = "old" };
    assert_int_equal(kms_fail(&err, KMS_E_BUSY, "n=%d", 3), KMS_E_BUSY);
    assert_int_equal(err.code, KMS_E_BUSY);
    assert_string_equal(err.msg, "n=3");
    assert_int_equal(err.ckr, 0);
    assert_null(err.op);
}

static void fail_copes_without_a_struct(void **state)
{
    (void)state;
    assert_int_equal(kms_fail(NULL, KMS_E_INVALID, "x"), KMS_E_INVALID);
    assert_int_equal(kms_fail_errno(NULL, KMS_E_INVALID, "open", ENOENT, "x"), KMS_E_INVALID);
}

static void errno_text_is_appended(void **state)
{
    (void)state;
    struct kms_error err;
    kms_fail_errno(&err, KMS_E_PRECONDITION, "open", ENOENT, "can't read %s", "f");
    assert_string_equal(err.msg, "can't read f: No such file or directory");
    assert_string_equal(err.op, "open");
}

static void a_long_text_is_cut(void **state)
{
    (void)state;
    char text[2 * KMS_ERROR_MSG_MAX];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct kms_error err;
    kms_fail_errno(&err, KMS_E_INTERNAL, "x", ENOENT, "%s", text);
    assert_int_equal(strlen(err.msg), KMS_ERROR_MSG_MAX - 1);
}

static void each_code_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = 0; a < KMS_CODE_COUNT; a++) {
        for (int b = a + 1; b < KMS_CODE_COUNT; b++)
            assert_string_not_equal(kms_code_name((enum kms_code)a),
                                    kms_code_name((enum kms_code)b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_returns_the_code_and_fills_all),
        cmocka_unit_test(fail_copes_without_a_struct),
        cmocka_unit_test(errno_text_is_appended),
        cmocka_unit_test(a_long_text_is_cut),
        cmocka_unit_test(each_code_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
