/* SPDX-License-Identifier: Apache-2.0 */
/* Where an archive comes to be, and the archive's own form. */
#include "check.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "evidence_stage.h"
#include "evidence_tar.h"
#include "kms/fd.h"

struct bench {
    char dir[32];
    char out[64], stage_path[80];
    struct kms_stage stage;
    struct kms_error err;
};

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .dir = "/tmp/hsm-kms-stage-XXXXXX" };
    bench.stage = (struct kms_stage){ .dir_fd = -1, .fd = -1, .files_fd = -1 };
    assert_non_null(mkdtemp(bench.dir));
    (void)snprintf(bench.out, sizeof(bench.out), "%s/e.tar", bench.dir);
    (void)snprintf(bench.stage_path, sizeof(bench.stage_path), "%s.stage", bench.out);
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    kms_stage_close(&bench->stage);
    (void)unlink(bench->out);
    return rmdir(bench->dir); /* nothing else is left */
}

static void open_stage(struct bench *bench)
{
    assert_ok(kms_stage_open(bench->out, &bench->stage, &bench->err), &bench->err);
}

static void put(struct bench *bench, const char *name, const char *text)
{
    int fd = -1;
    assert_ok(kms_stage_create(&bench->stage, name, &fd, &bench->err), &bench->err);
    assert_true(kms_fd_write(fd, kms_bytes_of(text)));
    (void)close(fd);
}

static void a_stage_is_its_makers_alone_and_goes(void **state)
{
    struct bench *bench = *state;
    struct stat st;
    open_stage(bench);
    put(bench, "a/b", "text");
    assert_int_equal(stat(bench->stage_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    kms_stage_close(&bench->stage);
    assert_int_not_equal(access(bench->stage_path, F_OK), 0);
}

static void a_file_is_measured(void **state)
{
    struct bench *bench = *state;
    char digest[2 * KMS_SHA256_LEN + 1];
    uint64_t size = 0;
    open_stage(bench);
    put(bench, "a/b", "abc");
    assert_ok(kms_stage_measure(&bench->stage, "a/b", digest, &size, &bench->err), &bench->err);
    assert_int_equal(size, 3);
    assert_string_equal(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void an_archive_that_is_there_is_refused_at_the_beginning(void **state)
{
    struct bench *bench = *state;
    (void)close(open(bench->out, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(kms_stage_open(bench->out, &bench->stage, &bench->err), KMS_E_INVALID);
    assert_contains(bench->err.msg, "is there already");
}

static void a_dangling_link_is_there_too(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(symlink("/nowhere", bench->out), 0);
    assert_int_equal(kms_stage_open(bench->out, &bench->stage, &bench->err), KMS_E_INVALID);
}

static void an_archive_that_came_meanwhile_is_not_replaced(void **state)
{
    struct bench *bench = *state;
    int fd = -1;
    struct stat st;
    open_stage(bench);
    assert_ok(kms_stage_scratch(&bench->stage, "archive", &fd, &bench->err), &bench->err);
    assert_true(kms_fd_write(fd, kms_bytes_of("new")));
    (void)close(fd);
    (void)close(open(bench->out, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    assert_int_equal(kms_stage_publish(&bench->stage, "archive", &bench->err), KMS_E_INVALID);
    assert_int_equal(stat(bench->out, &st), 0);
    assert_int_equal(st.st_size, 0);
}

static void a_published_archive_is_whole_and_its_makers_alone(void **state)
{
    struct bench *bench = *state;
    int fd = -1;
    struct stat st;
    open_stage(bench);
    assert_ok(kms_stage_scratch(&bench->stage, "archive", &fd, &bench->err), &bench->err);
    assert_true(kms_fd_write(fd, kms_bytes_of("new")));
    (void)close(fd);
    assert_ok(kms_stage_publish(&bench->stage, "archive", &bench->err), &bench->err);
    assert_int_equal(stat(bench->out, &st), 0);
    assert_int_equal(st.st_size, 3);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_second_run_is_kept_out(void **state)
{
    struct bench *bench = *state;
    struct kms_stage other;
    open_stage(bench);
    assert_int_equal(kms_stage_open(bench->out, &other, &bench->err), KMS_E_PRECONDITION);
    assert_contains(bench->err.msg, "another run");
}

/* As after kill -9: the lock goes with the process, the files stay. */
static void what_a_killed_run_left_is_emptied(void **state)
{
    struct bench *bench = *state;
    open_stage(bench);
    put(bench, "a/b", "old");
    (void)close(bench->stage.files_fd);
    (void)close(bench->stage.fd);
    (void)close(bench->stage.dir_fd);
    open_stage(bench);
    assert_int_not_equal(faccessat(bench->stage.files_fd, "a/b", F_OK, 0), 0);
}

static void a_directory_that_is_not_ours_is_left_alone(void **state)
{
    struct bench *bench = *state;
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/precious", bench->stage_path);
    assert_int_equal(mkdir(bench->stage_path, 0700), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(kms_stage_open(bench->out, &bench->stage, &bench->err), KMS_E_PRECONDITION);
    assert_contains(bench->err.msg, "in the way");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(bench->stage_path), 0);
}

static void an_open_directory_is_left_alone_though_it_is_empty(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(mkdir(bench->stage_path, 0700), 0);
    assert_int_equal(chmod(bench->stage_path, 0777), 0);
    assert_int_equal(kms_stage_open(bench->out, &bench->stage, &bench->err), KMS_E_PRECONDITION);
    assert_int_equal(rmdir(bench->stage_path), 0);
}

static void a_link_in_a_stage_is_removed_and_not_followed(void **state)
{
    struct bench *bench = *state;
    char kept[64];
    (void)snprintf(kept, sizeof(kept), "%s/kept", bench->dir);
    (void)close(open(kept, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    open_stage(bench);
    assert_int_equal(symlinkat(bench->dir, bench->stage.files_fd, "link"), 0);
    kms_stage_close(&bench->stage);
    assert_int_equal(unlink(kept), 0);
}

static void a_name_that_is_none_is_refused(void **state)
{
    struct bench *bench = *state;
    char path[64];
    (void)snprintf(path, sizeof(path), "%s/", bench->dir);
    assert_int_equal(kms_stage_open(path, &bench->stage, &bench->err), KMS_E_INVALID);
    (void)snprintf(path, sizeof(path), "%s/..", bench->dir);
    assert_int_equal(kms_stage_open(path, &bench->stage, &bench->err), KMS_E_INVALID);
}

/* --- the archive --- */

static FILE *tar_of(struct bench *bench, const char *text)
{
    FILE *from = tmpfile(), *to = tmpfile();
    struct kms_tar *tar = NULL;
    assert_true(kms_fd_write(fileno(from), kms_bytes_of(text)));
    assert_ok(kms_tar_open(fileno(to), 1700000000, &tar, &bench->err), &bench->err);
    assert_ok(kms_tar_add(tar, "dir/name", fileno(from), &bench->err), &bench->err);
    assert_ok(kms_tar_finish(tar, &bench->err), &bench->err);
    kms_tar_close(tar);
    (void)fclose(from);
    return to;
}

/* POSIX ustar: name at 0, mode at 100, uid at 108, size at 124, mtime at 136, magic at 257. */
static void the_archive_is_posix_tar_of_nobodys(void **state)
{
    struct bench *bench = *state;
    char header[512], data[4] = "";
    FILE *to = tar_of(bench, "abc");
    assert_int_equal(pread(fileno(to), header, sizeof(header), 0), sizeof(header));
    assert_int_equal(pread(fileno(to), data, 3, 512), 3);
    assert_string_equal(header, "dir/name");
    assert_memory_equal(header + 100, "000600 ", 7);
    assert_memory_equal(header + 108, "000000 ", 7);
    assert_memory_equal(header + 116, "000000 ", 7);
    assert_int_equal(strtol(header + 124, NULL, 8), 3);
    assert_int_equal(strtol(header + 136, NULL, 8), 1700000000);
    assert_memory_equal(header + 257, "ustar", 5);
    assert_string_equal(data, "abc");
    (void)fclose(to);
}

static void the_same_files_make_the_same_archive(void **state)
{
    struct bench *bench = *state;
    char digests[2][2 * KMS_SHA256_LEN + 1];
    uint64_t size = 0;
    for (int i = 0; i < 2; i++) {
        FILE *to = tar_of(bench, "abc");
        assert_true(kms_digest_fd(fileno(to), digests[i], &size));
        (void)fclose(to);
    }
    assert_string_equal(digests[0], digests[1]);
}

static void an_archive_that_can_not_be_written_is_an_error(void **state)
{
    struct bench *bench = *state;
    struct kms_tar *tar = NULL;
    FILE *from = tmpfile();
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_ok(kms_tar_open(full, 0, &tar, &bench->err), &bench->err);
    enum kms_code rc = kms_tar_add(tar, "name", fileno(from), &bench->err);
    if (rc == KMS_OK)
        rc = kms_tar_finish(tar, &bench->err);
    assert_int_equal(rc, KMS_E_PRECONDITION);
    kms_tar_close(tar);
    (void)close(full);
    (void)fclose(from);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stage_is_its_makers_alone_and_goes),
        TEST(a_file_is_measured),
        TEST(an_archive_that_is_there_is_refused_at_the_beginning),
        TEST(a_dangling_link_is_there_too),
        TEST(an_archive_that_came_meanwhile_is_not_replaced),
        TEST(a_published_archive_is_whole_and_its_makers_alone),
        TEST(a_second_run_is_kept_out),
        TEST(what_a_killed_run_left_is_emptied),
        TEST(a_directory_that_is_not_ours_is_left_alone),
        TEST(an_open_directory_is_left_alone_though_it_is_empty),
        TEST(a_link_in_a_stage_is_removed_and_not_followed),
        TEST(a_name_that_is_none_is_refused),
        TEST(the_archive_is_posix_tar_of_nobodys),
        TEST(the_same_files_make_the_same_archive),
        TEST(an_archive_that_can_not_be_written_is_an_error),
    };
    return cmocka_run_group_tests_name("evidence_stage", tests, NULL, NULL);
}
