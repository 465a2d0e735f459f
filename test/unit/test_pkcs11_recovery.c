/* SPDX-License-Identifier: Apache-2.0 */
/* What the keystore does when the token fails: one test for each class of pkcs11/rv.h. */
#include <pthread.h>

#include "pkcs11_rig.h"

static unsigned calls(struct rig *rig, const char *call)
{
    return fake_module_calls(rig->module, call);
}

static void describe(struct rig *rig, struct kms_token_info *ret_info)
{
    kms_keystore_describe(rig->keystore, ret_info);
}

static bool is_connected(struct rig *rig)
{
    struct kms_token_info infos[KMS_TOKENS_MAX];
    describe(rig, infos);
    return infos[0].connected;
}

static enum kms_code unwrap_tampered(struct rig *rig)
{
    struct kms_wrapped wrapped = rig_sample();
    wrapped.data[3] ^= 1;
    return rig_unwrap(rig, &wrapped);
}

/* --- request and ambiguous --- */

static void a_tampered_ciphertext_is_corrupt_whatever_the_ckr(void **state)
{
    struct rig *rig = *state;
    static const CK_RV answers[] = { CKR_GENERAL_ERROR,         CKR_DEVICE_ERROR,
                                     CKR_FUNCTION_FAILED,       CKR_WRAPPED_KEY_INVALID,
                                     CKR_WRAPPED_KEY_LEN_RANGE, CKR_DATA_LEN_RANGE };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        fake_module_behaviour(rig->module)->tamper_rv = answers[i];
        assert_int_equal(unwrap_tampered(rig), KMS_E_CORRUPT);
        assert_int_equal(rig->err.code, KMS_E_CORRUPT);
        assert_int_equal(rig->err.ckr, answers[i]);
    }
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

/* What CloudHSM says when it is busy, among others. */
static void a_passing_failure_is_not_taken_for_a_damaged_ciphertext(void **state)
{
    struct rig *rig = *state;
    static const CK_RV answers[] = { CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED };
    const struct kms_wrapped wrapped = rig_sample();
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        fake_module_fail_next(rig->module, "C_UnwrapKey", answers[i]);
        assert_ok(rig_unwrap(rig, &wrapped), &rig->err);
    }
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void a_seed_that_was_unwrapped_but_not_read_is_not_corrupt(void **state)
{
    struct rig *rig = *state;
    const struct kms_wrapped wrapped = rig_sample();
    fake_module_fail_next(rig->module, "C_GetAttributeValue", CKR_DEVICE_ERROR);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_UNAVAILABLE);
}

static void an_ambiguous_failure_with_a_bad_canary_is_an_outage(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_always(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(unwrap_tampered(rig), KMS_E_UNAVAILABLE);
    fake_module_fail_always(rig->module, "C_WrapKey", CKR_OK);
    assert_true(is_connected(rig));
}

static void doubt_makes_the_next_inventory_take_fingerprints_again(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(unwrap_tampered(rig), KMS_E_UNAVAILABLE);
    unsigned wraps = calls(rig, "C_WrapKey");
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_WrapKey"), wraps + 1);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_WrapKey"), wraps + 1);
}

static void doubt_that_is_confirmed_reconnects(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(unwrap_tampered(rig), KMS_E_UNAVAILABLE);
    for (int looks = 0; looks < 2; looks++)
        fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 2);
    rig_assert_unwraps(rig);
}

/* What brings nothing by itself may be what a module says until C_Finalize. */
static void a_listing_that_fails_twice_by_anything_reconnects(void **state)
{
    struct rig *rig = *state;
    static const CK_RV answers[] = { CKR_MUTEX_BAD, CKR_FUNCTION_NOT_SUPPORTED, CKR_DEVICE_MEMORY,
                                     CKR_WRAPPED_KEY_INVALID };
    for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        fake_module_fail_always(rig->module, "C_FindObjectsInit", answers[i]);
        assert_int_not_equal(rig_inventory(rig), KMS_OK);
        assert_true(is_connected(rig));
        assert_int_not_equal(rig_inventory(rig), KMS_OK);
        fake_module_fail_always(rig->module, "C_FindObjectsInit", CKR_OK);
        assert_ok(rig_inventory(rig), &rig->err);
        assert_true(calls(rig, "C_Initialize") > 1 + i);
    }
}

static void a_key_that_is_denied_once_is_still_listed(void **state)
{
    struct rig *rig = *state;
    (void)fake_module_add_kek(rig->module, "prod.v2", rig_other_key);
    assert_ok(rig_inventory(rig), &rig->err);
    struct kms_inventory inventory = { 0 };
    fake_module_fail_next(rig->module, "C_GetAttributeValue", CKR_OBJECT_HANDLE_INVALID);
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    assert_int_equal(inventory.count, 2);
    kms_inventory_done(&inventory);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void another_applications_key_that_is_denied_disturbs_no_listing(void **state)
{
    struct rig *rig = *state;
    struct kms_inventory inventory = { 0 };
    assert_ok(rig_inventory(rig), &rig->err);
    (void)fake_module_add_kek(rig->module, "billing", rig_other_key); /* found after ours */
    fake_module_fail_after(rig->module, "C_GetAttributeValue", 1, CKR_OBJECT_HANDLE_INVALID);
    fake_module_fail_after(rig->module, "C_GetAttributeValue", 2, CKR_OBJECT_HANDLE_INVALID);
    unsigned before = calls(rig, "C_GetAttributeValue");
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    assert_int_equal(calls(rig, "C_GetAttributeValue"), before + 4); /* denied both times */
    assert_int_equal(inventory.count, 1);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
    kms_inventory_done(&inventory);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_GetAttributeValue"), before + 6); /* no rule is left */
}

static void keys_that_a_token_finds_and_denies_are_not_taken_for_destroyed(void **state)
{
    struct rig *rig = *state;
    fake_module_behaviour(rig->module)->ciphers = true; /* the test key needs no attribute read */
    fake_module_behaviour(rig->module)->import_seed_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    kms_keystore_close(rig->keystore);
    struct pkcs11_keystore_options options = {
        .uri = FAKE_URI, .pin = &rig->pin, .sessions = 2, .lock_dir = rig->dir
    };
    struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &rig->keystore, &rig->err), &rig->err);
    fake_module_fail_always(rig->module, "C_GetAttributeValue", CKR_OBJECT_HANDLE_INVALID);
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    fake_module_fail_always(rig->module, "C_GetAttributeValue", CKR_OK);
    assert_ok(rig_inventory(rig), &rig->err);
}

/* A KEK may be unfit for the other profile. */
static void a_refusal_while_reconnecting_changes_no_profile(void **state)
{
    struct rig *rig = *state;
    fake_module_behaviour(rig->module)->ciphers = true;
    fake_module_fail_next(rig->module, "C_FindObjectsInit", CKR_DEVICE_REMOVED);
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_MECHANISM_INVALID);
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "aes-kw-cipher");
    assert_ok(rig_inventory(rig), &rig->err);
    rig_assert_unwraps(rig);
}

static void a_token_that_refuses_its_own_ciphertext_is_no_damage_of_etcds(void **state)
{
    struct rig *rig = *state;
    const struct kms_wrapped wrapped = rig_sample();
    fake_module_fail_always(rig->module, "C_UnwrapKey", CKR_WRAPPED_KEY_INVALID);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "canary");
    fake_module_fail_always(rig->module, "C_UnwrapKey", CKR_OK);
}

static void an_ambiguous_failure_of_a_listing_reconnects(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_FindObjectsInit", CKR_DEVICE_ERROR);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 2);
}

static void a_canary_that_doesnt_come_back_is_an_outage(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_GENERAL_ERROR);
    assert_int_equal(kms_keystore_canary(rig->keystore, &rig->kek, rig_soon_ms(), &rig->err),
                     KMS_E_UNAVAILABLE);
}

/* --- handle --- */

static void changed_handles_are_found_again(void **state)
{
    struct rig *rig = *state;
    fake_module_renumber(rig->module);
    rig_assert_unwraps(rig);
    fake_module_renumber(rig->module);
    rig_assert_wraps(rig);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void a_handle_that_stays_bad_is_tried_twice(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    unsigned before = calls(rig, "C_UnwrapKey");
    fake_module_fail_always(rig->module, "C_UnwrapKey", CKR_UNWRAPPING_KEY_HANDLE_INVALID);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_int_equal(calls(rig, "C_UnwrapKey"), before + 2);
    fake_module_fail_always(rig->module, "C_UnwrapKey", CKR_OK);
}

static void a_handle_that_names_another_key_is_found_again(void **state)
{
    struct rig *rig = *state;
    fake_module_set_bytes(rig->module, rig->place, CKA_VALUE, rig_other_key, 32);
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    rig_assert_unwraps(rig);
    rig_assert_wraps(rig);
}

static void a_deleted_key_is_missing_and_not_corrupt(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    fake_module_remove(rig->module, rig->place);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "do not delete objects");
}

/* SoftHSM without its token directory: the key is gone, and with it the only trace of an outage. */
static void a_key_missed_by_a_call_makes_the_next_inventory_reconnect(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    (void)fake_module_add_kek(rig->module, "prod.v2", rig_other_key);
    assert_ok(rig_inventory(rig), &rig->err);
    fake_module_remove(rig->module, rig->place);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 2);
}

/* --- session and login --- */

static void dead_sessions_are_replaced(void **state)
{
    struct rig *rig = *state;
    fake_module_drop_sessions(rig->module);
    rig_assert_unwraps(rig);
    fake_module_drop_sessions(rig->module);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Login"), 1);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void *unwrap_sample(void *arg)
{
    rig_assert_unwraps(&(struct rig){ .keystore = ((struct rig *)arg)->keystore,
                                      .kek = ((struct rig *)arg)->kek });
    return NULL;
}

static void a_lost_login_is_made_again(void **state)
{
    struct rig *rig = *state;
    fake_module_log_out(rig->module);
    rig_assert_unwraps(rig);
    fake_module_log_out(rig->module);
    rig_assert_wraps(rig);
    assert_int_equal(calls(rig, "C_Login"), 3);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void a_list_without_a_login_is_never_taken_for_complete(void **state)
{
    struct rig *rig = *state;
    fake_module_log_out(rig->module);
    struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    assert_int_equal(inventory.count, 1);
    kms_inventory_done(&inventory);
    assert_int_equal(calls(rig, "C_Login"), 2);
}

static void a_refused_relogin_is_the_answer(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    strcpy(fake_module_behaviour(rig->module)->pin, "changed");
    fake_module_log_out(rig->module);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_int_equal(rig->err.ckr, CKR_PIN_INCORRECT);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_int_equal(calls(rig, "C_Login"), 2);
}

static void many_that_lost_the_login_share_one(void **state)
{
    struct rig *rig = *state;
    pthread_t threads[8];
    fake_module_log_out(rig->module);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, unwrap_sample, rig), 0);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(calls(rig, "C_Login"), 2);
}

/* --- capacity --- */

static void a_token_out_of_memory_is_busy(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    fake_module_fail_always(rig->module, "C_UnwrapKey", CKR_DEVICE_MEMORY);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_BUSY);
    fake_module_fail_always(rig->module, "C_UnwrapKey", CKR_OK);
    rig_assert_unwraps(rig);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

/* --- module --- */

static void a_removed_device_fails_at_once_until_an_inventory(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_DEVICE_REMOVED);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_UNAVAILABLE);
    assert_false(is_connected(rig));
    unsigned before = fake_module_all_calls(rig->module);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_UNAVAILABLE);
    assert_int_equal(rig->err.ckr, CKR_DEVICE_REMOVED);
    assert_int_equal(fake_module_all_calls(rig->module), before);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 2);
    rig_assert_unwraps(rig);
}

static void every_module_ckr_reconnects(void **state)
{
    struct rig *rig = *state;
    static const CK_RV answers[] = { CKR_DEVICE_REMOVED,           CKR_TOKEN_NOT_PRESENT,
                                     CKR_TOKEN_NOT_RECOGNIZED,     CKR_SLOT_ID_INVALID,
                                     CKR_CRYPTOKI_NOT_INITIALIZED, CKR_VENDOR_DEFINED | 7 };
    for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        fake_module_fail_next(rig->module, "C_FindObjectsInit", answers[i]);
        assert_ok(rig_inventory(rig), &rig->err);
        assert_int_equal(calls(rig, "C_Initialize"), 2 + i);
        rig_assert_unwraps(rig);
    }
}

/* C_Initialize says then that it was initialized before; but it is ours to finalize all the same. */
static void a_finalize_that_failed_is_made_up_for(void **state)
{
    struct rig *rig = *state;
    static const CK_RV answers[] = { CKR_DEVICE_ERROR, CKR_CRYPTOKI_NOT_INITIALIZED };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        fake_module_fail_next(rig->module, "C_Finalize", answers[i]);
        fake_module_fail_next(rig->module, "C_FindObjectsInit", CKR_DEVICE_REMOVED);
        assert_ok(rig_inventory(rig), &rig->err);
        unsigned before = calls(rig, "C_Finalize");
        fake_module_fail_next(rig->module, "C_FindObjectsInit", CKR_DEVICE_REMOVED);
        assert_ok(rig_inventory(rig), &rig->err);
        assert_int_equal(calls(rig, "C_Finalize"), before + 1);
    }
}

static void a_token_that_vanished_is_an_outage_and_heals(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    fake_module_behaviour(rig->module)->tokens = 0;
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_TOKEN_NOT_PRESENT);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_UNAVAILABLE);
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_UNAVAILABLE);
    fake_module_behaviour(rig->module)->tokens = 1;
    assert_ok(rig_inventory(rig), &rig->err);
    rig_assert_unwraps(rig);
}

static void keys_that_all_vanish_are_looked_for_in_a_new_connection(void **state)
{
    struct rig *rig = *state;
    struct kms_inventory inventory = { 0 };
    fake_module_remove(rig->module, rig->place);
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    assert_int_equal(inventory.count, 0);
    kms_inventory_done(&inventory);
    assert_int_equal(calls(rig, "C_Initialize"), 2);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 2);
}

static void one_destroyed_key_of_two_disturbs_nothing(void **state)
{
    struct rig *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v2", rig_other_key);
    assert_ok(rig_inventory(rig), &rig->err);
    fake_module_remove(rig->module, place);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void a_key_destroyed_while_another_process_logs_in_disturbs_nothing(void **state)
{
    struct rig *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v2", rig_other_key);
    assert_ok(rig_inventory(rig), &rig->err);
    fake_module_remove(rig->module, place);
    fake_module_fail_next(rig->module, "C_GetTokenInfo", CKR_GENERAL_ERROR);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

static void a_key_gone_from_a_token_that_tells_nothing_of_itself_is_an_outage(void **state)
{
    struct rig *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v2", rig_other_key);
    assert_ok(rig_inventory(rig), &rig->err);
    fake_module_remove(rig->module, place);
    fake_module_fail_always(rig->module, "C_GetTokenInfo", CKR_GENERAL_ERROR);
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
}

static void a_key_that_gave_way_to_another_disturbs_nothing(void **state)
{
    struct rig *rig = *state;
    fake_module_remove(rig->module, rig->place);
    (void)fake_module_add_kek(rig->module, "prod.v2", rig_other_key);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Initialize"), 1);
}

struct thread_result {
    struct rig *rig;
    enum kms_code rc;
    struct kms_error err;
};

static void *unwrap_and_tell(void *arg)
{
    struct thread_result *result = arg;
    struct rig own = { .keystore = result->rig->keystore, .kek = result->rig->kek };
    struct kms_wrapped wrapped = rig_sample();
    result->rc = rig_unwrap(&own, &wrapped);
    result->err = own.err;
    return NULL;
}

static void a_call_that_never_returns_holds_back_only_the_reconnect(void **state)
{
    struct rig *rig = *state;
    struct thread_result inside = { .rig = rig };
    struct kms_wrapped wrapped = rig_sample();
    pthread_t call;
    fake_module_hold_next(rig->module, "C_UnwrapKey");
    assert_int_equal(pthread_create(&call, NULL, unwrap_and_tell, &inside), 0);
    fake_module_wait_held(rig->module);
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_DEVICE_REMOVED);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_UNAVAILABLE);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_UNAVAILABLE);
    struct kms_inventory inventory = { 0 };
    assert_int_equal(kms_keystore_inventory(rig->keystore, "prod.", kms_monotonic_ms() + 30,
                                            &inventory, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "still inside");
    assert_int_equal(calls(rig, "C_Finalize"), 0);
    fake_module_let_go(rig->module);
    assert_int_equal(pthread_join(call, NULL), 0);
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(calls(rig, "C_Finalize"), 1);
}

/* --- config --- */

static void a_forbidden_use_is_a_case_for_the_operator(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = rig_sample();
    fake_module_set_bool(rig->module, rig->place, CKA_UNWRAP, false);
    assert_int_equal(rig_unwrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_int_equal(rig->err.ckr, CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_true(is_connected(rig));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup_connected, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tampered_ciphertext_is_corrupt_whatever_the_ckr),
        TEST(a_passing_failure_is_not_taken_for_a_damaged_ciphertext),
        TEST(a_seed_that_was_unwrapped_but_not_read_is_not_corrupt),
        TEST(an_ambiguous_failure_with_a_bad_canary_is_an_outage),
        TEST(doubt_makes_the_next_inventory_take_fingerprints_again),
        TEST(doubt_that_is_confirmed_reconnects),
        TEST(a_listing_that_fails_twice_by_anything_reconnects),
        TEST(a_key_that_is_denied_once_is_still_listed),
        TEST(another_applications_key_that_is_denied_disturbs_no_listing),
        TEST(keys_that_a_token_finds_and_denies_are_not_taken_for_destroyed),
        TEST(a_refusal_while_reconnecting_changes_no_profile),
        TEST(a_token_that_refuses_its_own_ciphertext_is_no_damage_of_etcds),
        TEST(an_ambiguous_failure_of_a_listing_reconnects),
        TEST(a_canary_that_doesnt_come_back_is_an_outage),
        TEST(changed_handles_are_found_again),
        TEST(a_handle_that_stays_bad_is_tried_twice),
        TEST(a_handle_that_names_another_key_is_found_again),
        TEST(a_deleted_key_is_missing_and_not_corrupt),
        TEST(a_key_missed_by_a_call_makes_the_next_inventory_reconnect),
        TEST(dead_sessions_are_replaced),
        TEST(a_lost_login_is_made_again),
        TEST(a_list_without_a_login_is_never_taken_for_complete),
        TEST(a_refused_relogin_is_the_answer),
        TEST(many_that_lost_the_login_share_one),
        TEST(a_token_out_of_memory_is_busy),
        TEST(a_removed_device_fails_at_once_until_an_inventory),
        TEST(every_module_ckr_reconnects),
        TEST(a_finalize_that_failed_is_made_up_for),
        TEST(a_token_that_vanished_is_an_outage_and_heals),
        TEST(keys_that_all_vanish_are_looked_for_in_a_new_connection),
        TEST(one_destroyed_key_of_two_disturbs_nothing),
        TEST(a_key_destroyed_while_another_process_logs_in_disturbs_nothing),
        TEST(a_key_gone_from_a_token_that_tells_nothing_of_itself_is_an_outage),
        TEST(a_key_that_gave_way_to_another_disturbs_nothing),
        TEST(a_call_that_never_returns_holds_back_only_the_reconnect),
        TEST(a_forbidden_use_is_a_case_for_the_operator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
