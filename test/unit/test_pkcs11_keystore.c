/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pkcs11_rig.h"

static struct kms_bytes seed_of(size_t len)
{
    static const uint8_t zeros[512];
    return (struct kms_bytes){ zeros, len };
}

/* --- options --- */

static enum kms_code open_with(struct rig *rig, const struct pkcs11_keystore_options *options)
{
    struct kms_keystore *keystore = NULL;
    enum kms_code rc = pkcs11_keystore_open(options, &keystore, &rig->err);
    kms_keystore_close(keystore);
    return rc;
}

static void opening_touches_neither_module_nor_token(void **state)
{
    struct rig *rig = *state;
    struct pkcs11_keystore_options options = {
        .module = "/nonexistent.so", .uri = FAKE_URI, .pin_file = "/nonexistent", .sessions = 1
    };
    assert_ok(open_with(rig, &options), &rig->err);
    assert_int_equal(fake_module_all_calls(rig->module), 0);
}

static void unusable_options_are_named(void **state)
{
    struct rig *rig = *state;
    const struct pkcs11_keystore_options good = {
        .module = "/x.so", .uri = FAKE_URI, .pin_file = "/pin", .sessions = 64
    };
    assert_ok(open_with(rig, &good), &rig->err);
    struct pkcs11_keystore_options bad = good;
    bad.module = "lib/x.so";
    assert_int_equal(open_with(rig, &bad), KMS_E_INVALID);
    assert_contains(rig->err.msg, "module:");
    bad = good;
    bad.uri = "pkcs11:";
    assert_int_equal(open_with(rig, &bad), KMS_E_INVALID);
    assert_contains(rig->err.msg, "uri:");
    bad = good;
    bad.pin_file = NULL;
    assert_int_equal(open_with(rig, &bad), KMS_E_INVALID);
    assert_contains(rig->err.msg, "pin_file:");
    bad = good;
    bad.sessions = 0;
    assert_int_equal(open_with(rig, &bad), KMS_E_INVALID);
    bad.sessions = 65;
    assert_int_equal(open_with(rig, &bad), KMS_E_INVALID);
    assert_contains(rig->err.msg, "65 is out of range 1..64");
}

/* --- connecting --- */

static void before_an_inventory_nothing_is_connected(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    assert_int_equal(rig_wrap_seed(rig, &wrapped), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "not been connected yet");
    struct kms_kek_info kek;
    assert_int_equal(
        kms_keystore_generate(rig->keystore, "prod.v2", rig_soon_ms(), &kek, &rig->err),
        KMS_E_UNAVAILABLE);
    struct kms_token_info infos[KMS_TOKENS_MAX];
    kms_keystore_describe(rig->keystore, infos);
    assert_false(infos[0].connected);
    assert_string_equal(infos[0].profile, "");
    assert_int_equal(fake_module_all_calls(rig->module), 0);
}

static void an_inventory_connects_and_lists(void **state)
{
    struct rig *rig = *state;
    struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    assert_int_equal(inventory.count, 1);
    assert_string_equal(inventory.keks[0].label, "prod.v1");
    assert_memory_equal(inventory.keks[0].fingerprint, rig->fingerprint, KMS_FINGERPRINT_LEN);
    kms_inventory_done(&inventory);
    struct kms_token_info infos[KMS_TOKENS_MAX];
    kms_keystore_describe(rig->keystore, infos);
    assert_true(infos[0].connected);
    assert_string_equal(infos[0].label, "fake");
    assert_string_equal(infos[0].profile, "aes-kw");
}

static void one_login_serves_everything(void **state)
{
    struct rig *rig = *state;
    assert_ok(rig_inventory(rig), &rig->err);
    assert_ok(rig_inventory(rig), &rig->err);
    rig_assert_wraps(rig);
    rig_assert_unwraps(rig);
    assert_int_equal(fake_module_calls(rig->module, "C_Login"), 1);
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), 1);
}

static void a_failed_connect_is_what_calls_are_told(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    fake_module_behaviour(rig->module)->tokens = 2;
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    unsigned calls = fake_module_all_calls(rig->module);
    assert_int_equal(rig_wrap_seed(rig, &wrapped), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "matches 2 tokens");
    assert_int_equal(fake_module_all_calls(rig->module), calls);
    assert_false(fake_module_is_initialized(rig->module));
}

static void a_module_that_wraps_wrongly_is_refused(void **state)
{
    struct rig *rig = *state;
    fake_module_behaviour(rig->module)->wraps_wrongly = true;
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "isn't RFC 3394");
    assert_false(fake_module_is_initialized(rig->module));
}

static void a_token_that_comes_later_is_found(void **state)
{
    struct rig *rig = *state;
    fake_module_behaviour(rig->module)->tokens = 0;
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
    fake_module_behaviour(rig->module)->tokens = 1;
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), 2);
}

static void attempts_to_connect_are_spaced(void **state)
{
    struct rig *rig = *state;
    struct kms_keystore *keystore = NULL;
    struct pkcs11_keystore_options options = {
        .uri = FAKE_URI, .pin = &rig->pin, .sessions = 1, .lock_dir = rig->dir
    };
    struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module),
                                .reconnect_pause_ms = 3600000 };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &keystore, &rig->err), &rig->err);
    fake_module_behaviour(rig->module)->tokens = 0;
    struct kms_inventory inventory = { 0 };
    for (int i = 0; i < 3; i++)
        assert_int_equal(kms_keystore_inventory(keystore, "", rig_soon_ms(), &inventory, &rig->err),
                         KMS_E_UNAVAILABLE);
    assert_int_equal(fake_module_calls(rig->module, "C_Initialize"), 1);
    kms_keystore_reload(keystore);
    fake_module_behaviour(rig->module)->tokens = 1;
    assert_ok(kms_keystore_inventory(keystore, "", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    kms_inventory_done(&inventory);
    kms_keystore_close(keystore);
}

/* --- the PIN --- */

static void a_refused_pin_is_tried_once(void **state)
{
    struct rig *rig = *state;
    strcpy(fake_module_behaviour(rig->module)->pin, "another");
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    assert_int_equal(rig->err.ckr, CKR_PIN_INCORRECT);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
        assert_contains(rig->err.msg, "refused this PIN");
        assert_null(strstr(rig->err.msg, FAKE_PIN));
    }
    assert_int_equal(fake_module_calls(rig->module, "C_Login"), 1);
}

static void reload_lets_a_refused_pin_be_tried_again(void **state)
{
    struct rig *rig = *state;
    strcpy(fake_module_behaviour(rig->module)->pin, "another");
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    strcpy(fake_module_behaviour(rig->module)->pin, FAKE_PIN);
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    kms_keystore_reload(rig->keystore);
    assert_ok(rig_inventory(rig), &rig->err);
}

static void write_pin(const char *path, const char *pin)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(pin, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void a_changed_pin_file_is_tried_and_user_goes_before_it(void **state)
{
    struct rig *rig = *state;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/pin", rig->dir);
    write_pin(path, "wrong\n");
    strcpy(fake_module_behaviour(rig->module)->pin, "crypto:s3cret");
    struct kms_keystore *keystore = NULL;
    struct pkcs11_keystore_options options = {
        .uri = FAKE_URI, .pin_file = path, .user = "crypto", .sessions = 1, .lock_dir = rig->dir
    };
    struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &keystore, &rig->err), &rig->err);
    struct kms_inventory inventory = { 0 };
    assert_int_equal(kms_keystore_inventory(keystore, "", rig_soon_ms(), &inventory, &rig->err),
                     KMS_E_PRECONDITION);
    write_pin(path, "s3cret\n");
    assert_ok(kms_keystore_inventory(keystore, "", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    kms_inventory_done(&inventory);
    kms_keystore_close(keystore);
    assert_int_equal(fake_module_calls(rig->module, "C_Login"), 2);
}

static void an_uncounted_login_failure_is_tried_again(void **state)
{
    struct rig *rig = *state;
    fake_module_fail_next(rig->module, "C_Login", CKR_USER_PIN_NOT_INITIALIZED);
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    assert_ok(rig_inventory(rig), &rig->err);
}

/* --- operations --- */

static void what_is_wrapped_is_rfc_3394(void **state)
{
    rig_assert_wraps(*state);
    rig_assert_unwraps(*state);
}

static void lengths_are_refused_even_while_disconnected(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    struct kms_secret seed = { 0 };
    assert_int_equal(kms_keystore_wrap(rig->keystore, &rig->kek, seed_of(20), rig_soon_ms(),
                                       &wrapped, &rig->err),
                     KMS_E_INVALID);
    assert_int_equal(kms_keystore_unwrap(rig->keystore, &rig->kek, KMS_ALGORITHM_AES_KW,
                                         seed_of(39), rig_soon_ms(), &seed, &rig->err),
                     KMS_E_INVALID);
}

static void a_deadline_in_the_past_touches_nothing(void **state)
{
    struct rig *rig = *state;
    unsigned calls = fake_module_all_calls(rig->module);
    int64_t past_ms = kms_monotonic_ms() - 1;
    struct kms_wrapped wrapped = { 0 };
    struct kms_secret seed = { 0 };
    struct kms_inventory inventory = { 0 };
    struct kms_kek_info kek;
    struct kms_keystore *ks = rig->keystore;
    assert_int_equal(kms_keystore_wrap(ks, &rig->kek, seed_of(32), past_ms, &wrapped, &rig->err),
                     KMS_E_DEADLINE);
    assert_int_equal(kms_keystore_unwrap(ks, &rig->kek, KMS_ALGORITHM_AES_KW, seed_of(40), past_ms,
                                         &seed, &rig->err),
                     KMS_E_DEADLINE);
    assert_int_equal(kms_keystore_canary(ks, &rig->kek, past_ms, &rig->err), KMS_E_DEADLINE);
    assert_int_equal(kms_keystore_inventory(ks, "", past_ms, &inventory, &rig->err),
                     KMS_E_DEADLINE);
    assert_int_equal(kms_keystore_generate(ks, "x", past_ms, &kek, &rig->err), KMS_E_DEADLINE);
    assert_int_equal(fake_module_all_calls(rig->module), calls);
}

static void a_good_canary_passes(void **state)
{
    struct rig *rig = *state;
    assert_ok(kms_keystore_canary(rig->keystore, &rig->kek, rig_soon_ms(), &rig->err), &rig->err);
}

static void a_kek_made_since_the_inventory_is_found(void **state)
{
    struct rig *rig = *state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    rig_fingerprint(rig_other_key, fingerprint);
    (void)fake_module_add_kek(rig->module, "prod.v2", rig_other_key);
    struct kms_kek_ref ref = { "prod.v2", fingerprint, NULL };
    assert_ok(kms_keystore_canary(rig->keystore, &ref, rig_soon_ms(), &rig->err), &rig->err);
    unsigned finds = fake_module_calls(rig->module, "C_FindObjectsInit");
    assert_ok(kms_keystore_canary(rig->keystore, &ref, rig_soon_ms(), &rig->err), &rig->err);
    assert_int_equal(fake_module_calls(rig->module, "C_FindObjectsInit"), finds);
}

static void a_seed_is_never_wrapped_by_a_substitute(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    fake_module_set_bytes(rig->module, rig->place, CKA_VALUE, rig_other_key, 32);
    assert_int_equal(rig_wrap_seed(rig, &wrapped), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "substituted");
    assert_int_equal(wrapped.len, 0);
    assert_int_equal(kms_keystore_canary(rig->keystore, &rig->kek, rig_soon_ms(), &rig->err),
                     KMS_E_PRECONDITION);
}

static void a_generated_key_is_listed_and_destroyed(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info made;
    assert_ok(kms_keystore_generate(rig->keystore, "prod.v2", rig_soon_ms(), &made, &rig->err),
              &rig->err);
    struct kms_kek_ref ref = { "prod.v2", made.fingerprint, NULL };
    assert_ok(kms_keystore_canary(rig->keystore, &ref, rig_soon_ms(), &rig->err), &rig->err);
    struct kms_bytes id = { made.cka_id, made.cka_id_len };
    assert_ok(kms_keystore_destroy(rig->keystore, "prod.v2", id, rig_soon_ms(), &rig->err),
              &rig->err);
    assert_int_equal(kms_keystore_destroy(rig->keystore, "prod.v2", id, rig_soon_ms(), &rig->err),
                     KMS_E_PRECONDITION);
}

static void duplicates_are_all_listed(void **state)
{
    struct rig *rig = *state;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_other_key);
    struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory, &rig->err),
              &rig->err);
    assert_int_equal(inventory.count, 2);
    kms_inventory_done(&inventory);
}

static void an_error_may_go_unasked_for(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_REMOVED);
    assert_int_equal(
        kms_keystore_wrap(rig->keystore, &rig->kek, seed_of(32), rig_soon_ms(), &wrapped, NULL),
        KMS_E_UNAVAILABLE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
#define CONNECTED(f) cmocka_unit_test_setup_teardown(f, rig_setup_connected, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opening_touches_neither_module_nor_token),
        TEST(unusable_options_are_named),
        TEST(before_an_inventory_nothing_is_connected),
        TEST(an_inventory_connects_and_lists),
        TEST(one_login_serves_everything),
        TEST(a_failed_connect_is_what_calls_are_told),
        TEST(a_module_that_wraps_wrongly_is_refused),
        TEST(a_token_that_comes_later_is_found),
        TEST(attempts_to_connect_are_spaced),
        TEST(a_refused_pin_is_tried_once),
        TEST(reload_lets_a_refused_pin_be_tried_again),
        TEST(a_changed_pin_file_is_tried_and_user_goes_before_it),
        TEST(an_uncounted_login_failure_is_tried_again),
        CONNECTED(what_is_wrapped_is_rfc_3394),
        TEST(lengths_are_refused_even_while_disconnected),
        CONNECTED(a_deadline_in_the_past_touches_nothing),
        CONNECTED(a_good_canary_passes),
        CONNECTED(a_kek_made_since_the_inventory_is_found),
        CONNECTED(a_seed_is_never_wrapped_by_a_substitute),
        CONNECTED(a_generated_key_is_listed_and_destroyed),
        CONNECTED(duplicates_are_all_listed),
        CONNECTED(an_error_may_go_unasked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
