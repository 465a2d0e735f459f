/* SPDX-License-Identifier: Apache-2.0 */
/* doctor's checks of configuration, library, token and PIN: each as it passes and as it fails. */
#include <sys/stat.h>
#include <unistd.h>

#include "doctor_libraries.h"
#include "doctor_rig.h"

static struct doctor_rig *rig_of(void **state)
{
    return *state;
}

static struct kms_error fault(enum kms_code code, const char *text)
{
    struct kms_error err = { 0 };
    err.code = kms_fail(&err, code, "%s", text);
    return err;
}

static void the_configuration_loads_or_says_where_not(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "config", KMS_DOCTOR_OK, "ring 'prod'");
    rig->doctor.config_fault = fault(KMS_E_INVALID, "config.yaml:3: ring: required");
    doctor_rig_expect(rig, "config", KMS_DOCTOR_FAIL, "config.yaml:3");
}

static void what_needs_the_configuration_isnt_checked_without_it(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.config_fault = fault(KMS_E_INVALID, "config.yaml:3: ring: required");
    doctor_rig_expect(rig, "socket", KMS_DOCTOR_WARN, "not made: the configuration");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "comes before");
}

static void what_needs_a_token_isnt_checked_without_one(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.tokens[0].presence.token_fault = fault(KMS_E_UNAVAILABLE, "no such token");
    doctor_rig_expect(rig, "profile", KMS_DOCTOR_WARN, "not made: no token");
    kms_snapshot_release(rig->doctor.tokens[0].snapshot);
    rig->doctor.tokens[0].snapshot = NULL;
    doctor_rig_expect(rig, "kek-attributes", KMS_DOCTOR_WARN, "not made: no token's KEKs");
}

static void a_library_loads_or_the_loaders_reason_is_told(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_doctor_token *token = &rig->doctor.tokens[0];
    doctor_rig_expect(rig, "module", KMS_DOCTOR_OK, "loads");
    token->presence.module_fault = fault(KMS_E_PRECONDITION, "can't load: No such file");
    doctor_rig_expect(rig, "module", KMS_DOCTOR_FAIL, "No such file");
    (void)snprintf(token->missing, sizeof(token->missing), "libvendor.so.3");
    doctor_rig_expect(rig, "module", KMS_DOCTOR_FAIL, "missing: libvendor.so.3");
    doctor_rig_expect(rig, "token", KMS_DOCTOR_WARN, "its library doesn't load");
}

static void one_token_matches_or_the_candidates_are_told(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "token", KMS_DOCTOR_OK, "'prod-token'");
    rig->doctor.tokens[0].presence.token_fault = fault(KMS_E_PRECONDITION, "2 tokens match: a, b");
    doctor_rig_expect(rig, "token", KMS_DOCTOR_FAIL, "2 tokens match");
}

static void a_pin_file_is_its_owners_alone(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "pin-file", KMS_DOCTOR_OK, "mode 0400");
    assert_int_equal(chmod(rig->pin_file, 0440), 0);
    doctor_rig_expect(rig, "pin-file", KMS_DOCTOR_FAIL, "0440");
    assert_int_equal(chmod(rig->pin_file, 0404), 0);
    doctor_rig_expect(rig, "pin-file", KMS_DOCTOR_FAIL, "0404");
}

static void a_pin_file_is_the_plugins(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.service_uid = geteuid() + 1;
    doctor_rig_expect(rig, "pin-file", KMS_DOCTOR_FAIL, "belongs to uid");
}

static void a_pin_file_is_there(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    assert_int_equal(unlink(rig->pin_file), 0);
    doctor_rig_expect(rig, "pin-file", KMS_DOCTOR_FAIL, "isn't there");
}

static void what_the_token_counts_is_told(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct pkcs11_presence *presence = &rig->doctor.tokens[0].presence;
    doctor_rig_expect(rig, "pin-counter", KMS_DOCTOR_OK, "no wrong PIN");
    presence->pin.count_low = true;
    doctor_rig_expect(rig, "pin-counter", KMS_DOCTOR_WARN, "wrong PINs were entered");
    presence->pin.final_try = true;
    doctor_rig_expect(rig, "pin-counter", KMS_DOCTOR_FAIL, "one more wrong PIN");
    presence->pin.locked = true;
    doctor_rig_expect(rig, "pin-counter", KMS_DOCTOR_FAIL, "locked");
    presence->pin = (struct pkcs11_pin_flags){ .locked = false };
    presence->pin_initialized = false;
    doctor_rig_expect(rig, "pin-counter", KMS_DOCTOR_FAIL, "isn't set");
}

static void a_pin_is_accepted_refused_or_not_tried(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_doctor_token *token = &rig->doctor.tokens[0];
    doctor_rig_expect(rig, "pin-accepted", KMS_DOCTOR_OK, "accepted");
    token->trial.outcome = PKCS11_PIN_NOT_TRIED;
    doctor_rig_expect(rig, "pin-accepted", KMS_DOCTOR_WARN, "not tried");
    token->trial.outcome = PKCS11_PIN_REFUSED;
    token->trial.why = fault(KMS_E_PRECONDITION, "the token refused the PIN");
    doctor_rig_expect(rig, "pin-accepted", KMS_DOCTOR_FAIL, "the token refused the PIN");
    token->pin_fault = fault(KMS_E_PRECONDITION, "can't open the PIN file");
    doctor_rig_expect(rig, "pin-accepted", KMS_DOCTOR_FAIL, "can't open the PIN file");
}

static void a_token_without_a_login_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.tokens[0].presence.login_required = false;
    doctor_rig_expect(rig, "pin-accepted", KMS_DOCTOR_WARN, "needs no login");
}

static void a_login_that_may_destroy_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_doctor_token *token = &rig->doctor.tokens[0];
    doctor_rig_expect(rig, "login-rights", KMS_DOCTOR_OK, "none of 1 KEK(s)");
    token->inspected = 0;
    doctor_rig_expect(rig, "login-rights", KMS_DOCTOR_WARN, "0 out of 1");
    token->destroyable = 1;
    doctor_rig_expect(rig, "login-rights", KMS_DOCTOR_WARN, "destroy 1");
    token->limited = true; /* its role counts, whatever the attributes say */
    doctor_rig_expect(rig, "login-rights", KMS_DOCTOR_OK, "a crypto user's");
    token->limited = false;
    token->presence.write_protected = true;
    doctor_rig_expect(rig, "login-rights", KMS_DOCTOR_OK, "read-only");
}

static void a_profile_is_found_or_the_reason_told(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_doctor_token *token = &rig->doctor.tokens[0];
    doctor_rig_expect(rig, "profile", KMS_DOCTOR_OK, "compared with a known answer");
    token->survey.compared = false;
    doctor_rig_expect(rig, "profile", KMS_DOCTOR_WARN, "round trip");
    token->survey.usable = false;
    (void)snprintf(token->survey.reason, sizeof(token->survey.reason), "CKR_MECHANISM_INVALID");
    doctor_rig_expect(rig, "profile", KMS_DOCTOR_FAIL, "CKR_MECHANISM_INVALID");
    token->survey_fault = fault(KMS_E_PRECONDITION, "there was no login");
    doctor_rig_expect(rig, "profile", KMS_DOCTOR_WARN, "there was no login");
}

static void the_worst_of_several_tokens_is_told(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_doctor_token *second = &rig->doctor.tokens[1];
    second->name = "two";
    second->presence.login_required = true;
    second->presence.pin_initialized = true;
    second->presence.pin.locked = true;
    rig->doctor.token_count = 2;
    doctor_rig_expect(rig, "pin-counter", KMS_DOCTOR_FAIL, "two: ");
}

/* --- the loader --- */

static void missing_libraries_are_read_from_what_the_loader_prints(void **state)
{
    static const char printed[] = "\tlinux-vdso.so.1 (0x00007f)\n"
                                  "\tliba.so.1 => not found\n"
                                  "\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"
                                  "\tlibb.so.2 => not found\n"
                                  " => not found\n";
    char names[64], little[12];
    (void)state;
    kms_missing_in(printed, names, sizeof(names));
    assert_string_equal(names, "liba.so.1, libb.so.2");
    kms_missing_in(printed, little, sizeof(little));
    assert_string_equal(little, "liba.so.1");
    kms_missing_in("", names, sizeof(names));
    assert_string_equal(names, "");
}

static void a_whole_program_misses_nothing(void **state)
{
    char names[64] = "?";
    (void)state;
    kms_missing_libraries("/proc/self/exe", names, sizeof(names));
    assert_string_equal(names, "");
}

int main(void)
{
#define with_rig(test) cmocka_unit_test_setup_teardown(test, doctor_rig_setup, doctor_rig_teardown)
    const struct CMUnitTest tests[] = {
        with_rig(the_configuration_loads_or_says_where_not),
        with_rig(what_needs_the_configuration_isnt_checked_without_it),
        with_rig(what_needs_a_token_isnt_checked_without_one),
        with_rig(a_library_loads_or_the_loaders_reason_is_told),
        with_rig(one_token_matches_or_the_candidates_are_told),
        with_rig(a_pin_file_is_its_owners_alone),
        with_rig(a_pin_file_is_the_plugins),
        with_rig(a_pin_file_is_there),
        with_rig(what_the_token_counts_is_told),
        with_rig(a_pin_is_accepted_refused_or_not_tried),
        with_rig(a_token_without_a_login_is_a_warning),
        with_rig(a_login_that_may_destroy_is_a_warning),
        with_rig(a_profile_is_found_or_the_reason_told),
        with_rig(the_worst_of_several_tokens_is_told),
        cmocka_unit_test(missing_libraries_are_read_from_what_the_loader_prints),
        cmocka_unit_test(a_whole_program_misses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
