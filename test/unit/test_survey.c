/* SPDX-License-Identifier: Apache-2.0 */
#include "survey.h"

#include "pkcs11_rig.h"

static enum kms_code survey(struct rig *rig, struct pkcs11_survey *ret_survey)
{
    struct pkcs11_keystore_options options = {
        .uri = FAKE_URI, .pin = &rig->pin, .sessions = 1, .lock_dir = rig->dir
    };
    struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    return pkcs11_survey(&options, &seam, rig_soon_ms(), ret_survey, &rig->err);
}

static const struct pkcs11_survey_mechanism *row_of(const struct pkcs11_survey *survey,
                                                    unsigned long number)
{
    size_t at = 0;
    while (at < survey->mechanism_count && survey->mechanisms[at].number != number)
        at++;
    assert_true(at < survey->mechanism_count);
    return &survey->mechanisms[at];
}

static void a_token_is_described_and_left_as_it_was(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_survey found;
    fake_module_behaviour(rig->module)->token_flags = CKF_USER_PIN_COUNT_LOW;
    assert_ok(survey(rig, &found), &rig->err);
    assert_string_equal(found.token.label, FAKE_TOKEN);
    assert_string_equal(found.token.library, "fake module 2.7");
    assert_string_equal(found.vendor, "");
    assert_true(found.login_required);
    assert_true(found.pin_initialized);
    assert_true(found.pin.count_low);
    assert_false(found.pin.locked);
    assert_false(found.write_protected);
    assert_int_equal(fake_module_sessions(rig->module), 0);
    assert_int_equal(fake_module_session_objects(rig->module), 0);
    assert_false(fake_module_is_initialized(rig->module));
}

static void the_choice_comes_with_its_reason(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_survey found;
    assert_ok(survey(rig, &found), &rig->err);
    assert_true(found.usable);
    assert_string_equal(found.token.profile, "aes-kw");
    assert_int_equal(found.number, CKM_AES_KEY_WRAP);
    assert_string_equal(found.test_key, "imported");
    assert_true(found.compared);
    assert_contains(found.reason, "known answer");
    fake_module_behaviour(rig->module)->ciphers = true;
    fake_module_behaviour(rig->module)->import_seed_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    fake_module_behaviour(rig->module)->import_aes_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    assert_ok(survey(rig, &found), &rig->err);
    assert_string_equal(found.token.profile, "aes-kw-cipher");
    assert_true(found.cipher);
    assert_string_equal(found.test_key, "generated");
    assert_false(found.compared);
}

static void every_profile_has_a_row(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_survey found;
    fake_module_behaviour(rig->module)->gcm_iv = FAKE_GCM_CALLER;
    assert_ok(survey(rig, &found), &rig->err);
    assert_int_equal(found.profile_count, 5);
    const struct pkcs11_survey_profile *first = &found.profiles[0], *last = &found.profiles[4];
    assert_string_equal(first->name, "aes-kw");
    assert_true(first->works && first->chosen);
    assert_string_equal(first->proof, "right, by OpenSSL");
    assert_string_equal(found.profiles[2].name, "aes-kwp");
    assert_false(found.profiles[2].works);
    assert_string_equal(found.profiles[2].answer, "C_WrapKey: CKR_MECHANISM_INVALID");
    assert_string_equal(last->name, "aes-gcm");
    assert_true(last->works && !last->chosen);
}

static void mechanisms_are_what_the_module_tells(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_survey found;
    assert_ok(survey(rig, &found), &rig->err);
    const struct pkcs11_survey_mechanism *key_wrap = row_of(&found, CKM_AES_KEY_WRAP);
    assert_true(key_wrap->listed && key_wrap->told);
    assert_true(key_wrap->wraps && key_wrap->unwraps);
    assert_false(key_wrap->encrypts || key_wrap->decrypts);
    assert_int_equal(key_wrap->max_size, 32);
    const struct pkcs11_survey_mechanism *gcm = row_of(&found, CKM_AES_GCM);
    assert_false(gcm->listed || gcm->told);
    assert_string_equal(gcm->refusal, "CKR_MECHANISM_INVALID");
}

/* It is then that an operator wants to know what the token can do. */
static void a_token_that_can_not_wrap_is_described_too(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_survey found;
    fake_module_behaviour(rig->module)->key_wrap = CKM_AES_GCM;
    assert_ok(survey(rig, &found), &rig->err);
    assert_false(found.usable);
    assert_string_equal(found.token.profile, "");
    assert_contains(found.reason, "C_WrapKey: CKR_MECHANISM_INVALID");
    assert_true(row_of(&found, CKM_AES_GCM)->listed);
}

static void an_outage_describes_nothing(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_survey found;
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_REMOVED);
    assert_int_equal(survey(rig, &found), KMS_E_UNAVAILABLE);
    assert_string_equal(rig->err.op, "C_WrapKey");
    fake_module_behaviour(rig->module)->tokens = 0;
    assert_int_equal(survey(rig, &found), KMS_E_UNAVAILABLE);
    assert_false(fake_module_is_initialized(rig->module));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_is_described_and_left_as_it_was),
        TEST(the_choice_comes_with_its_reason),
        TEST(every_profile_has_a_row),
        TEST(mechanisms_are_what_the_module_tells),
        TEST(a_token_that_can_not_wrap_is_described_too),
        TEST(an_outage_describes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
