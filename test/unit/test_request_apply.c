/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "kms/clock.h"
#include "request.h"

static const uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0xab, 0xcd };

static void accept_pins_and_replaces_a_pin(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    static const uint8_t other[KMS_FINGERPRINT_LEN] = { 0x11 };
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT, .generation = 2 };
    memcpy(request.fingerprint, fingerprint, sizeof fingerprint);
    bool changed = false;
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_true(changed);
    assert_int_equal(state.pin_count, 1);
    assert_ok(kms_state_add_pin(&state, 1, other, &err), &err);
    memcpy(request.fingerprint, other, sizeof other);
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_true(changed);
    assert_int_equal(state.pin_count, 2);
    assert_memory_equal(kms_state_pin(&state, 2)->fingerprint, other, sizeof other);
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_false(changed);
}

static void a_replaced_pin_forgets_the_tokens_that_confirmed_the_old_key(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_ok(kms_state_add_pin(&state, 2, fingerprint, &err), &err);
    assert_true(kms_state_confirm(&state.pins[0], "main", "serial"));
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT, .generation = 2 };
    bool changed;
    assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
    assert_true(changed);
    assert_int_equal(kms_state_pin(&state, 2)->token_count, 0);
}

static void tombstone_removes_the_pin_and_keeps_the_number(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 1 };
    assert_ok(kms_state_add_pin(&state, 1, fingerprint, &err), &err);
    assert_ok(kms_state_add_pin(&state, 5, fingerprint, &err), &err);
    static const uint32_t order[] = { 5, 3, 7 };
    bool changed = false;
    for (size_t i = 0; i < 3; i++) {
        struct kms_request request = { .kind = KMS_REQUEST_TOMBSTONE, .generation = order[i] };
        assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
        assert_true(changed);
        assert_ok(kms_request_apply(&request, &state, &changed, &err), &err);
        assert_false(changed);
    }
    assert_int_equal(state.tombstone_count, 3);
    assert_int_equal(state.tombstones[0], 3); /* ascending */
    assert_int_equal(state.tombstones[2], 7);
    assert_null(kms_state_pin(&state, 5));
    assert_non_null(kms_state_pin(&state, 1));
    assert_int_equal(kms_state_highest(&state), 7);
}

static void the_promoted_generation_is_never_buried(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 2 };
    struct kms_request request = { .kind = KMS_REQUEST_TOMBSTONE, .generation = 2 };
    bool changed;
    assert_int_equal(kms_request_apply(&request, &state, &changed, &err), KMS_E_PRECONDITION);
    assert_int_equal(state.tombstone_count, 0);
}

static void a_buried_generation_is_never_accepted(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_ok(kms_state_bury(&state, 2, &err), &err);
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT, .generation = 2 };
    bool changed;
    assert_int_equal(kms_request_apply(&request, &state, &changed, &err), KMS_E_PRECONDITION);
    assert_int_equal(state.pin_count, 0);
}

/* --- of tokens --- */

enum { HOUR_S = 3600 };

static struct kms_request drain_of(const char *token, int64_t until_utc_s)
{
    struct kms_request request = { .kind = KMS_REQUEST_DRAIN, .until_utc_s = until_utc_s };
    snprintf(request.token, sizeof request.token, "%s", token);
    return request;
}

/* True if that changed @state. */
static bool apply(const struct kms_request *request, struct kms_state *state)
{
    struct kms_error err;
    bool changed;
    assert_ok(kms_request_apply(request, state, &changed, &err), &err);
    return changed;
}

static void a_drain_is_remembered_until_it_ends(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    int64_t until = kms_utc_s() + HOUR_S;
    struct kms_request request = drain_of("main", until);
    assert_true(apply(&request, &state));
    assert_false(apply(&request, &state));
    assert_int_equal(kms_state_drained_until(&state, "main"), until);
    request = drain_of("main", until + HOUR_S);
    assert_true(apply(&request, &state));
    assert_int_equal(kms_state_drained_until(&state, "main"), until + HOUR_S);
}

static void a_drain_that_ended_while_it_waited_drains_nothing(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    struct kms_request request = drain_of("main", kms_utc_s() - 1);
    assert_false(apply(&request, &state));
    assert_int_equal(state.drain_count, 0);
    assert_ok(kms_state_drain(&state, "main", kms_utc_s() + HOUR_S, &err), &err);
    assert_true(apply(&request, &state)); /* what was asked last is over */
    assert_int_equal(state.drain_count, 0);
}

/* As many as there can be; until @until_utc_s. */
static void drain_many(struct kms_state *state, int64_t until_utc_s)
{
    struct kms_error err;
    for (unsigned i = 0; i < KMS_TOKENS_MAX; i++) {
        char name[KMS_TOKEN_NAME_MAX + 1];
        snprintf(name, sizeof name, "token-%u", i);
        assert_ok(kms_state_drain(state, name, until_utc_s, &err), &err);
    }
}

static void a_drain_that_is_over_makes_room(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    drain_many(&state, kms_utc_s() - 1);
    struct kms_request request = drain_of("main", kms_utc_s() + HOUR_S);
    assert_true(apply(&request, &state));
    assert_int_equal(state.drain_count, 1);
}

static void too_many_drains_are_refused(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    drain_many(&state, kms_utc_s() + HOUR_S);
    struct kms_request request = drain_of("main", kms_utc_s() + HOUR_S);
    bool changed;
    assert_int_equal(kms_request_apply(&request, &state, &changed, &err), KMS_E_PRECONDITION);
}

static void a_resume_ends_a_drain(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_ok(kms_state_drain(&state, "main", kms_utc_s() + HOUR_S, &err), &err);
    const struct kms_request request = { .kind = KMS_REQUEST_RESUME, .token = "main" };
    assert_true(apply(&request, &state));
    assert_false(apply(&request, &state));
    assert_int_equal(kms_state_drained_until(&state, "main"), 0);
}

static void a_waiver_is_remembered_once(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 1 };
    const struct kms_request request = { .kind = KMS_REQUEST_WAIVE,
                                         .generation = 2,
                                         .token = "main" };
    assert_true(apply(&request, &state));
    assert_false(apply(&request, &state));
    assert_true(kms_state_is_waived(&state, 2, "main"));
}

static void of_a_promoted_generation_there_is_nothing_to_waive(void **unused)
{
    (void)unused;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { .promoted = 2 };
    const struct kms_request request = { .kind = KMS_REQUEST_WAIVE,
                                         .generation = 2,
                                         .token = "main" };
    assert_false(apply(&request, &state));
    assert_int_equal(state.waiver_count, 0);
}

static void a_buried_generation_is_never_waived(void **unused)
{
    (void)unused;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    assert_ok(kms_state_bury(&state, 2, &err), &err);
    const struct kms_request request = { .kind = KMS_REQUEST_WAIVE,
                                         .generation = 2,
                                         .token = "main" };
    bool changed;
    assert_int_equal(kms_request_apply(&request, &state, &changed, &err), KMS_E_PRECONDITION);
    assert_int_equal(state.waiver_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_pins_and_replaces_a_pin),
        cmocka_unit_test(a_replaced_pin_forgets_the_tokens_that_confirmed_the_old_key),
        cmocka_unit_test(tombstone_removes_the_pin_and_keeps_the_number),
        cmocka_unit_test(the_promoted_generation_is_never_buried),
        cmocka_unit_test(a_buried_generation_is_never_accepted),
        cmocka_unit_test(a_drain_is_remembered_until_it_ends),
        cmocka_unit_test(a_drain_that_ended_while_it_waited_drains_nothing),
        cmocka_unit_test(a_drain_that_is_over_makes_room),
        cmocka_unit_test(too_many_drains_are_refused),
        cmocka_unit_test(a_resume_ends_a_drain),
        cmocka_unit_test(a_waiver_is_remembered_once),
        cmocka_unit_test(of_a_promoted_generation_there_is_nothing_to_waive),
        cmocka_unit_test(a_buried_generation_is_never_waived),
    };
    return cmocka_run_group_tests_name("request_apply", tests, NULL, NULL);
}
