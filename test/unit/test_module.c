/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "../../pkcs11/module.h"
#include "check.h"
#include "fake/module.h"

static void names_and_absolute_paths_are_valid(void **state)
{
    (void)state;
    assert_true(pkcs11_module_name_is_valid("/usr/lib/x.so"));
    assert_true(pkcs11_module_name_is_valid("softhsm2"));
    assert_false(pkcs11_module_name_is_valid("lib/x.so"));
    assert_false(pkcs11_module_name_is_valid("./x.so"));
    assert_false(pkcs11_module_name_is_valid(""));
}

static void a_wrong_path_is_told_with_the_loaders_reason(void **state)
{
    (void)state;
    struct kms_error err;
    struct pkcs11_module *module = NULL;
    assert_int_equal(pkcs11_module_open("/nonexistent/x.so", &module, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "/nonexistent/x.so");
    assert_contains(err.msg, "No such file");
    assert_null(module);
}

static void an_unknown_name_is_told(void **state)
{
    (void)state;
    struct kms_error err;
    struct pkcs11_module *module = NULL;
    assert_int_equal(pkcs11_module_open("no-such-module", &module, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "no-such-module");
}

static void a_given_list_is_initialized_and_finalized_once(void **state)
{
    (void)state;
    struct kms_error err;
    struct fake_module *fake = fake_module_new();
    struct pkcs11_module *module = NULL;
    assert_ok(pkcs11_module_open_functions(fake_module_functions(fake), &module, &err), &err);
    assert_ok(pkcs11_module_initialize(module, &err), &err);
    assert_true(fake_module_is_initialized(fake));
    pkcs11_module_close(module);
    assert_int_equal(fake_module_calls(fake, "C_Finalize"), 1);
    fake_module_free(fake);
}

static void a_library_that_others_use_is_not_finalized(void **state)
{
    (void)state;
    struct kms_error err;
    struct fake_module *fake = fake_module_new();
    struct pkcs11_module *module = NULL;
    assert_ok(pkcs11_module_open_functions(fake_module_functions(fake), &module, &err), &err);
    fake_module_fail_next(fake, "C_Initialize", CKR_CRYPTOKI_ALREADY_INITIALIZED);
    assert_ok(pkcs11_module_initialize(module, &err), &err);
    pkcs11_module_close(module);
    assert_int_equal(fake_module_calls(fake, "C_Finalize"), 0);
    fake_module_free(fake);
}

static void a_module_that_cant_start_says_so(void **state)
{
    (void)state;
    struct kms_error err;
    struct fake_module *fake = fake_module_new();
    struct pkcs11_module *module = NULL;
    assert_ok(pkcs11_module_open_functions(fake_module_functions(fake), &module, &err), &err);
    fake_module_fail_next(fake, "C_Initialize", CKR_CANT_LOCK);
    assert_int_equal(pkcs11_module_initialize(module, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "C_Initialize: CKR_CANT_LOCK");
    pkcs11_module_close(module);
    fake_module_free(fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_absolute_paths_are_valid),
        cmocka_unit_test(a_wrong_path_is_told_with_the_loaders_reason),
        cmocka_unit_test(an_unknown_name_is_told),
        cmocka_unit_test(a_given_list_is_initialized_and_finalized_once),
        cmocka_unit_test(a_library_that_others_use_is_not_finalized),
        cmocka_unit_test(a_module_that_cant_start_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
