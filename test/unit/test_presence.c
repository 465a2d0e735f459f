/* SPDX-License-Identifier: Apache-2.0 */
#include "presence.h"

#include "pkcs11_rig.h"

static struct pkcs11_presence look(struct rig *rig, const char *uri)
{
    struct pkcs11_presence presence;
    const struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module),
                                      .find_retry_ms = 0 };
    pkcs11_presence_look("", uri, rig->dir, &seam, &presence);
    assert_false(fake_module_is_initialized(rig->module));
    return presence;
}

static void a_token_is_found_without_a_login(void **state)
{
    struct rig *rig = *state;
    fake_module_behaviour(rig->module)->token_flags = CKF_USER_PIN_COUNT_LOW;
    const struct pkcs11_presence presence = look(rig, FAKE_URI);
    assert_int_equal(presence.module_fault.code, KMS_OK);
    assert_int_equal(presence.token_fault.code, KMS_OK);
    assert_string_equal(presence.label, FAKE_TOKEN);
    assert_true(presence.login_required);
    assert_true(presence.pin_initialized);
    assert_false(presence.write_protected);
    assert_true(presence.pin.count_low);
    assert_false(presence.pin.locked);
    assert_int_equal(fake_module_calls(rig->module, "C_Login"), 0);
    assert_int_equal(fake_module_calls(rig->module, "C_OpenSession"), 0);
}

static void a_token_that_isnt_there_is_told_with_those_that_are(void **state)
{
    struct rig *rig = *state;
    const struct pkcs11_presence presence = look(rig, "pkcs11:token=absent");
    assert_int_equal(presence.module_fault.code, KMS_OK);
    assert_int_equal(presence.token_fault.code, KMS_E_UNAVAILABLE);
    assert_contains(presence.token_fault.msg, FAKE_TOKEN);
}

static void an_unusable_uri_is_told(void **state)
{
    struct rig *rig = *state;
    const struct pkcs11_presence presence = look(rig, "pkcs11:");
    assert_int_equal(presence.token_fault.code, KMS_E_INVALID);
}

static void a_library_that_cant_start_is_told(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_Initialize", CKR_CANT_LOCK);
    const struct pkcs11_presence presence = look(rig, FAKE_URI);
    assert_int_equal(presence.module_fault.code, KMS_E_PRECONDITION);
    assert_contains(presence.module_fault.msg, "CKR_CANT_LOCK");
    assert_int_not_equal(presence.token_fault.code, KMS_OK);
}

static void a_library_that_isnt_there_is_told(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_presence presence;
    pkcs11_presence_look("/nonexistent/x.so", FAKE_URI, rig->dir, NULL, &presence);
    assert_int_equal(presence.module_fault.code, KMS_E_PRECONDITION);
    assert_contains(presence.module_fault.msg, "No such file");
}

int main(void)
{
#define with_rig(test) cmocka_unit_test_setup_teardown(test, rig_setup, rig_teardown)
    const struct CMUnitTest tests[] = {
        with_rig(a_token_is_found_without_a_login),
        with_rig(a_token_that_isnt_there_is_told_with_those_that_are),
        with_rig(an_unusable_uri_is_told),
        with_rig(a_library_that_cant_start_is_told),
        with_rig(a_library_that_isnt_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
