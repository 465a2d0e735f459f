/* SPDX-License-Identifier: Apache-2.0 */
/* What libkms_misbehave.so does to calls on demand; test_misbehave_token.c has what it does to the
 * token, test_misbehave_dialects.c its personalities. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "misbehave_rig.h"

/* --- rules --- */

static void without_a_rule_all_calls_pass(void **state)
{
    (void)state;
    uint8_t wrapped[64], plain[64];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE seed = 0, back = 0;
    CK_SESSION_HANDLE session = misbehave_user();
    CK_OBJECT_HANDLE kek = misbehave_make_kek(session, "plain", NULL, false);
    assert_int_equal(misbehave_make_seed(session, false, &seed), CKR_OK);
    assert_int_equal(misbehave_wrap(session, CKM_AES_KEY_WRAP, kek, seed, wrapped, &len), CKR_OK);
    assert_int_equal(len, 40);
    assert_int_equal(misbehave_unwrap(session, CKM_AES_KEY_WRAP, kek, wrapped, len,
                                      (struct misbehave_wish){ 0, -1, 0 }, &back),
                     CKR_OK);
    assert_int_equal(misbehave_read(session, back, plain, &len), CKR_OK);
    assert_int_equal(len, sizeof(softhsm_seed));
    assert_memory_equal(plain, softhsm_seed, len);
    assert_int_equal(misbehave->C_DestroyObject(session, kek), CKR_OK);
}

static void a_rule_strikes_the_nth_call_and_as_many_as_it_says(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("C_GenerateRandom fail DEVICE_ERROR nth 2 count 2");
    assert_int_equal(misbehave_random(session), CKR_OK);
    assert_int_equal(misbehave_random(session), CKR_DEVICE_ERROR);
    assert_int_equal(misbehave_random(session), CKR_DEVICE_ERROR);
    assert_int_equal(misbehave_random(session), CKR_OK);
}

static void a_rule_strikes_its_own_function_once_unless_told_otherwise(void **state)
{
    (void)state;
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("C_GenerateRandom fail CKR_GENERAL_ERROR");
    assert_int_equal(misbehave->C_GetSessionInfo(session, &info), CKR_OK);
    assert_int_equal(misbehave_random(session), CKR_GENERAL_ERROR);
    assert_int_equal(misbehave_random(session), CKR_OK);
}

static void a_rule_for_all_functions_may_strike_for_good(void **state)
{
    (void)state;
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("* fail 0x80000123 always");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(misbehave_random(session), 0x80000123);
        assert_int_equal(misbehave->C_GetSessionInfo(session, &info), 0x80000123);
    }
    misbehave_tell("");
    assert_int_equal(misbehave_random(session), CKR_OK);
}

static void a_rule_keeps_its_count_while_it_stands_and_a_tag_makes_another(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("C_GenerateRandom fail DEVICE_ERROR");
    assert_int_equal(misbehave_random(session), CKR_DEVICE_ERROR);
    misbehave_tell("C_GenerateRandom fail DEVICE_ERROR\nC_Login fail PIN_EXPIRED # new");
    assert_int_equal(misbehave_random(session), CKR_OK);
    misbehave_tell("C_GenerateRandom fail DEVICE_ERROR tag again");
    assert_int_equal(misbehave_random(session), CKR_DEVICE_ERROR);
}

/* Each file is renamed into place within one tick of the clock, and of one size. */
static void no_change_of_the_control_file_is_missed(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    for (int i = 0; i < 300; i++) {
        misbehave_tell(i % 2 == 0 ? "C_GenerateRandom fail 0x30 always"
                                  : "C_GenerateRandom fail 0x31 always");
        assert_int_equal(misbehave_random(session), i % 2 == 0 ? 0x30 : 0x31);
    }
}

static void a_call_may_fail_though_the_token_did_it(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE seed = 0;
    CK_SESSION_HANDLE session = misbehave_user();
    CK_ULONG before = misbehave_count(session, "");
    misbehave_tell("C_CreateObject fail-after FUNCTION_FAILED");
    assert_int_equal(misbehave_make_seed(session, false, &seed), CKR_FUNCTION_FAILED);
    assert_int_equal(misbehave_count(session, ""), before + 1);
}

static void a_delay_holds_a_call_and_lets_it_pass(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("C_GenerateRandom delay 60\nC_GenerateRandom delay 40 always");
    int64_t begin_ms = kms_monotonic_ms();
    assert_int_equal(misbehave_random(session), CKR_OK);
    assert_true(kms_monotonic_ms() - begin_ms >= 99); /* the clock is cut to milliseconds */
}

static void a_hanging_call_goes_on_when_its_rule_goes(void **state)
{
    (void)state;
    pthread_t thread;
    void *rv = NULL;
    CK_SESSION_HANDLE session = misbehave_session();
    CK_SESSION_HANDLE other = misbehave_session();
    misbehave_tell("C_GenerateRandom hang");
    assert_true(misbehave_start_hanging(&session, &thread));
    assert_int_equal(misbehave_random(other), CKR_OK); /* others don't hang */
    misbehave_tell("");
    assert_int_equal(pthread_join(thread, &rv), 0);
    assert_ptr_equal(rv, NULL); /* CKR_OK */
}

static int call_in_child(void *session)
{
    return misbehave_random(*(CK_SESSION_HANDLE *)session) == CKR_OK ? 0 : 1;
}

static void a_crash_aborts_the_process_and_says_so(void **state)
{
    (void)state;
    char log[4096];
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("C_GenerateRandom crash");
    assert_int_equal(misbehave_in_child(call_in_child, &session), SIGABRT);
    misbehave_read_log(log, sizeof(log));
    assert_contains(log, "C_GenerateRandom crashes, as told");
}

static void a_control_file_that_makes_no_sense_aborts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "C_Foo fail DEVICE_ERROR", "line 3: there is no function 'C_Foo'" },
        { "C_Login fail DEVICE_EROR", "line 3: 'DEVICE_EROR' is no CK_RV" },
        { "C_Login fial DEVICE_ERROR", "line 3: there is no action 'fial'" },
        { "C_Login fail DEVICE_ERROR nth 0", "line 3: calls are counted from 1" },
        { "C_Login fail DEVICE_ERROR often", "line 3: 'often' says nothing here" },
        { "C_Login hang\nC_Login hang", "line 4: this rule stands twice" },
        { "\npersonality grumpy", "line 4: there is no personality 'grumpy'" },
        { "absent now", "line 3: 'now' says nothing here" },
        { "sessions -1", "line 3: '-1' is no number" },
        { "pin-limit 3 here", "line 3: 'here' is no absolute path" },
        { "vanish", "line 3: there is no directive 'vanish'" },
    };
    char log[8192];
    CK_SESSION_HANDLE session = misbehave_session();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        misbehave_tell(bad[i].text);
        assert_int_equal(misbehave_in_child(call_in_child, &session), SIGABRT);
        misbehave_tell("");
        assert_int_equal(misbehave_random(session), CKR_OK);
        misbehave_read_log(log, sizeof(log));
        assert_contains(log, bad[i].why);
    }
}

/* --- death --- */

static void a_dead_module_lives_again_after_finalize(void **state)
{
    (void)state;
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("C_GenerateRandom dead-until-finalize CRYPTOKI_NOT_INITIALIZED");
    assert_int_equal(misbehave_random(session), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(misbehave->C_GetSlotList(CK_TRUE, slots, &count),
                     CKR_CRYPTOKI_NOT_INITIALIZED);
    misbehave_tell(""); /* doesn't help */
    assert_int_equal(misbehave_random(session), CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_int_equal(misbehave->C_Finalize(NULL), CKR_OK);
    assert_int_equal(misbehave->C_Initialize(&args), CKR_OK);
    assert_int_equal(misbehave_random(session), CKR_SESSION_HANDLE_INVALID);
    assert_int_equal(misbehave_random(misbehave_session()), CKR_OK);
}

static int reconnect_when_dead(void *session)
{
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    if (misbehave_random(*(CK_SESSION_HANDLE *)session) != CKR_DEVICE_ERROR)
        return 1;
    if (misbehave->C_Finalize(NULL) != CKR_OK)
        return 2;
    return misbehave->C_Initialize(&args) == CKR_DEVICE_ERROR ? 0 : 3;
}

static void a_dead_module_may_stay_dead_until_the_process_ends(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("C_GenerateRandom dead-until-exit DEVICE_ERROR");
    assert_int_equal(misbehave_in_child(reconnect_when_dead, &session), 0);
    misbehave_tell("");
    assert_int_equal(misbehave_random(session), CKR_OK); /* another process */
}

/* --- threads --- */

static int share_a_session(void *session)
{
    pthread_t thread;
    CK_SESSION_INFO info;
    if (!misbehave_start_hanging(session, &thread))
        return 1;
    (void)misbehave->C_GetSessionInfo(*(CK_SESSION_HANDLE *)session, &info);
    return 2;
}

static int finalize_beside_a_call(void *session)
{
    pthread_t thread;
    if (!misbehave_start_hanging(session, &thread))
        return 1;
    (void)misbehave->C_Finalize(NULL);
    return 2;
}

static void assert_dies_beside(int (*step)(void *arg), const char *name, const char *why)
{
    char log[4096], rule[64];
    CK_SESSION_HANDLE session = misbehave_session();
    (void)snprintf(rule, sizeof(rule), "C_GenerateRandom hang tag %s", name);
    misbehave_tell(rule);
    assert_int_equal(misbehave_in_child(step, &session), SIGABRT);
    misbehave_tell("");
    misbehave_read_log(log, sizeof(log));
    assert_contains(log, why);
}

static void two_threads_in_one_session_abort(void **state)
{
    (void)state;
    assert_dies_beside(share_a_session, "session",
                       "C_GetSessionInfo while another thread is in C_GenerateRandom with the same "
                       "session");
}

static void finalize_beside_a_call_aborts(void **state)
{
    (void)state;
    assert_dies_beside(finalize_beside_a_call, "finalize",
                       "C_Finalize while another thread is in C_GenerateRandom");
}

enum { THREADS = 4, ROUNDS = 200 };

static void *make_and_destroy(void *failures)
{
    CK_OBJECT_HANDLE seed = 0;
    CK_SESSION_HANDLE session = misbehave_session();
    for (int i = 0; i < ROUNDS; i++) {
        if (misbehave_make_seed(session, false, &seed) != CKR_OK ||
            misbehave->C_DestroyObject(session, seed) != CKR_OK)
            ++*(int *)failures;
    }
    return NULL;
}

static void threads_with_sessions_of_their_own_are_served(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    int failures[THREADS] = { 0 };
    (void)misbehave_user();
    uint64_t before = misbehave_calls("C_CreateObject");
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_and_destroy, &failures[i]), 0);
    for (int i = 0; i < 50; i++)
        misbehave_tell(i % 2 == 0 ? "" : "C_Digest fail DEVICE_ERROR");
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(failures[i], 0);
    }
    assert_int_equal(misbehave_calls("C_CreateObject") - before, THREADS * ROUNDS);
}

/* --- counters, and the way in --- */

static void calls_are_counted_where_others_see_them(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    uint64_t calls = misbehave_calls("C_GenerateRandom");
    uint64_t failed = misbehave_failed("C_GenerateRandom");
    uint64_t injected = misbehave_injected("C_GenerateRandom");
    misbehave_tell("C_GenerateRandom fail DEVICE_ERROR");
    (void)misbehave_random(session); /* injected */
    (void)misbehave_random(session); /* good */
    (void)misbehave_random(4711);    /* refused by the module behind */
    assert_int_equal(misbehave_calls("C_GenerateRandom") - calls, 3);
    assert_int_equal(misbehave_failed("C_GenerateRandom") - failed, 2);
    assert_int_equal(misbehave_injected("C_GenerateRandom") - injected, 1);
}

static void calls_of_other_processes_are_counted_too(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    uint64_t calls = misbehave_calls("C_GenerateRandom");
    assert_int_equal(misbehave_in_child(call_in_child, &session), 0);
    assert_int_equal(misbehave_calls("C_GenerateRandom") - calls, 1);
}

/* As hsm-kms loads it, by p11-kit. */
static void a_keystore_works_through_it(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    misbehave_tell("");
    uint64_t calls = misbehave_calls("C_WrapKey");
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open_module(KMS_MISBEHAVE, SOFTHSM_URI);
    softhsm_make_sample(keystore, "through.v1", &sample);
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
    assert_true(misbehave_calls("C_WrapKey") > calls);
}

#define INITIALIZED(test) cmocka_unit_test_setup_teardown(test, misbehave_begin, misbehave_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INITIALIZED(without_a_rule_all_calls_pass),
        INITIALIZED(a_rule_strikes_the_nth_call_and_as_many_as_it_says),
        INITIALIZED(a_rule_strikes_its_own_function_once_unless_told_otherwise),
        INITIALIZED(a_rule_for_all_functions_may_strike_for_good),
        INITIALIZED(a_rule_keeps_its_count_while_it_stands_and_a_tag_makes_another),
        INITIALIZED(no_change_of_the_control_file_is_missed),
        INITIALIZED(a_call_may_fail_though_the_token_did_it),
        INITIALIZED(a_delay_holds_a_call_and_lets_it_pass),
        INITIALIZED(a_hanging_call_goes_on_when_its_rule_goes),
        INITIALIZED(a_crash_aborts_the_process_and_says_so),
        INITIALIZED(a_control_file_that_makes_no_sense_aborts),
        INITIALIZED(a_dead_module_lives_again_after_finalize),
        INITIALIZED(a_dead_module_may_stay_dead_until_the_process_ends),
        INITIALIZED(two_threads_in_one_session_abort),
        INITIALIZED(finalize_beside_a_call_aborts),
        INITIALIZED(threads_with_sessions_of_their_own_are_served),
        INITIALIZED(calls_are_counted_where_others_see_them),
        INITIALIZED(calls_of_other_processes_are_counted_too),
        cmocka_unit_test(a_keystore_works_through_it),
    };
    return cmocka_run_group_tests_name("misbehave", tests, misbehave_setup, misbehave_teardown);
}
