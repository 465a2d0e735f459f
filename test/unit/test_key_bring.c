/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "key_bring.h"
#include "life_rig.h"

#define PENDING "prod.pending.00112233445566ff"

enum { OLD_S = -100000, HOUR_S = 3600, DAY_S = 86400, GUEST = 0x77 };

/* A blob of the fake, and what it must be. */
struct guest {
    uint8_t blob[FAKE_KEY_LEN];
    struct kms_key_guest key;
};

static struct guest *guest_of(uint8_t fill)
{
    static struct guest guest;
    memset(guest.blob, fill, sizeof(guest.blob));
    guest.key.blob = (struct kms_bytes){ guest.blob, sizeof(guest.blob) };
    fake_keystore_fingerprint(fill, guest.key.fingerprint);
    return &guest;
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

static enum kms_code import_as(struct life_rig *rig, uint8_t fill,
                               const struct kms_key_timing *timing, bool dry_run)
{
    return kms_key_import(life_look(rig), &guest_of(fill)->key, timing, dry_run, &rig->outcome,
                          &rig->err);
}

static enum kms_code import_it(struct life_rig *rig, uint8_t fill)
{
    return import_as(rig, fill, &(struct kms_key_timing){ .activate = NULL }, false);
}

static enum kms_code adopt(struct life_rig *rig, const char *label)
{
    return kms_key_adopt_escrow(life_look(rig), &guest_of(GUEST)->key, label, false, &rig->outcome,
                                &rig->err);
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

static bool anything_came(struct life_rig *rig)
{
    return fake_keystore_calls(rig->fake, FAKE_IMPORT) > 0;
}

/* --- import --- */

static void a_key_from_elsewhere_gets_the_next_generation(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(import_it(rig, GUEST), &rig->err);
    assert_done(rig, "imported", true);
    assert_string_equal(rig->outcome.kek.label, life_label(3, DAY_S));
    assert_contains(rig->outcome.next, "key accept --generation 3 --fingerprint ");
    assert_true(life_has(rig, life_label(3, DAY_S)));
}

static void it_is_to_be_accepted_everywhere_before_its_activation(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(import_it(rig, GUEST), &rig->err);
    assert_contains(rig->outcome.next, "on every node, before 2026-12-02T12:00:00Z, ");
    assert_contains(rig->outcome.next, "key ready --generation 3");
}

static void an_activation_that_is_named_is_kept(void **state)
{
    struct life_rig *rig = rotated(state);
    const struct kms_key_timing timing = { .activate = "+1h" };
    assert_ok(import_as(rig, GUEST, &timing, false), &rig->err);
    assert_string_equal(rig->outcome.kek.label, life_label(3, HOUR_S));
    assert_contains(rig->outcome.next, "before 2026-12-01T13:00:00Z, ");
}

static void one_that_is_near_is_to_be_accepted_at_once(void **state)
{
    struct life_rig *rig = rotated(state);
    const struct kms_key_timing timing = { .activate = "+90s" };
    assert_ok(import_as(rig, GUEST, &timing, false), &rig->err);
    assert_done(rig, "imported", true);
    assert_contains(rig->outcome.next, "at once and together");
}

/* Nothing works before it, so that nobody could write what another can't read. */
static void the_rings_first_key_comes_at_once(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(import_it(rig, GUEST), &rig->err);
    assert_string_equal(rig->outcome.kek.label, life_label(1, 0));
}

static void a_rerun_finds_the_import(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(import_it(rig, GUEST), &rig->err);
    assert_ok(import_it(rig, GUEST), &rig->err);
    assert_done(rig, "there", false);
    assert_contains(rig->outcome.next, "key accept --generation 3 ");
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_IMPORT), 1);
}

static void another_key_than_expected_is_refused(void **state)
{
    struct life_rig *rig = rotated(state);
    struct guest *guest = guest_of(GUEST);
    guest->key.fingerprint[0] ^= 1;
    const struct kms_key_timing timing = { .activate = NULL };
    assert_ok(kms_key_import(life_look(rig), &guest->key, &timing, false, &rig->outcome, &rig->err),
              &rig->err);
    assert_refused(rig, "another key than expected");
    assert_false(life_has(rig, "prod.v3"));
}

static void a_blob_that_does_not_unwrap_is_an_error(void **state)
{
    struct life_rig *rig = rotated(state);
    struct guest *guest = guest_of(GUEST);
    guest->key.blob.len--;
    const struct kms_key_timing timing = { .activate = NULL };
    assert_int_equal(
        kms_key_import(life_look(rig), &guest->key, &timing, false, &rig->outcome, &rig->err),
        KMS_E_CORRUPT);
}

static void old_material_is_not_imported_again(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(import_it(rig, 1), &rig->err);
    assert_refused(rig, "revert --to 1");
    assert_false(anything_came(rig));
}

static void a_key_that_is_promoted_is_there(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(import_it(rig, 2), &rig->err);
    assert_done(rig, "there", false);
    assert_string_equal(rig->outcome.next, "hsm-kms status");
}

static void a_generation_that_waits_comes_first(void **state)
{
    struct life_rig *rig = rotated(state);
    life_add(rig, 3, DAY_S, 3);
    assert_ok(import_it(rig, GUEST), &rig->err);
    assert_refused(rig, "generation 3");
    assert_false(anything_came(rig));
}

static void an_early_activation_needs_force(void **state)
{
    struct life_rig *rig = rotated(state);
    struct kms_key_timing timing = { .activate = "now" };
    assert_ok(import_as(rig, GUEST, &timing, false), &rig->err);
    assert_refused(rig, "--force");
    timing.force = true;
    assert_ok(import_as(rig, GUEST, &timing, false), &rig->err);
    assert_done(rig, "imported", true);
}

static void the_configured_lead_holds_for_imports(void **state)
{
    struct life_rig *rig = rotated(state);
    struct kms_key_timing timing = { .activate = "+1h", .force = true };
    timing.rule = (struct kms_config_rotation){ .two_step = true, .min_lead_ms = DAY_S * 1000L };
    assert_ok(import_as(rig, GUEST, &timing, false), &rig->err);
    assert_refused(rig, "rotation.min_lead");
    timing.activate = NULL;
    timing.rule.min_lead_ms = 3 * DAY_S * 1000L;
    assert_ok(import_as(rig, GUEST, &timing, false), &rig->err);
    assert_string_equal(rig->outcome.kek.label, life_label(3, 3 * DAY_S));
}

static void a_dry_run_only_tries(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(import_as(rig, GUEST, &(struct kms_key_timing){ .activate = NULL }, true), &rig->err);
    assert_done(rig, "planned", false);
    assert_true(anything_came(rig));
    assert_false(life_has(rig, "prod.v3"));
}

/* --- escrow import --- */

static void an_escrowed_key_waits_under_its_pending_label(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(adopt(rig, PENDING), &rig->err);
    assert_done(rig, "imported", true);
    assert_true(life_has(rig, PENDING));
    assert_ok(adopt(rig, PENDING), &rig->err);
    assert_done(rig, "there", false);
}

static void a_pending_key_gets_the_label_of_the_first_token(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(adopt(rig, PENDING), &rig->err);
    assert_ok(adopt(rig, life_label(4, DAY_S)), &rig->err);
    assert_done(rig, "labelled", true);
    assert_true(life_has(rig, life_label(4, DAY_S)));
    assert_false(life_has(rig, PENDING));
    assert_ok(adopt(rig, life_label(4, DAY_S)), &rig->err);
    assert_done(rig, "there", false);
    assert_ok(adopt(rig, PENDING), &rig->err);
    assert_done(rig, "there", false);
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_IMPORT), 1);
}

static void a_key_keeps_its_number(void **state)
{
    struct life_rig *rig = *state;
    assert_ok(adopt(rig, life_label(4, DAY_S)), &rig->err);
    assert_done(rig, "imported", true);
    assert_ok(adopt(rig, life_label(5, DAY_S)), &rig->err);
    assert_refused(rig, "is on this token already, as 'prod.v4@");
}

static void a_number_on_the_token_is_not_taken_twice(void **state)
{
    struct life_rig *rig = rotated(state);
    assert_ok(adopt(rig, life_label(2, DAY_S)), &rig->err);
    assert_refused(rig, "generation 2");
    assert_false(anything_came(rig));
}

static void a_number_that_was_another_keys_is_refused(void **state)
{
    struct life_rig *rig = *state;
    life_remember(rig, 6, 6);
    assert_ok(kms_state_bury(&rig->memory, 5, &rig->err), &rig->err);
    assert_ok(adopt(rig, life_label(5, DAY_S)), &rig->err);
    assert_refused(rig, "never used again");
    assert_ok(adopt(rig, life_label(6, DAY_S)), &rig->err);
    assert_refused(rig, "never used again");
    assert_false(anything_came(rig));
}

#define LIFE_TEST(name) cmocka_unit_test_setup_teardown(name, life_set_up, life_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIFE_TEST(a_key_from_elsewhere_gets_the_next_generation),
        LIFE_TEST(it_is_to_be_accepted_everywhere_before_its_activation),
        LIFE_TEST(an_activation_that_is_named_is_kept),
        LIFE_TEST(one_that_is_near_is_to_be_accepted_at_once),
        LIFE_TEST(the_rings_first_key_comes_at_once),
        LIFE_TEST(a_rerun_finds_the_import),
        LIFE_TEST(another_key_than_expected_is_refused),
        LIFE_TEST(a_blob_that_does_not_unwrap_is_an_error),
        LIFE_TEST(old_material_is_not_imported_again),
        LIFE_TEST(a_key_that_is_promoted_is_there),
        LIFE_TEST(a_generation_that_waits_comes_first),
        LIFE_TEST(an_early_activation_needs_force),
        LIFE_TEST(the_configured_lead_holds_for_imports),
        LIFE_TEST(a_dry_run_only_tries),
        LIFE_TEST(an_escrowed_key_waits_under_its_pending_label),
        LIFE_TEST(a_pending_key_gets_the_label_of_the_first_token),
        LIFE_TEST(a_key_keeps_its_number),
        LIFE_TEST(a_number_on_the_token_is_not_taken_twice),
        LIFE_TEST(a_number_that_was_another_keys_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
