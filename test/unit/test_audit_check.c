/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit_rig.h"
#include "check.h"

enum { LINES = 6 };

/* A log of LINES lines and where each begins; starts[LINES] is its end. */
struct sample {
    char *text;
    size_t len, starts[LINES + 1];
};

static struct sample sample_make(void)
{
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, LINES - 1);
    struct sample sample = { .text = NULL };
    sample.text = audit_rig_read("log.serve", &sample.len);
    const char *at = sample.text;
    for (unsigned i = 1; i <= LINES; i++) {
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
        sample.starts[i] = (size_t)(at - sample.text);
    }
    assert_int_equal(sample.starts[LINES], sample.len);
    return sample;
}

/* Stores the sample, frees it, and asserts which line is the first bad one. */
static void assert_fault(struct sample *sample, uint64_t line, const char *part)
{
    audit_rig_store("changed", sample->text, sample->len);
    free(sample->text);
    struct kms_audit_check check = audit_rig_check("changed");
    assert_int_equal(check.fault_line, line);
    assert_contains(check.fault, part);
}

/* Removes [@from, @to). */
static void erase(struct sample *sample, size_t from, size_t to)
{
    memmove(sample->text + from, sample->text + to, sample->len - to);
    sample->len -= to - from;
}

static void an_untouched_log_has_no_fault(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    free(sample.text);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.lines, LINES);
    assert_int_equal(check.first_seq, 1);
    assert_string_equal(check.writer, "serve");
    assert_true(strcmp(check.from, check.to) <= 0);
}

static void a_changed_byte_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    char *code = strstr(sample.text + sample.starts[2], "\"code\":\"ok\"");
    assert_non_null(code);
    code[8] = 'x';
    assert_fault(&sample, 4, "doesn't follow");
}

static void a_changed_time_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    char *time = strstr(sample.text + sample.starts[1], "\"ts\":\"2");
    assert_non_null(time);
    time[9] = time[9] == '0' ? '1' : '0';
    assert_fault(&sample, 3, "doesn't follow");
}

static void a_removed_line_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    erase(&sample, sample.starts[2], sample.starts[3]);
    assert_fault(&sample, 3, "has number 4, not 3");
}

static void removed_first_lines_are_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    erase(&sample, 0, sample.starts[2]);
    assert_fault(&sample, 1, "lines before it are missing");
}

static void a_doubled_line_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    size_t len = sample.starts[3] - sample.starts[2];
    sample.text = realloc(sample.text, sample.len + len);
    assert_non_null(sample.text);
    memmove(sample.text + sample.starts[3], sample.text + sample.starts[2],
            sample.len - sample.starts[2]);
    sample.len += len;
    assert_fault(&sample, 4, "has number 3, not 4");
}

static void swapped_lines_are_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    size_t a = sample.starts[2], b = sample.starts[3], c = sample.starts[4];
    char *turned = malloc(c - a);
    assert_non_null(turned);
    memcpy(turned, sample.text + b, c - b);
    memcpy(turned + (c - b), sample.text + a, b - a);
    memcpy(sample.text + a, turned, c - a);
    free(turned);
    assert_fault(&sample, 3, "has number 4, not 3");
}

static void an_inserted_line_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    static const char line[] =
        "{\"chain\":\"0011223344556677\",\"seq\":3,\"prev\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\","
        "\"ts\":\"2026-12-01T12:00:00.000Z\",\"type\":\"use\"}\n";
    size_t at = sample.starts[2], len = sizeof line - 1;
    sample.text = realloc(sample.text, sample.len + len);
    assert_non_null(sample.text);
    memmove(sample.text + at + len, sample.text + at, sample.len - at);
    memcpy(sample.text + at, line, len);
    sample.len += len;
    assert_fault(&sample, 3, "another chain");
}

static void another_logs_lines_are_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    sample.text[sample.starts[3] + 10] = sample.text[sample.starts[3] + 10] == 'a' ? 'b' : 'a';
    assert_fault(&sample, 4, "another chain");
}

static void a_line_that_is_no_json_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    sample.text[sample.starts[1]] = 'x';
    assert_fault(&sample, 2, "not a JSON object");
}

static void a_member_given_twice_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    char *member = strstr(sample.text + sample.starts[4], "\"queue_us\"");
    assert_non_null(member);
    memcpy(member, "\"token_us\"", 10);
    assert_fault(&sample, 5, "not a JSON object");
}

static void an_incomplete_last_line_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    sample.len -= 3;
    assert_fault(&sample, LINES, "has no end");
}

static void a_line_without_bound_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    size_t more = 100 * 1024;
    sample.text = realloc(sample.text, sample.len + more);
    assert_non_null(sample.text);
    memset(sample.text + sample.len, '{', more);
    sample.len += more;
    assert_fault(&sample, LINES + 1, "longer than 24576 bytes");
}

static void a_file_before_that_isnt_named_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    char *name = strstr(sample.text, "\"seq\":1,");
    assert_non_null(name);
    name[6] = '7';
    assert_fault(&sample, 1, "neither begins a chain nor names the file before");
}

static void a_number_of_13_digits_is_found(void **state)
{
    (void)state;
    struct sample sample = sample_make();
    static const char line[] =
        "{\"chain\":\"0011223344556677\",\"seq\":1000000000000,\"prev\":"
        "\"0000000000000000000000000000000000000000000000000000000000000000\","
        "\"ts\":\"2026-12-01T12:00:00.000Z\",\"type\":\"use\"}\n";
    assert_true(sample.len >= sizeof line - 1);
    memcpy(sample.text, line, sizeof line - 1);
    sample.len = sizeof line - 1;
    assert_fault(&sample, 1, "seq is no number from 1 to 999999999999");
}

/* --- joins --- */

struct pair {
    struct kms_audit_check before, after;
};

static struct pair pair_make(void)
{
    struct kms_audit_options options = audit_rig_options();
    options.rotate_bytes = 4096;
    while (audit_rig_count("log.serve.0") < 2)
        audit_rig_write(&options, 1);
    struct pair pair = { .after = audit_rig_check_whole("log.serve") };
    pair.before = audit_rig_check_whole(pair.after.previous);
    return pair;
}

static void a_join_holds(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    assert_int_equal(kms_audit_check_join(&pair.before, &pair.after), KMS_AUDIT_JOINED);
}

static void a_missing_file_between_is_found(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    struct kms_audit_check oldest = audit_rig_check_whole(pair.before.previous);
    assert_int_equal(kms_audit_check_join(&oldest, &pair.after), KMS_AUDIT_MISSING);
}

static void a_shortened_rotated_file_is_found(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    size_t len;
    char *text = audit_rig_read(pair.after.previous, &len);
    const char *end = memrchr(text, '\n', len - 1);
    audit_rig_store("changed", text, (size_t)(end - text) + 1);
    free(text);
    struct kms_audit_check shorter = audit_rig_check_whole("changed");
    assert_int_equal(kms_audit_check_join(&shorter, &pair.after), KMS_AUDIT_MISSING);
}

static void a_changed_last_line_of_a_rotated_file_is_found(void **state)
{
    (void)state;
    struct pair pair = pair_make();
    size_t len;
    char *text = audit_rig_read(pair.after.previous, &len);
    text[len - 5] = text[len - 5] == 'a' ? 'b' : 'a';
    audit_rig_store("changed", text, len);
    free(text);
    struct kms_audit_check changed = audit_rig_check_whole("changed");
    assert_int_equal(kms_audit_check_join(&changed, &pair.after), KMS_AUDIT_FORKED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, audit_rig_setup, audit_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_untouched_log_has_no_fault),
        TEST(a_changed_byte_is_found),
        TEST(a_changed_time_is_found),
        TEST(a_removed_line_is_found),
        TEST(removed_first_lines_are_found),
        TEST(a_doubled_line_is_found),
        TEST(swapped_lines_are_found),
        TEST(an_inserted_line_is_found),
        TEST(another_logs_lines_are_found),
        TEST(a_line_that_is_no_json_is_found),
        TEST(a_member_given_twice_is_found),
        TEST(an_incomplete_last_line_is_found),
        TEST(a_line_without_bound_is_found),
        TEST(a_file_before_that_isnt_named_is_found),
        TEST(a_number_of_13_digits_is_found),
        TEST(a_join_holds),
        TEST(a_missing_file_between_is_found),
        TEST(a_shortened_rotated_file_is_found),
        TEST(a_changed_last_line_of_a_rotated_file_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
