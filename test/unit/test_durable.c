/* SPDX-License-Identifier: Apache-2.0 */
/* What kill -9 leaves is in test_kill.c. */
#include "durable.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static char dir_path[64];
static int dir_fd;

static int make_dir(void **unused)
{
    (void)unused;
    snprintf(dir_path, sizeof dir_path, "/tmp/test-durable-XXXXXX");
    if (mkdtemp(dir_path) == NULL)
        return -1;
    dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir_fd >= 0 ? 0 : -1;
}

static int remove_dir(void **unused)
{
    (void)unused;
    unlinkat(dir_fd, "file", 0);
    if (unlinkat(dir_fd, "file.new", 0) != 0)
        unlinkat(dir_fd, "file.new", AT_REMOVEDIR);
    close(dir_fd);
    return rmdir(dir_path);
}

static void assert_file_holds(const char *text)
{
    char found[64];
    int fd = openat(dir_fd, "file", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t len = read(fd, found, sizeof found - 1);
    close(fd);
    assert_true(len >= 0);
    found[len] = '\0';
    assert_string_equal(found, text);
}

static void new_content_takes_the_place_of_the_old(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_durable_replace(dir_fd, "file", "a longer old text", &err), &err);
    assert_ok(kms_durable_replace(dir_fd, "file", "new", &err), &err);
    assert_file_holds("new\n");
    struct stat info;
    assert_int_equal(fstatat(dir_fd, "file", &info, 0), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_not_equal(faccessat(dir_fd, "file.new", F_OK, 0), 0);
}

static void what_a_killed_writer_left_is_no_hindrance(void **unused)
{
    (void)unused;
    struct kms_error err;
    int fd = openat(dir_fd, "file.new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "half of a longer text", 21), 21);
    close(fd);
    assert_ok(kms_durable_replace(dir_fd, "file", "new", &err), &err);
    assert_file_holds("new\n");
}

static void a_failure_leaves_the_old_content(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_durable_replace(dir_fd, "file", "old", &err), &err);
    assert_int_equal(mkdirat(dir_fd, "file.new", 0700), 0);
    assert_int_equal(kms_durable_replace(dir_fd, "file", "new", &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "file.new");
    assert_file_holds("old\n");
}

static void a_symbolic_link_is_not_followed(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_int_equal(symlinkat("elsewhere", dir_fd, "file.new"), 0);
    assert_int_equal(kms_durable_replace(dir_fd, "file", "new", &err), KMS_E_PRECONDITION);
    assert_int_not_equal(faccessat(dir_fd, "elsewhere", F_OK, 0), 0);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(new_content_takes_the_place_of_the_old),
        WITH_DIR(what_a_killed_writer_left_is_no_hindrance),
        WITH_DIR(a_failure_leaves_the_old_content),
        WITH_DIR(a_symbolic_link_is_not_followed),
    };
    return cmocka_run_group_tests_name("durable", tests, NULL, NULL);
}
