/* SPDX-License-Identifier: Apache-2.0 */
/* A token host that doesn't answer in time: deadlines, late lanes, and when it is given up. */
#include "remote_rig.h"

enum {
    LANES = 3,
    SHORT_MS = 300, /* of a call that is meant to miss its deadline */
};

/* A wrap under ring.a by which a lane gets late.  It has reached the host. */
static void miss_a_deadline(struct remote_rig *rig)
{
    size_t before = remote_rig_count(rig, "wrap ring.a");
    assert_int_equal(remote_rig_wrap(rig, 'a', SHORT_MS, &rig->err), KMS_E_DEADLINE);
    remote_rig_wait_count(rig, "wrap ring.a", before + 1);
}

/* As many calls at once as there are lanes, so that each lane is used, and each answer checked. */
static void use_every_lane(struct remote_rig *rig, size_t lanes)
{
    struct remote_caller callers[LANES];
    size_t before = remote_rig_count(rig, "wrap ring.b");
    remote_rig_tell(rig, "wrap.ring.b", "gate2");
    for (size_t i = 0; i < lanes; i++)
        remote_caller_start(&callers[i], rig, 'b', REMOTE_PATIENCE_MS);
    remote_rig_wait_count(rig, "wrap ring.b", before + lanes);
    remote_rig_tell(rig, "wrap.ring.b", NULL);
    remote_rig_open_gate(rig, "gate2", lanes);
    for (size_t i = 0; i < lanes; i++)
        assert_ok(remote_caller_join(&callers[i]), &callers[i].err);
}

static void a_call_that_hangs_fails_at_its_deadline(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once hang");
    assert_int_equal(remote_rig_wrap(rig, 'a', SHORT_MS, &rig->err), KMS_E_DEADLINE);
    assert_contains(rig->err.msg, "did not answer in time");
}

static void others_go_on_while_one_hangs(void **state)
{
    struct remote_rig *rig = *state;
    struct remote_caller hanging;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once gate");
    remote_caller_start(&hanging, rig, 'a', REMOTE_PATIENCE_MS);
    remote_rig_wait_count(rig, "wrap ring.a", 1);
    for (int i = 0; i < 20; i++)
        assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    remote_rig_open_gate(rig, "gate", 1);
    assert_ok(remote_caller_join(&hanging), &hanging.err);
    assert_int_equal(remote_rig_hosts(rig), 1);
}

static void calls_wait_for_a_lane_until_their_deadline(void **state)
{
    struct remote_rig *rig = *state;
    struct remote_caller callers[LANES];
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "gate");
    for (size_t i = 0; i < LANES; i++)
        remote_caller_start(&callers[i], rig, 'a', REMOTE_PATIENCE_MS);
    remote_rig_wait_count(rig, "wrap ring.a", LANES);
    assert_int_equal(remote_rig_wrap(rig, 'b', SHORT_MS, &rig->err), KMS_E_BUSY);
    assert_contains(rig->err.msg, "all lanes of the token host are in use");
    remote_rig_open_gate(rig, "gate", LANES);
    for (size_t i = 0; i < LANES; i++)
        assert_ok(remote_caller_join(&callers[i]), &callers[i].err);
}

static void a_late_answer_frees_its_lane_and_is_nobody_elses(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once gate");
    miss_a_deadline(rig);
    use_every_lane(rig, LANES - 1);
    remote_rig_open_gate(rig, "gate", 1);
    use_every_lane(rig, LANES);
    assert_int_equal(remote_rig_hosts(rig), 1);
}

static void a_late_lane_is_not_used(void **state)
{
    struct remote_rig *rig = *state;
    struct remote_caller callers[LANES - 1];
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once gate");
    miss_a_deadline(rig);
    remote_rig_tell(rig, "wrap.ring.b", "gate");
    for (size_t i = 0; i < LANES - 1; i++)
        remote_caller_start(&callers[i], rig, 'b', REMOTE_PATIENCE_MS);
    remote_rig_wait_count(rig, "wrap ring.b", LANES - 1);
    assert_int_equal(remote_rig_wrap(rig, 'c', SHORT_MS, &rig->err), KMS_E_BUSY);
    assert_int_equal(remote_rig_count(rig, "wrap ring.c"), 0);
    remote_rig_open_gate(rig, "gate", LANES);
    for (size_t i = 0; i < LANES - 1; i++)
        assert_ok(remote_caller_join(&callers[i]), &callers[i].err);
}

static void a_host_with_a_call_that_never_comes_back_is_replaced(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once hang");
    miss_a_deadline(rig);
    remote_rig_wait_hosts(rig, 2);
    assert_true(remote_rig_logged(rig, "a call never came back"));
    assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

static void a_host_whose_lanes_are_all_late_is_replaced_at_once(void **state)
{
    struct remote_rig *rig = *state;
    struct remote_caller callers[LANES];
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "hang");
    for (size_t i = 0; i < LANES; i++)
        remote_caller_start(&callers[i], rig, 'a', SHORT_MS);
    for (size_t i = 0; i < LANES; i++)
        assert_int_equal(remote_caller_join(&callers[i]), KMS_E_DEADLINE);
    remote_rig_wait_logged(rig, "no call comes back");
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    assert_int_equal(remote_rig_hosts(rig), 2);
}

static void a_host_that_dies_with_a_late_call_is_replaced(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once gate");
    miss_a_deadline(rig);
    remote_rig_kill(rig);
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    use_every_lane(rig, LANES);
    assert_int_equal(remote_rig_hosts(rig), 2);
}

static void a_call_in_flight_when_its_host_is_given_up_is_done_again(void **state)
{
    struct remote_rig *rig = *state;
    struct remote_caller waiting;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.b", "once hang");
    remote_caller_start(&waiting, rig, 'b', REMOTE_PATIENCE_MS);
    remote_rig_wait_count(rig, "wrap ring.b", 1);
    remote_rig_tell(rig, "wrap.ring.a", "once hang");
    miss_a_deadline(rig);
    assert_ok(remote_caller_join(&waiting), &waiting.err);
    assert_int_equal(remote_rig_hosts(rig), 2);
}

#define remote_test(name)                                                                          \
    cmocka_unit_test_setup_teardown(name, remote_rig_setup, remote_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        remote_test(a_call_that_hangs_fails_at_its_deadline),
        remote_test(others_go_on_while_one_hangs),
        remote_test(calls_wait_for_a_lane_until_their_deadline),
        remote_test(a_late_answer_frees_its_lane_and_is_nobody_elses),
        remote_test(a_late_lane_is_not_used),
        remote_test(a_host_with_a_call_that_never_comes_back_is_replaced),
        remote_test(a_host_whose_lanes_are_all_late_is_replaced_at_once),
        remote_test(a_host_that_dies_with_a_late_call_is_replaced),
        remote_test(a_call_in_flight_when_its_host_is_given_up_is_done_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
