/* SPDX-License-Identifier: Apache-2.0 */
/* Promotion, health and drains where a ring has several tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "fake/keystore.h"
#include "kms/clock.h"
#include "ring.h"

/* 2026-12-01T12:00:00Z */
#define NOW 1796126400
#define PAST "20260101T000000Z"
#define A 1U
#define B 2U
#define DR 4U
#define ALL (A | B | DR)

enum { TOKENS = 3, GENERATIONS = 4 };
static const char *const names[TOKENS] = { "a", "b", "dr" };

static struct fake_keystore *keys; /* of all tokens; @held says which has which */
static uint32_t held[GENERATIONS];
static uint32_t reached, drained;
static const char *dr_serial;
/* Generation and tokens of a copy that can't prove itself; 0: there is none. */
static uint32_t unproved, unproved_holders;
static struct kms_ring *ring;
static uint64_t sequence;

static void open_ring(const struct kms_state *state, bool is_new)
{
    struct kms_error err;
    struct kms_ring_options options = { .name = "prod", .tokens = { .count = TOKENS } };
    for (size_t i = 0; i < TOKENS; i++) {
        snprintf(options.tokens.items[i].name, sizeof options.tokens.items[i].name, "%s", names[i]);
        options.tokens.items[i].required = i != 1;
    }
    kms_ring_close(ring);
    assert_ok(kms_ring_open(&options, state, is_new, &ring, &err), &err);
}

static int set_up(void **unused)
{
    (void)unused;
    keys = fake_keystore_new();
    memset(held, 0, sizeof held);
    reached = ALL;
    drained = 0;
    dr_serial = "serial-2";
    unproved = 0;
    open_ring(&(struct kms_state){ 0 }, true);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    kms_ring_close(ring);
    ring = NULL;
    kms_keystore_close(fake_keystore_seam(keys));
    return 0;
}

/* Generation @generation is on the tokens of @holders. */
static void add(uint32_t generation, uint32_t holders)
{
    char label[64];
    snprintf(label, sizeof label, "prod.v%u@" PAST, (unsigned)generation);
    fake_keystore_add(keys, label, (uint8_t)generation);
    held[generation] = holders;
}

/* What the tokens that are @reached, and not @drained, would list together. */
static struct kms_inventory list(void)
{
    struct kms_error err;
    struct kms_inventory inventory;
    assert_ok(kms_keystore_inventory(fake_keystore_seam(keys), "prod.v", KMS_DEADLINE_NEVER,
                                     &inventory, &err),
              &err);
    inventory.token_count = TOKENS;
    for (size_t i = 0; i < TOKENS; i++) {
        struct kms_token_listing *listing = &inventory.tokens[i];
        snprintf(listing->name, sizeof listing->name, "%s", names[i]);
        snprintf(listing->serial, sizeof listing->serial, "serial-%zu", i);
        if (i == 2)
            snprintf(listing->serial, sizeof listing->serial, "%s", dr_serial);
        listing->drained = (drained & 1U << i) != 0;
        listing->listed = (reached & 1U << i) != 0 && !listing->drained;
        if (!listing->listed)
            snprintf(listing->problem, sizeof listing->problem, "no answer");
    }
    size_t count = 0;
    for (size_t i = 0; i < inventory.count; i++) {
        unsigned long generation = strtoul(inventory.keks[i].label + strlen("prod.v"), NULL, 10);
        inventory.keks[i].holders = held[generation] & reached & ~drained;
        if (inventory.keks[i].holders != 0)
            inventory.keks[count++] = inventory.keks[i];
    }
    inventory.count = count;
    if (unproved != 0) {
        struct kms_kek_info *kek = &inventory.keks[inventory.count++];
        *kek = (struct kms_kek_info){ .cka_id = { 0xee }, .cka_id_len = 1, .problem = "no answer" };
        snprintf(kek->label, sizeof kek->label, "prod.v%u@" PAST, (unsigned)unproved);
        kek->holders = unproved_holders;
    }
    return inventory;
}

/* One refresh; the generation that it promotes, 0 for none. */
static uint32_t refresh(void)
{
    struct kms_error err;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = list();
    KMS_CLEANUP(kms_ring_plan_done) struct kms_ring_plan plan = { 0 };
    assert_ok(kms_ring_plan(ring, &inventory, "", NOW, &plan, &err), &err);
    uint32_t promote = plan.promote;
    assert_ok(kms_ring_apply(ring, &plan, &inventory, ++sequence, NOW, &err), &err);
    kms_snapshot_release(kms_ring_acquire_for_status(ring));
    return promote;
}

static struct kms_ring_entry entry_of(uint32_t generation)
{
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    for (size_t i = 0; i < snapshot->count; i++) {
        if (snapshot->entries[i].generation == generation)
            return snapshot->entries[i];
    }
    fail_msg("generation %u is not in the snapshot", (unsigned)generation);
    return (struct kms_ring_entry){ 0 };
}

static struct kms_ring_token token_of(size_t i)
{
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->token_count, TOKENS);
    return snapshot->tokens[i];
}

static enum kms_code health(void)
{
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    return snapshot->code;
}

/* Changes ring.json as an operator's request does. */
static void change_state(enum kms_code (*change)(struct kms_state *state, struct kms_error *err))
{
    struct kms_error err;
    struct kms_state state = { 0 };
    assert_ok(kms_ring_copy_state(ring, &state, &err), &err);
    assert_ok(change(&state, &err), &err);
    kms_ring_set_state(ring, &state);
}

/* --- in use --- */

static void tokens_with_the_promoted_generation_are_in_use(void **unused)
{
    (void)unused;
    add(1, ALL);
    assert_int_equal(refresh(), 1);
    for (size_t i = 0; i < TOKENS; i++)
        assert_true(token_of(i).in_use);
    assert_string_equal(token_of(2).name, "dr");
    assert_string_equal(token_of(2).serial, "serial-2");
    assert_true(token_of(2).required);
    assert_false(token_of(1).required);
}

static void a_token_that_lacks_the_promoted_generation_is_named(void **unused)
{
    (void)unused;
    add(1, A | DR);
    assert_int_equal(refresh(), 1);
    refresh();
    assert_false(token_of(1).in_use);
    assert_non_null(strstr(token_of(1).problem, "it hasn't generation 1"));
    assert_int_equal(health(), KMS_OK);
}

static void a_token_that_is_away_is_not_in_use_and_says_why(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    reached = A | DR;
    refresh();
    assert_false(token_of(1).in_use);
    assert_string_equal(token_of(1).problem, "away: no answer");
    assert_int_equal(health(), KMS_OK);
}

/* --- promotion --- */

static void a_generation_waits_for_every_token_in_use(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    add(2, A | DR); /* b isn't required, but in use */
    for (int i = 0; i < 3; i++)
        assert_int_equal(refresh(), 0);
    assert_int_equal(entry_of(2).state, KMS_KEK_PREACTIVE);
    assert_string_equal(entry_of(2).reason, "waits for the key on token 'b'");
    held[2] = ALL;
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2);
}

static void a_token_away_that_is_not_required_is_not_waited_for(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    reached = A | DR;
    add(2, A | DR);
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2);
}

static void a_required_token_away_keeps_a_generation_pre_active(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    reached = A | B;
    add(2, ALL);
    for (int i = 0; i < 3; i++)
        assert_int_equal(refresh(), 0);
    assert_int_equal(entry_of(2).state, KMS_KEK_PREACTIVE);
    assert_non_null(strstr(entry_of(2).reason, "token 'dr'"));
    assert_non_null(strstr(entry_of(2).reason, "--without"));
    assert_int_equal(health(), KMS_OK);
    reached = ALL;
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2);
}

static void a_confirmation_of_a_required_token_is_enough_once(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    add(2, A | DR); /* kept from promotion by b */
    refresh();
    refresh();
    reached = A | B;
    held[2] = ALL;
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2);
}

static void a_confirmation_survives_a_restart(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    add(2, A | DR);
    refresh();
    refresh();
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_ok(kms_ring_copy_state(ring, &state, &err), &err);
    open_ring(&state, false);
    reached = A | B;
    held[2] = ALL;
    assert_int_equal(refresh(), 2);
}

static void a_token_that_took_anothers_name_has_confirmed_nothing(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    add(2, A | DR);
    refresh();
    refresh();
    held[1] = A | B; /* the new one is empty, and so not in use */
    held[2] = A | B;
    dr_serial = "another";
    for (int i = 0; i < 3; i++)
        assert_int_equal(refresh(), 0);
    assert_non_null(strstr(entry_of(2).reason, "token 'dr'"));
}

static enum kms_code waive_dr(struct kms_state *state, struct kms_error *err)
{
    return kms_state_waive(state, 2, "dr", err);
}

static void a_waiver_lets_a_generation_go_without_a_token(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    reached = A | B;
    add(2, A | B);
    add(3, A | B);
    refresh();
    change_state(waive_dr);
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2); /* only that generation */
    assert_int_equal(entry_of(3).state, KMS_KEK_PREACTIVE);
}

static void a_new_node_starts_without_the_tokens_that_are_away(void **unused)
{
    (void)unused;
    add(1, ALL);
    reached = B;
    assert_int_equal(refresh(), 1);
    assert_int_equal(health(), KMS_OK);
}

static void a_new_node_waits_for_a_required_token_that_answers(void **unused)
{
    (void)unused;
    add(1, A | B);
    assert_int_equal(refresh(), 0);
    assert_int_equal(health(), KMS_E_PRECONDITION);
    held[1] = A | DR;
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 1);
}

static void two_keys_under_one_label_are_a_duplicate_wherever_they_are(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    fake_keystore_add(keys, "prod.v2@" PAST, 2);
    fake_keystore_add(keys, "prod.v2@" PAST, 9);
    held[2] = ALL;
    refresh();
    assert_int_equal(refresh(), 0);
    assert_int_equal(entry_of(2).state, KMS_KEK_REFUSED);
}

static void a_copy_that_cannot_be_proved_is_called_that_and_no_duplicate(void **unused)
{
    (void)unused;
    add(1, ALL);
    refresh();
    add(2, A | DR);
    unproved = 2;
    unproved_holders = B;
    refresh();
    assert_int_equal(refresh(), 0);
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    size_t seen = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->generation != 2)
            continue;
        assert_int_equal(entry->state, KMS_KEK_REFUSED);
        assert_null(strstr(entry->reason, "destroy"));
        seen++;
    }
    assert_int_equal(seen, 2);
}

/* --- what is missing --- */

static struct kms_error find(uint32_t generation, const char *key_id)
{
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    struct kms_key_id wanted = { .generation = generation };
    if (key_id != NULL)
        assert_true(kms_key_id_parse("prod", kms_bytes_of(key_id), &wanted));
    struct kms_error err = { .code = KMS_OK };
    (void)kms_snapshot_find(snapshot, &wanted, &err);
    return err;
}

static void a_kek_on_tokens_that_are_away_is_unavailable(void **unused)
{
    (void)unused;
    add(1, A);
    add(2, ALL);
    held[1] = ALL;
    refresh();
    struct kms_ring_entry old = entry_of(1);
    held[1] = A;
    refresh();
    reached = B | DR;
    refresh();
    assert_int_equal(health(), KMS_OK);
    assert_int_equal(entry_of(1).state, KMS_KEK_MISSING);
    assert_non_null(strstr(entry_of(1).reason, "away: 'a'"));
    assert_int_equal(find(1, old.key_id).code, KMS_E_UNAVAILABLE);
    reached = ALL;
    held[1] = 0;
    refresh();
    assert_int_equal(find(1, old.key_id).code, KMS_E_PRECONDITION);
}

static void a_key_id_is_unknown_only_when_every_token_was_listed(void **unused)
{
    (void)unused;
    add(1, ALL);
    reached = A;
    refresh();
    assert_int_equal(find(7, NULL).code, KMS_E_UNAVAILABLE);
    reached = ALL;
    refresh();
    assert_int_equal(find(7, NULL).code, KMS_E_KEY_UNKNOWN);
}

static void a_promoted_kek_on_tokens_that_are_away_is_an_outage(void **unused)
{
    (void)unused;
    add(1, A | DR);
    refresh();
    reached = B;
    refresh();
    assert_int_equal(health(), KMS_E_UNAVAILABLE);
    reached = A | B;
    refresh();
    assert_int_equal(health(), KMS_OK);
    reached = ALL;
    held[1] = 0;
    refresh();
    assert_int_equal(health(), KMS_E_PRECONDITION);
}

static void an_unfit_copy_does_not_hide_that_the_promoted_kek_is_away(void **unused)
{
    (void)unused;
    add(1, A | DR);
    refresh();
    struct kms_ring_entry promoted = entry_of(1);
    reached = B;
    unproved = 1;
    unproved_holders = B;
    refresh();
    assert_int_equal(health(), KMS_E_UNAVAILABLE);
    assert_int_equal(find(1, promoted.key_id).code, KMS_E_UNAVAILABLE);
}

/* --- drained --- */

static enum kms_code drain_b(struct kms_state *state, struct kms_error *err)
{
    return kms_state_drain(state, "b", NOW + 60, err);
}

static enum kms_code drain_others(struct kms_state *state, struct kms_error *err)
{
    enum kms_code rc = kms_state_drain(state, "a", NOW + 60, err);
    return rc == KMS_OK ? kms_state_drain(state, "dr", NOW + 60, err) : rc;
}

static void a_drained_token_is_left_alone_until_its_time_is_over(void **unused)
{
    (void)unused;
    change_state(drain_b);
    assert_int_equal(kms_ring_filter(ring, "prod.v", NOW).drained, B);
    assert_int_equal(kms_ring_filter(ring, "prod.v", NOW + 60).drained, 0);
    add(1, ALL);
    drained = B;
    assert_int_equal(refresh(), 1);
    assert_false(token_of(1).in_use);
    assert_true(token_of(1).drained);
    assert_int_equal(token_of(1).drained_until_utc_s, NOW + 60);
}

static void the_last_token_can_not_be_drained(void **unused)
{
    (void)unused;
    change_state(drain_b);
    change_state(drain_others);
    assert_int_equal(kms_ring_filter(ring, "prod.v", NOW).drained, 0);
}

#define TOKENS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOKENS_TEST(tokens_with_the_promoted_generation_are_in_use),
        TOKENS_TEST(a_token_that_lacks_the_promoted_generation_is_named),
        TOKENS_TEST(a_token_that_is_away_is_not_in_use_and_says_why),
        TOKENS_TEST(a_generation_waits_for_every_token_in_use),
        TOKENS_TEST(a_token_away_that_is_not_required_is_not_waited_for),
        TOKENS_TEST(a_required_token_away_keeps_a_generation_pre_active),
        TOKENS_TEST(a_confirmation_of_a_required_token_is_enough_once),
        TOKENS_TEST(a_confirmation_survives_a_restart),
        TOKENS_TEST(a_token_that_took_anothers_name_has_confirmed_nothing),
        TOKENS_TEST(a_waiver_lets_a_generation_go_without_a_token),
        TOKENS_TEST(a_new_node_starts_without_the_tokens_that_are_away),
        TOKENS_TEST(a_new_node_waits_for_a_required_token_that_answers),
        TOKENS_TEST(two_keys_under_one_label_are_a_duplicate_wherever_they_are),
        TOKENS_TEST(a_copy_that_cannot_be_proved_is_called_that_and_no_duplicate),
        TOKENS_TEST(a_kek_on_tokens_that_are_away_is_unavailable),
        TOKENS_TEST(a_key_id_is_unknown_only_when_every_token_was_listed),
        TOKENS_TEST(a_promoted_kek_on_tokens_that_are_away_is_an_outage),
        TOKENS_TEST(an_unfit_copy_does_not_hide_that_the_promoted_kek_is_away),
        TOKENS_TEST(a_drained_token_is_left_alone_until_its_time_is_over),
        TOKENS_TEST(the_last_token_can_not_be_drained),
    };
    return cmocka_run_group_tests_name("tokens", tests, NULL, NULL);
}
