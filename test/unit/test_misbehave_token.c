/* SPDX-License-Identifier: Apache-2.0 */
/* What libkms_misbehave.so makes of the token: absent, full, locked, renumbered. */
#include <pthread.h>
#include <stdio.h>

#include "misbehave_rig.h"

/* --- tokens and sessions --- */

static void an_absent_token_takes_its_sessions_along(void **state)
{
    (void)state;
    CK_SLOT_ID slots[16], slot = misbehave_slot();
    CK_ULONG count = 16;
    CK_SLOT_INFO info;
    CK_TOKEN_INFO token;
    CK_SESSION_HANDLE session = misbehave_user(), more = 0;
    misbehave_tell("absent");
    assert_int_equal(misbehave->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    assert_int_equal(count, 0);
    count = 16;
    assert_int_equal(misbehave->C_GetSlotList(CK_FALSE, slots, &count), CKR_OK);
    assert_true(count > 0);
    assert_int_equal(misbehave->C_GetSlotInfo(slot, &info), CKR_OK);
    assert_int_equal(info.flags & CKF_TOKEN_PRESENT, 0);
    assert_int_equal(misbehave->C_GetTokenInfo(slot, &token), CKR_TOKEN_NOT_PRESENT);
    assert_int_equal(misbehave->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &more),
                     CKR_TOKEN_NOT_PRESENT);
    assert_int_equal(misbehave_random(session), CKR_DEVICE_REMOVED);

    misbehave_tell("");
    assert_int_equal(misbehave_random(session), CKR_SESSION_HANDLE_INVALID);
    session = misbehave_session();
    assert_int_equal(misbehave_log_in(session, SOFTHSM_PIN), CKR_OK); /* the login was lost, too */
}

static void sessions_over_the_cap_are_refused(void **state)
{
    (void)state;
    CK_SLOT_ID slot = misbehave_slot();
    CK_SESSION_HANDLE more = 0, session = misbehave_session();
    misbehave_tell("sessions 2");
    (void)misbehave_session();
    assert_int_equal(misbehave->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &more),
                     CKR_SESSION_COUNT);
    misbehave_tell("sessions 2 ARGUMENTS_BAD");
    assert_int_equal(misbehave->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &more),
                     CKR_ARGUMENTS_BAD);
    assert_int_equal(misbehave->C_CloseSession(session), CKR_OK);
    assert_int_equal(misbehave->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &more), CKR_OK);
    assert_int_equal(misbehave->C_CloseAllSessions(slot), CKR_OK);
    (void)misbehave_session();
    (void)misbehave_session();
}

static void calls_over_the_busy_cap_are_refused(void **state)
{
    (void)state;
    pthread_t thread;
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE session = misbehave_session(), other = misbehave_session();
    misbehave_tell("busy 1\nC_GenerateRandom hang");
    assert_true(misbehave_start_hanging(&session, &thread));
    assert_int_equal(misbehave->C_GetSessionInfo(other, &info), CKR_FUNCTION_FAILED);
    misbehave_tell("busy 1");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(misbehave->C_GetSessionInfo(other, &info), CKR_OK);
}

/* --- PINs --- */

static CK_FLAGS pin_flags(void)
{
    CK_TOKEN_INFO info;
    assert_int_equal(misbehave->C_GetTokenInfo(misbehave_slot(), &info), CKR_OK);
    return info.flags & (CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
}

static void limit_pins(const char *name)
{
    char text[128];
    (void)snprintf(text, sizeof(text), "pin-limit 3 %s/%s", softhsm_dir, name);
    misbehave_tell(text);
}

static void wrong_pins_lock_the_token_step_by_step(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    limit_pins("locked");
    assert_int_equal(pin_flags(), 0);
    assert_int_equal(misbehave_log_in(session, "wrong-1"), CKR_PIN_INCORRECT);
    assert_int_equal(pin_flags(), CKF_USER_PIN_COUNT_LOW);
    assert_int_equal(misbehave_log_in(session, "wrong-2"), CKR_PIN_INCORRECT);
    assert_int_equal(pin_flags(), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY);
    assert_int_equal(misbehave_log_in(session, "wrong-3"), CKR_PIN_INCORRECT);
    assert_int_equal(pin_flags(), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_LOCKED);
    assert_int_equal(misbehave_log_in(session, SOFTHSM_PIN), CKR_PIN_LOCKED);
}

static void the_right_pin_clears_the_count(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    limit_pins("cleared");
    assert_int_equal(misbehave_log_in(session, "wrong-1"), CKR_PIN_INCORRECT);
    assert_int_equal(misbehave_log_in(session, SOFTHSM_PIN), CKR_OK);
    assert_int_equal(pin_flags(), 0);
}

static int spend_two(void *session)
{
    CK_SESSION_HANDLE handle = *(CK_SESSION_HANDLE *)session;
    return misbehave_log_in(handle, "wrong-1") == CKR_PIN_INCORRECT &&
                   misbehave_log_in(handle, "wrong-2") == CKR_PIN_INCORRECT
               ? 0
               : 1;
}

static void wrong_pins_of_another_process_count(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    limit_pins("shared");
    assert_int_equal(misbehave_in_child(spend_two, &session), 0);
    assert_int_equal(pin_flags(), CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY);
}

static void the_security_officer_unlocks(void **state)
{
    (void)state;
    unsigned char so_pin[] = "87654321", pin[] = SOFTHSM_PIN;
    CK_SESSION_HANDLE session = misbehave_session();
    limit_pins("unlocked");
    for (int i = 0; i < 3; i++)
        assert_int_equal(misbehave_log_in(session, "wrong"), CKR_PIN_INCORRECT);
    assert_int_equal(misbehave->C_Login(session, CKU_SO, so_pin, 8), CKR_OK);
    assert_int_equal(misbehave->C_InitPIN(session, pin, 8), CKR_OK);
    assert_int_equal(pin_flags(), 0);
    assert_int_equal(misbehave->C_Logout(session), CKR_OK);
    assert_int_equal(misbehave_log_in(session, SOFTHSM_PIN), CKR_OK);
}

/* --- handles --- */

static CK_SESSION_HANDLE reconnect(void)
{
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    assert_int_equal(misbehave->C_Finalize(NULL), CKR_OK);
    assert_int_equal(misbehave->C_Initialize(&args), CKR_OK);
    return misbehave_user();
}

static void destroy(CK_SESSION_HANDLE session, const char *label)
{
    assert_int_equal(misbehave->C_DestroyObject(session, misbehave_find(session, label)), CKR_OK);
}

static void after_a_reconnect_an_old_handle_names_another_key(void **state)
{
    (void)state;
    char label[64];
    misbehave_tell("renumber");
    CK_SESSION_HANDLE session = reconnect();
    CK_OBJECT_HANDLE first = misbehave_make_kek(session, "first", rig_key, false);
    CK_OBJECT_HANDLE second = misbehave_make_kek(session, "second", rig_other_key, false);
    assert_int_equal(misbehave_find(session, "first"), first);
    for (int i = 0; i < 2; i++) {
        session = reconnect();
        misbehave_label_of(session, first, label); /* before anybody looked for a key */
        assert_string_equal(label, i == 0 ? "second" : "first");
        misbehave_label_of(session, second, label);
        assert_string_equal(label, i == 0 ? "first" : "second");
        assert_int_equal(misbehave_find(session, i == 0 ? "first" : "second"), second);
    }
    destroy(session, "first");
    destroy(session, "second");
}

static void renumbered_keys_wrap_by_what_they_are(void **state)
{
    (void)state;
    uint8_t wrapped[64], expected[KMS_WRAPPED_MAX];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE seed = 0;
    misbehave_tell("renumber");
    CK_SESSION_HANDLE session = reconnect();
    CK_OBJECT_HANDLE stale = misbehave_make_kek(session, "first", rig_key, false);
    (void)misbehave_make_kek(session, "second", rig_other_key, false);
    session = reconnect();
    assert_int_equal(misbehave_make_seed(session, false, &seed), CKR_OK);
    assert_int_equal(misbehave_wrap(session, CKM_AES_KEY_WRAP, stale, seed, wrapped, &len), CKR_OK);
    (void)rig_wrap(rig_other_key, (struct kms_bytes){ softhsm_seed, sizeof(softhsm_seed) },
                   expected);
    assert_memory_equal(wrapped, expected, 40);
    assert_int_equal(misbehave->C_DestroyObject(session, seed), CKR_OK);
    assert_int_equal(misbehave->C_DestroyObject(session, seed), CKR_OBJECT_HANDLE_INVALID);
    destroy(session, "first");
    destroy(session, "second");
}

#define INITIALIZED(test) cmocka_unit_test_setup_teardown(test, misbehave_begin, misbehave_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INITIALIZED(an_absent_token_takes_its_sessions_along),
        INITIALIZED(sessions_over_the_cap_are_refused),
        INITIALIZED(calls_over_the_busy_cap_are_refused),
        INITIALIZED(wrong_pins_lock_the_token_step_by_step),
        INITIALIZED(the_right_pin_clears_the_count),
        INITIALIZED(wrong_pins_of_another_process_count),
        INITIALIZED(the_security_officer_unlocks),
        INITIALIZED(after_a_reconnect_an_old_handle_names_another_key),
        INITIALIZED(renumbered_keys_wrap_by_what_they_are),
    };
    return cmocka_run_group_tests_name("misbehave_token", tests, misbehave_setup,
                                       misbehave_teardown);
}
