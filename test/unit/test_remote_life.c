/* SPDX-License-Identifier: Apache-2.0 */
/* How token hosts begin, prove themselves, are killed, and end. */
#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "remote.h"
#include "remote_rig.h"

enum {
    LANES = 4,
    SHORT_MS = 300,
    THREADS = 16,
    KILLS = 24,
    CALL_MS = 10000, /* what a call under kills has */
};

/* --- before it serves --- */

static void before_a_listing_calls_fail_and_say_so(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_open_path(rig, FAKE_HOST, LANES);
    assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "not reached yet");
    assert_ok(remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL), &rig->err);
    assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

static void lanes_have_bounds(void **state)
{
    struct remote_rig *rig = *state;
    const char *const nothing[] = { "fake_host", NULL };
    const unsigned wrong[] = { 0, KMS_HOST_LANES_MAX + 1 };
    for (size_t i = 0; i < 2; i++) {
        const struct kms_remote_options options = { .command = { FAKE_HOST, nothing, nothing },
                                                    .lanes = wrong[i] };
        assert_int_equal(kms_remote_open(&options, &rig->keystore, &rig->err), KMS_E_INVALID);
    }
}

static void the_most_lanes_work(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, KMS_HOST_LANES_MAX);
    assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

/* Until a call says @text; with more patience than a text that only a deadline brings would need. */
static void wait_for_text(struct remote_rig *rig, const char *text)
{
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL), KMS_E_UNAVAILABLE);
        if (strstr(rig->err.msg, text) != NULL)
            return;
    }
    fail_msg("\"%s\" does not contain \"%s\"", rig->err.msg, text);
}

static void a_path_that_cannot_be_executed_is_named_as_the_cause(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_open_path(rig, "/nonexistent/host", LANES);
    wait_for_text(rig, "the token host can't be started: No such file or directory");
    assert_string_equal(rig->err.op, "posix_spawn");
    assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), KMS_E_UNAVAILABLE);
}

static void a_host_that_ends_at_once_is_named_as_the_cause(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_open_path(rig, "/bin/false", LANES);
    wait_for_text(rig, "exit status 1");
    assert_int_equal(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), KMS_E_UNAVAILABLE);
}

/* --- the proof of the next host --- */

static void a_next_host_lists_and_tries_the_kek_before_it_serves(void **state)
{
    struct remote_rig *rig = *state;
    struct remote_caller waiting;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "canary.ring.a", "once gate");
    remote_rig_kill(rig);
    remote_caller_start(&waiting, rig, 'b', REMOTE_PATIENCE_MS);
    remote_rig_wait_count(rig, "canary ring.a", 2);
    assert_int_equal(remote_rig_count(rig, "list"), 2);
    assert_int_equal(remote_rig_wrap(rig, 'c', SHORT_MS, &rig->err), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "being started again");
    assert_int_equal(remote_rig_count(rig, "wrap ring.b"), 0);
    assert_int_equal(remote_rig_count(rig, "wrap ring.c"), 0);
    remote_rig_open_gate(rig, "gate", 1);
    assert_ok(remote_caller_join(&waiting), &waiting.err);
}

static void the_kek_tried_last_is_the_one_that_proves(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    assert_ok(remote_rig_canary(rig, 'c', REMOTE_PATIENCE_MS), &rig->err);
    remote_rig_kill(rig);
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    assert_int_equal(remote_rig_count(rig, "canary ring.a"), 1);
    assert_int_equal(remote_rig_count(rig, "canary ring.c"), 2);
}

static void a_keks_own_fault_does_not_keep_a_host_from_serving(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "canary.ring.a", "fail 4"); /* KMS_E_PRECONDITION */
    remote_rig_kill(rig);
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

static void a_host_that_fails_its_proof_does_not_wrap(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "canary.ring.a", "fail 5"); /* KMS_E_UNAVAILABLE */
    remote_rig_tell(rig, "away", "away");            /* and the connection is gone */
    remote_rig_kill(rig);
    assert_int_equal(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), KMS_E_UNAVAILABLE);
    assert_string_equal(rig->err.msg, "told to fail");
    assert_int_equal(remote_rig_count(rig, "wrap ring.b"), 0);
    remote_rig_tell(rig, "canary.ring.a", NULL);
    remote_rig_tell(rig, "away", NULL);
    remote_rig_wait_serves(rig);
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

/* One bad KEK must not keep the others from decrypting, nor a rotation from curing it. */
static void a_kek_that_is_ill_does_not_keep_a_host_from_serving(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "canary.ring.a", "fail 5"); /* KMS_E_UNAVAILABLE, but connected */
    remote_rig_kill(rig);
    assert_ok(remote_rig_wrap(rig, 'b', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
}

/* --- killed at any time --- */

struct storm {
    struct remote_rig *rig;
    atomic_bool ending;
    atomic_size_t good, bad;
    pthread_mutex_t lock; /* guards the first failure */
    struct kms_error first;
};

static void *call_again_and_again(void *argument)
{
    struct storm *storm = argument;
    struct kms_error err;
    for (unsigned i = 0; !atomic_load(&storm->ending); i++) {
        char kek = (char)('a' + i % REMOTE_KEKS);
        enum kms_code rc = i % 2 == 0 ? remote_rig_wrap(storm->rig, kek, CALL_MS, &err)
                                      : remote_rig_unwrap(storm->rig, kek, CALL_MS, &err);
        if (rc == KMS_OK) {
            (void)atomic_fetch_add(&storm->good, 1);
            continue;
        }
        (void)pthread_mutex_lock(&storm->lock);
        if (atomic_fetch_add(&storm->bad, 1) == 0)
            storm->first = err;
        (void)pthread_mutex_unlock(&storm->lock);
    }
    return NULL;
}

static void wait_for_good(struct storm *storm, size_t more)
{
    size_t goal = atomic_load(&storm->good) + more;
    while (atomic_load(&storm->good) < goal && atomic_load(&storm->bad) == 0)
        (void)usleep(1000);
}

/* Mostly while it serves, and every fourth time as soon as it is there. */
static void kill_hosts(struct storm *storm)
{
    unsigned random = 7;
    for (size_t killed = 0; killed < KILLS && atomic_load(&storm->bad) == 0; killed++) {
        remote_rig_wait_hosts(storm->rig, killed + 1);
        if (killed % 4 != 3)
            wait_for_good(storm, 20 + (size_t)rand_r(&random) % 200);
        remote_rig_kill(storm->rig);
    }
    wait_for_good(storm, THREADS);
}

static void no_call_fails_while_hosts_are_killed(void **state)
{
    struct storm storm = { .rig = *state };
    pthread_t threads[THREADS];
    (void)pthread_mutex_init(&storm.lock, NULL);
    remote_rig_serve(storm.rig, LANES);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_again_and_again, &storm), 0);
    kill_hosts(&storm);
    atomic_store(&storm.ending, true);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    if (atomic_load(&storm.bad) > 0)
        fail_msg("%zu calls failed, %zu did not; the first: %s: %s", atomic_load(&storm.bad),
                 atomic_load(&storm.good), kms_code_name(storm.first.code), storm.first.msg);
    assert_int_equal(remote_rig_hosts(storm.rig), KILLS + 1);
    (void)pthread_mutex_destroy(&storm.lock);
}

static size_t count_descriptors(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count;
}

static void killed_hosts_leave_no_descriptor_and_no_zombie(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    size_t before = count_descriptors();
    for (int i = 0; i < 5; i++) {
        remote_rig_kill(rig);
        assert_ok(remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err), &rig->err);
    }
    assert_int_equal(count_descriptors(), before);
    kms_keystore_close(rig->keystore);
    rig->keystore = NULL;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* ECHILD */
}

/* --- the end --- */

static void close_remote(struct remote_rig *rig)
{
    kms_keystore_close(rig->keystore);
    rig->keystore = NULL;
}

static void close_lets_the_host_close_its_keystore(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    pid_t host = remote_rig_pid(rig);
    close_remote(rig);
    assert_int_equal(remote_rig_count(rig, "close"), 1);
    assert_int_equal(kill(host, 0), -1);
}

static void close_does_not_wait_for_a_call_that_hangs(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "wrap.ring.a", "once hang");
    assert_int_equal(remote_rig_wrap(rig, 'a', SHORT_MS, &rig->err), KMS_E_DEADLINE);
    remote_rig_wait_count(rig, "wrap ring.a", 1);
    pid_t host = remote_rig_pid(rig);
    close_remote(rig);
    assert_int_equal(kill(host, 0), -1);
}

static void close_does_not_wait_for_a_proof_that_hangs(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    remote_rig_tell(rig, "list", "hang");
    remote_rig_kill(rig);
    remote_rig_wait_count(rig, "list", 2);
    pid_t host = remote_rig_pid(rig);
    close_remote(rig);
    assert_int_equal(kill(host, 0), -1);
}

static void close_ends_a_host_that_does_not_hear(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_serve(rig, LANES);
    pid_t host = remote_rig_pid(rig);
    assert_int_equal(kill(host, SIGSTOP), 0);
    close_remote(rig);
    assert_int_equal(kill(host, 0), -1);
}

static void close_works_without_a_host(void **state)
{
    struct remote_rig *rig = *state;
    remote_rig_open_path(rig, "/nonexistent/host", LANES);
    close_remote(rig);
}

/* Has a host with a call in flight until it is killed. */
static void live_as_a_parent(struct remote_rig *rig)
{
    remote_rig_serve(rig, LANES);
    (void)remote_rig_wrap(rig, 'a', REMOTE_PATIENCE_MS, &rig->err);
    _exit(1);
}

static void the_hosts_of_a_dead_parent_end(void **state)
{
    static const char *const words[] = { "gate", "hang" };
    struct remote_rig *rig = *state;
    for (size_t i = 0; i < 2; i++) {
        remote_rig_tell(rig, "wrap.ring.a", words[i]);
        pid_t parent = fork();
        if (parent == 0)
            live_as_a_parent(rig);
        assert_true(parent > 0);
        remote_rig_wait_count(rig, "wrap ring.a", i + 1);
        pid_t host = remote_rig_pid(rig);
        assert_int_equal(kill(parent, SIGKILL), 0);
        assert_int_equal(waitpid(parent, NULL, 0), parent);
        remote_rig_wait_gone(host);
    }
}

#define remote_test(name)                                                                          \
    cmocka_unit_test_setup_teardown(name, remote_rig_setup, remote_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        remote_test(the_hosts_of_a_dead_parent_end),
        remote_test(before_a_listing_calls_fail_and_say_so),
        remote_test(lanes_have_bounds),
        remote_test(the_most_lanes_work),
        remote_test(a_path_that_cannot_be_executed_is_named_as_the_cause),
        remote_test(a_host_that_ends_at_once_is_named_as_the_cause),
        remote_test(a_next_host_lists_and_tries_the_kek_before_it_serves),
        remote_test(the_kek_tried_last_is_the_one_that_proves),
        remote_test(a_keks_own_fault_does_not_keep_a_host_from_serving),
        remote_test(a_host_that_fails_its_proof_does_not_wrap),
        remote_test(a_kek_that_is_ill_does_not_keep_a_host_from_serving),
        remote_test(no_call_fails_while_hosts_are_killed),
        remote_test(killed_hosts_leave_no_descriptor_and_no_zombie),
        remote_test(close_lets_the_host_close_its_keystore),
        remote_test(close_does_not_wait_for_a_call_that_hangs),
        remote_test(close_does_not_wait_for_a_proof_that_hangs),
        remote_test(close_ends_a_host_that_does_not_hear),
        remote_test(close_works_without_a_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
