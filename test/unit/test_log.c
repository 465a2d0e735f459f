/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

#include "check.h"
#include "kms/clock.h"
#include "kms/log.h"

enum { FLOOD = 4000, THREADS = 4, LINES_EACH = 500, PATIENCE_MS = 20 * 1000 };

static int pipe_fds[2];
static char line[16384];

static int open_pipe(void **state)
{
    (void)state;
    return pipe(pipe_fds);
}

static int close_pipe(void **state)
{
    (void)state;
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return 0;
}

/* What the last kms_log wrote; one write is one read on a pipe. */
static const char *read_line(void)
{
    ssize_t n = read(pipe_fds[0], line, sizeof line - 1);
    assert_true(n > 0);
    line[n] = '\0';
    assert_int_equal(line[n - 1], '\n');
    return line;
}

static json_t *read_json(void)
{
    json_error_t fault;
    json_t *root = json_loads(read_line(), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &fault);
    assert_non_null(root);
    return root;
}

static void text_has_level_message_and_fields(void **state)
{
    (void)state;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, pipe_fds[1]);
    kms_log(KMS_LOG_WARN, "kek", KMS_F_TEXT("label", "prod.v1"), KMS_F_INT("n", -3),
            KMS_F_BOOL("ok", true), KMS_F_TEXT("why", "two words"), KMS_F_TEXT("none", NULL));
    assert_string_equal(strchr(read_line(), ' '),
                        " warn kek label=prod.v1 n=-3 ok=true why=\"two words\"\n");
}

static void json_parses_whatever_the_bytes(void **state)
{
    (void)state;
    kms_log_open(KMS_LOG_JSON, KMS_LOG_INFO, pipe_fds[1]);
    const uint8_t hostile[] = { 'a', '"', '\\', '\n', 0, 0xff, 0xc3 };
    kms_log(KMS_LOG_INFO, "rpc",
            KMS_F_BYTES("uid", ((struct kms_bytes){ hostile, sizeof hostile })),
            KMS_F_TEXT("text", "caf\xc3\xa9\x1b[0m"));
    json_t *root = read_json();
    assert_string_equal(json_string_value(json_object_get(root, "msg")), "rpc");
    assert_string_equal(json_string_value(json_object_get(root, "level")), "info");
    json_decref(root);
}

static void a_line_that_is_too_long_loses_whole_fields(void **state)
{
    (void)state;
    kms_log_open(KMS_LOG_JSON, KMS_LOG_INFO, pipe_fds[1]);
    char big[3000];
    memset(big, '"', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    kms_log(KMS_LOG_INFO, "m", KMS_F_TEXT("a", big), KMS_F_TEXT("b", big), KMS_F_INT("c", 1));
    json_t *root = read_json();
    assert_non_null(json_object_get(root, "a"));
    assert_null(json_object_get(root, "b"));
    assert_int_equal(json_integer_value(json_object_get(root, "c")), 1);
    json_decref(root);
}

static void hostile_bytes_are_cut(void **state)
{
    (void)state;
    kms_log_open(KMS_LOG_JSON, KMS_LOG_INFO, pipe_fds[1]);
    uint8_t big[1000];
    memset(big, 'u', sizeof big);
    kms_log(KMS_LOG_INFO, "m", KMS_F_BYTES("uid", ((struct kms_bytes){ big, sizeof big })));
    json_t *root = read_json();
    assert_int_equal(strlen(json_string_value(json_object_get(root, "uid"))), 128);
    json_decref(root);
}

static void lines_below_the_level_are_not_written(void **state)
{
    (void)state;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_WARN, pipe_fds[1]);
    kms_log_fields(KMS_LOG_INFO, "quiet", NULL, 0);
    kms_log_fields(KMS_LOG_WARN, "loud", NULL, 0);
    assert_contains(read_line(), "loud");
}

static void an_error_shows_code_op_and_ckr(void **state)
{
    (void)state;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, pipe_fds[1]);
    struct kms_error err = {
        .code = KMS_E_UNAVAILABLE, .ckr = 0x32, .op = "C_Sign", .msg = "gone"
    };
    kms_log_error(KMS_LOG_ERROR, "unhealthy", &err, NULL, 0);
    assert_contains(read_line(), "unhealthy code=unavailable op=C_Sign ckr=50 error=gone");
}

static void names_of_levels_and_formats_parse(void **state)
{
    (void)state;
    enum kms_log_level level;
    enum kms_log_format format;
    assert_true(kms_log_level_parse("debug", &level));
    assert_int_equal(level, KMS_LOG_DEBUG);
    assert_false(kms_log_level_parse("verbose", &level));
    assert_true(kms_log_format_parse("json", &format));
    assert_int_equal(format, KMS_LOG_JSON);
    assert_false(kms_log_format_parse("xml", &format));
}

/* --- with the thread --- */

static void start_on(int fd)
{
    struct kms_error err;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, fd);
    assert_ok(kms_log_start(&err), &err);
}

/* More than the pipe and the queue take; returns how long that lasted. */
static int64_t flood(void)
{
    int64_t began_ms = kms_monotonic_ms();
    for (int i = 0; i < FLOOD; i++)
        kms_log(KMS_LOG_INFO, "flood", KMS_F_INT("number", i),
                KMS_F_TEXT("filling", "a line of some hundred bytes, as most of them are in fact"));
    return kms_monotonic_ms() - began_ms;
}

/* What was read of a log: lines of the flood, and how many it says are lost. */
struct tally {
    unsigned lines, lost;
};

/* Reads until both add up to @expected. */
static struct tally read_all(int fd, unsigned expected)
{
    struct tally tally = { 0 };
    int copy = dup(fd);
    FILE *in = fdopen(copy, "r");
    assert_non_null(in);
    while (tally.lines + tally.lost < expected && fgets(line, sizeof line, in) != NULL) {
        const char *lost = strstr(line, " lines=");
        if (lost != NULL)
            tally.lost += (unsigned)strtoul(lost + strlen(" lines="), NULL, 10);
        else
            tally.lines++;
    }
    assert_int_equal(tally.lines + tally.lost, expected);
    fclose(in);
    return tally;
}

static void a_line_is_out_before_its_caller_goes_on(void **state)
{
    (void)state;
    start_on(pipe_fds[1]);
    for (int i = 0; i < 100; i++) {
        struct pollfd ready = { .fd = pipe_fds[0], .events = POLLIN };
        kms_log(KMS_LOG_INFO, "now", KMS_F_INT("i", i));
        assert_int_equal(poll(&ready, 1, 0), 1);
        assert_contains(read_line(), "now");
    }
    kms_log_stop(PATIENCE_MS);
}

static void nobody_waits_for_a_pipe_that_is_not_read(void **state)
{
    (void)state;
    start_on(pipe_fds[1]);
    assert_true(flood() < PATIENCE_MS);
    struct tally tally = read_all(pipe_fds[0], FLOOD);
    assert_in_range(tally.lines, 100, FLOOD - 1);
    assert_in_range(tally.lost, 1, FLOOD);
    kms_log_stop(PATIENCE_MS);
}

static void what_is_lost_is_said_behind_the_lines_before_it(void **state)
{
    (void)state;
    start_on(pipe_fds[1]);
    (void)flood();
    struct tally tally = read_all(pipe_fds[0], FLOOD);
    assert_contains(line, "error log lines are lost here");
    kms_log_fields(KMS_LOG_INFO, "afterwards", NULL, 0);
    assert_contains(read_line(), "afterwards");
    assert_true(tally.lost > 0);
    kms_log_stop(PATIENCE_MS);
}

static void what_the_queue_has_room_for_is_not_lost(void **state)
{
    (void)state;
    int small[2];
    assert_int_equal(pipe(small), 0);
    assert_true(fcntl(small[1], F_SETPIPE_SZ, 4096) > 0);
    start_on(small[1]);
    for (int i = 0; i < 200; i++)
        kms_log(KMS_LOG_INFO, "slow", KMS_F_INT("i", i));
    assert_int_equal(read_all(small[0], 200).lost, 0);
    kms_log_stop(PATIENCE_MS);
    close(small[0]);
    close(small[1]);
}

static void *log_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < LINES_EACH; i++)
        kms_log(KMS_LOG_INFO, "thread", KMS_F_INT("i", i), KMS_F_TEXT("end", "here"));
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    start_on(fileno(file));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    kms_log_stop(PATIENCE_MS);
    rewind(file);
    unsigned count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        assert_string_equal(line + strlen(line) - 10, " end=here\n");
        assert_string_equal(strstr(line, " info"), strrchr(line, 'Z') + 1);
        count++;
    }
    assert_int_equal(count, THREADS * LINES_EACH);
    fclose(file);
}

static void after_the_stop_lines_are_written_as_before(void **state)
{
    (void)state;
    start_on(pipe_fds[1]);
    kms_log_stop(PATIENCE_MS);
    kms_log_fields(KMS_LOG_INFO, "direct", NULL, 0);
    assert_contains(read_line(), "direct");
}

static void a_stop_waits_only_so_long(void **state)
{
    (void)state;
    start_on(pipe_fds[1]);
    (void)flood();
    int64_t began_ms = kms_monotonic_ms();
    kms_log_stop(100);
    assert_in_range(kms_monotonic_ms() - began_ms, 100, PATIENCE_MS);
    (void)read_all(pipe_fds[0], FLOOD); /* what was queued comes all the same */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_has_level_message_and_fields),
        cmocka_unit_test(json_parses_whatever_the_bytes),
        cmocka_unit_test(a_line_that_is_too_long_loses_whole_fields),
        cmocka_unit_test(hostile_bytes_are_cut),
        cmocka_unit_test(lines_below_the_level_are_not_written),
        cmocka_unit_test(an_error_shows_code_op_and_ckr),
        cmocka_unit_test(names_of_levels_and_formats_parse),
        cmocka_unit_test(a_line_is_out_before_its_caller_goes_on),
        cmocka_unit_test(nobody_waits_for_a_pipe_that_is_not_read),
        cmocka_unit_test(what_is_lost_is_said_behind_the_lines_before_it),
        cmocka_unit_test(what_the_queue_has_room_for_is_not_lost),
        cmocka_unit_test(lines_of_threads_do_not_mix),
        cmocka_unit_test(after_the_stop_lines_are_written_as_before),
        cmocka_unit_test(a_stop_waits_only_so_long), /* last: its thread is left behind */
    };
    return cmocka_run_group_tests_name("log", tests, open_pipe, close_pipe);
}
