/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "pin.h"

struct files {
    char dir[32];
    char path[64];
    struct kms_error err;
};

static int setup(void **state)
{
    struct files *files = calloc(1, sizeof(*files));
    assert_non_null(files);
    *state = files;
    strcpy(files->dir, "/tmp/hsm-kms-pin-XXXXXX");
    assert_non_null(mkdtemp(files->dir));
    (void)snprintf(files->path, sizeof(files->path), "%s/pin", files->dir);
    return 0;
}

static int teardown(void **state)
{
    struct files *files = *state;
    (void)unlink(files->path);
    (void)rmdir(files->dir);
    (void)unsetenv("CREDENTIALS_DIRECTORY");
    free(files);
    return 0;
}

static void write_pin(const struct files *files, const void *data, size_t len, mode_t mode)
{
    int fd = open(files->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void assert_reads(struct files *files, const char *text, size_t len, const char *expected)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    write_pin(files, text, len, 0400);
    assert_ok(pkcs11_pin_read(files->path, &pin, &files->err), &files->err);
    assert_int_equal(pin.len, strlen(expected));
    assert_memory_equal(pin.data, expected, pin.len);
}

static void assert_refused(struct files *files, const char *why)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    assert_int_equal(pkcs11_pin_read(files->path, &pin, &files->err), KMS_E_PRECONDITION);
    assert_null(pin.data);
    assert_contains(files->err.msg, why);
    assert_null(strstr(files->err.msg, files->path));
}

static void one_final_newline_is_stripped(void **state)
{
    assert_reads(*state, "1234", 4, "1234");
    assert_reads(*state, "1234\n", 5, "1234");
    assert_reads(*state, "1234\r\n", 6, "1234");
    assert_reads(*state, "1234\n\n", 6, "1234\n");
    assert_reads(*state, " 12 ", 4, " 12 ");
}

static void the_longest_pin_is_read_and_a_longer_one_refused(void **state)
{
    struct files *files = *state;
    char text[PKCS11_PIN_MAX + 10];
    memset(text, '7', sizeof(text));
    char expected[PKCS11_PIN_MAX + 1] = { 0 };
    memset(expected, '7', PKCS11_PIN_MAX);
    assert_reads(files, text, PKCS11_PIN_MAX, expected);
    write_pin(files, text, PKCS11_PIN_MAX + 1, 0400);
    assert_refused(files, "more than 255");
    write_pin(files, text, sizeof(text), 0400);
    assert_refused(files, "more than 255");
}

static void an_empty_pin_is_refused(void **state)
{
    write_pin(*state, "", 0, 0400);
    assert_refused(*state, "empty");
    write_pin(*state, "\n", 1, 0400);
    assert_refused(*state, "empty");
}

static void a_nul_inside_is_refused(void **state)
{
    write_pin(*state,
              "12\0"
              "34",
              5, 0400);
    assert_refused(*state, "NUL");
}

static void a_file_open_to_others_is_refused(void **state)
{
    write_pin(*state, "1234", 4, 0604);
    assert_refused(*state, "chmod");
    write_pin(*state, "1234", 4, 0602);
    assert_refused(*state, "chmod");
}

static void a_file_open_to_the_group_is_refused(void **state)
{
    write_pin(*state, "1234", 4, 0440);
    assert_refused(*state, "group");
}

static void the_group_may_read_inside_the_credentials_directory(void **state)
{
    struct files *files = *state;
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    write_pin(files, "1234", 4, 0440);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", files->dir, 1), 0);
    assert_ok(pkcs11_pin_read(files->path, &pin, &files->err), &files->err);
}

static void a_directory_with_the_same_beginning_is_another(void **state)
{
    struct files *files = *state;
    char shorter[32];
    (void)snprintf(shorter, sizeof(shorter), "%.*s", (int)strlen(files->dir) - 1, files->dir);
    (void)mkdir(shorter, 0700);
    write_pin(files, "1234", 4, 0440);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", shorter, 1), 0);
    assert_refused(files, "group");
    (void)rmdir(shorter);
}

static void a_file_of_a_stranger_is_refused(void **state)
{
    struct files *files = *state;
    if (geteuid() != 0)
        skip();
    write_pin(files, "1234", 4, 0400);
    assert_int_equal(chown(files->path, 12345, 12345), 0);
    assert_refused(files, "chown");
}

static void what_is_no_file_is_refused(void **state)
{
    struct files *files = *state;
    assert_int_equal(mkfifo(files->path, 0600), 0);
    assert_refused(files, "regular file");
}

static void a_missing_file_is_told_without_its_path(void **state)
{
    assert_refused(*state, "No such file");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_final_newline_is_stripped),
        TEST(the_longest_pin_is_read_and_a_longer_one_refused),
        TEST(an_empty_pin_is_refused),
        TEST(a_nul_inside_is_refused),
        TEST(a_file_open_to_others_is_refused),
        TEST(a_file_open_to_the_group_is_refused),
        TEST(the_group_may_read_inside_the_credentials_directory),
        TEST(a_directory_with_the_same_beginning_is_another),
        TEST(a_file_of_a_stranger_is_refused),
        TEST(what_is_no_file_is_refused),
        TEST(a_missing_file_is_told_without_its_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
