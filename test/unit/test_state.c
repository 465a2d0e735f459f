/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <stdio.h>

#include "check.h"

static const uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0xaa };
enum { NOW = 1800000000 };

static void add_pin(struct kms_state *state, uint32_t generation)
{
    struct kms_error err;
    assert_ok(kms_state_add_pin(state, generation, fingerprint, &err), &err);
}

static void drain(struct kms_state *state, const char *token, int64_t until_utc_s)
{
    struct kms_error err;
    assert_ok(kms_state_drain(state, token, until_utc_s, &err), &err);
}

static void waive(struct kms_state *state, uint32_t generation, const char *token)
{
    struct kms_error err;
    assert_ok(kms_state_waive(state, generation, token, &err), &err);
}

static const char *numbered(unsigned number)
{
    static char name[KMS_TOKEN_NAME_MAX + 1];
    snprintf(name, sizeof name, "token-%u", number);
    return name;
}

static void a_confirmation_is_news_once(void **unused)
{
    (void)unused;
    struct kms_pin pin = { .generation = 1 };
    assert_null(kms_pin_confirmation(&pin, "main"));
    assert_true(kms_state_confirm(&pin, "main", "0001"));
    assert_true(kms_state_confirm(&pin, "spare", "0001"));
    assert_false(kms_state_confirm(&pin, "main", "0001"));
    assert_int_equal(pin.token_count, 2);
    assert_string_equal(kms_pin_confirmation(&pin, "main")->serial, "0001");
}

static void a_new_serial_takes_the_place_of_the_old(void **unused)
{
    (void)unused;
    struct kms_pin pin = { .generation = 1 };
    assert_true(kms_state_confirm(&pin, "main", "0001"));
    assert_true(kms_state_confirm(&pin, "spare", "0002"));
    assert_true(kms_state_confirm(&pin, "main", "0003"));
    assert_int_equal(pin.token_count, 2);
    assert_string_equal(kms_pin_confirmation(&pin, "main")->serial, "0003");
    assert_string_equal(kms_pin_confirmation(&pin, "spare")->serial, "0002");
}

static void one_token_too_many_takes_the_place_of_the_oldest(void **unused)
{
    (void)unused;
    struct kms_pin pin = { .generation = 1 };
    for (unsigned i = 0; i <= KMS_TOKENS_MAX; i++)
        assert_true(kms_state_confirm(&pin, numbered(i), "0001"));
    assert_int_equal(pin.token_count, KMS_TOKENS_MAX);
    assert_null(kms_pin_confirmation(&pin, numbered(0)));
    for (unsigned i = 1; i <= KMS_TOKENS_MAX; i++)
        assert_non_null(kms_pin_confirmation(&pin, numbered(i)));
}

static void a_new_pin_forgets_who_confirmed_the_old(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    add_pin(&state, 2);
    assert_true(kms_state_confirm(&state.pins[0], "main", "0001"));
    assert_ok(kms_state_repin(&state, 2, fingerprint, &err), &err);
    assert_null(kms_pin_confirmation(kms_state_pin(&state, 2), "main"));
}

static void a_drain_lasts_until_the_last_word(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_int_equal(kms_state_drained_until(&state, "main"), 0);
    drain(&state, "main", NOW);
    drain(&state, "spare", NOW + 1);
    drain(&state, "main", NOW - 1);
    assert_int_equal(state.drain_count, 2);
    assert_int_equal(kms_state_drained_until(&state, "main"), NOW - 1);
    assert_int_equal(kms_state_drained_until(&state, "spare"), NOW + 1);
}

static void a_resumed_token_alone_is_drained_no_more(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    drain(&state, "main", NOW);
    drain(&state, "spare", NOW + 1);
    assert_true(kms_state_resume(&state, "main"));
    assert_false(kms_state_resume(&state, "main"));
    assert_int_equal(kms_state_drained_until(&state, "main"), 0);
    assert_int_equal(kms_state_drained_until(&state, "spare"), NOW + 1);
}

static void too_many_drains_are_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    for (unsigned i = 0; i < KMS_TOKENS_MAX; i++)
        drain(&state, numbered(i), NOW);
    assert_int_equal(kms_state_drain(&state, "one-more", NOW, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "resume one");
    assert_int_equal(kms_state_drained_until(&state, "one-more"), 0);
    drain(&state, numbered(3), NOW + 1); /* of a drained one there is room */
}

static void waivers_are_kept_in_order_and_once(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    waive(&state, 3, "b");
    waive(&state, 2, "c");
    waive(&state, 3, "a");
    waive(&state, 3, "b");
    assert_int_equal(state.waiver_count, 3);
    for (size_t i = 1; i < state.waiver_count; i++)
        assert_true(kms_waiver_order(&state.waivers[i - 1], &state.waivers[i]) < 0);
    assert_true(kms_state_is_waived(&state, 3, "a"));
    assert_false(kms_state_is_waived(&state, 2, "a"));
    assert_false(kms_state_is_waived(&state, 3, "c"));
}

static void a_buried_generation_has_no_waivers(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    waive(&state, 2, "a");
    waive(&state, 3, "a");
    waive(&state, 3, "b");
    waive(&state, 4, "a");
    assert_ok(kms_state_bury(&state, 3, &err), &err);
    assert_int_equal(state.waiver_count, 2);
    assert_true(kms_state_is_waived(&state, 2, "a"));
    assert_true(kms_state_is_waived(&state, 4, "a"));
}

static void tidying_drops_what_says_nothing_any_more(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 2 };
    drain(&state, "over", NOW);
    drain(&state, "not-over", NOW + 1);
    waive(&state, 1, "main");
    waive(&state, 2, "main");
    waive(&state, 3, "main");
    kms_state_tidy(&state, NOW);
    assert_int_equal(state.drain_count, 1);
    assert_int_equal(kms_state_drained_until(&state, "not-over"), NOW + 1);
    assert_int_equal(state.waiver_count, 1);
    assert_true(kms_state_is_waived(&state, 3, "main"));
}

static void a_copy_has_everything_and_is_its_own(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 2 };
    add_pin(&state, 2);
    assert_true(kms_state_confirm(&state.pins[0], "main", "0001"));
    assert_ok(kms_state_bury(&state, 1, &err), &err);
    drain(&state, "spare", NOW);
    waive(&state, 3, "spare");
    KMS_CLEANUP(kms_state_done) struct kms_state copy = { 0 };
    assert_ok(kms_state_copy(&state, &copy, &err), &err);
    kms_state_done(&state);
    assert_int_equal(copy.promoted, 2);
    assert_non_null(kms_pin_confirmation(kms_state_pin(&copy, 2), "main"));
    assert_true(kms_state_is_buried(&copy, 1));
    assert_int_equal(kms_state_drained_until(&copy, "spare"), NOW);
    assert_true(kms_state_is_waived(&copy, 3, "spare"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confirmation_is_news_once),
        cmocka_unit_test(a_new_serial_takes_the_place_of_the_old),
        cmocka_unit_test(one_token_too_many_takes_the_place_of_the_oldest),
        cmocka_unit_test(a_new_pin_forgets_who_confirmed_the_old),
        cmocka_unit_test(a_drain_lasts_until_the_last_word),
        cmocka_unit_test(a_resumed_token_alone_is_drained_no_more),
        cmocka_unit_test(too_many_drains_are_refused),
        cmocka_unit_test(waivers_are_kept_in_order_and_once),
        cmocka_unit_test(a_buried_generation_has_no_waivers),
        cmocka_unit_test(tidying_drops_what_says_nothing_any_more),
        cmocka_unit_test(a_copy_has_everything_and_is_its_own),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
