/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked of all tokens at once: listings and canaries, and what they make of a token. */
#include "failover_rig.h"

#include <sched.h>

#include "kms/clock.h"

enum { A, B, C, SOON_MS = 2000, HANG_MS = 300, LONG_MS = 8000 };

static int set_up(void **state)
{
    static struct failover_rig rig;
    failover_rig_open(&rig, FAILOVER_RIG_MAX);
    *state = &rig;
    return 0;
}

static int tear_down(void **state)
{
    failover_rig_close(*state);
    return 0;
}

static struct kms_inventory listed(struct failover_rig *rig, uint32_t drained)
{
    struct kms_inventory inventory = { 0 };
    assert_ok(failover_rig_list(rig, drained, &inventory), &rig->err);
    return inventory;
}

static unsigned listings(struct failover_rig *rig, size_t token)
{
    return fake_keystore_calls(rig->fakes[token], FAKE_INVENTORY);
}

static unsigned canaries(struct failover_rig *rig, size_t token)
{
    return fake_keystore_calls(rig->fakes[token], FAKE_CANARY);
}

/* --- listings --- */

static void one_key_on_three_tokens_is_one_entry(void **state)
{
    struct failover_rig *rig = *state;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = listed(rig, 0);
    assert_int_equal(inventory.count, 1);
    assert_int_equal(inventory.keks[0].holders, 7);
    assert_int_equal(inventory.token_count, 3);
    assert_string_equal(inventory.tokens[C].name, "c");
    assert_string_equal(inventory.tokens[C].serial, "0001");
    assert_true(inventory.tokens[C].listed);
    assert_false(inventory.tokens[C].drained);
}

static void a_token_that_is_away_is_named_in_the_listing(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_fail(rig->fakes[B], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = listed(rig, 0);
    assert_int_equal(inventory.keks[0].holders, 5);
    assert_false(inventory.tokens[B].listed);
    assert_string_equal(inventory.tokens[B].problem, "fake failure: unavailable");
    assert_string_equal(inventory.tokens[B].serial, "0001");
}

static void a_token_that_is_away_stays_a_last_resort(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_fail(rig->fakes[A], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    assert_int_equal(failover_rig_wraps(rig, A), 0);
    failover_rig_fail(rig, B, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, C, KMS_E_UNAVAILABLE);
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    assert_int_equal(failover_rig_wraps(rig, A), 1);
}

static void a_token_that_served_rests_until_its_canary(void **state)
{
    struct failover_rig *rig = *state;
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    fake_keystore_fail(rig->fakes[A], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_false(failover_rig_rests(rig, A));
}

static void a_token_that_never_served_is_used_once_it_is_listed(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_fail(rig->fakes[A], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_false(failover_rig_rests(rig, A));
}

static void beside_one_that_served_a_new_token_waits_for_its_canary(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_fail(rig->fakes[A], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_false(failover_rig_rests(rig, A));
}

static void a_token_back_from_a_drain_waits_for_its_canary(void **state)
{
    struct failover_rig *rig = *state;
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_ok(failover_rig_list(rig, 1U << A, NULL), &rig->err);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_false(failover_rig_rests(rig, A));
}

static void without_any_token_the_first_ones_failure_is_told(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_fail(rig->fakes[A], FAKE_INVENTORY, KMS_E_PRECONDITION, 1);
    fake_keystore_fail(rig->fakes[B], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    fake_keystore_fail(rig->fakes[C], FAKE_INVENTORY, KMS_E_INTERNAL, 1);
    assert_int_equal(failover_rig_list(rig, 0, NULL), KMS_E_PRECONDITION);
    assert_string_equal(rig->err.msg, "token 'a': fake failure: precondition");
}

static void a_drained_token_is_not_asked_anything(void **state)
{
    struct failover_rig *rig = *state;
    unsigned before = listings(rig, A);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = listed(rig, 1U << A);
    assert_int_equal(listings(rig, A), before);
    assert_true(inventory.tokens[A].drained);
    assert_false(inventory.tokens[A].listed);
    assert_string_equal(inventory.tokens[A].problem, "");
    assert_int_equal(inventory.keks[0].holders, 6);
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_int_equal(failover_rig_wraps(rig, A), 0);
    assert_int_equal(canaries(rig, A), 0);
}

static void a_drained_token_is_no_last_resort(void **state)
{
    struct failover_rig *rig = *state;
    assert_ok(failover_rig_list(rig, 1U << A, NULL), &rig->err);
    failover_rig_fail(rig, B, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, C, KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_wraps(rig, A), 0);
}

static void a_drained_token_is_used_again_by_the_next_listing(void **state)
{
    struct failover_rig *rig = *state;
    assert_ok(failover_rig_list(rig, 1U << A, NULL), &rig->err);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    assert_int_equal(failover_rig_wraps(rig, A), 1);
}

static void a_key_only_on_a_drained_token_is_unavailable(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_remove(rig->fakes[B], "prod.v1");
    fake_keystore_remove(rig->fakes[C], "prod.v1");
    assert_ok(failover_rig_list(rig, 1U << A, NULL), &rig->err);
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "token 'a' wasn't (drained)");
}

static void with_all_tokens_drained_there_is_no_listing(void **state)
{
    struct failover_rig *rig = *state;
    assert_int_equal(failover_rig_list(rig, 7, NULL), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "hsm-kms token resume a");
}

static void hanging_tokens_are_waited_for_together(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_hang(rig->fakes[A], FAKE_INVENTORY, true);
    fake_keystore_hang(rig->fakes[C], FAKE_INVENTORY, true);
    int64_t began_ms = kms_monotonic_ms();
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = listed(rig, 0);
    assert_in_range(kms_monotonic_ms() - began_ms, HANG_MS - 1, 2 * HANG_MS - 50);
    assert_int_equal(inventory.keks[0].holders, 2);
    assert_true(failover_rig_rests(rig, A));
}

static void a_library_that_never_returns_holds_up_nobody(void **state)
{
    struct failover_rig *rig = *state;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    fake_keystore_block(rig->fakes[A], FAKE_INVENTORY);
    assert_ok(failover_rig_list(rig, 0, &inventory), &rig->err);
    assert_int_equal(inventory.keks[0].holders, 6);
    assert_false(inventory.tokens[A].listed);
    assert_string_equal(inventory.tokens[A].problem,
                        "the token did not answer in time; do not delete objects");
    assert_true(failover_rig_rests(rig, A));
    fake_keystore_unblock(rig->fakes[A], FAKE_INVENTORY);
}

static void a_token_that_hangs_in_a_listing_is_not_listed_again_meanwhile(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_block(rig->fakes[A], FAKE_INVENTORY);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    unsigned before = listings(rig, A);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_int_equal(listings(rig, A), before);
    fake_keystore_unblock(rig->fakes[A], FAKE_INVENTORY);
}

static void without_any_answer_a_listing_fails_by_its_deadline(void **state)
{
    struct failover_rig *rig = *state;
    for (size_t i = 0; i < FAILOVER_RIG_MAX; i++)
        fake_keystore_block(rig->fakes[i], FAKE_INVENTORY);
    assert_int_equal(failover_rig_list(rig, 0, NULL), KMS_E_DEADLINE);
    assert_contains(rig->err.msg, "token 'a'");
    assert_int_equal(failover_rig_list(rig, 0, NULL), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "has not answered");
    for (size_t i = 0; i < FAILOVER_RIG_MAX; i++)
        fake_keystore_unblock(rig->fakes[i], FAKE_INVENTORY);
}

static void a_resting_token_that_hangs_delays_a_listing_a_little(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_UNAVAILABLE);
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    fake_keystore_hang(rig->fakes[A], FAKE_INVENTORY, true);
    int64_t began_ms = kms_monotonic_ms();
    assert_ok(failover_rig_list_within(rig, LONG_MS, 0, NULL), &rig->err);
    assert_true(kms_monotonic_ms() - began_ms < LONG_MS / 2);
    fake_keystore_hang(rig->fakes[A], FAKE_INVENTORY, false);
}

/* --- canaries --- */

static void every_holder_is_tried(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_remove(rig->fakes[B], "prod.v1");
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_int_equal(canaries(rig, A), 1);
    assert_int_equal(canaries(rig, B), 0);
    assert_int_equal(canaries(rig, C), 1);
}

static void one_good_canary_is_good(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, B, KMS_E_PRECONDITION);
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    assert_true(failover_rig_rests(rig, B));
    assert_false(failover_rig_rests(rig, C));
}

static void a_busy_token_does_not_rest(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_BUSY);
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_false(failover_rig_rests(rig, A));
}

static void without_a_good_canary_the_most_telling_failure_is_told(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_DEADLINE);
    failover_rig_fail(rig, B, KMS_E_PRECONDITION);
    failover_rig_fail(rig, C, KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_canary(rig, SOON_MS), KMS_E_PRECONDITION);
    assert_string_equal(rig->err.msg, "token 'b': fake failure: precondition");
}

static void a_good_canary_ends_the_rest(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_UNAVAILABLE);
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    failover_rig_fail(rig, A, KMS_OK);
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_false(failover_rig_rests(rig, A));
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
    assert_int_equal(failover_rig_wraps(rig, A), 2);
}

static void hanging_canaries_are_waited_for_together(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_hang(rig->fakes[A], FAKE_CANARY, true);
    fake_keystore_hang(rig->fakes[B], FAKE_CANARY, true);
    int64_t began_ms = kms_monotonic_ms();
    assert_ok(failover_rig_canary(rig, HANG_MS), &rig->err);
    assert_in_range(kms_monotonic_ms() - began_ms, HANG_MS - 1, 2 * HANG_MS - 50);
    assert_true(failover_rig_rests(rig, A));
}

static void one_good_canary_waits_little_for_the_others(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_hang(rig->fakes[A], FAKE_CANARY, true);
    int64_t began_ms = kms_monotonic_ms();
    assert_ok(failover_rig_canary(rig, LONG_MS), &rig->err);
    assert_true(kms_monotonic_ms() - began_ms < LONG_MS / 2);
    assert_ok(failover_rig_canary(rig, LONG_MS), &rig->err);
    assert_int_equal(canaries(rig, A), 1);
    fake_keystore_hang(rig->fakes[A], FAKE_CANARY, false);
}

static void a_canary_that_ends_late_counts_then(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_block(rig->fakes[A], FAKE_CANARY);
    assert_ok(failover_rig_canary(rig, HANG_MS), &rig->err);
    assert_true(failover_rig_rests(rig, A));
    fake_keystore_unblock(rig->fakes[A], FAKE_CANARY);
    while (failover_rig_rests(rig, A))
        (void)sched_yield();
}

/* Otherwise a command would never end. */
static void closing_leaves_a_token_behind_that_never_answers(void **state)
{
    static struct kms_keystore *volatile left; /* so that it is no leak */
    struct failover_rig *rig = *state;
    fake_keystore_block(rig->fakes[C], FAKE_CANARY);
    assert_ok(failover_rig_canary(rig, HANG_MS), &rig->err);
    left = rig->keystore;
    rig->keystore = NULL;
    kms_keystore_close(left);
    assert_int_equal(failover_rig_logged(rig, "token has not answered, and isn't closed"), 1);
    fake_keystore_unblock(rig->fakes[C], FAKE_CANARY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_key_on_three_tokens_is_one_entry),
        TEST(a_token_that_is_away_is_named_in_the_listing),
        TEST(a_token_that_is_away_stays_a_last_resort),
        TEST(a_token_that_served_rests_until_its_canary),
        TEST(a_token_that_never_served_is_used_once_it_is_listed),
        TEST(beside_one_that_served_a_new_token_waits_for_its_canary),
        TEST(a_token_back_from_a_drain_waits_for_its_canary),
        TEST(without_any_token_the_first_ones_failure_is_told),
        TEST(a_drained_token_is_not_asked_anything),
        TEST(a_drained_token_is_no_last_resort),
        TEST(a_drained_token_is_used_again_by_the_next_listing),
        TEST(a_key_only_on_a_drained_token_is_unavailable),
        TEST(with_all_tokens_drained_there_is_no_listing),
        TEST(hanging_tokens_are_waited_for_together),
        TEST(a_library_that_never_returns_holds_up_nobody),
        TEST(a_token_that_hangs_in_a_listing_is_not_listed_again_meanwhile),
        TEST(without_any_answer_a_listing_fails_by_its_deadline),
        TEST(a_resting_token_that_hangs_delays_a_listing_a_little),
        TEST(every_holder_is_tried),
        TEST(one_good_canary_is_good),
        TEST(a_busy_token_does_not_rest),
        TEST(without_a_good_canary_the_most_telling_failure_is_told),
        TEST(a_good_canary_ends_the_rest),
        TEST(hanging_canaries_are_waited_for_together),
        TEST(one_good_canary_waits_little_for_the_others),
        TEST(a_canary_that_ends_late_counts_then),
        TEST(closing_leaves_a_token_behind_that_never_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
