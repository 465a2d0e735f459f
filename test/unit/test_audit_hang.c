/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that doesn't answer: fdatasync() doesn't return until the test lets it. */
#include "audit.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit_checkpoint.h"
#include "audit_rig.h"
#include "check.h"
#include "kms/clock.h"

/* Of a line, a close, and what a machine with a lot to do adds. */
enum { WAIT_MS = 2000, PATIENCE_MS = 20 * 1000, AT_ONCE_MS = 1500, CALLERS = 8 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hangs, fails;
    unsigned waiting;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* In place of libc's, whose parameter has a reserved name.
 * NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name) */
int fdatasync(int fd)
{
    pthread_mutex_lock(&disk.lock);
    disk.waiting++;
    pthread_cond_broadcast(&disk.changed);
    while (disk.hangs)
        pthread_cond_wait(&disk.changed, &disk.lock);
    disk.waiting--;
    bool fails = disk.fails;
    pthread_mutex_unlock(&disk.lock);
    if (!fails)
        return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

static void set_disk(bool hangs, bool fails)
{
    pthread_mutex_lock(&disk.lock);
    disk.hangs = hangs;
    disk.fails = fails;
    pthread_cond_broadcast(&disk.changed);
    pthread_mutex_unlock(&disk.lock);
}

static void wait_until_it_hangs(void)
{
    pthread_mutex_lock(&disk.lock);
    while (disk.waiting == 0)
        pthread_cond_wait(&disk.changed, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
}

static int tear_down(void **state)
{
    set_disk(false, false);
    return audit_rig_teardown(state);
}

static struct kms_audit *open_log(enum kms_audit_on_error on_error)
{
    struct kms_audit_options options = audit_rig_options();
    options.sync = KMS_AUDIT_BATCH;
    options.on_error = on_error;
    return audit_rig_open(&options);
}

static int64_t put_ms(struct kms_audit *audit, enum kms_code expected)
{
    struct kms_error err = { .code = KMS_OK };
    int64_t began_ms = kms_monotonic_ms();
    assert_int_equal(audit_rig_put(audit, "u", &err), expected);
    return kms_monotonic_ms() - began_ms;
}

static void wait_until_late(struct kms_audit *audit, uint64_t late)
{
    while (kms_audit_count(audit).late < late)
        (void)poll(NULL, 0, 10);
}

static void a_call_waits_two_seconds_and_the_next_ones_not_at_all(void **state)
{
    (void)state;
    struct kms_audit *audit = open_log(KMS_AUDIT_CONTINUE);
    set_disk(true, false);
    assert_in_range(put_ms(audit, KMS_OK), WAIT_MS, PATIENCE_MS);
    for (unsigned i = 0; i < 10; i++)
        assert_in_range(put_ms(audit, KMS_OK), 0, AT_ONCE_MS);
    set_disk(false, false);
    kms_audit_close(audit);
}

static void what_was_handed_over_is_written_and_recorded_as_late(void **state)
{
    (void)state;
    struct kms_audit *audit = open_log(KMS_AUDIT_CONTINUE);
    set_disk(true, false);
    for (unsigned i = 0; i < 11; i++)
        (void)put_ms(audit, KMS_OK);
    assert_int_equal(kms_audit_count(audit).written, 0);
    set_disk(false, false);
    wait_until_late(audit, 11);
    kms_audit_close(audit);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.lines, 1 + 11 + 1);
    assert_int_equal(check.late, 11);
    assert_int_equal(check.lost, 0);
    json_t *line = audit_rig_line("log.serve", 12);
    audit_rig_assert_text(line, "type", "late");
    assert_int_equal(json_integer_value(json_object_get(line, "late")), 11);
    json_decref(line);
}

static void what_the_disk_then_refuses_is_lost_and_recorded_as_a_gap(void **state)
{
    (void)state;
    struct kms_audit *audit = open_log(KMS_AUDIT_CONTINUE);
    set_disk(true, true);
    for (unsigned i = 0; i < 3; i++)
        (void)put_ms(audit, KMS_OK);
    set_disk(false, true);
    while (kms_audit_count(audit).lost < 3)
        (void)poll(NULL, 0, 10);
    set_disk(false, false);
    kms_audit_close(audit);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.lost, 3);
    assert_int_equal(check.late, 0);
}

static void callers_wait_again_once_the_disk_has_answered(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit *audit = open_log(KMS_AUDIT_REFUSE);
    set_disk(true, false);
    (void)put_ms(audit, KMS_E_UNAVAILABLE);
    set_disk(false, false);
    while (kms_audit_health(audit, &err) != KMS_OK)
        (void)poll(NULL, 0, 10);
    assert_in_range(put_ms(audit, KMS_OK), 0, PATIENCE_MS);
    assert_int_equal(kms_audit_count(audit).late, 1);
    kms_audit_close(audit);
}

static void calls_are_refused_where_that_is_asked(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit *audit = open_log(KMS_AUDIT_REFUSE);
    set_disk(true, false);
    assert_int_equal(audit_rig_put(audit, "u", &err), KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "log.serve: the disk doesn't answer");
    assert_int_equal(kms_audit_health(audit, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "audit log: ");
    assert_true(kms_audit_where(audit).hung);
    set_disk(false, false);
    kms_audit_close(audit);
}

static void *put_one(void *arg)
{
    struct kms_error err;
    return (void *)(uintptr_t)(audit_rig_put(arg, "u", &err) == KMS_OK ? 0 : 1);
}

static void callers_that_wait_together_go_on_together(void **state)
{
    (void)state;
    struct kms_audit *audit = open_log(KMS_AUDIT_CONTINUE);
    pthread_t threads[CALLERS];
    set_disk(true, false);
    int64_t began_ms = kms_monotonic_ms();
    for (unsigned i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_one, audit), 0);
    for (unsigned i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(kms_monotonic_ms() - began_ms, WAIT_MS, CALLERS * WAIT_MS - 1);
    set_disk(false, false);
    wait_until_late(audit, CALLERS);
    kms_audit_close(audit);
    assert_int_equal(audit_rig_check_whole("log.serve").late, CALLERS);
}

static void a_call_s_own_deadline_ends_its_wait(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit *audit = open_log(KMS_AUDIT_REFUSE);
    const struct kms_audit_use use = { .op = "Encrypt", .deadline_ms = kms_monotonic_ms() + 300 };
    set_disk(true, false);
    int64_t began_ms = kms_monotonic_ms();
    assert_int_equal(kms_audit_write_use(audit, &use, &err), KMS_E_UNAVAILABLE);
    assert_in_range(kms_monotonic_ms() - began_ms, 0, AT_ONCE_MS);
    assert_ok(kms_audit_health(audit, &err), &err); /* it shows nothing of the disk */
    set_disk(false, false);
    wait_until_late(audit, 1);
    kms_audit_close(audit);
}

static void what_finds_no_room_is_lost(void **state)
{
    (void)state;
    struct kms_audit *audit = open_log(KMS_AUDIT_CONTINUE);
    set_disk(true, false);
    uint64_t puts = 0;
    for (; kms_audit_count(audit).lost == 0; puts++)
        (void)put_ms(audit, KMS_OK);
    set_disk(false, false);
    wait_until_late(audit, puts - 1);
    kms_audit_close(audit);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.lost, 1);
    assert_int_equal(check.late, puts - 1);
}

static void an_open_waits_only_so_long(void **state)
{
    (void)state;
    struct kms_error err;
    set_disk(true, false);
    int64_t began_ms = kms_monotonic_ms();
    struct kms_audit *audit = open_log(KMS_AUDIT_REFUSE);
    assert_in_range(kms_monotonic_ms() - began_ms, WAIT_MS, PATIENCE_MS);
    assert_int_equal(kms_audit_health(audit, &err), KMS_E_PRECONDITION);
    set_disk(false, false);
    while (kms_audit_health(audit, &err) != KMS_OK)
        (void)poll(NULL, 0, 10);
    assert_ok(audit_rig_put(audit, "u", &err), &err);
    kms_audit_close(audit);
}

/* The one that was left behind writes its line and ends. */
static void wait_for_the_thread(void)
{
    struct kms_audit_options options = audit_rig_options();
    options.wait_ms = PATIENCE_MS; /* for it */
    audit_rig_write(&options, 1);
    assert_int_equal(audit_rig_check_whole("log.serve").lines, 1 + 2);
}

static void a_close_waits_only_so_long(void **state)
{
    (void)state;
    struct kms_audit *audit = open_log(KMS_AUDIT_CONTINUE);
    set_disk(true, false);
    (void)put_ms(audit, KMS_OK);
    wait_until_it_hangs();
    int64_t began_ms = kms_monotonic_ms();
    kms_audit_close(audit);
    assert_in_range(kms_monotonic_ms() - began_ms, 0, PATIENCE_MS);
    set_disk(false, false);
    wait_for_the_thread();
}

/* The sinks get what the file doesn't: two of three, since the first may still come into it. */
static void what_a_close_leaves_behind_goes_to_the_other_sinks(void **state)
{
    (void)state;
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct kms_audit_options options = audit_rig_options();
    char text[4096], syslog[sizeof address.sun_path];
    snprintf(syslog, sizeof syslog, "%s", audit_rig_path("dev-log"));
    snprintf(address.sun_path, sizeof address.sun_path, "%s", syslog);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    options.sync = KMS_AUDIT_BATCH;
    options.sinks = KMS_AUDIT_SYSLOG;
    options.syslog = syslog;
    struct kms_audit *audit = audit_rig_open(&options);
    assert_true(recv(fd, text, sizeof text, 0) > 0); /* the file's first line */
    set_disk(true, false);
    for (unsigned i = 0; i < 3; i++)
        (void)put_ms(audit, KMS_OK);
    kms_audit_close(audit);
    for (unsigned i = 0; i < 2; i++) {
        ssize_t len = recv(fd, text, sizeof text - 1, 0);
        assert_true(len > 0);
        text[len] = '\0';
        assert_contains(text, "{\"seq\":null,");
    }
    set_disk(false, false);
    close(fd);
    wait_for_the_thread();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, audit_rig_setup, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_waits_two_seconds_and_the_next_ones_not_at_all),
        TEST(what_was_handed_over_is_written_and_recorded_as_late),
        TEST(what_the_disk_then_refuses_is_lost_and_recorded_as_a_gap),
        TEST(callers_wait_again_once_the_disk_has_answered),
        TEST(calls_are_refused_where_that_is_asked),
        TEST(callers_that_wait_together_go_on_together),
        TEST(a_call_s_own_deadline_ends_its_wait),
        TEST(what_finds_no_room_is_lost),
        TEST(an_open_waits_only_so_long),
        TEST(a_close_waits_only_so_long),
        TEST(what_a_close_leaves_behind_goes_to_the_other_sinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
