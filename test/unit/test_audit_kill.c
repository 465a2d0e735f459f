/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 before and after every system call of a writer. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit_rig.h"
#include "check.h"
#include "kill_point.h"

enum { FEWEST_POINTS = 20, LINES = 4 };

static struct kms_audit_options synced_options(void)
{
    struct kms_audit_options options = audit_rig_options();
    options.sync = KMS_AUDIT_ALWAYS;
    return options;
}

/* In the child: opens, writes, closes. */
static void write_some(void *arg)
{
    const struct kms_audit_options *options = arg;
    struct kms_audit *audit = NULL;
    struct kms_error err;
    if (kms_audit_open(options, &audit, &err) != KMS_OK)
        _exit(1);
    for (unsigned i = 0; i < LINES; i++)
        if (audit_rig_put(audit, "u", &err) != KMS_OK)
            _exit(1);
    kms_audit_close(audit);
}

/* All files of the log, oldest first, are one chain. */
static uint64_t assert_chain(void)
{
    struct kms_audit_check after = audit_rig_check_whole("log.serve");
    uint64_t newest = after.end.seq;
    while (after.previous[0] != '\0') {
        struct kms_audit_check before = audit_rig_check_whole(after.previous);
        assert_int_equal(kms_audit_check_join(&before, &after), KMS_AUDIT_JOINED);
        after = before;
    }
    assert_int_equal(after.first_seq, 1);
    return newest;
}

static void kill_everywhere(struct kms_audit_options *options)
{
    uint64_t before = 0;
    unsigned point = 0;
    for (; kill_at(point, write_some, options); point++) {
        audit_rig_write(options, 1); /* the next start mends */
        uint64_t now = assert_chain();
        assert_true(now > before);
        before = now;
    }
    assert_true(point > FEWEST_POINTS);
    print_message("killed at each of %u points\n", point);
}

static void a_killed_writer_leaves_a_chain(void **state)
{
    (void)state;
    struct kms_audit_options options = synced_options();
    kill_everywhere(&options);
}

static void a_killed_rotation_leaves_a_chain(void **state)
{
    (void)state;
    struct kms_audit_options options = synced_options();
    options.rotate_bytes = 1200;
    kill_everywhere(&options);
}

/* Killed while an end is cut aside: that is recorded, and so is what was cut by then. */
static void a_killed_mending_leaves_a_chain_and_its_records(void **state)
{
    (void)state;
    struct kms_audit_options options = synced_options();
    uint64_t cuts = 0;
    unsigned point = 0;
    for (bool killed = true; killed; point++) {
        audit_rig_write(&options, 1);
        FILE *out = fopen(audit_rig_path("log.serve"), "a");
        assert_non_null(out);
        fputs("{\"torn", out);
        fclose(out);
        killed = kill_at(point, write_some, &options);
        audit_rig_write(&options, 1);
        struct kms_audit_check check = audit_rig_check_whole("log.serve");
        assert_in_range(check.cuts, cuts + 1, cuts + 2);
        cuts = check.cuts;
    }
    assert_true(point > FEWEST_POINTS);
}

/* One child at a time writes without an end and is killed while it does. */
static void a_writer_killed_at_random_leaves_a_chain(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    options.rotate_bytes = 8 * 1024;
    for (unsigned round = 0; round < 30; round++) {
        int pipe_fds[2];
        assert_int_equal(pipe(pipe_fds), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (;;) {
                write_some(&options);
                if (write(pipe_fds[1], "x", 1) != 1)
                    _exit(1);
            }
        }
        char done;
        for (unsigned i = 0; i <= round % 5; i++)
            assert_int_equal(read(pipe_fds[0], &done, 1), 1);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
    audit_rig_write(&options, 1);
    assert_true(assert_chain() > 30);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, audit_rig_setup, audit_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_writer_leaves_a_chain),
        TEST(a_killed_rotation_leaves_a_chain),
        TEST(a_killed_mending_leaves_a_chain_and_its_records),
        TEST(a_writer_killed_at_random_leaves_a_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
