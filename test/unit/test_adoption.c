/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that join the ring under labels of somebody else's choice. */
#include <stdio.h>
#include <string.h>

#include "check.h"

#include "fake/keystore.h"
#include "kms/clock.h"
#include "ring.h"

#define PAST "20260101T000000Z"
enum { ACTIVATED = 1767225600, NOW = 1780000000, STILL_TO_COME = 1790000000 };

static struct fake_keystore *token;
static struct kms_ring *ring;
static uint64_t sequence;

static struct kms_kek_name named(const char *label, uint8_t cka_id)
{
    struct kms_kek_name name = { .cka_id = { cka_id }, .cka_id_len = cka_id != 0 ? 1 : 0 };
    snprintf(name.label, sizeof name.label, "%s", label);
    return name;
}

static struct kms_vouched adopting(struct kms_adoption *adoption, struct kms_kek_name *name)
{
    return (struct kms_vouched){ .adoptions = adoption, .names = name, .adoption_count = 1 };
}

static void open_ring(const struct kms_vouched *vouched)
{
    struct kms_error err;
    const struct kms_state nothing = { 0 };
    const struct kms_ring_options options = { .name = "prod", .vouched = *vouched };
    kms_ring_close(ring);
    assert_ok(kms_ring_open(&options, &nothing, true, &ring, &err), &err);
}

/* A ring that adopts one key. */
static void adopt(uint32_t generation, int64_t activation_utc_s, struct kms_kek_name name)
{
    struct kms_adoption adoption = { generation, activation_utc_s };
    struct kms_vouched vouched = adopting(&adoption, &name);
    open_ring(&vouched);
}

static int set_up(void **unused)
{
    (void)unused;
    token = fake_keystore_new();
    open_ring(&(struct kms_vouched){ 0 });
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

/* The generation that is promoted, 0 for none. */
static uint32_t refresh(void)
{
    struct kms_error err;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    KMS_CLEANUP(kms_ring_plan_done) struct kms_ring_plan plan = { 0 };
    const struct kms_kek_filter filter = kms_ring_filter(ring, "prod.v", NOW);
    assert_ok(
        kms_keystore_list(fake_keystore_seam(token), &filter, KMS_DEADLINE_NEVER, &inventory, &err),
        &err);
    assert_ok(kms_ring_plan(ring, &inventory, "serial", NOW, &plan, &err), &err);
    uint32_t promoted = plan.promote;
    assert_ok(kms_ring_apply(ring, &plan, &inventory, ++sequence, NOW, &err), &err);
    return promoted;
}

/* The only entry of @generation; fails if there is none. */
static struct kms_ring_entry entry_of(uint32_t generation)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = kms_ring_acquire_newest(ring);
    for (size_t i = 0; i < snapshot->count; i++) {
        if (snapshot->entries[i].generation == generation)
            return snapshot->entries[i];
    }
    fail_msg("generation %u is not in the snapshot", (unsigned)generation);
    return (struct kms_ring_entry){ 0 };
}

static enum kms_code take(const struct kms_vouched *vouched, struct kms_error *err)
{
    bool taken = false;
    assert_ok(kms_ring_offer(ring, vouched, err), err);
    enum kms_code rc = kms_ring_take_offer(ring, &taken, err);
    assert_int_equal(taken, rc == KMS_OK);
    return rc;
}

static void a_key_adopted_by_label_is_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "etcd master key", 7);
    adopt(1, ACTIVATED, named("etcd master key", 0));
    assert_int_equal(refresh(), 1);
    struct kms_ring_entry entry = entry_of(1);
    assert_int_equal(entry.state, KMS_KEK_ACTIVE);
    assert_true(entry.adopted);
    assert_string_equal(entry.kek.label, "etcd master key");
    assert_int_equal(entry.activation_utc_s, ACTIVATED);
    assert_int_equal(strncmp(entry.key_id, "prod.v1.", 8), 0);
}

static void a_key_adopted_by_its_id_is_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "key", 7); /* CKA_ID 01 */
    fake_keystore_add(token, "key", 8); /* CKA_ID 02 */
    adopt(1, ACTIVATED, named("", 2));
    assert_int_equal(refresh(), 1);
    uint8_t expected[KMS_FINGERPRINT_LEN];
    fake_keystore_fingerprint(8, expected);
    assert_memory_equal(entry_of(1).kek.fingerprint, expected, sizeof expected);
}

static void an_adopted_key_waits_for_its_activation(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "foreign", 2);
    adopt(2, STILL_TO_COME, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    assert_int_equal(entry_of(2).state, KMS_KEK_PREACTIVE);
}

static void a_made_generation_follows_an_adopted_one(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "foreign", 2);
    adopt(1, ACTIVATED, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    fake_keystore_add(token, "prod.v2@" PAST, 3);
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2);
    assert_int_equal(entry_of(1).state, KMS_KEK_DECRYPT_ONLY);
    assert_true(entry_of(1).may_unwrap);
}

static void a_name_is_no_proof_of_origin(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "foreign", 2);
    fake_keystore_set(token, "foreign", 0, KMS_KEK_LOCAL);
    adopt(1, ACTIVATED, named("foreign", 0));
    assert_int_equal(refresh(), 0);
    assert_int_equal(entry_of(1).state, KMS_KEK_REFUSED);
    assert_contains(entry_of(1).reason, "foreign origin");
    assert_false(entry_of(1).may_unwrap);
}

static void a_key_swapped_under_its_name_is_noticed(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "foreign", 2);
    adopt(1, ACTIVATED, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    fake_keystore_remove(token, "foreign");
    fake_keystore_add(token, "foreign", 3);
    refresh();
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->code, KMS_E_PRECONDITION);
    assert_contains(snapshot->problem, "substituted");
    assert_contains(snapshot->problem, "'foreign'");
}

static void a_wrong_label_names_the_candidates(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "etcd master", 2);
    fake_keystore_add(token, "backup", 3);
    adopt(2, ACTIVATED, named("etcd mastre", 0));
    assert_int_equal(refresh(), 1);
    struct kms_ring_entry entry = entry_of(2);
    assert_int_equal(entry.state, KMS_KEK_MISSING);
    assert_string_equal(entry.kek.label, "etcd mastre");
    assert_string_equal(entry.reason, "adopt: no AES key 'etcd mastre' is on the token; outside "
                                      "the ring there are 'etcd master', 'backup'");
}

static void nothing_to_adopt_at_all_is_said(void **unused)
{
    (void)unused;
    adopt(1, ACTIVATED, named("etcd", 0));
    assert_int_equal(refresh(), 0);
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_contains(snapshot->problem, "'etcd'");
    assert_contains(snapshot->problem, "none but the ring's");
}

static void more_candidates_than_fit_are_said_to_be_more(void **unused)
{
    (void)unused;
    char label[80];
    for (int i = 0; i < 12; i++) {
        snprintf(label, sizeof label, "a key of another application, with a long label: %02d", i);
        fake_keystore_add(token, label, (uint8_t)(i + 1));
    }
    adopt(1, ACTIVATED, named("etcd", 0));
    refresh();
    struct kms_ring_entry entry = entry_of(1);
    const char *more = " and others";
    assert_string_equal(entry.reason + strlen(entry.reason) - strlen(more), more);
    assert_true(strlen(entry.reason) < sizeof entry.reason - 1);
}

static void an_ambiguous_label_names_the_candidates_and_promotes_none(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "etcd", 2); /* CKA_ID 01 */
    fake_keystore_add(token, "etcd", 3); /* CKA_ID 02 */
    adopt(1, ACTIVATED, named("etcd", 0));
    assert_int_equal(refresh(), 0);
    assert_int_equal(entry_of(1).state, KMS_KEK_REFUSED);
    assert_string_equal(entry_of(1).reason,
                        "adopt: generation 1 is ambiguous: name one key by its cka_id, of "
                        "'etcd' with cka_id 01, 'etcd' with cka_id 02");
}

static void of_several_keys_the_pinned_one_is_meant(void **unused)
{
    (void)unused;
    struct kms_pin pin = { .generation = 1 };
    struct kms_adoption adoption = { 1, ACTIVATED };
    struct kms_kek_name name = named("etcd", 0);
    fake_keystore_fingerprint(3, pin.fingerprint);
    fake_keystore_add(token, "etcd", 2);
    fake_keystore_add(token, "etcd", 3);
    struct kms_vouched vouched = adopting(&adoption, &name);
    vouched.pins = &pin;
    vouched.pin_count = 1;
    open_ring(&vouched);
    assert_int_equal(refresh(), 1);
}

static void a_key_of_the_ring_keeps_its_own_generation(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "prod.v1@" PAST, 1); /* CKA_ID 01 */
    adopt(5, ACTIVATED, named("", 1));
    assert_int_equal(refresh(), 1);
    assert_int_equal(entry_of(5).state, KMS_KEK_MISSING);
    assert_contains(entry_of(5).reason, "is generation 1 already: 'prod.v1@" PAST "'");
}

static void an_adopted_key_that_vanished_is_missing_under_its_own_name(void **unused)
{
    (void)unused;
    fake_keystore_add(token, "foreign", 2);
    adopt(1, ACTIVATED, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    fake_keystore_remove(token, "foreign");
    refresh();
    assert_int_equal(entry_of(1).state, KMS_KEK_MISSING);
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = kms_ring_acquire(ring);
    assert_int_equal(snapshot->code, KMS_E_PRECONDITION);
    assert_contains(snapshot->problem, "KEK 'foreign' (generation 1");
}

static void a_changed_list_adopts_without_a_restart(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_adoption adoption = { 2, ACTIVATED };
    struct kms_kek_name name = named("foreign", 0);
    const struct kms_vouched vouched = adopting(&adoption, &name);
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "foreign", 2);
    assert_int_equal(refresh(), 1);
    assert_ok(take(&vouched, &err), &err);
    assert_int_equal(refresh(), 0);
    assert_int_equal(refresh(), 2);
}

static void a_list_without_a_promoted_key_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    const struct kms_vouched nothing = { 0 };
    fake_keystore_add(token, "foreign", 2);
    adopt(1, ACTIVATED, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    assert_int_equal(take(&nothing, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "generation 1");
    refresh();
    assert_int_equal(entry_of(1).state, KMS_KEK_ACTIVE);
}

static void a_list_that_misspells_a_promoted_key_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    struct kms_adoption adoption = { 1, ACTIVATED };
    struct kms_kek_name name = named("froeign", 0);
    const struct kms_vouched vouched = adopting(&adoption, &name);
    fake_keystore_add(token, "foreign", 2);
    adopt(1, ACTIVATED, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    assert_int_equal(take(&vouched, &err), KMS_E_PRECONDITION);
    fake_keystore_remove(token, "foreign"); /* and so while it is away */
    refresh();
    assert_int_equal(take(&vouched, &err), KMS_E_PRECONDITION);
}

static void a_list_may_let_a_key_go_that_was_never_promoted(void **unused)
{
    (void)unused;
    struct kms_error err;
    const struct kms_vouched nothing = { 0 };
    fake_keystore_add(token, "prod.v1@" PAST, 1);
    fake_keystore_add(token, "foreign", 2);
    adopt(2, STILL_TO_COME, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    assert_ok(take(&nothing, &err), &err);
    refresh();
    assert_int_equal(entry_of(2).state, KMS_KEK_MISSING);
}

static void a_list_may_let_a_key_go_that_got_a_label_of_the_ring(void **unused)
{
    (void)unused;
    struct kms_error err;
    const struct kms_vouched nothing = { 0 };
    fake_keystore_add(token, "foreign", 2);
    adopt(1, ACTIVATED, named("foreign", 0));
    assert_int_equal(refresh(), 1);
    fake_keystore_remove(token, "foreign");
    fake_keystore_add(token, "prod.v1@" PAST, 2);
    refresh();
    assert_ok(take(&nothing, &err), &err);
    refresh();
    assert_int_equal(entry_of(1).state, KMS_KEK_ACTIVE);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_adopted_by_label_is_promoted),
        TEST(a_key_adopted_by_its_id_is_promoted),
        TEST(an_adopted_key_waits_for_its_activation),
        TEST(a_made_generation_follows_an_adopted_one),
        TEST(a_name_is_no_proof_of_origin),
        TEST(a_key_swapped_under_its_name_is_noticed),
        TEST(a_wrong_label_names_the_candidates),
        TEST(nothing_to_adopt_at_all_is_said),
        TEST(more_candidates_than_fit_are_said_to_be_more),
        TEST(an_ambiguous_label_names_the_candidates_and_promotes_none),
        TEST(of_several_keys_the_pinned_one_is_meant),
        TEST(a_key_of_the_ring_keeps_its_own_generation),
        TEST(an_adopted_key_that_vanished_is_missing_under_its_own_name),
        TEST(a_changed_list_adopts_without_a_restart),
        TEST(a_list_without_a_promoted_key_is_refused),
        TEST(a_list_that_misspells_a_promoted_key_is_refused),
        TEST(a_list_may_let_a_key_go_that_was_never_promoted),
        TEST(a_list_may_let_a_key_go_that_got_a_label_of_the_ring),
    };
    return cmocka_run_group_tests_name("adoption", tests, NULL, NULL);
}
