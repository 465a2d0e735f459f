/* SPDX-License-Identifier: Apache-2.0 */
/* What a call does by itself before it fails: pauses, other sessions, nothing left behind. */
#include <pthread.h>

#include "pkcs11_rig.h"

static unsigned calls(struct rig *rig, const char *call)
{
    return fake_module_calls(rig->module, call);
}

static void a_token_that_is_busy_for_a_moment_is_asked_again(void **state)
{
    struct rig *rig = *state;
    static const struct {
        const char *call;
        CK_RV rv;
    } rows[] = {
        { "C_CreateObject", CKR_DEVICE_MEMORY }, { "C_WrapKey", CKR_FUNCTION_FAILED },
        { "C_UnwrapKey", CKR_FUNCTION_FAILED },  { "C_UnwrapKey", CKR_HOST_MEMORY },
        { "C_OpenSession", CKR_SESSION_COUNT },  { "C_OpenSession", CKR_ARGUMENTS_BAD },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fake_module_drop_sessions(rig->module);
        for (int times = 0; times < 5; times++)
            fake_module_fail_next(rig->module, rows[i].call, rows[i].rv);
        rig_assert_unwraps(rig);
        rig_assert_wraps(rig);
        fake_module_fail_always(rig->module, rows[i].call, CKR_OK);
    }
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void a_busy_token_is_not_asked_past_the_deadline(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_keystore_options options = {
        .uri = FAKE_URI, .pin = &rig->pin, .sessions = 2, .lock_dir = rig->dir
    };
    struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module),
                                .busy_pause_ms = 3600000 };
    struct kms_wrapped wrapped = rig_sample();
    kms_keystore_close(rig->keystore);
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &rig->keystore, &rig->err), &rig->err);
    assert_ok(rig_inventory(rig), &rig->err);
    unsigned before = calls(rig, "C_UnwrapKey");
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_DEVICE_MEMORY);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_BUSY);
    assert_int_equal(calls(rig, "C_UnwrapKey"), before + 1);
}

static void *unwrap_sample(void *arg)
{
    rig_assert_unwraps(&(struct rig){ .keystore = ((struct rig *)arg)->keystore,
                                      .kek = ((struct rig *)arg)->kek });
    return NULL;
}

static void sessions_that_died_together_cost_no_request(void **state)
{
    struct rig *rig = *state;
    pthread_t thread;
    fake_module_hold_next(rig->module, "C_UnwrapKey");
    assert_int_equal(pthread_create(&thread, NULL, unwrap_sample, rig), 0);
    fake_module_wait_held(rig->module);
    rig_assert_wraps(rig);
    fake_module_let_go(rig->module);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(fake_module_sessions(rig->module), 2);
    fake_module_drop_sessions(rig->module);
    rig_assert_unwraps(rig);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

/* The handle never arrived: only the end of the session ends the object. */
static void an_object_that_was_made_though_the_call_failed_is_not_left_behind(void **state)
{
    struct rig *rig = *state;
    static const CK_RV answers[] = { CKR_GENERAL_ERROR, CKR_DEVICE_ERROR };
    struct kms_wrapped wrapped = { 0 };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        fake_module_behaviour(rig->module)->late_session_rv = answers[i];
        (void)rig_wrap_seed(rig, &wrapped);
        assert_int_equal(fake_module_session_objects(rig->module), 0);
        fake_module_behaviour(rig->module)->late_session_rv = answers[i];
        rig_assert_unwraps(rig);
        assert_int_equal(fake_module_session_objects(rig->module), 0);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup_connected, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_that_is_busy_for_a_moment_is_asked_again),
        TEST(a_busy_token_is_not_asked_past_the_deadline),
        TEST(an_object_that_was_made_though_the_call_failed_is_not_left_behind),
        TEST(sessions_that_died_together_cost_no_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
