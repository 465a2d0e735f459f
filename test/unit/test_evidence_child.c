/* SPDX-License-Identifier: Apache-2.0 */
/* This very program, run again: what main() does when it is told to. */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "evidence_child.h"
#include "kms/clock.h"

struct bench {
    struct kms_signals signals;
    FILE *out, *said;
    struct kms_evidence_ending ending;
    struct kms_error err;
};

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .signals = { .fd = -1 }, .out = tmpfile(), .said = tmpfile() };
    assert_non_null(bench.out);
    assert_non_null(bench.said);
    assert_ok(kms_signals_init(&bench.signals, &bench.err), &bench.err);
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    kms_signals_done(&bench->signals);
    (void)fclose(bench->out);
    (void)fclose(bench->said);
    return 0;
}

static void run(struct bench *bench, const char *what, int64_t timeout_ms)
{
    char name[] = "child", word[32];
    char *argv[] = { name, word, NULL };
    (void)snprintf(word, sizeof(word), "%s", what);
    const struct kms_child child = { .argv = argv,
                                     .dir_fd = -1,
                                     .out_fd = fileno(bench->out),
                                     .err_fd = fileno(bench->said),
                                     .timeout_ms = timeout_ms };
    assert_ok(kms_child_run(&child, &bench->signals, &bench->ending, &bench->err), &bench->err);
}

static void what_it_prints_and_its_exit_status_are_kept(void **state)
{
    struct bench *bench = *state;
    char text[16] = "";
    run(bench, "exit-2", 60 * 1000);
    assert_int_equal(bench->ending.how, KMS_CHILD_EXITED);
    assert_int_equal(bench->ending.code, 2);
    assert_int_equal(pread(fileno(bench->out), text, sizeof(text), 0), 5);
    assert_string_equal(text, "here\n");
    memset(text, 0, sizeof(text));
    assert_int_equal(pread(fileno(bench->said), text, sizeof(text), 0), 6);
    assert_string_equal(text, "there\n");
}

static void one_that_hangs_is_killed_at_its_deadline(void **state)
{
    struct bench *bench = *state;
    int64_t before_ms = kms_monotonic_ms();
    run(bench, "hang", 100);
    assert_int_equal(bench->ending.how, KMS_CHILD_LATE);
    assert_true(bench->ending.duration_ms >= 100);
    assert_true(kms_monotonic_ms() - before_ms < 30 * 1000);
}

static void one_that_dies_of_a_signal_says_which(void **state)
{
    struct bench *bench = *state;
    run(bench, "die", 60 * 1000);
    assert_int_equal(bench->ending.how, KMS_CHILD_KILLED);
    assert_int_equal(bench->ending.code, SIGKILL);
}

static void a_signal_that_came_before_stops_it(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(raise(SIGTERM), 0);
    run(bench, "hang", 60 * 1000);
    assert_int_equal(bench->ending.how, KMS_CHILD_STOPPED);
    assert_int_equal(bench->signals.stop, SIGTERM);
    assert_true(kms_signals_stopped(&bench->signals));
}

static void what_was_ignored_stays_ignored(void **state)
{
    struct bench *bench = *state;
    kms_signals_done(&bench->signals);
    (void)signal(SIGHUP, SIG_IGN);
    assert_ok(kms_signals_init(&bench->signals, &bench->err), &bench->err);
    assert_int_equal(raise(SIGHUP), 0);
    run(bench, "exit-2", 60 * 1000);
    (void)signal(SIGHUP, SIG_DFL);
    assert_int_equal(bench->ending.how, KMS_CHILD_EXITED);
}

static void the_end_of_a_child_counts_though_ends_were_ignored(void **state)
{
    struct bench *bench = *state;
    kms_signals_done(&bench->signals);
    (void)signal(SIGCHLD, SIG_IGN);
    assert_ok(kms_signals_init(&bench->signals, &bench->err), &bench->err);
    run(bench, "exit-2", 60 * 1000);
    assert_int_equal(bench->ending.code, 2);
}

static int act_as_child(const char *what)
{
    if (strcmp(what, "hang") == 0)
        for (;;)
            (void)pause();
    if (strcmp(what, "die") == 0)
        (void)raise(SIGKILL);
    (void)puts("here");
    (void)fputs("there\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_it_prints_and_its_exit_status_are_kept, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_that_hangs_is_killed_at_its_deadline, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_that_dies_of_a_signal_says_which, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_signal_that_came_before_stops_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_ignored_stays_ignored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_of_a_child_counts_though_ends_were_ignored, set_up,
                                        tear_down),
    };
    if (argc > 1)
        return act_as_child(argv[1]);
    return cmocka_run_group_tests_name("evidence_child", tests, NULL, NULL);
}
