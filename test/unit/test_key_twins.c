/* SPDX-License-Identifier: Apache-2.0 */
/* Lifecycle commands on two tokens, of which neither shows the fingerprint of a disabled key. */
#include "check.h"

#include "backups.h"
#include "failover.h"
#include "key_renew.h"
#include "kms/clock.h"
#include "life_rig.h"

enum { OLD = 21, NEW = 22 };

static struct fake_keystore *other; /* token 'b' */

/* Both have generations 1, under CKA_IDs of their own, and the promoted 2. */
static int set_up(void **state)
{
    if (life_set_up(state) != 0)
        return -1;
    struct life_rig *rig = *state;
    other = fake_keystore_new();
    fake_keystore_add(other, "else", OLD);
    life_add(rig, 1, -7200, OLD);
    fake_keystore_add(other, life_label(1, -7200), OLD);
    life_add(rig, 2, -3600, NEW);
    fake_keystore_add(other, life_label(2, -3600), NEW);
    const struct kms_failover_token tokens[] = { { "a", rig->scene.keystore, false },
                                                 { "b", fake_keystore_seam(other), false } };
    assert_ok(kms_failover_open(tokens, 2, &rig->scene.keystore, &rig->err), &rig->err);
    life_remember(rig, 2, NEW);
    return 0;
}

static const struct kms_key_target first = { .generation = 1 };
static const struct kms_key_warrant verified = { .verified = "prod.v1" };

static void set_usable(struct life_rig *rig, bool usable)
{
    assert_ok(kms_key_set_usable(life_look(rig), &first, usable, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_false(rig->outcome.refused);
}

static bool has(struct fake_keystore *fake, const char *label)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    struct kms_error err;
    assert_ok(kms_keystore_inventory(fake_keystore_seam(fake), label, KMS_DEADLINE_NEVER,
                                     &inventory, &err),
              &err);
    return inventory.count > 0;
}

static void a_key_is_disabled_and_enabled_on_both(void **state)
{
    struct life_rig *rig = *state;
    set_usable(rig, false);
    assert_true(rig->outcome.changed);
    set_usable(rig, false);
    assert_false(rig->outcome.changed);
    set_usable(rig, true);
    assert_true(rig->outcome.changed);
    set_usable(rig, true);
    assert_false(rig->outcome.changed);
}

static void a_run_that_disabled_one_is_finished(void **state)
{
    struct life_rig *rig = *state;
    fake_keystore_set(rig->fake, life_label(1, -7200), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    set_usable(rig, false);
    assert_true(rig->outcome.changed);
    set_usable(rig, false);
    assert_false(rig->outcome.changed);
}

static void a_key_that_is_disabled_on_one_alone_is_not_destroyed(void **state)
{
    struct life_rig *rig = *state;
    fake_keystore_set(rig->fake, life_label(1, -7200), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_ok(kms_key_destroy(life_look(rig), &first, &verified, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_true(rig->outcome.refused);
    assert_contains(rig->outcome.text, "is in use");
}

static void a_disabled_key_is_destroyed_on_both(void **state)
{
    struct life_rig *rig = *state;
    set_usable(rig, false);
    assert_ok(kms_key_destroy(life_look(rig), &first, &verified, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_string_equal(rig->outcome.name, "destroyed");
    assert_false(has(rig->fake, life_label(1, -7200)));
    assert_false(has(other, life_label(1, -7200)));
    assert_true(life_buries(rig, 1));
}

/* Generation 1, which isn't pinned, was made on the token of @made, and was brought to @copied. */
static void bring(struct fake_keystore *made, struct fake_keystore *copied)
{
    const char *label = life_label(1, -7200);
    fake_keystore_set(made, label, KMS_KEK_LOCAL, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    fake_keystore_set(copied, label, 0, KMS_KEK_LOCAL | KMS_KEK_WRAP | KMS_KEK_UNWRAP);
}

static void assert_buried_by_a_rerun(struct life_rig *rig, struct fake_keystore *fails)
{
    fake_keystore_fail(fails, FAKE_DESTROY, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(
        kms_key_destroy(life_look(rig), &first, &verified, false, &rig->outcome, &rig->err),
        KMS_E_UNAVAILABLE);
    assert_false(life_buries(rig, 1));
    assert_ok(kms_key_destroy(life_look(rig), &first, &verified, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_string_equal(rig->outcome.name, "destroyed");
    assert_false(has(rig->fake, life_label(1, -7200)));
    assert_false(has(other, life_label(1, -7200)));
    assert_true(life_buries(rig, 1));
}

static void a_destruction_that_missed_the_first_token_is_finished_and_buried(void **state)
{
    struct life_rig *rig = *state;
    bring(rig->fake, other);
    assert_buried_by_a_rerun(rig, rig->fake);
}

static void a_destruction_that_missed_the_copy_is_finished_and_buried(void **state)
{
    struct life_rig *rig = *state;
    bring(rig->fake, other);
    assert_buried_by_a_rerun(rig, other);
}

static void assert_buried(struct life_rig *rig)
{
    assert_ok(kms_key_destroy(life_look(rig), &first, &verified, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_true(life_buries(rig, 1));
}

static void a_key_with_a_copy_on_the_second_token_is_buried(void **state)
{
    struct life_rig *rig = *state;
    bring(rig->fake, other);
    assert_buried(rig);
}

static void a_key_with_a_copy_on_the_first_token_is_buried(void **state)
{
    struct life_rig *rig = *state;
    bring(other, rig->fake);
    assert_buried(rig);
}

static void two_keys_on_one_token_are_still_two(void **state)
{
    struct life_rig *rig = *state;
    set_usable(rig, false);
    life_add(rig, 1, -7200, OLD);
    fake_keystore_set(rig->fake, life_label(1, -7200), 0, KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    life_add(rig, 1, -7200, OLD + 5);
    assert_ok(kms_key_set_usable(life_look(rig), &first, true, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_true(rig->outcome.refused);
    assert_contains(rig->outcome.text, "several keys have generation 1");
}

/* --- a key that got its label on one token --- */

#define PENDING "prod.pending.0123456789abcdef"

static void a_commit_that_was_interrupted_is_finished(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_timing timing = { .activate = NULL };
    const char *label = NULL;
    fake_keystore_add(rig->fake, PENDING, 30);
    fake_keystore_add(other, PENDING, 30);
    fake_keystore_fail(rig->fake, FAKE_RELABEL, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(kms_key_commit(life_look(rig), "0123456789abcdef", "safe", &timing, false,
                                    &rig->outcome, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_true(has(rig->fake, PENDING));
    assert_false(has(other, PENDING));
    assert_ok(kms_key_commit(life_look(rig), "0123456789abcdef", "safe", &timing, false,
                             &rig->outcome, &rig->err),
              &rig->err);
    assert_string_equal(rig->outcome.name, "committed");
    label = rig->outcome.kek.label;
    assert_true(has(rig->fake, label));
    assert_true(has(other, label));
    assert_false(has(rig->fake, PENDING));
}

static void a_revert_that_was_interrupted_is_finished(void **state)
{
    struct life_rig *rig = *state;
    const struct kms_key_timing timing = { .activate = NULL };
    fake_keystore_fail(rig->fake, FAKE_COPY, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(
        kms_key_revert(life_look(rig), &first, &timing, false, &rig->outcome, &rig->err),
        KMS_E_UNAVAILABLE);
    assert_ok(kms_key_revert(life_look(rig), &first, &timing, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_true(rig->outcome.changed);
    assert_true(has(rig->fake, "prod.v3"));
    assert_true(has(other, "prod.v3"));
    assert_ok(kms_key_revert(life_look(rig), &first, &timing, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_false(rig->outcome.changed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, life_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_disabled_and_enabled_on_both),
        TEST(a_run_that_disabled_one_is_finished),
        TEST(a_key_that_is_disabled_on_one_alone_is_not_destroyed),
        TEST(a_disabled_key_is_destroyed_on_both),
        TEST(a_destruction_that_missed_the_first_token_is_finished_and_buried),
        TEST(a_destruction_that_missed_the_copy_is_finished_and_buried),
        TEST(a_key_with_a_copy_on_the_second_token_is_buried),
        TEST(a_key_with_a_copy_on_the_first_token_is_buried),
        TEST(two_keys_on_one_token_are_still_two),
        TEST(a_commit_that_was_interrupted_is_finished),
        TEST(a_revert_that_was_interrupted_is_finished),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
