/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 before and after every system call that changes what a node remembers. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "inbox.h"
#include "kill_point.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "request.h"
#include "ring.h"
#include "state.h"

enum { FEWEST_POINTS = 8 }; /* open, write, fsync, rename at least: the loop must have seen them */

/* @point: one more than the first at which nothing was left to kill. */
static void assert_many(unsigned point)
{
    assert_true(point > FEWEST_POINTS);
    print_message("killed at each of %u points\n", point - 1);
}

static char dir_path[64];

static int make_dir(void **unused)
{
    (void)unused;
    snprintf(dir_path, sizeof dir_path, "/tmp/test-kill-XXXXXX");
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    return mkdtemp(dir_path) != NULL ? 0 : -1;
}

static void remove_file(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir_path, name);
    unlink(path);
}

static int remove_dir(void **unused)
{
    (void)unused;
    static const char *const names[] = { "ring.json",
                                         "ring.json.new",
                                         "served",
                                         "served.new",
                                         "lock",
                                         "request.accept.2.json",
                                         "request.accept.2.json.new",
                                         "request.drain.main.json",
                                         "request.resume.main.json",
                                         "request.resume.main.json.new" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        remove_file(names[i]);
    return rmdir(dir_path);
}

static const uint8_t old_fingerprint[KMS_FINGERPRINT_LEN] = { 0xaa };
static const uint8_t new_fingerprint[KMS_FINGERPRINT_LEN] = { 0xbb };

/* Generation 1 promoted, @highest pinned; all with the old fingerprint. */
static void fill(struct kms_state *state, uint32_t highest)
{
    struct kms_error err;
    for (uint32_t generation = 1; generation <= highest; generation++)
        assert_ok(kms_state_add_pin(state, generation, old_fingerprint, &err), &err);
    state->promoted = 1;
}

/* In the parent or, between kill points, in a child: opens, writes, closes. */
static void write_pins(void *arg)
{
    const uint32_t *highest = arg;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *dir = NULL;
    fill(&state, *highest);
    if (kms_state_dir_open(dir_path, "prod", &dir, &err) != KMS_OK ||
        kms_state_dir_write(dir, &state, &err) != KMS_OK)
        _exit(1);
}

static void read_back(struct kms_state *ret_state, bool *ret_new)
{
    struct kms_error err;
    assert_ok(kms_state_read(dir_path, "prod", ret_state, ret_new, &err), &err);
}

static void a_killed_write_leaves_the_old_state_or_the_new(void **unused)
{
    (void)unused;
    unsigned point = 0;
    uint32_t before = 1, after = 2;
    bool old_seen = false, new_seen = false;
    for (bool killed = true; killed; point++) {
        write_pins(&before);
        killed = kill_at(point, write_pins, &after);
        KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
        bool is_new;
        read_back(&back, &is_new);
        assert_false(is_new);
        assert_in_range(back.pin_count, before, after);
        old_seen |= killed && back.pin_count == before;
        new_seen |= killed && back.pin_count == after;
    }
    assert_many(point);
    assert_true(old_seen && new_seen);
}

static void a_killed_first_write_leaves_a_new_node_or_the_state(void **unused)
{
    (void)unused;
    unsigned point = 0;
    uint32_t after = 2;
    bool old_seen = false, new_seen = false;
    for (bool killed = true; killed; point++) {
        remove_file("ring.json");
        remove_file("served");
        killed = kill_at(point, write_pins, &after);
        KMS_CLEANUP(kms_state_done) struct kms_state back = { 0 };
        bool is_new;
        read_back(&back, &is_new);
        assert_int_equal(back.pin_count, is_new ? 0 : after);
        old_seen |= killed && is_new;
        new_seen |= killed && !is_new;
    }
    assert_many(point);
    assert_true(old_seen && new_seen);
}

static void ask(void *arg)
{
    struct kms_error err;
    if (kms_request_accept(dir_path, 2, arg, &err) != KMS_OK)
        _exit(1);
}

static void *fingerprint_arg(const uint8_t *fingerprint)
{
    static uint8_t copy[KMS_FINGERPRINT_LEN];
    memcpy(copy, fingerprint, sizeof copy);
    return copy;
}

static void a_killed_request_is_there_whole_or_not_at_all(void **unused)
{
    (void)unused;
    unsigned point = 0;
    bool none_seen = false, one_seen = false;
    for (bool killed = true; killed; point++) {
        remove_file("request.accept.2.json");
        killed = kill_at(point, ask, fingerprint_arg(new_fingerprint));
        struct kms_error err;
        KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
        assert_ok(kms_request_read(dir_path, &list, &err), &err);
        assert_in_range(list.count, 0, 1);
        if (list.count == 1) {
            assert_int_equal(list.files[0].fault.code, KMS_OK);
            assert_memory_equal(list.files[0].request.fingerprint, new_fingerprint,
                                KMS_FINGERPRINT_LEN);
        }
        none_seen |= killed && list.count == 0;
        one_seen |= killed && list.count == 1;
    }
    assert_many(point);
    assert_true(none_seen && one_seen);
}

static void ask_resume(void *arg)
{
    (void)arg;
    struct kms_error err;
    if (kms_request_resume(dir_path, "main", &err) != KMS_OK)
        _exit(1);
}

/* What a daemon that comes now makes of what was asked. */
static bool is_drained_in_the_end(void)
{
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    assert_ok(kms_request_read(dir_path, &list, &err), &err);
    assert_in_range(list.count, 1, 2);
    for (size_t i = 0; i < list.count; i++) {
        bool changed;
        assert_ok(kms_request_apply(&list.files[i].request, &state, &changed, &err), &err);
    }
    return kms_state_drained_until(&state, "main") != 0;
}

static void a_killed_resume_leaves_the_drain_or_ends_it(void **unused)
{
    (void)unused;
    struct kms_error err;
    unsigned point = 0;
    bool drained_seen = false, resumed_seen = false;
    for (bool killed = true; killed; point++) {
        remove_file("request.resume.main.json");
        assert_ok(kms_request_drain(dir_path, "main", kms_utc_s() + 3600, &err), &err);
        killed = kill_at(point, ask_resume, NULL);
        bool drained = is_drained_in_the_end();
        assert_false(drained && resumed_seen);
        drained_seen |= drained;
        resumed_seen |= !drained;
    }
    assert_many(point);
    assert_true(drained_seen && resumed_seen);
}

/* What a daemon does with its requests, between its start and its end. */
static void serve_requests(void *arg)
{
    (void)arg;
    struct kms_error err;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    KMS_CLEANUP(kms_state_dir_close_ptr) struct kms_state_dir *dir = NULL;
    KMS_CLEANUP(kms_ring_close_ptr) struct kms_ring *ring = NULL;
    KMS_CLEANUP(kms_inbox_close_ptr) struct kms_inbox *inbox = NULL;
    struct kms_ring_options options = { .name = "prod" };
    bool is_new;
    if (kms_state_dir_open(dir_path, "prod", &dir, &err) != KMS_OK ||
        kms_state_read(dir_path, "prod", &state, &is_new, &err) != KMS_OK ||
        kms_ring_open(&options, &state, is_new, &ring, &err) != KMS_OK ||
        kms_inbox_open(dir, ring, &inbox, &err) != KMS_OK)
        _exit(1);
    kms_inbox_process(inbox);
}

static size_t waiting(void)
{
    struct kms_error err;
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    assert_ok(kms_request_read(dir_path, &list, &err), &err);
    return list.count;
}

static bool is_accepted(void)
{
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    bool is_new;
    read_back(&state, &is_new);
    assert_int_equal(state.pin_count, 2);
    return memcmp(state.pins[1].fingerprint, new_fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

static void a_daemon_killed_while_it_applies_a_request_finishes_it_later(void **unused)
{
    (void)unused;
    unsigned point = 0;
    uint32_t before = 2;
    bool between_seen = false;
    for (bool killed = true; killed; point++) {
        write_pins(&before);
        ask(fingerprint_arg(new_fingerprint));
        killed = kill_at(point, serve_requests, NULL);
        bool accepted = is_accepted(), asked = waiting() == 1;
        assert_true(accepted || asked); /* never lost */
        between_seen |= accepted && asked;
        serve_requests(NULL);
        assert_true(is_accepted());
        assert_int_equal(waiting(), 0);
    }
    assert_many(point);
    assert_true(between_seen);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(a_killed_write_leaves_the_old_state_or_the_new),
        WITH_DIR(a_killed_first_write_leaves_a_new_node_or_the_state),
        WITH_DIR(a_killed_request_is_there_whole_or_not_at_all),
        WITH_DIR(a_killed_resume_leaves_the_drain_or_ends_it),
        WITH_DIR(a_daemon_killed_while_it_applies_a_request_finishes_it_later),
    };
    return cmocka_run_group_tests_name("kill", tests, NULL, NULL);
}
