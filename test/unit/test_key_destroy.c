/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "life_rig.h"

enum { OLD_S = -100000 };

/* Generation 2 is promoted, generation 1 only decrypts. */
static struct life_rig *rotated(void **state)
{
    struct life_rig *rig = *state;
    life_add(rig, 1, OLD_S, 1);
    life_add(rig, 2, OLD_S + 1000, 2);
    life_remember(rig, 2, 2);
    return rig;
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

/* --- destroy --- */

static void only_a_disabled_generation_is_destroyed(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    assert_refused(rig, "key disable 1 first");
    assert_true(life_has(rig, life_label(1, OLD_S)));
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    assert_done(rig, "destroyed", true);
    assert_false(life_has(rig, life_label(1, OLD_S)));
    assert_true(life_buries(rig, 1));
}

static void destroying_wants_the_generations_full_name(void **state)
{
    struct life_rig *rig = rotated(state);
    static const char *const typed[] = {
        NULL, "", "1", "prod.v", "prod.v2", "prod.v1 ", "Prod.v1"
    };
    assert_ok(set_usable(rig, 1, false), &rig->err);
    for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++) {
        assert_ok(destroy_it(rig, 1, typed[i]), &rig->err);
        assert_refused(rig, "--i-have-verified prod.v1");
    }
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_DESTROY), 0);
}

/* Says no to the @refused'th question; 0: to none. */
struct prover {
    struct life_rig *rig;
    int asked, refused;
    bool waited, early;
};

static bool wait_for_it(void *context, struct kms_key_outcome *outcome)
{
    struct prover *prover = context;
    prover->waited = true;
    if (prover->early)
        (void)kms_key_refuse(outcome, "not yet");
    return !prover->early;
}

static bool prove(void *context, bool again, struct kms_key_outcome *outcome)
{
    struct prover *prover = context;
    assert_int_equal(again, prover->asked == 1);
    assert_int_equal(fake_keystore_calls(prover->rig->fake, FAKE_DESTROY), 0);
    if (++prover->asked == prover->refused)
        (void)kms_key_refuse(outcome, "a Secret needs it");
    return !outcome->refused;
}

static enum kms_code destroy_proven(struct prover *prover, uint32_t generation, bool dry_run)
{
    const struct kms_key_target target = { .generation = generation };
    const struct kms_key_warrant warrant = { .prove = prove,
                                             .wait = wait_for_it,
                                             .context = prover };
    struct life_rig *rig = prover->rig;
    return kms_key_destroy(life_look(rig), &target, &warrant, dry_run, &rig->outcome, &rig->err);
}

static void a_proof_is_made_twice_before_the_key_ends(void **state)
{
    struct life_rig *rig = rotated(state);
    struct prover prover = { .rig = rig };
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_ok(destroy_proven(&prover, 1, false), &rig->err);
    assert_done(rig, "destroyed", true);
    assert_int_equal(prover.asked, 2);
    assert_true(life_buries(rig, 1));
}

static void a_proof_that_fails_at_first_or_at_last_keeps_the_key(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    for (int refused = 1; refused <= 2; refused++) {
        struct prover prover = { .rig = rig, .refused = refused };
        assert_ok(destroy_proven(&prover, 1, false), &rig->err);
        assert_refused(rig, "a Secret needs it");
        assert_int_equal(prover.asked, refused);
    }
    assert_true(life_has(rig, life_label(1, OLD_S)));
    assert_false(life_buries(rig, 1));
}

static void a_dry_run_proves_once(void **state)
{
    struct life_rig *rig = rotated(state);
    struct prover prover = { .rig = rig };
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_ok(destroy_proven(&prover, 1, true), &rig->err);
    assert_done(rig, "planned", false);
    assert_int_equal(prover.asked, 1);
    assert_true(life_has(rig, life_label(1, OLD_S)));
}

static void a_key_in_use_is_refused_before_any_proof(void **state)
{
    struct life_rig *rig = rotated(state);
    struct prover prover = { .rig = rig };
    assert_ok(destroy_proven(&prover, 1, false), &rig->err);
    assert_refused(rig, "key disable 1 first");
    assert_int_equal(prover.asked, 0);
}

static void a_key_whose_time_is_not_up_is_kept_without_a_proof(void **state)
{
    struct life_rig *rig = rotated(state);
    struct prover prover = { .rig = rig, .early = true };
    assert_ok(set_usable(rig, 1, false), &rig->err);
    assert_ok(destroy_proven(&prover, 1, false), &rig->err);
    assert_refused(rig, "not yet");
    assert_int_equal(prover.asked, 0);
}

/* Other nodes only bury the number, and recorded nothing. */
static void the_number_of_a_key_that_is_gone_waits_for_nothing(void **state)
{
    struct life_rig *rig = rotated(state);
    struct prover prover = { .rig = rig, .early = true };
    fake_keystore_remove(rig->fake, life_label(1, OLD_S));
    assert_ok(destroy_proven(&prover, 1, false), &rig->err);
    assert_done(rig, "buried", true);
    assert_false(prover.waited);
}

static void the_number_of_a_key_that_is_gone_wants_a_proof_too(void **state)
{
    struct life_rig *rig = rotated(state);
    struct prover prover = { .rig = rig, .refused = 1 };
    fake_keystore_remove(rig->fake, life_label(1, OLD_S));
    assert_ok(destroy_proven(&prover, 1, false), &rig->err);
    assert_refused(rig, "a Secret needs it");
    assert_false(life_buries(rig, 1));
    prover = (struct prover){ .rig = rig };
    assert_ok(destroy_proven(&prover, 1, false), &rig->err);
    assert_done(rig, "buried", true);
}

static void a_number_that_nobody_knows_is_buried_if_it_was_disabled_here(void **state)
{
    struct life_rig *rig = rotated(state);
    const struct kms_key_target target = { .generation = 4 };
    struct kms_key_warrant warrant = { .verified = "prod.v4" };
    assert_int_equal(
        kms_key_destroy(life_look(rig), &target, &warrant, false, &rig->outcome, &rig->err),
        KMS_E_INVALID);
    assert_false(life_buries(rig, 4));
    warrant.disabled_here = true;
    assert_ok(kms_key_destroy(life_look(rig), &target, &warrant, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_done(rig, "buried", true);
    assert_true(life_buries(rig, 4));
}

static void the_promoted_generation_is_never_destroyed(void **state)
{
    struct life_rig *rig = rotated(state);
    fake_keystore_set(rig->fake, life_label(2, OLD_S + 1000), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_ok(destroy_it(rig, 2, "prod.v2"), &rig->err);
    assert_refused(rig, "the promoted one");
}

static void a_failed_tombstone_is_made_good_by_a_rerun(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(set_usable(rig, 1, false), &rig->err);
    /* a folder where the request's temporary file belongs */
    char obstacle[96];
    (void)snprintf(obstacle, sizeof(obstacle), "%s/request.tombstone.1.json", rig->state_dir);
    assert_int_equal(mkdir(obstacle, 0700), 0);
    assert_int_not_equal(destroy_it(rig, 1, "prod.v1"), KMS_OK);
    assert_contains(rig->err.msg, "is destroyed, but its number isn't buried");
    assert_int_equal(rmdir(obstacle), 0);
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    assert_done(rig, "buried", true);
    assert_true(life_buries(rig, 1));
}

static void a_buried_generation_is_reported_as_gone(void **state)
{
    struct life_rig *rig = rotated(state);
    static uint32_t tombstones[] = { 1 };
    fake_keystore_remove(rig->fake, life_label(1, OLD_S));
    rig->memory.tombstones = tombstones;
    rig->memory.tombstone_count = 1;
    assert_ok(destroy_it(rig, 1, "prod.v1"), &rig->err);
    rig->memory.tombstones = NULL;
    rig->memory.tombstone_count = 0;
    assert_done(rig, "gone", false);
    assert_false(life_buries(rig, 1));
}

/* Else whoever plants a key could use up the numbers after all. */
static void the_number_of_a_key_that_was_never_trusted_is_not_buried(void **state)
{
    struct life_rig *rig = rotated(state);
    life_add(rig, 900, -(OLD_S + 1000), 9);
    fake_keystore_set(rig->fake, life_label(900, -(OLD_S + 1000)), 0,
                      KMS_KEK_LOCAL | KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_ok(destroy_it(rig, 900, "prod.v900"), &rig->err);
    assert_done(rig, "destroyed", true);
    assert_false(life_has(rig, life_label(900, -(OLD_S + 1000))));
    assert_false(life_buries(rig, 900));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, life_set_up, life_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_a_disabled_generation_is_destroyed),
        TEST(destroying_wants_the_generations_full_name),
        TEST(a_proof_is_made_twice_before_the_key_ends),
        TEST(a_proof_that_fails_at_first_or_at_last_keeps_the_key),
        TEST(a_dry_run_proves_once),
        TEST(a_key_in_use_is_refused_before_any_proof),
        TEST(a_key_whose_time_is_not_up_is_kept_without_a_proof),
        TEST(the_number_of_a_key_that_is_gone_waits_for_nothing),
        TEST(the_number_of_a_key_that_is_gone_wants_a_proof_too),
        TEST(a_number_that_nobody_knows_is_buried_if_it_was_disabled_here),
        TEST(the_promoted_generation_is_never_destroyed),
        TEST(the_number_of_a_key_that_was_never_trusted_is_not_buried),
        TEST(a_failed_tombstone_is_made_good_by_a_rerun),
        TEST(a_buried_generation_is_reported_as_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
