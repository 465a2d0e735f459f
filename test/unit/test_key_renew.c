/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <unistd.h>

#include "key_renew.h"
#include "key_settle.h"
#include "kms/clock.h"
#include "life_rig.h"

#define ID "00112233445566ff"
#define PENDING "prod.pending." ID

enum { OLD_S = -100000, DAY_S = 86400 };

/* Generation 2 is promoted, generation 1 only decrypts. */
static struct life_rig *rotated(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, OLD_S + 1000, 2);
    life_remember(rig, 2, 2);
    return rig;
}

static enum kms_code revert_as(struct life_rig *rig, uint32_t generation,
                               const struct kms_key_timing *timing)
{
    const struct kms_key_target target = { .generation = generation };
    return kms_key_revert(life_look(rig), &target, timing, false, &rig->outcome, &rig->err);
}

static enum kms_code revert_to(struct life_rig *rig, uint32_t generation)
{
    return revert_as(rig, generation, &(struct kms_key_timing){ .activate = NULL });
}

static enum kms_code prepare(struct life_rig *rig, bool another)
{
    return kms_key_prepare(life_look(rig), another, false, &rig->outcome, &rig->err);
}

static enum kms_code commit_as(struct life_rig *rig, const struct kms_key_timing *timing)
{
    return kms_key_commit(life_look(rig), ID, "safe 4", timing, false, &rig->outcome, &rig->err);
}

static enum kms_code commit_it(struct life_rig *rig)
{
    return commit_as(rig, &(struct kms_key_timing){ .activate = NULL });
}

static void assert_refused(struct life_rig *rig, const char *part)
{
    assert_true(rig->outcome.refused);
    assert_contains(rig->outcome.text, part);
}

static void assert_done(struct life_rig *rig, const char *name, bool changed)
{
    if (rig->outcome.refused)
        fail_msg("refused: %s", rig->outcome.text);
    assert_string_equal(rig->outcome.name, name);
    assert_int_equal(rig->outcome.changed, changed);
}

/* --- revert --- */

static void old_material_gets_the_next_generation(void **state)
{
    struct life_rig *rig = rotated(state);
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "copied", true);
    assert_string_equal(rig->outcome.kek.label, life_label(3, LIFE_LEAD_S));
    fake_keystore_fingerprint(1, fingerprint);
    assert_memory_equal(rig->outcome.kek.fingerprint, fingerprint, sizeof(fingerprint));
    assert_true(life_has(rig, life_label(1, OLD_S)));
}

static void a_rerun_finds_the_copy_that_waits(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "pending", false);
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_COPY), 1);
}

static void a_rerun_finds_the_copy_that_is_promoted(void **state)
{
    struct life_rig *rig = rotated(state);
    life_add(rig, 3, -1000, 1);
    life_remember(rig, 3, 1);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "promoted", false);
}

/* The copy of a key that was made elsewhere waits to be accepted on each node. */
static void a_rerun_finds_the_copy_that_waits_to_be_accepted(void **state)
{
    struct life_rig *rig = rotated(state);
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    fake_keystore_fingerprint(1, fingerprint);
    assert_ok(kms_state_add_pin(&rig->memory, 1, fingerprint, &rig->err), &rig->err);
    fake_keystore_set(rig->fake, life_label(1, OLD_S), 0, KMS_KEK_LOCAL);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "copied", true);
    assert_string_equal(rig->outcome.kek.label, life_label(3, DAY_S)); /* the time that it takes */
    assert_contains(rig->outcome.next, "key accept --generation 3");
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "pending", false);
    assert_contains(rig->outcome.next, "key accept --generation 3");
}

/* A plugin had pinned it before it was destroyed: the number is burnt, the material is not there. */
static void a_copy_that_is_gone_from_the_token_is_made_anew(void **state)
{
    struct life_rig *rig = rotated(state);
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    fake_keystore_fingerprint(1, fingerprint);
    assert_ok(kms_state_add_pin(&rig->memory, 3, fingerprint, &rig->err), &rig->err);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "copied", true);
    assert_string_equal(rig->outcome.kek.label, life_label(4, LIFE_LEAD_S));
}

static void material_that_was_reverted_to_and_left_again_is_copied_anew(void **state)
{
    struct life_rig *rig = rotated(state);
    life_add(rig, 3, -2000, 1);
    life_add(rig, 4, -1000, 4);
    life_remember(rig, 4, 4);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "copied", true);
    assert_string_equal(rig->outcome.kek.label, life_label(5, LIFE_LEAD_S));
}

static void the_promoted_generation_is_not_reverted_to(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(revert_to(rig, 2), &rig->err);
    assert_refused(rig, "generation 2 is the promoted one");
}

static void a_disabled_generation_is_not_reverted_to(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_set(rig->fake, life_label(1, OLD_S), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_refused(rig, "generation 1 is disabled");
}

static void a_refused_generation_is_not_reverted_to(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_set(rig->fake, life_label(1, OLD_S), KMS_KEK_EXTRACTABLE, 0);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_refused(rig, "generation 1 is refused");
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_COPY), 0);
}

static void a_missing_generation_is_not_reverted_to(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_remove(rig->fake, life_label(1, OLD_S));
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_refused(rig, "no such key of generation 1");
}

static void a_generation_that_waits_blocks_a_revert_to_other_material(void **state)
{
    struct life_rig *rig = rotated(state);
    life_add(rig, 3, DAY_S, 3);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_refused(rig, "key cancel 3");
    assert_ok(revert_to(rig, 3), &rig->err);
    assert_refused(rig, "waits for its own promotion");
}

static void an_early_revert_needs_force(void **state)
{
    struct life_rig *rig = rotated(state);
    struct kms_key_timing timing = { .activate = "now" };
    assert_ok(revert_as(rig, 1, &timing), &rig->err);
    assert_refused(rig, "--force");
    timing.force = true;
    assert_ok(revert_as(rig, 1, &timing), &rig->err);
    assert_done(rig, "copied", true);
    assert_string_equal(rig->outcome.kek.label, life_label(3, 0));
}

static void a_revert_that_the_token_fails_is_repeated(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_fail(rig->fake, FAKE_COPY, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(revert_to(rig, 1), KMS_E_UNAVAILABLE);
    assert_ok(revert_to(rig, 1), &rig->err);
    assert_done(rig, "copied", true);
}

static void a_dry_revert_copies_nothing(void **state)
{
    struct life_rig *rig = rotated(state);
    const struct kms_key_target target = { .generation = 1 };
    const struct kms_key_timing timing = { .activate = NULL };
    assert_ok(kms_key_revert(life_look(rig), &target, &timing, true, &rig->outcome, &rig->err),
              &rig->err);
    assert_done(rig, "planned", false);
    assert_string_equal(rig->outcome.kek.label, life_label(3, LIFE_LEAD_S));
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_COPY), 0);
}

/* --- prepare --- */

static void a_prepared_key_is_no_kek_of_the_ring(void **state)
{
    struct life_rig *rig = rotated(state);
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    assert_ok(prepare(rig, false), &rig->err);
    assert_done(rig, "prepared", true);
    assert_non_null(kms_pending_label_id("prod", rig->outcome.kek.label));
    assert_false(kms_label_parse("prod", rig->outcome.kek.label, &generation, &activation_utc_s));
    (void)life_look(rig);
    assert_int_equal(rig->snapshot->count, 2);
}

static void a_second_prepare_reports_the_first(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(prepare(rig, false), &rig->err);
    struct kms_kek_info first = rig->outcome.kek;
    assert_ok(prepare(rig, false), &rig->err);
    assert_done(rig, "pending", false);
    assert_string_equal(rig->outcome.kek.label, first.label);
    assert_ok(prepare(rig, true), &rig->err);
    assert_done(rig, "prepared", true);
    assert_string_not_equal(rig->outcome.kek.label, first.label);
}

static void a_label_that_only_looks_prepared_is_none(void **state)
{
    (void)state;
    assert_string_equal(kms_pending_label_id("prod", PENDING), ID);
    assert_null(kms_pending_label_id("prod", PENDING "0"));
    assert_null(kms_pending_label_id("prod", "prod.pending.00112233445566FF"));
    assert_null(kms_pending_label_id("prod", "test.pending." ID));
    assert_null(kms_pending_label_id("prod", "prod.v1@20261201T120000Z"));
}

/* --- commit --- */

static bool find_backup(struct life_rig *rig, struct kms_backup *backup)
{
    bool found = false;
    assert_ok(kms_backups_find(rig->state_dir, ID, NULL, &found, backup, &rig->err), &rig->err);
    return found;
}

static void a_prepared_key_becomes_the_next_generation_with_its_backup_on_record(void **state)
{
    struct life_rig *rig = rotated(state);
    struct kms_backup backup;
    fake_keystore_add(rig->fake, PENDING, 7);
    assert_ok(commit_it(rig), &rig->err);
    assert_done(rig, "committed", true);
    assert_string_equal(rig->outcome.kek.label, life_label(3, LIFE_LEAD_S));
    assert_true(life_has(rig, life_label(3, LIFE_LEAD_S)));
    assert_false(life_has(rig, PENDING));
    assert_true(find_backup(rig, &backup));
    assert_string_equal(backup.reference, "safe 4");
    assert_memory_equal(backup.fingerprint, rig->outcome.kek.fingerprint, KMS_FINGERPRINT_LEN);
}

static void the_first_key_of_a_ring_may_be_a_committed_one(void **state)
{
    struct life_rig *rig = *state;
    fake_keystore_add(rig->fake, PENDING, 7);
    assert_ok(commit_as(rig, &(struct kms_key_timing){ .rule.min_lead_ms = 3600000 }), &rig->err);
    assert_string_equal(rig->outcome.kek.label, life_label(1, 0));
}

static void a_rerun_of_commit_finds_the_generation(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_add(rig->fake, PENDING, 7);
    assert_ok(commit_it(rig), &rig->err);
    assert_ok(commit_it(rig), &rig->err);
    assert_done(rig, "committed", false);
    assert_contains(rig->outcome.text, "as generation 3");
    assert_contains(rig->outcome.next, "after 2026-12-01T12:01:30Z");
}

static void a_rerun_of_commit_says_what_became_of_the_key(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_add(rig->fake, PENDING, 7);
    assert_ok(commit_it(rig), &rig->err);
    rig->scene.now_utc_s = LIFE_NOW + DAY_S;
    assert_ok(commit_it(rig), &rig->err);
    assert_contains(rig->outcome.next, "its activation, 2026-12-01T12:01:30Z, has come");
    life_remember(rig, 3, 7);
    assert_ok(commit_it(rig), &rig->err);
    assert_contains(rig->outcome.next, "it is promoted");
    life_add(rig, 4, -1, 8);
    life_remember(rig, 4, 8);
    assert_ok(commit_it(rig), &rig->err);
    assert_contains(rig->outcome.next, "generation 4 is promoted, and this one decrypts");
    fake_keystore_set(rig->fake, life_label(3, LIFE_LEAD_S), KMS_KEK_EXTRACTABLE, 0);
    assert_ok(commit_it(rig), &rig->err);
    assert_contains(rig->outcome.next, "generation 3 is refused on this node: CKA_EXTRACTABLE");
}

static void a_commit_killed_before_the_label_is_finished_by_a_rerun(void **state)
{
    struct life_rig *rig = rotated(state);
    struct kms_backup backup;
    fake_keystore_add(rig->fake, PENDING, 7);
    fake_keystore_fail(rig->fake, FAKE_RELABEL, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(commit_it(rig), KMS_E_UNAVAILABLE);
    assert_true(find_backup(rig, &backup));
    assert_true(life_has(rig, PENDING));
    assert_ok(commit_it(rig), &rig->err);
    assert_done(rig, "committed", true);
}

static void no_key_gets_its_label_before_its_backup_is_on_record(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_add(rig->fake, PENDING, 7);
    rig->scene.state_dir = "/nonexistent/state";
    assert_int_equal(commit_it(rig), KMS_E_PRECONDITION);
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_RELABEL), 0);
}

static void an_unsound_key_is_not_committed(void **state)
{
    static const struct {
        uint32_t set, clear;
        const char *why;
    } cases[] = {
        { KMS_KEK_EXTRACTABLE, 0, "could leave the token" },
        { 0, KMS_KEK_SENSITIVE, "can be read" },
        { 0, KMS_KEK_LOCAL, "wasn't generated on the token" },
        { 0, KMS_KEK_UNWRAP, "may not wrap and unwrap" },
    };
    struct life_rig *rig = rotated(state);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fake_keystore_add(rig->fake, PENDING, 7);
        fake_keystore_set(rig->fake, PENDING, cases[i].set, cases[i].clear);
        assert_ok(commit_it(rig), &rig->err);
        assert_refused(rig, cases[i].why);
        fake_keystore_remove(rig->fake, PENDING);
    }
}

static void two_keys_with_one_id_are_not_committed(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_add(rig->fake, PENDING, 7);
    fake_keystore_add(rig->fake, PENDING, 8);
    assert_ok(commit_it(rig), &rig->err);
    assert_refused(rig, "several keys");
}

static void an_unknown_id_is_an_error(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_int_equal(commit_it(rig), KMS_E_INVALID);
    assert_contains(rig->err.msg, "no prepared key " ID);
}

static void a_generation_that_waits_blocks_a_commit(void **state)
{
    struct life_rig *rig = rotated(state);
    life_add(rig, 3, DAY_S, 3);
    fake_keystore_add(rig->fake, PENDING, 7);
    assert_ok(commit_it(rig), &rig->err);
    assert_refused(rig, "generation 3");
    assert_true(life_has(rig, PENDING));
}

static void a_commit_before_the_least_lead_is_refused_whatever_the_force(void **state)
{
    struct life_rig *rig = rotated(state);
    struct kms_key_timing timing = { .activate = "+1h",
                                     .force = true,
                                     .rule.min_lead_ms = INT64_C(1000) * DAY_S };
    fake_keystore_add(rig->fake, PENDING, 7);
    assert_ok(commit_as(rig, &timing), &rig->err);
    assert_refused(rig, "rotation.min_lead");
    timing.activate = NULL;
    assert_ok(commit_as(rig, &timing), &rig->err);
    assert_string_equal(rig->outcome.kek.label, life_label(3, DAY_S));
}

/* The other command's key stays, as one of another commit would. */
static void two_commits_of_one_generation_lose_no_key(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_add(rig->fake, PENDING, 7);
    (void)life_look(rig);
    life_add(rig, 3, LIFE_LEAD_S + 1, 8);
    const struct kms_key_timing timing = { .activate = NULL };
    assert_int_equal(
        kms_key_commit(&rig->scene, ID, "safe 4", &timing, false, &rig->outcome, &rig->err),
        KMS_E_BUSY);
    assert_true(life_has(rig, PENDING));
    assert_false(life_has(rig, life_label(3, LIFE_LEAD_S)));
}

static void a_reference_must_lead_somewhere(void **state)
{
    struct life_rig *rig = rotated(state);
    const struct kms_key_timing timing = { .activate = NULL };
    static const char *const bad[] = { "", "two\nlines", "\xff" };
    fake_keystore_add(rig->fake, PENDING, 7);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(
            kms_key_commit(life_look(rig), ID, bad[i], &timing, false, &rig->outcome, &rig->err),
            KMS_E_INVALID);
    assert_int_equal(
        kms_key_commit(life_look(rig), "0011", "safe 4", &timing, false, &rig->outcome, &rig->err),
        KMS_E_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, life_set_up, life_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(old_material_gets_the_next_generation),
        TEST(a_rerun_finds_the_copy_that_waits),
        TEST(a_rerun_finds_the_copy_that_waits_to_be_accepted),
        TEST(a_rerun_finds_the_copy_that_is_promoted),
        TEST(a_copy_that_is_gone_from_the_token_is_made_anew),
        TEST(material_that_was_reverted_to_and_left_again_is_copied_anew),
        TEST(the_promoted_generation_is_not_reverted_to),
        TEST(a_disabled_generation_is_not_reverted_to),
        TEST(a_refused_generation_is_not_reverted_to),
        TEST(a_missing_generation_is_not_reverted_to),
        TEST(a_generation_that_waits_blocks_a_revert_to_other_material),
        TEST(an_early_revert_needs_force),
        TEST(a_revert_that_the_token_fails_is_repeated),
        TEST(a_dry_revert_copies_nothing),
        TEST(a_prepared_key_is_no_kek_of_the_ring),
        TEST(a_second_prepare_reports_the_first),
        cmocka_unit_test(a_label_that_only_looks_prepared_is_none),
        TEST(a_prepared_key_becomes_the_next_generation_with_its_backup_on_record),
        TEST(the_first_key_of_a_ring_may_be_a_committed_one),
        TEST(a_rerun_of_commit_finds_the_generation),
        TEST(a_rerun_of_commit_says_what_became_of_the_key),
        TEST(a_commit_killed_before_the_label_is_finished_by_a_rerun),
        TEST(no_key_gets_its_label_before_its_backup_is_on_record),
        TEST(an_unsound_key_is_not_committed),
        TEST(two_keys_with_one_id_are_not_committed),
        TEST(an_unknown_id_is_an_error),
        TEST(a_generation_that_waits_blocks_a_commit),
        TEST(a_commit_before_the_least_lead_is_refused_whatever_the_force),
        TEST(two_commits_of_one_generation_lose_no_key),
        TEST(a_reference_must_lead_somewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
