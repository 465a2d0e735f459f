/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "fake/keystore.h"
#include "kms/clock.h"
#include "ring.h"

/* 2026-12-01T12:00:00Z, and a label's activation relative to it. */
#define NOW 1796126400
#define PAST "20260101T000000Z"
#define FUTURE "20270101T000000Z"

static struct fake_keystore *token;
static struct kms_ring *ring;
static uint64_t sequence;

static void open_ring(const struct kms_state *state, bool is_new, struct kms_pin *trusted,
                      size_t trusted_count)
{
    struct kms_error err;
    struct kms_ring_options options = {
        .name = "prod",
        .vouched = { .pins = trusted, .pin_count = trusted_count },
    };
    kms_ring_close(ring);
    assert_ok(kms_ring_open(&options, state, is_new, &ring, &err), &err);
}

static int set_up(void **unused)
{
    (void)unused;
    token = fake_keystore_new();
    open_ring(&(struct kms_state){ 0 }, true, NULL, 0);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    kms_ring_close(ring);
    ring = NULL;
    kms_keystore_close(fake_keystore_seam(token));
    return 0;
}

static struct kms_inventory list(void)
{
    struct kms_error err;
    struct kms_inventory inventory;
    assert_ok(kms_keystore_inventory(fake_keystore_seam(token), "prod.v", KMS_DEADLINE_NEVER,
                                     &inventory, &err),
              &err);
    return inventory;
}

/* One refresh at @now_utc_s; the generation that it promotes, 0 for none. */
static uint32_t refresh_at(int64_t now_utc_s)
{
    struct kms_error err;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = list();
    KMS_CLEANUP(kms_ring_plan_done) struct kms_ring_plan plan = { 0 };
    assert_ok(kms_ring_plan(ring, &inventory, "serial", now_utc_s, &plan, &err), &err);
    uint32_t promote = plan.promote;
    assert_ok(kms_ring_apply(ring, &plan, &inventory, ++sequence, now_utc_s, &err), &err);
    return promote;
}

static uint32_t refresh(void)
{
    return refresh_at(NOW);
}

/* The entry of @generation in the view that Encrypt would get; fails if there is none. */
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

static uint32_t announced_by(struct kms_snapshot *snapshot)
{
    uint32_t promoted = snapshot->promoted;
    kms_snapshot_release(snapshot);
    return promoted;
}

#define seen_by_encrypt() announced_by(kms_ring_acquire(ring))
#define answer_status() announced_by(kms_ring_acquire_for_status(ring))

static void before_any_listing_nothing_is_known(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->code, KMS_E_UNAVAILABLE);
    struct kms_error err;
    assert_null(kms_snapshot_find(snapshot, &(struct kms_key_id){ .generation = 1 }, &err));
    assert_int_equal(err.code, KMS_E_UNAVAILABLE);
}

static void the_first_listing_promotes_at_once(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    assert_int_equal(refresh(), 1);
    assert_int_equal(seen_by_encrypt(), 1);
    assert_int_equal(entry_of(1).state, KMS_KEK_ACTIVE);
}

static void the_highest_passed_activation_wins(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    fake_keystore_add(token, "prod.v3@" FUTURE, 3);
    assert_int_equal(refresh(), 2);
    assert_int_equal(entry_of(1).state, KMS_KEK_DECRYPT_ONLY);
    assert_int_equal(entry_of(3).state, KMS_KEK_PREACTIVE);
}

static void a_dead_clock_promotes_the_lowest_on_a_new_node(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v2@" FUTURE, 2);
    fake_keystore_add(token, "prod.v1@" FUTURE, 1);
    assert_int_equal(refresh_at(0), 1);
}

static void a_later_generation_must_be_seen_twice(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    assert_int_equal(refresh(), 0);
    assert_int_equal(entry_of(2).state, KMS_KEK_PENDING);
    assert_int_equal(refresh(), 2);
}

static void a_generation_that_was_away_starts_counting_anew(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    assert_int_equal(refresh(), 0);
    fake_keystore_remove(token, "prod.v2@" PAST);
    assert_int_equal(refresh(), 0);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2);
}

static void an_activation_is_waited_for(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@20261201T120010Z", 2);
    assert_int_equal(refresh_at(NOW), 0);
    assert_int_equal(refresh_at(NOW + 9), 0);
    assert_int_equal(refresh_at(NOW + 10), 2);
}

static void a_promotion_shows_only_with_a_status(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    refresh();
    assert_int_equal(refresh(), 2);
    assert_int_equal(seen_by_encrypt(), 1);
    refresh(); /* later listings don't announce it either */
    assert_int_equal(seen_by_encrypt(), 1);
    assert_int_equal(announced_by(kms_ring_acquire_newest(ring)), 2);
    assert_int_equal(answer_status(), 2);
    assert_int_equal(seen_by_encrypt(), 2);
}

static void the_promoted_number_never_goes_down(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    refresh();
    fake_keystore_remove(token, "prod.v2@" PAST);
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh_at(0), 0); /* nor by a clock that jumped back */
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->promoted, 2);
    assert_int_equal(snapshot->code, KMS_E_PRECONDITION);
}

static void a_vanished_promoted_key_is_named_and_others_still_unwrap(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    refresh();
    fake_keystore_remove(token, "prod.v2@" PAST);
    refresh();
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_contains(snapshot->problem, "'prod.v2' (generation 2, fingerprint ");
    assert_contains(snapshot->problem, "is gone from the token");
    assert_int_equal(entry_of(2).state, KMS_KEK_MISSING);
    assert_true(entry_of(1).may_unwrap);
}

static void a_substituted_promoted_key_is_named_with_both_fingerprints(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_remove(token, "prod.v1@" PAST);
    fake_keystore_add(token, "prod.v1@" PAST, 9);
    refresh();
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->code, KMS_E_PRECONDITION);
    assert_contains(snapshot->problem, "substituted");
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    char digits[17];
    for (uint8_t fill = 1; fill <= 9; fill += 8) {
        fake_keystore_fingerprint(fill, fingerprint);
        kms_hex_encode((struct kms_bytes){ fingerprint, 8 }, digits);
        assert_contains(snapshot->problem, digits);
    }
    assert_string_equal(snapshot->key_id, "");
}

static void the_pinned_key_back_on_the_token_serves_again(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_remove(token, "prod.v1@" PAST);
    refresh();
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    assert_int_equal(entry_of(1).state, KMS_KEK_ACTIVE);
}

/* A generation 2 with this anomaly is refused with @reason and leaves generation 1 active. */
static void assert_refused(const char *reason)
{
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 0);
    struct kms_ring_entry entry = entry_of(2);
    assert_int_equal(entry.state, KMS_KEK_REFUSED);
    assert_contains(entry.reason, reason);
    assert_int_equal(entry_of(1).state, KMS_KEK_ACTIVE);
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->code, KMS_OK);
}

static void an_extractable_key_is_never_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    fake_keystore_set(token, "prod.v2@" PAST, KMS_KEK_EXTRACTABLE, 0);
    assert_refused("CKA_EXTRACTABLE is true");
}

static void a_readable_key_is_never_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    fake_keystore_set(token, "prod.v2@" PAST, 0, KMS_KEK_SENSITIVE);
    assert_refused("CKA_SENSITIVE is false");
}

static void a_foreign_key_neither_wraps_nor_unwraps(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    fake_keystore_set(token, "prod.v2@" PAST, 0, KMS_KEK_LOCAL);
    assert_refused("foreign origin");
    assert_false(entry_of(2).may_unwrap);
}

static void duplicates_are_never_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    fake_keystore_add(token, "prod.v2@" FUTURE, 3);
    assert_refused("duplicate");
}

static void a_key_without_unwrap_is_never_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    fake_keystore_set(token, "prod.v2@" PAST, 0, KMS_KEK_UNWRAP);
    assert_refused("CKA_UNWRAP is false");
}

static void a_label_that_cannot_be_read_disturbs_nothing(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@tomorrow", 2);
    fake_keystore_add(token, "prod.vX", 3);
    assert_int_equal(refresh(), 1);
    assert_int_equal(entry_of(0).state, KMS_KEK_REFUSED);
    assert_contains(entry_of(0).reason, "the label is not 'prod.v");
}

static void a_duplicate_of_the_pinned_key_does_not_disturb_it(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v1@" FUTURE, 9);
    refresh();
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->code, KMS_OK);
    assert_string_equal(snapshot->label, "prod.v1@" PAST);
}

static void a_disabled_key_says_so(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    refresh();
    struct kms_key_id key_id = { .generation = 1 };
    memcpy(key_id.fingerprint_head, entry_of(1).kek.fingerprint, KMS_KEY_ID_FINGERPRINT_LEN);
    fake_keystore_set(token, "prod.v1@" PAST, 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    refresh();
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    struct kms_error err;
    assert_null(kms_snapshot_find(snapshot, &key_id, &err));
    assert_int_equal(err.code, KMS_E_PRECONDITION);
    assert_contains(err.msg, "disabled");
    assert_int_equal(snapshot->code, KMS_OK);
}

static void find_tells_unknown_from_missing(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    refresh();
    struct kms_key_id key_id = { .generation = 1 };
    memcpy(key_id.fingerprint_head, entry_of(1).kek.fingerprint, KMS_KEY_ID_FINGERPRINT_LEN);
    fake_keystore_remove(token, "prod.v1@" PAST);
    refresh();
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    struct kms_error err;
    assert_null(kms_snapshot_find(snapshot, &key_id, &err));
    assert_int_equal(err.code, KMS_E_PRECONDITION);
    assert_contains(err.msg, "missing");
    key_id.fingerprint_head[0] ^= 1; /* a key that never was */
    assert_null(kms_snapshot_find(snapshot, &key_id, &err));
    assert_int_equal(err.code, KMS_E_KEY_UNKNOWN);
}

static void a_fingerprint_from_the_configuration_is_trusted(void **unused)
{
    (void)unused;
    struct kms_pin trusted = { .generation = 1 };
    fake_keystore_fingerprint(1, trusted.fingerprint);
    open_ring(&(struct kms_state){ 0 }, true, &trusted, 1);
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_set(token, "prod.v1@" PAST, 0, KMS_KEK_LOCAL);
    assert_int_equal(refresh(), 1);
    assert_true(entry_of(1).may_unwrap);
}

static void a_contradiction_of_configuration_and_pins_is_an_error(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_pin pin = { .generation = 1, .fingerprint = { 1 } }, trusted = { .generation = 1 };
    struct kms_state state = { .promoted = 1, .pins = &pin, .pin_count = 1 };
    struct kms_ring_options options = {
        .name = "prod",
        .vouched = { .pins = &trusted, .pin_count = 1 },
    };
    struct kms_ring *other;
    assert_int_equal(kms_ring_open(&options, &state, false, &other, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "disagree");
}

static void a_key_whose_canary_fails_is_passed_over(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = list();
    KMS_CLEANUP(kms_ring_plan_done) struct kms_ring_plan plan = { 0 };
    assert_ok(kms_ring_plan(ring, &inventory, "serial", NOW, &plan, &err), &err);
    assert_int_equal(plan.promote, 2);
    assert_ok(kms_ring_distrust(ring, &plan, "it lies", &err), &err);
    kms_ring_plan_done(&plan);
    assert_ok(kms_ring_plan(ring, &inventory, "serial", NOW, &plan, &err), &err);
    assert_int_equal(plan.promote, 1);
}

static void pins_wait_for_the_second_sighting(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    fake_keystore_add(token, "prod.v2@" FUTURE, 2);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = list();
    KMS_CLEANUP(kms_ring_plan_done) struct kms_ring_plan plan = { 0 };
    assert_ok(kms_ring_plan(ring, &inventory, "serial", NOW, &plan, &err), &err);
    assert_false(plan.state_changed);
    assert_ok(kms_ring_apply(ring, &plan, &inventory, ++sequence, NOW, &err), &err);
    kms_ring_plan_done(&plan);
    assert_ok(kms_ring_plan(ring, &inventory, "serial", NOW, &plan, &err), &err);
    assert_true(plan.state_changed);
    assert_int_equal(plan.state.pin_count, 2);
    assert_string_equal(plan.state.pins[1].tokens[0].serial, "serial");
}

static void a_restart_keeps_promotion_and_pins(void **unused)
{
    (void)unused;
    struct kms_pin pins[2] = { { .generation = 1 }, { .generation = 2 } };
    fake_keystore_fingerprint(1, pins[0].fingerprint);
    fake_keystore_fingerprint(2, pins[1].fingerprint);
    struct kms_state state = { .promoted = 2, .pins = pins, .pin_count = 2 };
    open_ring(&state, false, NULL, 0);
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" FUTURE, 2); /* its stamp no longer matters */
    assert_int_equal(refresh(), 0);
    assert_int_equal(seen_by_encrypt(), 2);
}

static void a_tombstoned_generation_is_refused(void **unused)
{
    (void)unused;
    uint32_t tombstones[] = { 2 };
    struct kms_state state = { .tombstones = tombstones, .tombstone_count = 1 };
    open_ring(&state, false, NULL, 0);
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    assert_int_equal(refresh(), 1);
    assert_contains(entry_of(2).reason, "destroyed");
}

static void a_buried_number_is_not_missed_and_a_local_key_under_it_unwraps(void **unused)
{
    (void)unused;
    uint32_t tombstones[] = { 2, 3 };
    struct kms_pin pins[] = { { .generation = 3 } };
    struct kms_state state = {
        .tombstones = tombstones, .tombstone_count = 2, .pins = pins, .pin_count = 1
    };
    open_ring(&state, false, NULL, 0);
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" PAST, 2);
    refresh();
    assert_true(entry_of(2).may_unwrap);
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->count, 2); /* of generation 3 nothing */
}

static void pins_that_contradict_ring_json_are_not_taken(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "prod.v2@" FUTURE, 2);
    fake_keystore_set(token, "prod.v2@" FUTURE, 0, KMS_KEK_LOCAL);
    struct kms_pin good = { .generation = 2 }, bad = { .generation = 1 };
    fake_keystore_fingerprint(2, good.fingerprint);
    fake_keystore_fingerprint(9, bad.fingerprint);
    const struct kms_vouched good_word = { .pins = &good, .pin_count = 1 };
    const struct kms_vouched bad_word = { .pins = &bad, .pin_count = 1 };
    open_ring(&(struct kms_state){ 0 }, true, &good, 1);
    refresh();
    bool taken = false;
    assert_ok(kms_ring_take_offer(ring, &taken, &err), &err);
    assert_false(taken);
    assert_ok(kms_ring_offer(ring, &bad_word, &err), &err);
    assert_int_equal(kms_ring_take_offer(ring, &taken, &err), KMS_E_PRECONDITION);
    refresh();
    assert_int_equal(entry_of(2).state, KMS_KEK_PREACTIVE); /* the old ones stay */
    assert_ok(kms_ring_offer(ring, &good_word, &err), &err);
    assert_ok(kms_ring_take_offer(ring, &taken, &err), &err);
    assert_true(taken);
}

static void the_mark_is_of_the_word_that_was_taken(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_pin bad = { .generation = 1 };
    const struct kms_vouched good_word = { .mark = { .read_utc_s = 20 } };
    const struct kms_vouched bad_word = { .pins = &bad, .pin_count = 1, .mark = { { 0 }, 10 } };
    bool taken = false;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    refresh();
    assert_ok(kms_ring_offer(ring, &bad_word, &err), &err);
    assert_int_equal(kms_ring_take_offer(ring, &taken, &err), KMS_E_PRECONDITION);
    assert_int_equal(kms_ring_vouched_mark(ring).read_utc_s, 0);
    assert_ok(kms_ring_offer(ring, &good_word, &err), &err);
    assert_int_equal(kms_ring_vouched_mark(ring).read_utc_s, 0);
    assert_ok(kms_ring_take_offer(ring, &taken, &err), &err);
    assert_int_equal(kms_ring_vouched_mark(ring).read_utc_s, 20);
}

static void an_empty_token_says_what_to_do(void **unused)
{
    (void)unused;
    refresh();
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->code, KMS_E_PRECONDITION);
    assert_contains(snapshot->problem, "hsm-kms key create");
}

#define RING_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(before_any_listing_nothing_is_known),
        RING_TEST(the_first_listing_promotes_at_once),
        RING_TEST(the_highest_passed_activation_wins),
        RING_TEST(a_dead_clock_promotes_the_lowest_on_a_new_node),
        RING_TEST(a_later_generation_must_be_seen_twice),
        RING_TEST(a_generation_that_was_away_starts_counting_anew),
        RING_TEST(an_activation_is_waited_for),
        RING_TEST(a_promotion_shows_only_with_a_status),
        RING_TEST(the_promoted_number_never_goes_down),
        RING_TEST(a_vanished_promoted_key_is_named_and_others_still_unwrap),
        RING_TEST(a_substituted_promoted_key_is_named_with_both_fingerprints),
        RING_TEST(the_pinned_key_back_on_the_token_serves_again),
        RING_TEST(an_extractable_key_is_never_promoted),
        RING_TEST(a_readable_key_is_never_promoted),
        RING_TEST(a_foreign_key_neither_wraps_nor_unwraps),
        RING_TEST(duplicates_are_never_promoted),
        RING_TEST(a_key_without_unwrap_is_never_promoted),
        RING_TEST(a_label_that_cannot_be_read_disturbs_nothing),
        RING_TEST(a_duplicate_of_the_pinned_key_does_not_disturb_it),
        RING_TEST(a_disabled_key_says_so),
        RING_TEST(find_tells_unknown_from_missing),
        RING_TEST(a_fingerprint_from_the_configuration_is_trusted),
        RING_TEST(a_contradiction_of_configuration_and_pins_is_an_error),
        RING_TEST(a_key_whose_canary_fails_is_passed_over),
        RING_TEST(pins_wait_for_the_second_sighting),
        RING_TEST(a_restart_keeps_promotion_and_pins),
        RING_TEST(a_tombstoned_generation_is_refused),
        RING_TEST(a_buried_number_is_not_missed_and_a_local_key_under_it_unwraps),
        RING_TEST(pins_that_contradict_ring_json_are_not_taken),
        RING_TEST(the_mark_is_of_the_word_that_was_taken),
        RING_TEST(an_empty_token_says_what_to_do),
    };
    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
