/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "audit_rig.h"
#include "check.h"

/* Writes until there are @files rotated ones. */
static void rotate(struct kms_audit_options *options, unsigned files)
{
    options->rotate_bytes = 4096;
    while (audit_rig_count("log.serve.0") < files)
        audit_rig_write(options, 1);
}

static void a_rotated_file_is_joined(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    rotate(&options, 1);
    struct kms_audit_check after = audit_rig_check_whole("log.serve");
    assert_int_equal(strncmp(after.previous, "log.serve.0", 11), 0);
    struct kms_audit_check before = audit_rig_check_whole(after.previous);
    assert_int_equal(kms_audit_check_join(&before, &after), KMS_AUDIT_JOINED);
}

static void no_file_grows_beyond_the_limit(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    rotate(&options, 3);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    struct stat st;
    assert_int_equal(stat(audit_rig_path(check.previous), &st), 0);
    assert_true(st.st_size <= 4096 && st.st_size > 2048);
}

static void old_files_are_deleted(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    rotate(&options, 2);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    options.rotate_keep = 2;
    for (unsigned i = 0; i < 40; i++)
        audit_rig_write(&options, 1);
    assert_int_equal(audit_rig_count("log.serve.0"), 2);
    assert_false(audit_rig_exists(check.previous));
    assert_int_equal(audit_rig_check_whole(audit_rig_check_whole("log.serve").previous).fault_line,
                     0);
}

static void a_rotation_killed_half_way_is_finished(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 3);
    struct kms_audit_check before = audit_rig_check_whole("log.serve");
    assert_int_equal(rename(audit_rig_path("log.serve"), audit_rig_path("log.serve.000000000004")),
                     0);
    audit_rig_write(&options, 1);
    struct kms_audit_check after = audit_rig_check_whole("log.serve");
    assert_int_equal(kms_audit_check_join(&before, &after), KMS_AUDIT_JOINED);
    assert_string_equal(after.previous, "log.serve.000000000004");
}

/* In place of libc's: a file system that doesn't know RENAME_NOREPLACE. */
int renameat2(int oldfd, const char *old, int newfd, const char *new, unsigned flags)
{
    (void)oldfd, (void)old, (void)newfd, (void)new, (void)flags;
    errno = EINVAL;
    return -1;
}

static void a_rotation_replaces_no_file(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    options.rotate_bytes = 1;
    options.on_error = KMS_AUDIT_REFUSE;
    struct kms_audit *audit = audit_rig_open(&options);
    audit_rig_store("log.serve.000000000001", "mine", 4);
    assert_int_equal(audit_rig_put(audit, "u", &err), KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "File exists");
    kms_audit_close(audit);
    size_t len;
    char *kept = audit_rig_read("log.serve.000000000001", &len);
    assert_string_equal(kept, "mine");
    free(kept);
}

/* --- incomplete ends --- */

static void append(const char *name, const char *text, size_t len)
{
    FILE *out = fopen(audit_rig_path(name), "a");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static void an_incomplete_line_is_cut_aside_and_recorded(void **state)
{
    (void)state;
    static const char torn[] = "{\"chain\":\"00";
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 2);
    append("log.serve", torn, sizeof torn - 1);
    audit_rig_write(&options, 1);
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.cuts, 1);
    assert_int_equal(check.lines, 5);
    size_t len;
    char *kept = audit_rig_read("log.serve.cut.000000000004", &len);
    assert_string_equal(kept, torn);
    free(kept);
    json_t *line = audit_rig_line("log.serve", 3);
    audit_rig_assert_text(line, "type", "cut");
    audit_rig_assert_text(line, "file", "log.serve.cut.000000000004");
    assert_int_equal(json_integer_value(json_object_get(line, "bytes")), sizeof torn - 1);
    json_decref(line);
}

static void zeros_after_a_power_cut_are_cut_aside(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 2);
    static const char zeros[5000] = { 0 };
    append("log.serve", zeros, sizeof zeros);
    append("log.serve", "\n\n", 2);
    audit_rig_write(&options, 1);
    assert_int_equal(audit_rig_check_whole("log.serve").cuts, 1);
}

static void a_cut_that_was_killed_before_its_record_is_recorded(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 2);
    audit_rig_store("log.serve.cut.000000000004", "{", 1);
    audit_rig_write(&options, 1);
    assert_int_equal(audit_rig_check_whole("log.serve").cuts, 1);
    audit_rig_write(&options, 1);
    assert_int_equal(audit_rig_check_whole("log.serve").cuts, 1);
}

static void what_was_cut_aside_before_is_kept(void **state)
{
    (void)state;
    size_t len;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 2);
    audit_rig_store("log.serve.cut.000000000004", "first", 5); /* killed before it was cut */
    append("log.serve", "second", 6);
    audit_rig_write(&options, 1);
    assert_int_equal(audit_rig_check_whole("log.serve").cuts, 2);
    char *first = audit_rig_read("log.serve.cut.000000000004", &len);
    char *second = audit_rig_read("log.serve.cut.000000000004.1", &len);
    assert_string_equal(first, "first");
    assert_string_equal(second, "second");
    free(first);
    free(second);
}

static void an_incomplete_first_line_is_cut_and_the_chain_goes_on(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    audit_rig_write(&options, 3);
    struct kms_audit_check before = audit_rig_check_whole("log.serve");
    assert_int_equal(rename(audit_rig_path("log.serve"), audit_rig_path("log.serve.000000000004")),
                     0);
    audit_rig_store("log.serve", "{\"cha", 5);
    audit_rig_write(&options, 1);
    struct kms_audit_check after = audit_rig_check_whole("log.serve");
    assert_int_equal(kms_audit_check_join(&before, &after), KMS_AUDIT_JOINED);
    assert_int_equal(after.cuts, 1);
    assert_true(audit_rig_exists("log.serve.cut.000000000005"));
}

static void a_file_of_something_else_is_not_touched(void **state)
{
    (void)state;
    enum { SIZE = 200 * 1024 };
    char *text = malloc(SIZE);
    assert_non_null(text);
    memset(text, 'x', SIZE);
    audit_rig_store("log.serve", text, SIZE);
    free(text);
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    options.on_error = KMS_AUDIT_REFUSE;
    struct kms_audit *audit = audit_rig_open(&options);
    assert_int_equal(kms_audit_health(audit, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "move the file away");
    kms_audit_close(audit);
    struct stat st;
    assert_int_equal(stat(audit_rig_path("log.serve"), &st), 0);
    assert_int_equal(st.st_size, SIZE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, audit_rig_setup, audit_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_rotated_file_is_joined),
        TEST(no_file_grows_beyond_the_limit),
        TEST(old_files_are_deleted),
        TEST(a_rotation_killed_half_way_is_finished),
        TEST(a_rotation_replaces_no_file),
        TEST(an_incomplete_line_is_cut_aside_and_recorded),
        TEST(zeros_after_a_power_cut_are_cut_aside),
        TEST(a_cut_that_was_killed_before_its_record_is_recorded),
        TEST(what_was_cut_aside_before_is_kept),
        TEST(an_incomplete_first_line_is_cut_and_the_chain_goes_on),
        TEST(a_file_of_something_else_is_not_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
