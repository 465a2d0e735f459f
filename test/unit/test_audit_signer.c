/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_signer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audit_checkpoint.h"
#include "audit_rig.h"
#include "check.h"
#include "fake/keystore.h"

struct bench {
    struct fake_keystore *fake;
    struct kms_keystore *keystore;
    struct kms_audit_options options, admin;
    struct kms_audit *audit;
    struct kms_audit_signer *signer;
    struct kms_error err;
};
static struct bench bench;

static int set_up(void **state)
{
    if (audit_rig_setup(state) != 0)
        return -1;
    bench = (struct bench){ .fake = fake_keystore_new() };
    bench.keystore = fake_keystore_seam(bench.fake);
    bench.options = audit_rig_options();
    bench.admin = bench.options;
    bench.admin.writer = "admin";
    bench.admin.one_shot = true;
    bench.audit = audit_rig_open(&bench.options);
    return 0;
}

static int tear_down(void **state)
{
    kms_audit_close(bench.audit);
    kms_keystore_close(bench.keystore);
    return audit_rig_teardown(state);
}

static void make_key(void)
{
    struct kms_audit_key key;
    assert_ok(kms_keystore_audit_key(bench.keystore, "x", true, 0, &key, &bench.err), &bench.err);
}

static void start(int64_t every_ms)
{
    bench.admin.existing = true;
    const struct kms_audit_signer_options options = { bench.audit, &bench.admin, bench.keystore,
                                                      "prod.audit", every_ms };
    assert_ok(kms_audit_signer_open(&options, &bench.signer, &bench.err), &bench.err);
}

static void stop(void)
{
    kms_audit_signer_close(bench.signer);
}

static uint64_t checkpoints(const char *name)
{
    return audit_rig_check_whole(name).checkpoints;
}

/* The thread's first round hangs in the token. */
static void start_held(void)
{
    fake_keystore_block(bench.fake, FAKE_SIGN);
    start(0);
    fake_keystore_wait_blocked(bench.fake, FAKE_SIGN, 1);
}

static void a_log_is_signed_at_the_start_and_at_the_end(void **state)
{
    (void)state;
    make_key();
    start_held(); /* over the first line */
    assert_int_equal(audit_rig_put(bench.audit, "later", &bench.err), KMS_OK);
    fake_keystore_unblock(bench.fake, FAKE_SIGN);
    stop();
    assert_int_equal(checkpoints("log.serve"), 2);
    json_t *last = audit_rig_line("log.serve", 3);
    audit_rig_assert_text(last, "type", "checkpoint");
    assert_int_equal(json_integer_value(json_object_get(last, "signed_seq")), 3);
    json_decref(last);
}

static void no_call_waits_for_the_token(void **state)
{
    (void)state;
    make_key();
    start_held();
    assert_int_equal(audit_rig_put(bench.audit, "meanwhile", &bench.err), KMS_OK);
    assert_int_equal(checkpoints("log.serve"), 0);
    fake_keystore_unblock(bench.fake, FAKE_SIGN);
    stop();
}

static void a_checkpoint_needs_none_of_its_own(void **state)
{
    (void)state;
    make_key();
    start(1);
    while (fake_keystore_calls(bench.fake, FAKE_SIGN) == 0)
        kms_audit_signer_tick(bench.signer);
    stop();
    assert_int_equal(checkpoints("log.serve"), 1);
}

static void new_lines_are_signed_in_time(void **state)
{
    (void)state;
    make_key();
    start(1);
    for (unsigned i = 1; i < 4; i++) {
        while (fake_keystore_calls(bench.fake, FAKE_SIGN) < i)
            kms_audit_signer_tick(bench.signer);
        assert_int_equal(audit_rig_put(bench.audit, "more", &bench.err), KMS_OK);
    }
    stop();
    assert_true(checkpoints("log.serve") >= 3);
}

static void a_filled_file_is_signed_soon(void **state)
{
    (void)state;
    kms_audit_close(bench.audit);
    bench.options.rotate_bytes = 1;
    bench.audit = audit_rig_open(&bench.options);
    make_key();
    start_held();
    fake_keystore_unblock(bench.fake, FAKE_SIGN);
    unsigned before = fake_keystore_calls(bench.fake, FAKE_SIGN);
    assert_int_equal(audit_rig_put(bench.audit, "fills", &bench.err), KMS_OK);
    while (fake_keystore_calls(bench.fake, FAKE_SIGN) <= before)
        kms_audit_signer_tick(bench.signer);
    stop();
}

static void the_commands_log_is_signed_too(void **state)
{
    (void)state;
    audit_rig_write(&bench.admin, 2);
    make_key();
    start(0);
    stop();
    assert_int_equal(checkpoints("log.admin"), 1);
}

static void a_log_of_commands_that_isnt_there_is_not_made(void **state)
{
    (void)state;
    make_key();
    start(0);
    stop();
    assert_false(audit_rig_exists("log.admin"));
}

static void without_a_key_nothing_is_written(void **state)
{
    (void)state;
    start(0);
    stop();
    assert_int_equal(audit_rig_check_whole("log.serve").lines, 1);
}

static void what_failed_is_signed_later(void **state)
{
    (void)state;
    make_key();
    fake_keystore_fail(bench.fake, FAKE_SIGN, KMS_E_UNAVAILABLE, 1);
    start(1);
    while (fake_keystore_calls(bench.fake, FAKE_SIGN) < 2)
        kms_audit_signer_tick(bench.signer);
    stop();
    assert_int_equal(checkpoints("log.serve"), 1);
}

/* As another process holds it: the lock is the open file's. */
static int lock_admin(void)
{
    int fd = open(audit_rig_path("log.admin.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static void a_command_that_holds_its_log_stops_nothing(void **state)
{
    (void)state;
    audit_rig_write(&bench.admin, 2);
    int fd = lock_admin();
    make_key();
    start(0);
    stop();
    close(fd);
    assert_int_equal(checkpoints("log.serve"), 1);
    struct kms_audit_check admin = audit_rig_check_whole("log.admin");
    assert_int_equal(admin.checkpoints, 0);
    assert_int_equal(admin.gaps, 0);
}

static void a_log_that_a_command_held_is_signed_in_a_later_round(void **state)
{
    (void)state;
    audit_rig_write(&bench.admin, 2);
    int fd = lock_admin();
    make_key();
    start_held();
    close(fd);
    fake_keystore_unblock(bench.fake, FAKE_SIGN);
    stop();
    assert_int_equal(checkpoints("log.admin"), 1);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit = { 0 };
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_checkpoint_that_was_not_written_is_none(void **state)
{
    (void)state;
    make_key();
    start_held();
    limit_files(1); /* the disk is full */
    fake_keystore_unblock(bench.fake, FAKE_SIGN);
    while (kms_audit_count(bench.audit).lost == 0)
        kms_audit_signer_tick(bench.signer);
    limit_files(RLIM_INFINITY);
    while (kms_audit_where(bench.audit).chain.seq == 1)
        (void)poll(NULL, 0, 10); /* it tries by itself */
    stop();
    assert_int_equal(audit_rig_check_whole("log.serve").gaps, 1);
    assert_int_equal(checkpoints("log.serve"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_log_is_signed_at_the_start_and_at_the_end),
        TEST(no_call_waits_for_the_token),
        TEST(a_checkpoint_needs_none_of_its_own),
        TEST(new_lines_are_signed_in_time),
        TEST(a_filled_file_is_signed_soon),
        TEST(the_commands_log_is_signed_too),
        TEST(a_log_of_commands_that_isnt_there_is_not_made),
        TEST(without_a_key_nothing_is_written),
        TEST(what_failed_is_signed_later),
        TEST(a_command_that_holds_its_log_stops_nothing),
        TEST(a_log_that_a_command_held_is_signed_in_a_later_round),
        TEST(a_checkpoint_that_was_not_written_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
