/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <unistd.h>

#include <jansson.h>

#include "check.h"
#include "kms/log.h"

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
    };
    return cmocka_run_group_tests_name("log", tests, open_pipe, close_pipe);
}
