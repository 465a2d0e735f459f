/* SPDX-License-Identifier: Apache-2.0 */
/* What commands do to a key, seen through the keystore: recovery, and the inventory afterwards. */
#include <stdio.h>

#include "pkcs11_rig.h"

enum { MANY = 50 };

static struct kms_inventory take_inventory(struct rig *rig)
{
    struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    return inventory;
}

static struct kms_kek_info the_kek(struct rig *rig)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = take_inventory(rig);
    assert_int_equal(inventory.count, 1);
    return inventory.keks[0];
}

static struct kms_object object_of(const struct kms_kek_info *kek)
{
    struct kms_bytes id = { kek->cka_id, kek->cka_id_len };
    return (struct kms_object){ kek->label, id };
}

static enum kms_code set_usage(struct rig *rig, const struct kms_kek_info *kek, bool usable)
{
    struct kms_object object = object_of(kek);
    return kms_keystore_set_usage(rig->keystore, &object, usable, rig_soon_ms(), &rig->err);
}

static enum kms_code relabel(struct rig *rig, const struct kms_kek_info *kek, const char *label)
{
    struct kms_object object = object_of(kek);
    return kms_keystore_relabel(rig->keystore, &object, label, rig_soon_ms(), &rig->err);
}

static enum kms_code copy(struct rig *rig, const struct kms_kek_info *kek, const char *label,
                          struct kms_kek_info *ret_copy)
{
    struct kms_object object = object_of(kek);
    return kms_keystore_copy(rig->keystore, &object, label, rig_soon_ms(), ret_copy, &rig->err);
}

static void a_disabled_key_is_listed_at_once_without_a_fingerprint(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    unsigned starts = fake_module_calls(rig->module, "C_Initialize");
    assert_ok(set_usage(rig, &kek, false), &rig->err);
    struct kms_kek_info disabled = the_kek(rig);
    assert_false(disabled.fingerprinted);
    assert_contains(disabled.problem, "disabled");
    assert_int_equal(disabled.attributes & (KMS_KEK_WRAP | KMS_KEK_UNWRAP), 0);
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), starts);
}

static void a_disabled_key_neither_wraps_nor_unwraps(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_wrapped wrapped = { 0 };
    struct kms_wrapped sample = rig_sample();
    assert_ok(set_usage(rig, &kek, false), &rig->err);
    assert_int_equal(rig_wrap_seed(rig, &wrapped), KMS_E_PRECONDITION);
    assert_int_equal(rig_unwrap(rig, &sample), KMS_E_PRECONDITION);
    assert_int_equal(rig->err.ckr, CKR_KEY_FUNCTION_NOT_PERMITTED);
}

static void an_enabled_key_has_its_fingerprint_again_and_works(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    assert_ok(set_usage(rig, &kek, false), &rig->err);
    assert_false(the_kek(rig).fingerprinted);
    assert_ok(set_usage(rig, &kek, true), &rig->err);
    struct kms_kek_info enabled = the_kek(rig);
    assert_true(enabled.fingerprinted);
    assert_memory_equal(enabled.fingerprint, rig->fingerprint, KMS_FINGERPRINT_LEN);
    assert_string_equal(enabled.problem, "");
    rig_assert_wraps(rig);
    rig_assert_unwraps(rig);
}

static void a_relabelled_key_is_listed_at_once_and_not_missed(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    unsigned starts = fake_module_calls(rig->module, "C_Initialize");
    assert_ok(relabel(rig, &kek, "prod.v9"), &rig->err);
    struct kms_kek_info after = the_kek(rig);
    assert_string_equal(after.label, "prod.v9");
    assert_memory_equal(after.fingerprint, rig->fingerprint, KMS_FINGERPRINT_LEN);
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), starts);
    rig->kek.label = "prod.v9";
    rig_assert_wraps(rig);
}

static void a_key_disabled_by_someone_else_is_not_missed(void **state)
{
    struct rig *rig = *state;
    unsigned starts = fake_module_calls(rig->module, "C_Initialize");
    fake_module_set_bool(rig->module, rig->place, CKA_WRAP, false);
    fake_module_set_bool(rig->module, rig->place, CKA_UNWRAP, false);
    assert_contains(the_kek(rig).problem, "disabled");
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), starts);
}

static void a_key_relabelled_by_someone_else_is_not_missed(void **state)
{
    struct rig *rig = *state;
    unsigned starts = fake_module_calls(rig->module, "C_Initialize");
    fake_module_set_bytes(rig->module, rig->place, CKA_LABEL, "prod.v9", 7);
    assert_string_equal(the_kek(rig).label, "prod.v9");
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), starts);
}

static void a_destroyed_key_is_not_missed(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_object object = object_of(&kek);
    unsigned starts = fake_module_calls(rig->module, "C_Initialize");
    assert_ok(
        kms_keystore_destroy(rig->keystore, object.label, object.cka_id, rig_soon_ms(), &rig->err),
        &rig->err);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = take_inventory(rig);
    assert_int_equal(inventory.count, 0);
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), starts);
}

static void a_copy_is_listed_and_wraps_the_same(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_kek_info made;
    assert_ok(copy(rig, &kek, "prod.v2", &made), &rig->err);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = take_inventory(rig);
    assert_int_equal(inventory.count, 2);
    assert_string_equal(inventory.keks[1].label, "prod.v2");
    assert_memory_equal(&inventory.keks[1], &made, sizeof(made));
    rig->kek.label = "prod.v2";
    rig_assert_wraps(rig);
    rig_assert_unwraps(rig);
}

static void the_details_come_through_the_seam(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_object object = object_of(&kek);
    struct kms_kek_details details;
    fake_module_set_bytes(rig->module, rig->place, CKA_CHECK_VALUE, "abc", 3);
    assert_ok(kms_keystore_inspect(rig->keystore, &object, rig_soon_ms(), &details, &rig->err),
              &rig->err);
    assert_memory_equal(&details.info, &kek, sizeof(kek));
    assert_memory_equal(details.check_value, "abc", 3);
}

static void a_late_session_failure_is_mended_without_doing_it_twice(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_kek_info made;
    struct fake_behaviour *behaviour = fake_module_behaviour(rig->module);
    behaviour->late_rv = CKR_SESSION_HANDLE_INVALID;
    assert_ok(copy(rig, &kek, "prod.v2", &made), &rig->err);
    behaviour->late_rv = CKR_SESSION_HANDLE_INVALID;
    assert_ok(kms_keystore_generate(rig->keystore, "prod.v3", rig_soon_ms(), &made, &rig->err),
              &rig->err);
    behaviour->late_rv = CKR_SESSION_HANDLE_INVALID;
    assert_ok(relabel(rig, &kek, "prod.v0"), &rig->err);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = take_inventory(rig);
    assert_int_equal(inventory.count, 3);
    assert_string_equal(inventory.keks[0].label, "prod.v0");
}

static void a_lost_login_does_not_make_a_key_seem_gone(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_object object = object_of(&kek);
    struct kms_kek_info made;
    struct kms_kek_details details;
    fake_module_log_out(rig->module);
    assert_ok(set_usage(rig, &kek, true), &rig->err);
    fake_module_log_out(rig->module);
    assert_ok(copy(rig, &kek, "prod.v2", &made), &rig->err);
    fake_module_log_out(rig->module);
    assert_ok(kms_keystore_inspect(rig->keystore, &object, rig_soon_ms(), &details, &rig->err),
              &rig->err);
    fake_module_log_out(rig->module);
    assert_ok(relabel(rig, &kek, "prod.v3"), &rig->err);
    fake_module_log_out(rig->module);
    struct kms_object copied = object_of(&made);
    assert_ok(
        kms_keystore_destroy(rig->keystore, copied.label, copied.cka_id, rig_soon_ms(), &rig->err),
        &rig->err);
}

static void a_token_that_forbids_it_is_believed(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_kek_info made;
    fake_module_fail_next(rig->module, "C_CopyObject", CKR_FUNCTION_NOT_SUPPORTED);
    assert_int_equal(copy(rig, &kek, "prod.v2", &made), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "this token can't do that");
    fake_module_fail_next(rig->module, "C_SetAttributeValue", CKR_ATTRIBUTE_READ_ONLY);
    assert_int_equal(set_usage(rig, &kek, false), KMS_E_PRECONDITION);
    fake_module_fail_next(rig->module, "C_SetAttributeValue", CKR_SESSION_READ_ONLY);
    assert_int_equal(relabel(rig, &kek, "prod.v2"), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "the token is read-only");
    assert_memory_equal(the_kek(rig).fingerprint, rig->fingerprint, KMS_FINGERPRINT_LEN);
    rig_assert_wraps(rig);
}

static void a_token_away_is_not_a_key_gone(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    fake_module_fail_next(rig->module, "C_SetAttributeValue", CKR_DEVICE_REMOVED);
    assert_int_equal(set_usage(rig, &kek, false), KMS_E_UNAVAILABLE);
    assert_true(the_kek(rig).fingerprinted);
}

static void a_deadline_in_the_past_touches_nothing(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = the_kek(rig);
    struct kms_object object = object_of(&kek);
    unsigned calls = fake_module_all_calls(rig->module);
    int64_t past_ms = kms_monotonic_ms() - 1;
    struct kms_keystore *ks = rig->keystore;
    struct kms_kek_info made;
    struct kms_kek_details details;
    assert_int_equal(kms_keystore_copy(ks, &object, "prod.v2", past_ms, &made, &rig->err),
                     KMS_E_DEADLINE);
    assert_int_equal(kms_keystore_relabel(ks, &object, "prod.v2", past_ms, &rig->err),
                     KMS_E_DEADLINE);
    assert_int_equal(kms_keystore_set_usage(ks, &object, false, past_ms, &rig->err),
                     KMS_E_DEADLINE);
    assert_int_equal(kms_keystore_inspect(ks, &object, past_ms, &details, &rig->err),
                     KMS_E_DEADLINE);
    assert_int_equal(fake_module_all_calls(rig->module), calls);
}

/* The design's promise: one find, and one C_GetAttributeValue a key. */
static void a_refresh_of_fifty_keys_costs_one_find_and_fifty_reads(void **state)
{
    struct rig *rig = *state;
    for (int i = 2; i <= MANY; i++) {
        char label[32];
        (void)snprintf(label, sizeof(label), "prod.v%d", i);
        (void)fake_module_add_kek(rig->module, label, rig_key);
    }
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory first = take_inventory(rig);
    assert_int_equal(first.count, MANY);
    static const struct {
        const char *call;
        unsigned cost;
    } expected[] = {
        { "C_FindObjectsInit", 1 },
        { "C_FindObjectsFinal", 1 },
        { "C_GetAttributeValue", MANY },
        { "C_WrapKey", 0 },
        { "C_UnwrapKey", 0 },
        { "C_CreateObject", 0 },
        { "C_OpenSession", 0 },
        { "C_Login", 0 },
        { "C_GetSessionInfo", 1 },
    };
    enum { CALLS = sizeof(expected) / sizeof(expected[0]) };
    unsigned before[CALLS];
    for (size_t i = 0; i < CALLS; i++)
        before[i] = fake_module_calls(rig->module, expected[i].call);
    unsigned all = fake_module_all_calls(rig->module);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory second = take_inventory(rig);
    assert_int_equal(second.count, MANY);
    for (size_t i = 0; i < CALLS; i++) {
        unsigned cost = fake_module_calls(rig->module, expected[i].call) - before[i];
        if (cost != expected[i].cost)
            fail_msg("%u × %s", cost, expected[i].call);
    }
    /* All else are the two C_FindObjects that fetch the handles. */
    assert_int_equal(fake_module_all_calls(rig->module) - all, MANY + 5);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup_connected, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_disabled_key_is_listed_at_once_without_a_fingerprint),
        TEST(a_disabled_key_neither_wraps_nor_unwraps),
        TEST(an_enabled_key_has_its_fingerprint_again_and_works),
        TEST(a_relabelled_key_is_listed_at_once_and_not_missed),
        TEST(a_key_disabled_by_someone_else_is_not_missed),
        TEST(a_key_relabelled_by_someone_else_is_not_missed),
        TEST(a_destroyed_key_is_not_missed),
        TEST(a_copy_is_listed_and_wraps_the_same),
        TEST(the_details_come_through_the_seam),
        TEST(a_late_session_failure_is_mended_without_doing_it_twice),
        TEST(a_lost_login_does_not_make_a_key_seem_gone),
        TEST(a_token_that_forbids_it_is_believed),
        TEST(a_token_away_is_not_a_key_gone),
        TEST(a_deadline_in_the_past_touches_nothing),
        TEST(a_refresh_of_fifty_keys_costs_one_find_and_fifty_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
