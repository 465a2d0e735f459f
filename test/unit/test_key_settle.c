/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "failover.h"
#include "fake/keystore.h"
#include "key_plan.h"
#include "key_settle.h"
#include "kms/clock.h"

#define FIRST "prod.v1@20261201T120000Z"
#define SECOND "prod.v1@20261201T120001Z"

static const struct kms_kek_filter prod = { .label_prefix = "prod.v" };

enum { NO_PATIENCE_MS = 0, LONG_MS = 60 * 1000 };

/* The fake counts its CKA_IDs up: the key that is added first has the smaller one. */
struct bench {
    struct fake_keystore *fake;
    struct kms_keystore *ks;
    struct kms_error err;
    bool yielded;
};

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .fake = fake_keystore_new() };
    bench.ks = fake_keystore_seam(bench.fake);
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    kms_keystore_close(bench->ks);
    return 0;
}

static struct kms_kek_info generate(struct bench *bench, const char *label)
{
    struct kms_kek_info kek = { .label = "" };
    assert_ok(kms_keystore_generate(bench->ks, label, KMS_DEADLINE_NEVER, &kek, &bench->err),
              &bench->err);
    return kek;
}

static bool has(struct bench *bench, const char *label)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(bench->ks, label, KMS_DEADLINE_NEVER, &inventory, &bench->err),
              &bench->err);
    return inventory.count > 0;
}

static void a_key_alone_stands(void **state)
{
    struct bench *bench = *state;
    fake_keystore_add(bench->fake, "prod.v2@20261201T120000Z", 9);
    struct kms_kek_info kek = generate(bench, FIRST);
    assert_ok(kms_key_settle(bench->ks, "prod", LONG_MS, &kek, &bench->yielded, &bench->err),
              &bench->err);
    assert_false(bench->yielded);
    assert_string_equal(kek.label, FIRST);
    assert_true(has(bench, FIRST));
}

static void the_larger_id_goes_without_waiting(void **state)
{
    struct bench *bench = *state;
    (void)generate(bench, FIRST);
    struct kms_kek_info kek = generate(bench, SECOND);
    assert_ok(kms_key_settle(bench->ks, "prod", LONG_MS, &kek, &bench->yielded, &bench->err),
              &bench->err);
    assert_true(bench->yielded);
    assert_string_equal(kek.label, FIRST);
    assert_int_equal(fake_keystore_calls(bench->fake, FAKE_INVENTORY), 2);
    assert_true(has(bench, FIRST));
    assert_false(has(bench, SECOND));
}

static void the_smaller_id_goes_when_the_larger_stays(void **state)
{
    struct bench *bench = *state;
    struct kms_kek_info kek = generate(bench, FIRST);
    (void)generate(bench, SECOND);
    assert_ok(kms_key_settle(bench->ks, "prod", NO_PATIENCE_MS, &kek, &bench->yielded, &bench->err),
              &bench->err);
    assert_true(bench->yielded);
    assert_string_equal(kek.label, SECOND);
    assert_false(has(bench, FIRST));
    assert_true(has(bench, SECOND));
}

static void a_failed_listing_says_that_the_key_exists(void **state)
{
    struct bench *bench = *state;
    struct kms_kek_info kek = generate(bench, FIRST);
    fake_keystore_fail(bench->fake, FAKE_INVENTORY, KMS_E_UNAVAILABLE, 3);
    assert_int_equal(kms_key_settle(bench->ks, "prod", LONG_MS, &kek, &bench->yielded, &bench->err),
                     KMS_E_UNAVAILABLE);
    assert_string_equal(bench->err.msg, "'" FIRST "' was created, but the token can't be listed to "
                                        "see whether it is the only one: fake failure: "
                                        "unavailable; run key list");
    assert_true(has(bench, FIRST));
}

static void a_calm_token_is_listed_once(void **state)
{
    struct bench *bench = *state;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    (void)generate(bench, FIRST);
    assert_ok(kms_key_list_settled(bench->ks, "prod", &prod, LONG_MS, &inventory, &bench->err),
              &bench->err);
    assert_int_equal(inventory.count, 1);
    assert_int_equal(fake_keystore_calls(bench->fake, FAKE_INVENTORY), 1);
}

static void a_listing_that_fails_for_a_moment_is_taken_again(void **state)
{
    struct bench *bench = *state;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    (void)generate(bench, FIRST);
    fake_keystore_fail(bench->fake, FAKE_INVENTORY, KMS_E_UNAVAILABLE, 2);
    assert_ok(kms_key_list_settled(bench->ks, "prod", &prod, LONG_MS, &inventory, &bench->err),
              &bench->err);
    assert_int_equal(inventory.count, 1);
}

static void duplicates_that_stay_are_listed(void **state)
{
    struct bench *bench = *state;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    (void)generate(bench, FIRST);
    (void)generate(bench, SECOND);
    assert_ok(
        kms_key_list_settled(bench->ks, "prod", &prod, NO_PATIENCE_MS, &inventory, &bench->err),
        &bench->err);
    assert_int_equal(inventory.count, 2);
}

static void a_token_away_cannot_be_listed(void **state)
{
    struct bench *bench = *state;
    struct kms_inventory inventory = { 0 };
    fake_keystore_fail(bench->fake, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    assert_int_equal(
        kms_key_list_settled(bench->ks, "prod", &prod, LONG_MS, &inventory, &bench->err),
        KMS_E_UNAVAILABLE);
}

/* --- another command's key --- */

static enum kms_code confirm(struct bench *bench, int64_t quiet_ms, int64_t patience_ms,
                             struct kms_kek_info *kek)
{
    return kms_key_confirm(bench->ks, "prod", quiet_ms, patience_ms, kek, &bench->err);
}

static void a_key_alone_for_long_enough_is_confirmed(void **state)
{
    struct bench *bench = *state;
    struct kms_kek_info kek = generate(bench, FIRST);
    assert_ok(confirm(bench, 1, LONG_MS, &kek), &bench->err);
    assert_string_equal(kek.label, FIRST);
    assert_int_equal(fake_keystore_calls(bench->fake, FAKE_INVENTORY), 2);
}

static void a_key_that_went_is_replaced_by_the_one_that_stands(void **state)
{
    struct bench *bench = *state;
    struct kms_kek_info kek = generate(bench, FIRST);
    (void)generate(bench, SECOND);
    fake_keystore_remove(bench->fake, FIRST);
    assert_ok(confirm(bench, 1, LONG_MS, &kek), &bench->err);
    assert_string_equal(kek.label, SECOND);
}

static void when_all_keys_went_none_is_reported(void **state)
{
    struct bench *bench = *state;
    struct kms_kek_info kek = generate(bench, FIRST);
    fake_keystore_remove(bench->fake, FIRST);
    assert_int_equal(confirm(bench, 1, LONG_MS, &kek), KMS_E_BUSY);
    assert_contains(bench->err.msg, FIRST);
}

static void duplicates_that_stay_end_the_patience(void **state)
{
    struct bench *bench = *state;
    struct kms_kek_info kek = generate(bench, FIRST);
    (void)generate(bench, SECOND);
    assert_ok(confirm(bench, LONG_MS, NO_PATIENCE_MS, &kek), &bench->err);
    assert_string_equal(kek.label, FIRST);
}

static void a_token_away_confirms_nothing(void **state)
{
    struct bench *bench = *state;
    struct kms_kek_info kek = generate(bench, FIRST);
    fake_keystore_fail(bench->fake, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    assert_int_equal(confirm(bench, 1, LONG_MS, &kek), KMS_E_UNAVAILABLE);
}

/* --- two tokens --- */

/* Keys are made on the bench's fake; returns the other token. */
static struct fake_keystore *add_token(struct bench *bench)
{
    struct fake_keystore *other = fake_keystore_new();
    const struct kms_failover_token tokens[] = { { "a", bench->ks, false },
                                                 { "b", fake_keystore_seam(other), false } };
    assert_ok(kms_failover_open(tokens, 2, &bench->ks, &bench->err), &bench->err);
    return other;
}

static void a_copy_of_the_key_on_another_token_is_no_rival(void **state)
{
    (void)state;
    const struct kms_kek_info own = { .label = FIRST,
                                      .cka_id = { 9 },
                                      .cka_id_len = 16,
                                      .fingerprinted = true,
                                      .fingerprint = { 7 } };
    struct kms_kek_info other = own;
    const struct kms_inventory inventory = { .keks = &other, .count = 1 };
    other.cka_id[0] = 5;
    assert_null(kms_key_rival("prod", &inventory, &own));
    other.fingerprint[0] = 8;
    assert_ptr_equal(kms_key_rival("prod", &inventory, &own), &other);
    other.fingerprint[0] = 7;
    other.fingerprinted = false;
    assert_ptr_equal(kms_key_rival("prod", &inventory, &own), &other);
}

static void a_rival_is_seen_though_its_token_was_away_for_a_moment(void **state)
{
    struct bench *bench = *state;
    (void)add_token(bench);
    (void)generate(bench, FIRST);
    struct kms_kek_info kek = generate(bench, SECOND);
    fake_keystore_fail(bench->fake, FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_ok(kms_key_settle(bench->ks, "prod", LONG_MS, &kek, &bench->yielded, &bench->err),
              &bench->err);
    assert_true(bench->yielded);
    assert_string_equal(kek.label, FIRST);
}

static void a_key_whose_token_went_away_is_not_taken_for_gone(void **state)
{
    struct bench *bench = *state;
    (void)add_token(bench);
    struct kms_kek_info kek = generate(bench, FIRST);
    fake_keystore_fail(bench->fake, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    assert_int_equal(confirm(bench, 1, LONG_MS, &kek), KMS_E_UNAVAILABLE);
    assert_contains(bench->err.msg, "token 'a'");
}

static void a_token_that_need_not_have_the_key_may_be_away(void **state)
{
    struct bench *bench = *state;
    struct fake_keystore *other = add_token(bench);
    struct kms_kek_info kek = generate(bench, FIRST);
    fake_keystore_fail(other, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    assert_ok(confirm(bench, 1, LONG_MS, &kek), &bench->err);
    kek.holders = 2;
    assert_int_equal(confirm(bench, 1, LONG_MS, &kek), KMS_E_UNAVAILABLE);
    assert_contains(bench->err.msg, "token 'b'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_key_alone_stands, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_larger_id_goes_without_waiting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_smaller_id_goes_when_the_larger_stays, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_failed_listing_says_that_the_key_exists, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_calm_token_is_listed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_listing_that_fails_for_a_moment_is_taken_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(duplicates_that_stay_are_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_token_away_cannot_be_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_alone_for_long_enough_is_confirmed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_went_is_replaced_by_the_one_that_stands, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(when_all_keys_went_none_is_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(duplicates_that_stay_end_the_patience, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_token_away_confirms_nothing, set_up, tear_down),
        cmocka_unit_test(a_copy_of_the_key_on_another_token_is_no_rival),
        cmocka_unit_test_setup_teardown(a_rival_is_seen_though_its_token_was_away_for_a_moment,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_whose_token_went_away_is_not_taken_for_gone, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_token_that_need_not_have_the_key_may_be_away, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
