/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "key_plan.h"
#include "kms/clock.h"

enum { NOW = 1796126400, LEAD_S = 90, KEKS_MAX = 3 }; /* 2026-12-01T12:00:00Z; 2 × 30 s + 30 s */

struct bench {
    struct kms_ring_entry entries[KEKS_MAX];
    struct kms_snapshot snapshot;
    struct kms_state memory;
    struct kms_key_plan_input input;
    struct kms_key_plan plan;
    struct kms_error err;
};

static void set_up(struct bench *bench)
{
    *bench = (struct bench){ .snapshot.entries = bench->entries };
    bench->input = (struct kms_key_plan_input){
        .ring = "prod",
        .snapshot = &bench->snapshot,
        .state = &bench->memory,
        .now_utc_s = NOW,
        .refresh_ms = 30000,
        .clock_skew_ms = 30000,
    };
}

static void add(struct bench *bench, uint32_t generation, int64_t activation_utc_s,
                enum kms_kek_state kek_state)
{
    struct kms_ring_entry *entry = &bench->entries[bench->snapshot.count++];
    char label[KMS_KEK_LABEL_LEN + 1];
    entry->generation = generation;
    entry->activation_utc_s = activation_utc_s;
    entry->state = kek_state;
    kms_label_format("prod", generation, activation_utc_s, label);
    memcpy(entry->kek.label, label, sizeof(label));
}

/* ring.json says that @generation was promoted. */
static void remember(struct bench *bench, uint32_t generation)
{
    bench->memory.promoted = generation;
    bench->input.state_known = true;
}

static enum kms_key_plan_kind plan(struct bench *bench)
{
    assert_int_equal(kms_key_plan(&bench->input, &bench->plan, &bench->err), KMS_OK);
    return bench->plan.kind;
}

static void the_first_key_is_active_now(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.generation, 1);
    assert_string_equal(bench.plan.label, "prod.v1@20261201T120000Z");
}

static void the_first_key_needs_no_force(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.input.activate = "2026-11-01T00:00:00Z";
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
}

static void a_later_key_is_active_after_the_lead(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, 1);
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_string_equal(bench.plan.label, "prod.v2@20261201T120130Z");
}

static void the_lead_follows_the_configuration_and_rounds_up(void **state)
{
    (void)state;
    assert_int_equal(kms_key_lead_s(30000, 30000), LEAD_S);
    assert_int_equal(kms_key_lead_s(1000, 0), 2);
    assert_int_equal(kms_key_lead_s(1000, 1), 3);
}

static void an_activation_before_the_lead_needs_force(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, 1);
    bench.input.activate = "+89s";
    assert_int_equal(plan(&bench), KMS_KEY_TOO_EARLY);
    assert_int_equal(bench.plan.earliest_utc_s, NOW + LEAD_S);
    bench.input.activate = "+90s";
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
}

static void force_allows_an_activation_now(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, 1);
    bench.input.activate = "now";
    bench.input.force = true;
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_string_equal(bench.plan.label, "prod.v2@20261201T120000Z");
}

static void an_activation_may_be_a_time(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.input.activate = "2027-01-31T23:59:59Z";
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_string_equal(bench.plan.label, "prod.v1@20270131T235959Z");
}

static void an_activation_may_be_a_duration(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.input.activate = "+1h";
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_string_equal(bench.plan.label, "prod.v1@20261201T130000Z");
}

static void an_unreadable_activation_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "soon", "+", "1h", "+1x", "+-1h", "now ", "2026-12-01", "0", "-1h", "+9000000000000000d"
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bench bench;
        set_up(&bench);
        bench.input.activate = bad[i];
        assert_int_equal(kms_key_plan(&bench.input, &bench.plan, &bench.err), KMS_E_INVALID);
        assert_string_equal(bench.err.msg, "--activate is now, +DURATION (+1h) or a UTC time "
                                           "(2026-12-01T12:00:00Z)");
    }
}

static void an_activation_after_the_year_9999_is_refused(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.input.activate = "+3000000d";
    assert_int_equal(kms_key_plan(&bench.input, &bench.plan, &bench.err), KMS_E_INVALID);
}

static void an_unpromoted_key_is_reported_instead_of_another(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    add(&bench, 2, NOW + 3600, KMS_KEK_PREACTIVE);
    remember(&bench, 1);
    assert_int_equal(plan(&bench), KMS_KEY_IS_PENDING);
    assert_int_equal(bench.plan.generation, 2);
    assert_ptr_equal(bench.plan.standing, &bench.entries[1]);
    assert_string_equal(bench.plan.label, bench.entries[1].kek.label);
}

static void a_key_is_pending_until_promoted_however_late(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 2, NOW - 100000, KMS_KEK_PENDING);
    remember(&bench, 1);
    assert_int_equal(plan(&bench), KMS_KEY_IS_PENDING);
}

static void force_makes_no_second_key_beside_a_pending_one(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 2, NOW + 3600, KMS_KEK_PREACTIVE);
    remember(&bench, 1);
    bench.input.activate = "now";
    bench.input.force = true;
    assert_int_equal(plan(&bench), KMS_KEY_IS_PENDING);
}

static void without_a_memory_a_key_is_pending_until_the_lead_after_its_activation(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - LEAD_S + 1, KMS_KEK_ACTIVE);
    assert_int_equal(plan(&bench), KMS_KEY_IS_PENDING);
    bench.entries[0].activation_utc_s = NOW - LEAD_S;
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.generation, 2);
}

static void a_key_that_came_after_the_command_began_is_pending_however_long_it_waited(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - LEAD_S, KMS_KEK_ACTIVE);
    bench.input.begun_utc_s = NOW - LEAD_S - 1;
    assert_int_equal(plan(&bench), KMS_KEY_IS_PENDING);
    bench.input.begun_utc_s = NOW;
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
}

static void of_several_pending_keys_the_highest_is_reported(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 2, NOW, KMS_KEK_PENDING);
    add(&bench, 3, NOW, KMS_KEK_PENDING);
    remember(&bench, 1);
    assert_int_equal(plan(&bench), KMS_KEY_IS_PENDING);
    assert_int_equal(bench.plan.generation, 3);
}

static void an_anomaly_blocks_no_later_key_but_keeps_its_number(void **state)
{
    (void)state;
    static const enum kms_kek_state unusable[] = { KMS_KEK_REFUSED, KMS_KEK_DISABLED,
                                                   KMS_KEK_MISSING };
    for (size_t i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++) {
        struct bench bench;
        set_up(&bench);
        add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
        add(&bench, 2, NOW, unusable[i]);
        remember(&bench, 1);
        assert_int_equal(plan(&bench), KMS_KEY_CREATE);
        assert_int_equal(bench.plan.generation, 3);
    }
}

static void a_number_that_the_node_remembers_is_never_used_again(void **state)
{
    (void)state;
    struct bench bench;
    uint32_t tombstones[] = { 7 };
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, 1);
    bench.memory.tombstones = tombstones;
    bench.memory.tombstone_count = 1;
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.generation, 8);
}

static void an_empty_token_after_a_promotion_is_no_first_key(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    remember(&bench, 4);
    bench.input.activate = "now";
    assert_int_equal(plan(&bench), KMS_KEY_TOO_EARLY);
    assert_int_equal(bench.plan.generation, 5);
}

/* A key that was not made on the token and that nobody vouches for. */
static void add_foreign(struct bench *bench, uint32_t generation)
{
    add(bench, generation, NOW - 1000, KMS_KEK_REFUSED);
    bench->entries[bench->snapshot.count - 1].kek.known = KMS_KEK_LOCAL;
}

static void a_foreign_keys_number_does_not_count(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    add_foreign(&bench, KMS_GENERATION_MAX);
    remember(&bench, 1);
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.generation, 2);
}

static void a_foreign_keys_number_is_not_taken_again(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    add_foreign(&bench, 2);
    add_foreign(&bench, 3);
    remember(&bench, 1);
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.generation, 4);
}

static void the_last_generation_has_no_successor(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, KMS_GENERATION_MAX, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, KMS_GENERATION_MAX);
    assert_int_equal(kms_key_plan(&bench.input, &bench.plan, &bench.err), KMS_E_INVALID);
    assert_string_equal(bench.err.msg, "generation 999999999 is the last that there can be");
}

/* --- --from: compare and swap --- */

static void from_the_promoted_one_creates_its_successor(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, 1);
    bench.input.from = 1;
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.generation, 2);
}

static void from_finds_the_successor_there_in_each_usable_state(void **state)
{
    (void)state;
    static const enum kms_kek_state usable[] = { KMS_KEK_PREACTIVE, KMS_KEK_PENDING,
                                                 KMS_KEK_ACTIVE };
    for (size_t i = 0; i < sizeof(usable) / sizeof(usable[0]); i++) {
        struct bench bench;
        set_up(&bench);
        add(&bench, 1, NOW - 1000, KMS_KEK_DECRYPT_ONLY);
        add(&bench, 2, NOW, usable[i]);
        remember(&bench, usable[i] == KMS_KEK_ACTIVE ? 2 : 1);
        bench.input.from = 1;
        assert_int_equal(plan(&bench), KMS_KEY_IS_THERE);
        assert_ptr_equal(bench.plan.standing, &bench.entries[1]);
        assert_int_equal(bench.plan.generation, 2);
    }
}

static void from_is_refused_once_a_later_one_than_the_successor_is_promoted(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_DECRYPT_ONLY);
    add(&bench, 2, NOW - 1000, KMS_KEK_DECRYPT_ONLY);
    add(&bench, 3, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, 3);
    bench.input.from = 1;
    assert_int_equal(plan(&bench), KMS_KEY_MOVED_ON);
    assert_int_equal(bench.plan.promoted, 3);
}

static void from_is_refused_before_that_generation_is_promoted(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    remember(&bench, 1);
    bench.input.from = 2;
    assert_int_equal(plan(&bench), KMS_KEY_MOVED_ON);
    assert_int_equal(bench.plan.promoted, 1);
}

static void from_takes_no_anomaly_for_the_successor(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    add(&bench, 2, NOW - 1000, KMS_KEK_REFUSED);
    remember(&bench, 1);
    bench.input.from = 1;
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.generation, 3);
}

static void from_reports_a_pending_key_with_a_number_beyond_the_successor(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    add(&bench, 3, NOW + 1000, KMS_KEK_PREACTIVE);
    remember(&bench, 1);
    bench.input.from = 1;
    assert_int_equal(plan(&bench), KMS_KEY_IS_PENDING);
    assert_int_equal(bench.plan.generation, 3);
}

static void from_counts_a_successor_that_was_promoted_and_is_gone(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_DECRYPT_ONLY);
    add(&bench, 2, NOW - 1000, KMS_KEK_MISSING);
    remember(&bench, 2);
    bench.input.from = 1;
    assert_int_equal(plan(&bench), KMS_KEY_IS_THERE);
}

static void without_a_memory_from_goes_by_the_highest_key_past_its_lead(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add(&bench, 1, NOW - 1000, KMS_KEK_ACTIVE);
    bench.input.from = 1;
    assert_int_equal(plan(&bench), KMS_KEY_CREATE);
    assert_int_equal(bench.plan.promoted, 1);
    add(&bench, 2, NOW - LEAD_S + 1, KMS_KEK_ACTIVE);
    assert_int_equal(plan(&bench), KMS_KEY_IS_THERE);
    bench.input.from = 2;
    assert_int_equal(plan(&bench), KMS_KEY_MOVED_ON);
}

static void only_a_ring_without_keys_gets_a_first_one(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    (void)plan(&bench);
    assert_true(bench.plan.is_first);
    remember(&bench, 4);
    (void)plan(&bench);
    assert_false(bench.plan.is_first);
}

/* --- two commands at once --- */

static struct kms_kek_info kek(const char *label, uint8_t id)
{
    struct kms_kek_info kek = { .cka_id = { id }, .cka_id_len = 16 };
    memcpy(kek.label, label, strlen(label) + 1);
    return kek;
}

static void a_key_alone_with_its_generation_has_no_rival(void **state)
{
    (void)state;
    struct kms_kek_info keks[] = { kek("prod.v1@20261201T120000Z", 1),
                                   kek("prod.v2@20261201T120000Z", 2) };
    const struct kms_inventory inventory = { .keks = keks, .count = 2 };
    assert_null(kms_key_rival("prod", &inventory, &keks[1]));
}

static void a_rival_has_the_same_generation_and_perhaps_another_activation(void **state)
{
    (void)state;
    struct kms_kek_info keks[] = { kek("prod.v2@20261201T120000Z", 9),
                                   kek("prod.v2@20261201T120001Z", 2) };
    const struct kms_inventory inventory = { .keks = keks, .count = 2 };
    assert_ptr_equal(kms_key_rival("prod", &inventory, &keks[0]), &keks[1]);
    assert_ptr_equal(kms_key_rival("prod", &inventory, &keks[1]), &keks[0]);
}

static void of_several_rivals_the_smallest_id_counts(void **state)
{
    (void)state;
    struct kms_kek_info keks[] = { kek("prod.v2@20261201T120000Z", 9),
                                   kek("prod.v2@20261201T120000Z", 5),
                                   kek("prod.v2@20261201T120000Z", 4) };
    const struct kms_inventory inventory = { .keks = keks, .count = 3 };
    assert_ptr_equal(kms_key_rival("prod", &inventory, &keks[0]), &keks[2]);
}

static void two_keys_with_the_highest_generation_are_contended(void **state)
{
    (void)state;
    struct kms_kek_info keks[] = { kek("prod.v1@20261201T120000Z", 1),
                                   kek("prod.v2@20261201T120000Z", 2),
                                   kek("prod.v2@20261201T120005Z", 3) };
    assert_true(kms_key_is_contended("prod", &(struct kms_inventory){ .keks = keks, .count = 3 }));
    assert_false(kms_key_is_contended("prod", &(struct kms_inventory){ .keks = keks, .count = 2 }));
    assert_false(kms_key_is_contended("prod", &(struct kms_inventory){ .keks = keks, .count = 0 }));
}

static void an_old_duplicate_is_no_contention(void **state)
{
    (void)state;
    struct kms_kek_info keks[] = { kek("prod.v1@20261201T120000Z", 1),
                                   kek("prod.v1@20261201T120000Z", 2),
                                   kek("prod.v2@20261201T120005Z", 3) };
    assert_false(kms_key_is_contended("prod", &(struct kms_inventory){ .keks = keks, .count = 3 }));
}

static void a_key_without_its_value_or_origin_is_unfinished(void **state)
{
    (void)state;
    struct kms_kek_info key = kek("prod.v1@20261201T120000Z", 1);
    const struct kms_inventory inventory = { .keks = &key, .count = 1 };
    key.known = KMS_KEK_WRAP | KMS_KEK_LOCAL;
    key.attributes = KMS_KEK_WRAP | KMS_KEK_LOCAL;
    key.fingerprinted = true;
    assert_false(kms_key_is_unfinished("prod", &inventory));
    key.fingerprinted = false;
    assert_true(kms_key_is_unfinished("prod", &inventory));
    key.fingerprinted = true;
    key.attributes = KMS_KEK_WRAP;
    assert_true(kms_key_is_unfinished("prod", &inventory));
    assert_false(kms_key_is_unfinished("test", &inventory));
}

static void a_disabled_key_is_finished(void **state)
{
    (void)state;
    struct kms_kek_info key = kek("prod.v1@20261201T120000Z", 1);
    key.known = KMS_KEK_WRAP | KMS_KEK_LOCAL;
    key.attributes = KMS_KEK_LOCAL;
    assert_false(
        kms_key_is_unfinished("prod", &(struct kms_inventory){ .keks = &key, .count = 1 }));
}

static void the_larger_id_yields(void **state)
{
    (void)state;
    struct kms_kek_info small = kek("prod.v2@20261201T120000Z", 1);
    struct kms_kek_info large = kek("prod.v2@20261201T120000Z", 2);
    assert_true(kms_key_yields_to(&large, &small));
    assert_false(kms_key_yields_to(&small, &large));
}

static void an_id_that_continues_another_is_larger(void **state)
{
    (void)state;
    struct kms_kek_info longer = kek("prod.v2@20261201T120000Z", 1);
    struct kms_kek_info shorter = longer;
    shorter.cka_id_len = 1;
    assert_true(kms_key_yields_to(&longer, &shorter));
    assert_false(kms_key_yields_to(&shorter, &longer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_key_is_active_now),
        cmocka_unit_test(the_first_key_needs_no_force),
        cmocka_unit_test(a_later_key_is_active_after_the_lead),
        cmocka_unit_test(the_lead_follows_the_configuration_and_rounds_up),
        cmocka_unit_test(an_activation_before_the_lead_needs_force),
        cmocka_unit_test(force_allows_an_activation_now),
        cmocka_unit_test(an_activation_may_be_a_time),
        cmocka_unit_test(an_activation_may_be_a_duration),
        cmocka_unit_test(an_unreadable_activation_is_refused),
        cmocka_unit_test(an_activation_after_the_year_9999_is_refused),
        cmocka_unit_test(an_unpromoted_key_is_reported_instead_of_another),
        cmocka_unit_test(a_key_is_pending_until_promoted_however_late),
        cmocka_unit_test(force_makes_no_second_key_beside_a_pending_one),
        cmocka_unit_test(without_a_memory_a_key_is_pending_until_the_lead_after_its_activation),
        cmocka_unit_test(a_key_that_came_after_the_command_began_is_pending_however_long_it_waited),
        cmocka_unit_test(of_several_pending_keys_the_highest_is_reported),
        cmocka_unit_test(an_anomaly_blocks_no_later_key_but_keeps_its_number),
        cmocka_unit_test(a_number_that_the_node_remembers_is_never_used_again),
        cmocka_unit_test(an_empty_token_after_a_promotion_is_no_first_key),
        cmocka_unit_test(a_foreign_keys_number_does_not_count),
        cmocka_unit_test(a_foreign_keys_number_is_not_taken_again),
        cmocka_unit_test(the_last_generation_has_no_successor),
        cmocka_unit_test(from_the_promoted_one_creates_its_successor),
        cmocka_unit_test(from_finds_the_successor_there_in_each_usable_state),
        cmocka_unit_test(from_is_refused_once_a_later_one_than_the_successor_is_promoted),
        cmocka_unit_test(from_is_refused_before_that_generation_is_promoted),
        cmocka_unit_test(from_takes_no_anomaly_for_the_successor),
        cmocka_unit_test(from_reports_a_pending_key_with_a_number_beyond_the_successor),
        cmocka_unit_test(from_counts_a_successor_that_was_promoted_and_is_gone),
        cmocka_unit_test(without_a_memory_from_goes_by_the_highest_key_past_its_lead),
        cmocka_unit_test(only_a_ring_without_keys_gets_a_first_one),
        cmocka_unit_test(a_key_alone_with_its_generation_has_no_rival),
        cmocka_unit_test(a_rival_has_the_same_generation_and_perhaps_another_activation),
        cmocka_unit_test(of_several_rivals_the_smallest_id_counts),
        cmocka_unit_test(two_keys_with_the_highest_generation_are_contended),
        cmocka_unit_test(an_old_duplicate_is_no_contention),
        cmocka_unit_test(a_key_without_its_value_or_origin_is_unfinished),
        cmocka_unit_test(a_disabled_key_is_finished),
        cmocka_unit_test(the_larger_id_yields),
        cmocka_unit_test(an_id_that_continues_another_is_larger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
