/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "kms/fd.h"

/* A file in memory that holds @text and stands at its beginning. */
static int file_of(const char *text)
{
    int fd = memfd_create("fd", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(kms_fd_write(fd, kms_bytes_of(text)));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void what_is_written_is_read_to_the_end(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_fd_done) int fd = file_of("0123456789");
    char data[32];
    size_t len = 0;
    assert_true(kms_fd_read(fd, data, sizeof data, &len));
    assert_int_equal(len, 10);
    assert_memory_equal(data, "0123456789", 10);
}

static void a_reading_stops_at_its_room(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_fd_done) int fd = file_of("0123456789");
    char data[4];
    size_t len = 0;
    assert_true(kms_fd_read(fd, data, sizeof data, &len));
    assert_int_equal(len, 4);
    assert_memory_equal(data, "0123", 4);
}

static void the_pieces_of_a_pipe_are_joined(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    KMS_CLEANUP(kms_fd_done) int from = ends[0];
    assert_true(kms_fd_write(ends[1], kms_bytes_of("one ")));
    assert_true(kms_fd_write(ends[1], kms_bytes_of("two")));
    assert_int_equal(close(ends[1]), 0);
    char data[32];
    size_t len = 0;
    assert_true(kms_fd_read(from, data, sizeof data, &len));
    assert_int_equal(len, 7);
    assert_memory_equal(data, "one two", 7);
}

static void an_offset_is_read_whole_or_the_end_is_told(void **state)
{
    (void)state;
    KMS_CLEANUP(kms_fd_done) int fd = file_of("0123456789");
    char data[4];
    assert_true(kms_fd_read_at(fd, data, sizeof data, 6));
    assert_memory_equal(data, "6789", 4);
    errno = EIO;
    assert_false(kms_fd_read_at(fd, data, sizeof data, 7));
    assert_int_equal(errno, 0);
}

static void a_failure_leaves_errno(void **state)
{
    (void)state;
    char data[4];
    size_t len = 99;
    assert_false(kms_fd_read(-1, data, sizeof data, &len));
    assert_int_equal(errno, EBADF);
    assert_int_equal(len, 99);
    assert_false(kms_fd_read_at(-1, data, sizeof data, 0));
    assert_int_equal(errno, EBADF);
    KMS_CLEANUP(kms_fd_done) int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_false(kms_fd_write(full, kms_bytes_of("x")));
    assert_int_equal(errno, ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_to_the_end),
        cmocka_unit_test(a_reading_stops_at_its_room),
        cmocka_unit_test(the_pieces_of_a_pipe_are_joined),
        cmocka_unit_test(an_offset_is_read_whole_or_the_end_is_told),
        cmocka_unit_test(a_failure_leaves_errno),
    };
    return cmocka_run_group_tests_name("fd", tests, NULL, NULL);
}
