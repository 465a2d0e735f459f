/* SPDX-License-Identifier: Apache-2.0 */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "server_fixture.h"

static const struct kms_socket_options default_socket;
static const struct kms_server_options default_server;

struct stopper {
    pthread_t thread;
    struct fixture *fixture;
    int64_t grace_ms;
    bool clean;
};

static void *stopper_run(void *arg)
{
    struct stopper *stopper = arg;
    stopper->clean = fixture_stop(stopper->fixture, stopper->grace_ms);
    return NULL;
}

static void stop_lets_a_call_in_flight_finish(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct kms_client *other = fixture_client(fixture);
    struct caller held;
    caller_start(&held, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_held(1);
    struct stopper stopper = { .fixture = fixture, .grace_ms = 60 * 1000 };
    assert_int_equal(pthread_create(&stopper.thread, NULL, stopper_run, &stopper), 0);
    bool echoed = false;
    struct kms_error err = { 0 };
    while (call_now(other, "Fast", sample(), &echoed, &err) == KMS_OK)
        ; /* until the stop has begun */

    hold_release();
    assert_int_equal(caller_join(&held), KMS_OK);
    pthread_join(stopper.thread, NULL);
    assert_true(stopper.clean);
    kms_client_close(client);
    kms_client_close(other);
    fixture_close(fixture);
}

static void stop_does_not_wait_for_idle_connections(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    int fds[20];
    for (size_t i = 0; i < 20; i++)
        fds[i] = fixture_connect(fixture);
    assert_served(fixture); /* accepted after them, so all are in core */
    int64_t before_ms = kms_monotonic_ms();
    enum { GRACE_MS = 600 * 1000 };
    assert_true(fixture_stop(fixture, GRACE_MS));
    assert_true(kms_monotonic_ms() - before_ms < GRACE_MS);
    for (size_t i = 0; i < 20; i++) {
        assert_true(is_closed_by_server(fds[i]));
        close(fds[i]);
    }
    fixture_close(fixture);
}

static void stop_cancels_what_waits_when_the_grace_is_over(void **state)
{
    (void)state;
    const struct kms_server_options options = { .workers = 1 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller running, waiting;
    caller_start(&running, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_held(1);
    caller_start(&waiting, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_arrived(2);
    struct stopper stopper = { .fixture = fixture, .grace_ms = 1 };
    assert_int_equal(pthread_create(&stopper.thread, NULL, stopper_run, &stopper), 0);
    assert_int_not_equal(caller_join(&waiting), KMS_OK);
    tally_wait_released(1);
    hold_release();
    assert_int_not_equal(caller_join(&running), KMS_OK);
    pthread_join(stopper.thread, NULL);
    assert_true(stopper.clean);
    assert_int_equal(tally_now().held, 1);
    kms_client_close(client);
    fixture_close(fixture);
}

enum { EXIT_GAVE_UP = 42, EXIT_STOPPED = 43 };

/* In a process of its own, since nothing can clean up after it. */
static void hang_and_stop(void)
{
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller running;
    caller_start(&running, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_held(1);
    bool clean = fixture_stop(fixture, 1);
    caller_join(&running);
    char lock[96];
    snprintf(lock, sizeof lock, "%s.lock", fixture->path);
    unlink(lock);
    rmdir(fixture->dir);
    _exit(clean ? EXIT_STOPPED : EXIT_GAVE_UP);
}

static void stop_gives_up_on_a_worker_that_hangs(void **state)
{
    (void)state;
    char self[] = "/proc/self/exe", flag[] = "hang";
    char *const argv[] = { self, flag, NULL };
    pid_t child = 0;
    assert_int_equal(posix_spawn(&child, self, NULL, NULL, argv, environ), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_GAVE_UP);
}

int main(int argc, char **argv)
{
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    if (argc > 1 && strcmp(argv[1], "hang") == 0)
        hang_and_stop();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stop_lets_a_call_in_flight_finish),
        cmocka_unit_test(stop_does_not_wait_for_idle_connections),
        cmocka_unit_test(stop_cancels_what_waits_when_the_grace_is_over),
        cmocka_unit_test(stop_gives_up_on_a_worker_that_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
