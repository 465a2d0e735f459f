/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "kms/clock.h"
#include "rotation_rule.h"

enum { NOW = 1796126400, HOUR_S = 3600, HOUR_MS = HOUR_S * 1000 }; /* 2026-12-01T12:00:00Z */

struct bench {
    struct kms_config_rotation rule;
    struct kms_key_plan_input input;
    struct kms_key_plan plan;
    char why[512];
};

/* A plan for generation 2 in 90 s, against a least lead of one hour. */
static struct bench set_up(void)
{
    return (struct bench){
        .rule = { .min_lead_ms = HOUR_MS },
        .input = { .ring = "prod", .now_utc_s = NOW },
        .plan = { .kind = KMS_KEY_CREATE, .generation = 2, .activation_utc_s = NOW + 90 },
    };
}

static bool allows(struct bench *bench, enum kms_rotation_way way)
{
    return kms_rotation_allows(&bench->rule, way, &bench->input, &bench->plan, bench->why,
                               sizeof(bench->why));
}

static void two_steps_forbid_a_key_in_one(void **state)
{
    (void)state;
    struct bench bench = set_up();
    bench.rule = (struct kms_config_rotation){ .two_step = true };
    assert_false(allows(&bench, KMS_ROTATION_ONE_STEP));
    assert_contains(bench.why, "key prepare");
    assert_true(allows(&bench, KMS_ROTATION_COMMIT));
}

static void two_steps_forbid_the_first_key_in_one_too(void **state)
{
    (void)state;
    struct bench bench = set_up();
    bench.rule = (struct kms_config_rotation){ .two_step = true };
    bench.plan.is_first = true;
    assert_false(allows(&bench, KMS_ROTATION_ONE_STEP));
}

static void a_plan_that_makes_nothing_is_allowed(void **state)
{
    (void)state;
    struct bench bench = set_up();
    bench.rule.two_step = true;
    bench.plan.kind = KMS_KEY_IS_PENDING;
    assert_true(allows(&bench, KMS_ROTATION_ONE_STEP));
    assert_int_equal(bench.plan.activation_utc_s, NOW + 90);
}

static void the_default_activation_is_put_off(void **state)
{
    (void)state;
    struct bench bench = set_up();
    assert_true(allows(&bench, KMS_ROTATION_ONE_STEP));
    assert_int_equal(bench.plan.activation_utc_s, NOW + HOUR_S);
    assert_string_equal(bench.plan.label, "prod.v2@20261201T130000Z");
}

static void a_default_that_is_late_enough_stays(void **state)
{
    (void)state;
    struct bench bench = set_up();
    bench.rule.min_lead_ms = 1000;
    assert_true(allows(&bench, KMS_ROTATION_ONE_STEP));
    assert_int_equal(bench.plan.activation_utc_s, NOW + 90);
}

static void an_early_activation_is_refused_whatever_the_force(void **state)
{
    (void)state;
    struct bench bench = set_up();
    bench.input.activate = "+90s";
    bench.input.force = true;
    assert_false(allows(&bench, KMS_ROTATION_ONE_STEP));
    assert_string_equal(bench.why,
                        "the configuration demands a lead of 1h (rotation.min_lead), so an "
                        "activation from 2026-12-01T13:00:00Z on; --force doesn't override it");
    assert_false(allows(&bench, KMS_ROTATION_COMMIT));
}

static void an_activation_at_the_least_lead_is_allowed(void **state)
{
    (void)state;
    struct bench bench = set_up();
    bench.input.activate = "+1h";
    bench.plan.activation_utc_s = NOW + HOUR_S;
    assert_true(allows(&bench, KMS_ROTATION_ONE_STEP));
    bench.plan.activation_utc_s--;
    assert_false(allows(&bench, KMS_ROTATION_ONE_STEP));
}

static void the_first_key_has_no_lead(void **state)
{
    (void)state;
    struct bench bench = set_up();
    bench.plan.is_first = true;
    bench.plan.activation_utc_s = NOW;
    assert_true(allows(&bench, KMS_ROTATION_ONE_STEP));
    assert_int_equal(bench.plan.activation_utc_s, NOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_steps_forbid_a_key_in_one),
        cmocka_unit_test(two_steps_forbid_the_first_key_in_one_too),
        cmocka_unit_test(a_plan_that_makes_nothing_is_allowed),
        cmocka_unit_test(the_default_activation_is_put_off),
        cmocka_unit_test(a_default_that_is_late_enough_stays),
        cmocka_unit_test(an_early_activation_is_refused_whatever_the_force),
        cmocka_unit_test(an_activation_at_the_least_lead_is_allowed),
        cmocka_unit_test(the_first_key_has_no_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
