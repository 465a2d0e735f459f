/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "life_rig.h"

enum { HOUR_S = 3600, OLD_S = -100000 };

/* Generation 1 is promoted, generation 2 waits for its activation in an hour. */
static struct life_rig *waiting(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, HOUR_S, 2);
    life_remember(rig, 1, 1);
    return rig;
}

/* Generation 2 is promoted, generation 1 only decrypts. */
static struct life_rig *rotated(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, OLD_S + 1000, 2);
    life_remember(rig, 2, 2);
    return rig;
}

static enum kms_code cancel_it(struct life_rig *rig, uint32_t generation)
{
    const struct kms_key_target target = { .generation = generation };
    return kms_key_cancel(life_look(rig), &target, false, &rig->outcome, &rig->err);
}

static enum kms_code set_usable(struct life_rig *rig, uint32_t generation, bool usable)
{
    const struct kms_key_target target = { .generation = generation };
    return kms_key_set_usable(life_look(rig), &target, usable, false, &rig->outcome, &rig->err);
}

static enum kms_code destroy_it(struct life_rig *rig, uint32_t generation, const char *verified)
{
    const struct kms_key_target target = { .generation = generation };
    const struct kms_key_warrant warrant = { .verified = verified };
    return kms_key_destroy(life_look(rig), &target, &warrant, false, &rig->outcome, &rig->err);
}

static void assert_refused(struct life_rig *rig, const char *part)
{
    assert_true(rig->outcome.refused);
    assert_false(rig->outcome.changed);
    assert_contains(rig->outcome.text, part);
}

static void assert_done(struct life_rig *rig, const char *name, bool changed)
{
    if (rig->outcome.refused)
        fail_msg("refused: %s", rig->outcome.text);
    assert_string_equal(rig->outcome.name, name);
    assert_int_equal(rig->outcome.changed, changed);
}

/* --- cancel --- */

static void a_generation_before_its_activation_is_destroyed_and_buried(void **state)
{
    struct life_rig *rig = waiting(state);
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_done(rig, "destroyed", true);
    assert_false(life_has(rig, life_label(2, HOUR_S)));
    assert_true(life_buries(rig, 2));
}

static void a_cancelled_generation_stays_cancelled(void **state)
{
    struct life_rig *rig = waiting(state);
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_done(rig, "gone", false);
}

static void a_cancel_killed_before_the_tombstone_is_finished_by_a_rerun(void **state)
{
    struct life_rig *rig = waiting(state);
    fake_keystore_remove(rig->fake, life_label(2, HOUR_S));
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_done(rig, "buried", true);
    assert_true(life_buries(rig, 2));
}

static void a_number_that_nobody_saw_is_not_buried(void **state)
{
    struct life_rig *rig = waiting(state);
    assert_int_equal(cancel_it(rig, 4), KMS_E_INVALID);
    assert_contains(rig->err.msg, "no key of generation 4");
    assert_false(life_buries(rig, 4));
}

static void the_promoted_generation_is_not_cancelled(void **state)
{
    struct life_rig *rig = waiting(state);
    assert_ok(cancel_it(rig, 1), &rig->err);
    assert_refused(rig, "generation 1 is promoted");
    assert_true(life_has(rig, life_label(1, OLD_S)));
}

static void what_the_running_plugin_promoted_is_not_cancelled(void **state)
{
    struct life_rig *rig = waiting(state);
    rig->scene.node_promoted = 2;
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_refused(rig, "generation 2 is promoted");
}

static void a_generation_is_not_cancelled_within_the_clock_skew_of_its_activation(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, 30, 2);
    life_add(rig, 3, 31, 3);
    life_remember(rig, 1, 1);
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_refused(rig, "has passed");
    assert_ok(cancel_it(rig, 3), &rig->err);
    assert_done(rig, "destroyed", true);
}

static void without_ring_json_the_only_generation_is_not_cancelled(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, HOUR_S, 1);
    assert_ok(cancel_it(rig, 1), &rig->err);
    assert_refused(rig, "would be on a new node");
}

static void without_ring_json_a_later_generation_is_cancelled(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, HOUR_S, 2);
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_done(rig, "destroyed", true);
}

static void nothing_is_destroyed_that_could_not_be_buried(void **state)
{
    struct life_rig *rig = waiting(state);
    rig->scene.state_dir = "/nonexistent/state";
    assert_int_equal(cancel_it(rig, 2), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "nothing was destroyed");
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_DESTROY), 0);
}

static void a_token_that_fails_leaves_no_tombstone(void **state)
{
    struct life_rig *rig = waiting(state);
    fake_keystore_fail(rig->fake, FAKE_DESTROY, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(cancel_it(rig, 2), KMS_E_UNAVAILABLE);
    assert_false(life_buries(rig, 2));
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_done(rig, "destroyed", true);
    assert_true(life_buries(rig, 2));
}

static void a_dry_cancel_changes_nothing(void **state)
{
    struct life_rig *rig = waiting(state);
    const struct kms_key_target target = { .generation = 2 };
    assert_ok(kms_key_cancel(life_look(rig), &target, true, &rig->outcome, &rig->err), &rig->err);
    assert_done(rig, "planned", false);
    assert_true(life_has(rig, life_label(2, HOUR_S)));
    assert_false(life_buries(rig, 2));
}

/* --- which key --- */

static void several_keys_of_a_generation_are_listed(void **state)
{
    struct life_rig *rig = waiting(state);
    life_add(rig, 2, HOUR_S, 9);
    assert_ok(cancel_it(rig, 2), &rig->err);
    assert_refused(rig, "--fingerprint or --cka-id");
    assert_contains(rig->outcome.text, "cka_id 02");
    assert_contains(rig->outcome.text, "cka_id 03");
}

static void one_of_several_is_chosen_by_its_fingerprint_and_its_number_not_buried(void **state)
{
    struct life_rig *rig = waiting(state);
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    char digits[2 * KMS_FINGERPRINT_LEN + 1];
    life_add(rig, 2, 2 * HOUR_S, 9);
    fake_keystore_fingerprint(9, fingerprint);
    kms_hex_encode((struct kms_bytes){ fingerprint, sizeof(fingerprint) }, digits);
    digits[8] = '\0';
    const struct kms_key_target target = { .generation = 2, .fingerprint = digits };
    assert_ok(kms_key_cancel(life_look(rig), &target, false, &rig->outcome, &rig->err), &rig->err);
    assert_done(rig, "destroyed", true);
    assert_false(life_has(rig, life_label(2, 2 * HOUR_S)));
    assert_true(life_has(rig, life_label(2, HOUR_S)));
    assert_false(life_buries(rig, 2));
}

static void a_rerun_with_that_fingerprint_spares_the_other_key(void **state)
{
    struct life_rig *rig = waiting(state);
    const struct kms_key_target target = { .generation = 2, .fingerprint = "00000000" };
    assert_int_equal(kms_key_cancel(life_look(rig), &target, false, &rig->outcome, &rig->err),
                     KMS_E_INVALID);
    assert_true(life_has(rig, life_label(2, HOUR_S)));
    assert_false(life_buries(rig, 2));
}

static void disabled_twins_are_chosen_by_their_id(void **state)
{
    struct life_rig *rig = rotated(state);
    life_add(rig, 1, OLD_S + 1, 9);
    fake_keystore_set(rig->fake, life_label(1, OLD_S), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    fake_keystore_set(rig->fake, life_label(1, OLD_S + 1), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    const struct kms_key_target target = { .generation = 1, .cka_id = "03" };
    assert_ok(kms_key_set_usable(life_look(rig), &target, true, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_done(rig, "enabled", true);
    assert_string_equal(rig->outcome.kek.label, life_label(1, OLD_S + 1));
}

/* --- disable, enable --- */

static void an_old_generation_is_disabled_and_enabled(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_done(rig, "disabled", true);
    assert_contains(rig->outcome.next, "next refresh");
    assert_contains(rig->outcome.next, "no defence against a thief");
    (void)life_look(rig);
    assert_int_equal(rig->snapshot->entries[0].state, KMS_KEK_DISABLED);
    assert_ok(set_usable(rig, 1, true), &rig->err);
    assert_done(rig, "enabled", true);
    (void)life_look(rig);
    assert_int_equal(rig->snapshot->entries[0].state, KMS_KEK_DECRYPT_ONLY);
}

static void what_is_so_already_is_not_changed(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 1, true), &rig->err);
    assert_done(rig, "enabled", false);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_done(rig, "disabled", false);
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_SET_USAGE), 1);
}

static void the_promoted_generation_is_not_disabled(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 2, false), &rig->err);
    assert_refused(rig, "the promoted one");
}

static void a_promoted_generation_that_is_disabled_can_be_enabled(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_set(rig->fake, life_label(2, OLD_S + 1000), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_ok(set_usable(rig, 2, true), &rig->err);
    assert_done(rig, "enabled", true);
}

static void without_ring_json_the_highest_activated_generation_counts_as_promoted(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, OLD_S + 1000, 2);
    life_add(rig, 3, HOUR_S, 3);
    assert_ok(set_usable(rig, 2, false), &rig->err);
    assert_refused(rig, "the promoted one");
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_done(rig, "disabled", true);
    assert_ok(set_usable(rig, 3, false), &rig->err);
    assert_done(rig, "disabled", true);
}

static void a_generation_that_another_node_may_have_promoted_is_not_disabled(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, -1, 2);
    life_remember(rig, 1, 1);
    assert_ok(set_usable(rig, 2, false), &rig->err);
    assert_refused(rig, "another node may have promoted it");
}

static void a_generation_that_is_nowhere_can_not_be_disabled(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_int_equal(set_usable(rig, 7, false), KMS_E_INVALID);
}

static void a_token_that_fails_to_disable_is_told(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_fail(rig->fake, FAKE_SET_USAGE, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(set_usable(rig, 1, false), KMS_E_UNAVAILABLE);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_done(rig, "disabled", true);
}

/* --- other nodes --- */

/* Two nodes were asked: one is at generation 2, the other at @promoted. */
static void ask_peers(struct life_rig *rig, uint32_t promoted)
{
    static struct kms_key_peer peers[2];
    peers[0] = (struct kms_key_peer){ .title = "cp-1", .ring = "prod", .promoted = 2 };
    peers[1] = (struct kms_key_peer){ .title = "cp-2", .ring = "prod", .promoted = promoted };
    rig->scene.peers = peers;
    rig->scene.peer_count = 2;
}

static void a_generation_that_another_node_needs_is_not_disabled(void **state)
{
    struct life_rig *rig = rotated(state);
    ask_peers(rig, 1);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_refused(rig, "cp-2 has promoted generation 1 and needs it");
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_SET_USAGE), 0);
}

static void a_generation_that_every_node_has_left_is_disabled(void **state)
{
    struct life_rig *rig = rotated(state);
    ask_peers(rig, 3);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_done(rig, "disabled", true);
    assert_null(strstr(rig->outcome.next, "No other node was asked"));
}

static void enabling_asks_no_node(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    ask_peers(rig, 1);
    assert_ok(set_usable(rig, 1, true), &rig->err);
    assert_done(rig, "enabled", true);
}

static void a_generation_that_another_node_needs_is_not_destroyed(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    ask_peers(rig, 1);
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    assert_refused(rig, "cp-2 has promoted generation 1");
    assert_true(life_has(rig, life_label(1, OLD_S)));
    assert_false(life_buries(rig, 1));
}

static void a_number_that_another_node_needs_is_not_buried(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_remove(rig->fake, life_label(1, OLD_S));
    ask_peers(rig, 1);
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    assert_refused(rig, "cp-2 has promoted generation 1");
    assert_false(life_buries(rig, 1));
    ask_peers(rig, 2);
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    assert_done(rig, "buried", true);
}

static void a_generation_that_another_node_has_promoted_is_not_cancelled(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 2, OLD_S, 2);
    life_add(rig, 3, HOUR_S, 3);
    life_remember(rig, 2, 2);
    ask_peers(rig, 3);
    assert_ok(cancel_it(rig, 3), &rig->err);
    assert_refused(rig, "cp-2 has promoted generation 3");
    assert_true(life_has(rig, life_label(3, HOUR_S)));
    ask_peers(rig, 2);
    assert_ok(cancel_it(rig, 3), &rig->err);
    assert_done(rig, "destroyed", true);
}

static void the_next_step_says_that_no_node_was_asked(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_contains(rig->outcome.next, "No other node was asked");
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    assert_contains(rig->outcome.next, "No other node was asked");
    life_add(rig, 3, HOUR_S, 3);
    assert_ok(cancel_it(rig, 3), &rig->err);
    assert_contains(rig->outcome.next, "No other node was asked");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, life_set_up, life_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_generation_before_its_activation_is_destroyed_and_buried),
        TEST(a_cancelled_generation_stays_cancelled),
        TEST(a_cancel_killed_before_the_tombstone_is_finished_by_a_rerun),
        TEST(a_number_that_nobody_saw_is_not_buried),
        TEST(the_promoted_generation_is_not_cancelled),
        TEST(what_the_running_plugin_promoted_is_not_cancelled),
        TEST(a_generation_is_not_cancelled_within_the_clock_skew_of_its_activation),
        TEST(without_ring_json_the_only_generation_is_not_cancelled),
        TEST(without_ring_json_a_later_generation_is_cancelled),
        TEST(nothing_is_destroyed_that_could_not_be_buried),
        TEST(a_token_that_fails_leaves_no_tombstone),
        TEST(a_dry_cancel_changes_nothing),
        TEST(several_keys_of_a_generation_are_listed),
        TEST(one_of_several_is_chosen_by_its_fingerprint_and_its_number_not_buried),
        TEST(a_rerun_with_that_fingerprint_spares_the_other_key),
        TEST(disabled_twins_are_chosen_by_their_id),
        TEST(an_old_generation_is_disabled_and_enabled),
        TEST(what_is_so_already_is_not_changed),
        TEST(the_promoted_generation_is_not_disabled),
        TEST(a_promoted_generation_that_is_disabled_can_be_enabled),
        TEST(without_ring_json_the_highest_activated_generation_counts_as_promoted),
        TEST(a_generation_that_another_node_may_have_promoted_is_not_disabled),
        TEST(a_generation_that_is_nowhere_can_not_be_disabled),
        TEST(a_token_that_fails_to_disable_is_told),
        TEST(a_generation_that_another_node_needs_is_not_disabled),
        TEST(a_generation_that_every_node_has_left_is_disabled),
        TEST(enabling_asks_no_node),
        TEST(a_generation_that_another_node_needs_is_not_destroyed),
        TEST(a_number_that_another_node_needs_is_not_buried),
        TEST(a_generation_that_another_node_has_promoted_is_not_cancelled),
        TEST(the_next_step_says_that_no_node_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
