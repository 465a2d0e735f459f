/* SPDX-License-Identifier: Apache-2.0 */
#include "audit.h"

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_line.h"
#include "audit_rig.h"
#include "check.h"
#include "kms/clock.h"

/* --- lines --- */

static void a_use_has_all_its_fields(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 1);
    json_t *line = audit_rig_line("log.serve", 1);
    audit_rig_assert_text(line, "type", "use");
    audit_rig_assert_text(line, "op", "Decrypt");
    audit_rig_assert_text(line, "cluster", "prod");
    audit_rig_assert_text(line, "node", "cp-1");
    audit_rig_assert_text(line, "writer", "serve");
    audit_rig_assert_text(line, "uid", "some-uid");
    audit_rig_assert_text(line, "key_id", "ring-v1-00");
    audit_rig_assert_text(line, "code", "ok");
    audit_rig_assert_text(line, "ciphertext_sha256",
                          "c9d0036bed6744bcdf692fc980d8717d7e5f5a4f4e8266b4a84982602fb1cd09");
    json_decref(line);
}

static void a_use_has_its_peer_and_times(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 1);
    json_t *line = audit_rig_line("log.serve", 1);
    static const struct {
        const char *key;
        int64_t number;
    } numbers[] = { { "seq", 2 },      { "peer_uid", 1000 }, { "peer_gid", 1001 },
                    { "queue_us", 1 }, { "token_us", 20 },   { "total_us", 30 } };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        assert_int_equal(json_integer_value(json_object_get(line, numbers[i].key)),
                         numbers[i].number);
    assert_int_equal(json_integer_value(json_object_get(line, "peer_pid")), getpid());
    char exe[256];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    assert_true(len > 0);
    exe[len] = '\0';
    audit_rig_assert_text(line, "exe", exe);
    json_decref(line);
}

static void hostile_bytes_are_escaped_and_cut(void **state)
{
    (void)state;
    char uid[2000];
    memset(uid, 0xff, sizeof uid - 1);
    uid[0] = '\n';
    uid[1] = '"';
    uid[sizeof uid - 1] = '\0';
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    assert_ok(audit_rig_put(audit, uid, &err), &err);
    kms_audit_close(audit);
    json_t *line = audit_rig_line("log.serve", 1);
    const char *text = json_string_value(json_object_get(line, "uid"));
    assert_memory_equal(text, "\\x0a\"\\xff", 9);
    assert_string_equal(text + strlen(text) - 3, "...");
    assert_int_equal(audit_rig_check_whole("log.serve").lines, 2);
    json_decref(line);
}

static void a_command_has_two_phases(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    struct kms_audit_command command = { .op = "key-destroy", .generation = 3 };
    assert_ok(kms_audit_write_command(audit, &command, &err), &err);
    command.done = true;
    command.outcome = "destroyed";
    assert_ok(kms_audit_write_command(audit, &command, &err), &err);
    kms_audit_close(audit);
    json_t *before = audit_rig_line("log.serve", 1), *after = audit_rig_line("log.serve", 2);
    audit_rig_assert_text(before, "phase", "begin");
    audit_rig_assert_text(after, "phase", "done");
    audit_rig_assert_text(after, "outcome", "destroyed");
    assert_int_equal(json_integer_value(json_object_get(after, "generation")), 3);
    json_decref(before);
    json_decref(after);
}

/* A command of uid 33 by the account that logged in as 1000 and became root. */
static json_t *command_of(const struct kms_audit_login *login)
{
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    const struct kms_audit_command command = { .op = "key-create",
                                               .peer = { .uid = 33, .gid = 33 },
                                               .login = login };
    assert_ok(kms_audit_write_command(audit, &command, &err), &err);
    kms_audit_close(audit);
    assert_int_equal(audit_rig_check_whole("log.serve").lines, 2);
    return audit_rig_line("log.serve", 1);
}

static void a_command_says_who_is_behind_it(void **state)
{
    (void)state;
    json_t *line = command_of(&(struct kms_audit_login){ 1000, 0, 1001 });
    assert_int_equal(json_integer_value(json_object_get(line, "peer_uid")), 33);
    assert_int_equal(json_integer_value(json_object_get(line, "login_uid")), 1000);
    assert_true(json_is_integer(json_object_get(line, "started_uid")));
    assert_int_equal(json_integer_value(json_object_get(line, "started_uid")), 0);
    assert_int_equal(json_integer_value(json_object_get(line, "claimed_uid")), 1001);
    json_decref(line);
}

static void what_is_not_known_of_a_login_is_left_out(void **state)
{
    (void)state;
    json_t *line = command_of(&(struct kms_audit_login){ -1, 0, -1 });
    assert_null(json_object_get(line, "login_uid"));
    assert_non_null(json_object_get(line, "started_uid"));
    assert_null(json_object_get(line, "claimed_uid"));
    json_decref(line);
}

static void an_event_says_how_many_it_stands_for(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    const struct kms_audit_peer peer = { .uid = 7, .gid = 8 };
    kms_audit_write_event(
        audit, &(struct kms_audit_event){
                   .op = "peer-refused", .reason = "not listed", .peer = &peer, .count = 12 });
    kms_audit_close(audit);
    json_t *line = audit_rig_line("log.serve", 1);
    audit_rig_assert_text(line, "type", "state");
    audit_rig_assert_text(line, "op", "peer-refused");
    assert_int_equal(json_integer_value(json_object_get(line, "count")), 12);
    assert_int_equal(json_integer_value(json_object_get(line, "peer_uid")), 7);
    json_decref(line);
}

static void no_log_is_no_work(void **state)
{
    (void)state;
    struct kms_error err;
    assert_ok(audit_rig_put(NULL, "u", &err), &err);
    assert_ok(kms_audit_health(NULL, &err), &err);
    kms_audit_close(NULL);
    assert_int_equal(kms_audit_count(NULL).written, 0);
}

/* --- one chain --- */

static void a_chain_goes_on_over_restarts(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    for (unsigned i = 0; i < 3; i++)
        audit_rig_write(&options, 5);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.lines, 16);
    assert_int_equal(check.end.seq, 16);
}

static void every_sync_policy_writes(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    static const enum kms_audit_sync all[] = { KMS_AUDIT_BATCH, KMS_AUDIT_ALWAYS, KMS_AUDIT_NONE };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        options.sync = all[i];
        audit_rig_write(&options, 2);
    }
    assert_int_equal(audit_rig_check_whole("log.serve").lines, 7);
}

static void the_file_is_its_owners_alone(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 1);
    struct stat st;
    assert_int_equal(stat(audit_rig_path("log.serve"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

enum { THREADS = 8, LINES_EACH = 200 };

static void *write_many(void *arg)
{
    struct kms_error err;
    uintptr_t failed = 0;
    for (unsigned i = 0; i < LINES_EACH; i++)
        failed += audit_rig_put(arg, "u", &err) == KMS_OK ? 0 : 1;
    return (void *)failed;
}

static void run_threads(struct kms_audit *audit)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, audit), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
}

static void threads_that_share_syncs_keep_the_chain(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    options.sync = KMS_AUDIT_BATCH;
    struct kms_audit *audit = audit_rig_open(&options);
    run_threads(audit);
    assert_int_equal(kms_audit_count(audit).written, THREADS * LINES_EACH);
    kms_audit_close(audit);
    assert_int_equal(audit_rig_check_whole("log.serve").lines, 1 + THREADS * LINES_EACH);
}

static void threads_keep_the_chain_over_rotations(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    options.rotate_bytes = 64 * 1024;
    struct kms_audit *audit = audit_rig_open(&options);
    run_threads(audit);
    kms_audit_close(audit);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    unsigned rotated = audit_rig_count("log.serve.0");
    assert_true(rotated > 2);
    assert_int_equal(check.end.seq, 1 + rotated + THREADS * LINES_EACH);
}

static void another_process_is_waited_for_only_so_long(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    options.on_error = KMS_AUDIT_REFUSE;
    struct kms_audit *first = audit_rig_open(&options);
    options.wait_ms = 50;
    options.one_shot = true;
    int64_t began_ms = kms_monotonic_ms();
    struct kms_audit *second = audit_rig_open(&options);
    assert_in_range(kms_monotonic_ms() - began_ms, 50, 10 * 1000);
    assert_int_equal(audit_rig_put(second, "u", &err), KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "another process writes it");
    kms_audit_close(second);
    kms_audit_close(first);
}

static void a_second_process_is_kept_out(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    options.on_error = KMS_AUDIT_REFUSE;
    struct kms_audit *first = audit_rig_open(&options), *second = audit_rig_open(&options);
    assert_ok(kms_audit_health(first, &err), &err);
    assert_int_equal(kms_audit_health(second, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "another process writes it");
    kms_audit_close(first);
    kms_audit_close(second);
}

static void each_writer_has_its_own_chain(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 1);
    options.writer = "admin";
    audit_rig_write(&options, 1);
    struct kms_audit_check serve = audit_rig_check_whole("log.serve");
    struct kms_audit_check admin = audit_rig_check_whole("log.admin");
    assert_int_equal(kms_audit_check_join(&serve, &admin), KMS_AUDIT_UNRELATED);
}

/* --- a full disk --- */

/* No file grows beyond @bytes; RLIM_INFINITY undoes it. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit = { 0 };
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static int end_limit(void **state)
{
    limit_files(RLIM_INFINITY);
    return audit_rig_teardown(state);
}

/* It tries once a second. */
static void put_until_written(struct kms_audit *audit, uint64_t written)
{
    struct kms_error err;
    while (kms_audit_count(audit).written == written)
        assert_ok(audit_rig_put(audit, "after", &err), &err);
}

static void a_full_disk_stops_no_call_and_leaves_a_gap_record(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    assert_ok(audit_rig_put(audit, "before", &err), &err);
    limit_files(1500);
    for (unsigned i = 0; i < 10; i++)
        assert_ok(audit_rig_put(audit, "during", &err), &err);
    uint64_t written = kms_audit_count(audit).written;
    assert_in_range(written, 1, 9);
    limit_files(RLIM_INFINITY);
    put_until_written(audit, written);
    uint64_t lost = kms_audit_count(audit).lost;
    kms_audit_close(audit);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.gaps, 1);
    assert_int_equal(check.lost, lost);
    assert_true(lost >= 10 + 1 - written);
}

static void a_full_disk_leaves_only_whole_lines(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    limit_files(1500);
    for (unsigned i = 0; i < 10; i++)
        assert_ok(audit_rig_put(audit, "during", &err), &err);
    assert_int_equal(audit_rig_check_whole("log.serve").end.seq,
                     1 + kms_audit_count(audit).written);
    kms_audit_close(audit);
}

static void a_full_disk_refuses_calls_where_that_is_asked(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    options.on_error = KMS_AUDIT_REFUSE;
    struct kms_audit *audit = audit_rig_open(&options);
    limit_files(1000);
    enum kms_code rc = KMS_OK;
    for (unsigned i = 0; i < 10 && rc == KMS_OK; i++)
        rc = audit_rig_put(audit, "during", &err);
    assert_int_equal(rc, KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "audit log: ");
    assert_int_equal(kms_audit_health(audit, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "File too large");
    limit_files(RLIM_INFINITY);
    while (kms_audit_health(audit, &err) != KMS_OK)
        (void)poll(NULL, 0, 10);
    assert_ok(audit_rig_put(audit, "after", &err), &err);
    kms_audit_close(audit);
    assert_int_equal(audit_rig_check_whole("log.serve").gaps, 1);
}

static void a_missing_directory_is_tried_again(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    char path[400];
    snprintf(path, sizeof path, "%s/log", audit_rig_path("later"));
    options.path = path;
    options.on_error = KMS_AUDIT_REFUSE;
    struct kms_audit *audit = audit_rig_open(&options);
    assert_int_equal(audit_rig_put(audit, "u", &err), KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "No such file or directory");
    assert_int_equal(symlink(".", audit_rig_path("later")), 0);
    while (kms_audit_health(audit, &err) != KMS_OK)
        (void)poll(NULL, 0, 10);
    kms_audit_close(audit);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.lost, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, audit_rig_setup, audit_rig_teardown)
#define TEST_FULL(name) cmocka_unit_test_setup_teardown(name, audit_rig_setup, end_limit)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_use_has_all_its_fields),
        TEST(a_use_has_its_peer_and_times),
        TEST(hostile_bytes_are_escaped_and_cut),
        TEST(a_command_has_two_phases),
        TEST(a_command_says_who_is_behind_it),
        TEST(what_is_not_known_of_a_login_is_left_out),
        TEST(an_event_says_how_many_it_stands_for),
        TEST(no_log_is_no_work),
        TEST(a_chain_goes_on_over_restarts),
        TEST(every_sync_policy_writes),
        TEST(the_file_is_its_owners_alone),
        TEST(threads_that_share_syncs_keep_the_chain),
        TEST(threads_keep_the_chain_over_rotations),
        TEST(a_second_process_is_kept_out),
        TEST(another_process_is_waited_for_only_so_long),
        TEST(each_writer_has_its_own_chain),
        TEST_FULL(a_full_disk_stops_no_call_and_leaves_a_gap_record),
        TEST_FULL(a_full_disk_leaves_only_whole_lines),
        TEST_FULL(a_full_disk_refuses_calls_where_that_is_asked),
        TEST(a_missing_directory_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
