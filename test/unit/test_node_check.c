/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "kms/clock.h"
#include "node_view.h"

enum { KEKS_MAX = 2 };

static const uint8_t good_print[KMS_FINGERPRINT_LEN] = { 1 };
static const uint8_t other_print[KMS_FINGERPRINT_LEN] = { 2 };

/* A Describe of a node that is as it should be, and a demand that it meets exactly. */
struct bench {
    Hsmkms__Node__V1__DescribeResponse description;
    Hsmkms__Node__V1__Health health;
    Hsmkms__Node__V1__Kek keks[KEKS_MAX];
    Hsmkms__Node__V1__Kek *pointers[KEKS_MAX];
    struct kms_node node;
    struct kms_node_demand demand;
    struct kms_error err;
    char why[KMS_NODE_WHY_MAX];
};

static char *text(const char *literal)
{
    union {
        const char *in;
        char *out;
    } same = { .in = literal };
    return same.out;
}

static void set_up(struct bench *bench)
{
    *bench = (struct bench){
        .description = HSMKMS__NODE__V1__DESCRIBE_RESPONSE__INIT,
        .health = HSMKMS__NODE__V1__HEALTH__INIT,
        .node.source = "/run/kms.sock",
        .demand = { .ring = "prod",
                    .promoted = 1,
                    .lead_counts = true,
                    .lead_s = 90,
                    .clock_skew_ms = 30000 },
    };
    bench->health.ok = 1;
    bench->description.health = &bench->health;
    bench->description.node = text("alpha");
    bench->description.ring = text("prod");
    bench->description.promoted = 1;
    bench->description.refresh = 30000;
    bench->description.clock_skew = 30000;
    bench->description.now = 1000500;
    bench->description.keks = bench->pointers;
}

static void add_kek(struct bench *bench, uint32_t generation, const char *kek_state,
                    const uint8_t *fingerprint)
{
    union {
        const uint8_t *in;
        uint8_t *out;
    } same = { .in = fingerprint };
    Hsmkms__Node__V1__Kek *kek = &bench->keks[bench->description.n_keks];
    *kek = (Hsmkms__Node__V1__Kek)HSMKMS__NODE__V1__KEK__INIT;
    kek->generation = generation;
    kek->state = text(kek_state);
    kek->fingerprint = (ProtobufCBinaryData){ .data = same.out, .len = KMS_FINGERPRINT_LEN };
    bench->pointers[bench->description.n_keks++] = kek;
}

/* Asked from 1,000,000 on, answered 1 s later: at 1,000,500 both clocks agree. */
static enum kms_code check(struct bench *bench)
{
    kms_node_of(&bench->description, 1000000, 1001000, &bench->node);
    return kms_node_check(&bench->node, &bench->demand, &bench->err);
}

static enum kms_node_sight see(struct bench *bench)
{
    return kms_node_sees(&bench->description, 2,
                         (struct kms_bytes){ good_print, sizeof(good_print) }, bench->why);
}

static void a_node_that_has_just_the_time_passes(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    assert_ok(check(&bench), &bench.err);
}

static void another_ring_is_refused(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.description.ring = text("test");
    assert_int_equal(check(&bench), KMS_E_PRECONDITION);
    assert_string_equal(bench.err.msg, "alpha (/run/kms.sock) serves ring 'test', not 'prod'");
}

static void another_promoted_generation_is_refused(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.description.promoted = 3;
    assert_int_equal(check(&bench), KMS_E_PRECONDITION);
    assert_contains(bench.err.msg,
                    "alpha (/run/kms.sock) has promoted generation 3, others have 1");
}

static void a_refresh_too_slow_for_the_lead_is_refused_with_its_numbers(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.description.refresh = 31000;
    assert_int_equal(check(&bench), KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "alpha (/run/kms.sock) has refresh 31s (clock_skew 30s)");
    assert_contains(bench.err.msg, "needs 92 s");
    assert_contains(bench.err.msg, "is in 90 s");
}

static void a_slow_refresh_passes_with_a_later_activation(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.description.refresh = 31000;
    bench.demand.lead_s = 92;
    assert_ok(check(&bench), &bench.err);
}

static void the_larger_clock_skew_of_both_sides_counts(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.description.clock_skew = 31000;
    assert_int_equal(check(&bench), KMS_E_PRECONDITION);
    set_up(&bench);
    bench.demand.clock_skew_ms = 31000;
    assert_int_equal(check(&bench), KMS_E_PRECONDITION);
}

static void a_clock_off_by_more_than_skew_and_half_the_round_trip_is_refused(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.description.now = 1000500 + 30000 + 500;
    assert_ok(check(&bench), &bench.err);
    bench.description.now++;
    assert_int_equal(check(&bench), KMS_E_PRECONDITION);
    assert_string_equal(bench.err.msg, "the clock of alpha (/run/kms.sock) is 30501 ms ahead of "
                                       "ours, clock_skew allows 30000 ms: mend the clocks");
}

static void a_clock_behind_is_refused_too(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.description.now = 1000500 - 30501;
    assert_int_equal(check(&bench), KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "30501 ms behind of");
}

static void where_the_lead_does_not_count_neither_refresh_nor_clock_do(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    bench.demand.lead_counts = false;
    bench.description.refresh = 3600000;
    bench.description.now = 9000000;
    assert_ok(check(&bench), &bench.err);
}

static void a_key_that_is_not_listed_is_absent(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add_kek(&bench, 1, "active", good_print);
    assert_int_equal(see(&bench), KMS_NODE_ABSENT);
    assert_string_equal(bench.why, "generation 2 is not listed yet");
}

static void a_key_in_each_usable_state_is_listed(void **state)
{
    (void)state;
    static const char *const usable[] = { "pre-active", "pending", "active", "decrypt-only" };
    for (size_t i = 0; i < sizeof(usable) / sizeof(usable[0]); i++) {
        struct bench bench;
        set_up(&bench);
        add_kek(&bench, 2, usable[i], good_print);
        assert_int_equal(see(&bench), KMS_NODE_LISTED);
        assert_string_equal(bench.why, "");
    }
}

static void a_key_in_an_unusable_state_is_absent_with_the_reason(void **state)
{
    (void)state;
    static const char *const unusable[] = { "refused", "disabled", "missing",
                                            "of-a-later-version" };
    for (size_t i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++) {
        struct bench bench;
        set_up(&bench);
        add_kek(&bench, 2, unusable[i], good_print);
        bench.keks[0].reason = text("because");
        assert_int_equal(see(&bench), KMS_NODE_ABSENT);
        assert_contains(bench.why, unusable[i]);
        assert_contains(bench.why, "because");
    }
}

static void a_key_with_another_fingerprint_is_absent(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add_kek(&bench, 2, "pre-active", other_print);
    assert_int_equal(see(&bench), KMS_NODE_ABSENT);
    assert_string_equal(bench.why, "generation 2 has another fingerprint there");
}

static void without_a_fingerprint_any_key_of_the_generation_will_do(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add_kek(&bench, 2, "pre-active", other_print);
    assert_int_equal(kms_node_sees(&bench.description, 2, (struct kms_bytes){ 0 }, bench.why),
                     KMS_NODE_LISTED);
}

static void a_promoted_key_is_promoted_and_so_is_one_below_it(void **state)
{
    (void)state;
    struct bench bench;
    set_up(&bench);
    add_kek(&bench, 2, "active", good_print);
    bench.description.promoted = 2;
    assert_int_equal(see(&bench), KMS_NODE_PROMOTED);
    bench.keks[0].state = text("decrypt-only");
    bench.description.promoted = 3;
    assert_int_equal(see(&bench), KMS_NODE_PROMOTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_that_has_just_the_time_passes),
        cmocka_unit_test(another_ring_is_refused),
        cmocka_unit_test(another_promoted_generation_is_refused),
        cmocka_unit_test(a_refresh_too_slow_for_the_lead_is_refused_with_its_numbers),
        cmocka_unit_test(a_slow_refresh_passes_with_a_later_activation),
        cmocka_unit_test(the_larger_clock_skew_of_both_sides_counts),
        cmocka_unit_test(a_clock_off_by_more_than_skew_and_half_the_round_trip_is_refused),
        cmocka_unit_test(a_clock_behind_is_refused_too),
        cmocka_unit_test(where_the_lead_does_not_count_neither_refresh_nor_clock_do),
        cmocka_unit_test(a_key_that_is_not_listed_is_absent),
        cmocka_unit_test(a_key_in_each_usable_state_is_listed),
        cmocka_unit_test(a_key_in_an_unusable_state_is_absent_with_the_reason),
        cmocka_unit_test(a_key_with_another_fingerprint_is_absent),
        cmocka_unit_test(without_a_fingerprint_any_key_of_the_generation_will_do),
        cmocka_unit_test(a_promoted_key_is_promoted_and_so_is_one_below_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
