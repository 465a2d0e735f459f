/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "latch.h"

enum { NOW = 1800000000 };

static const uint8_t identity[KMS_SHA256_LEN] = { 0xAB, 0xCD };
static const uint8_t pin_a[PKCS11_PIN_DIGEST_LEN] = { 0xA };
#define NAME "pin-latch.abcd0000000000000000000000000000"

struct bench {
    char dir[32];
    char path[96];
    struct kms_error err;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    *state = bench;
    strcpy(bench->dir, "/tmp/hsm-kms-latch-XXXXXX");
    assert_non_null(mkdtemp(bench->dir));
    (void)snprintf(bench->path, sizeof(bench->path), "%s/" NAME, bench->dir);
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    DIR *dir = opendir(bench->dir);
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
    assert_int_equal(rmdir(bench->dir), 0);
    free(bench);
    return 0;
}

static struct pkcs11_latch open_latch(struct bench *bench)
{
    struct pkcs11_latch latch = { .dir_fd = -1 };
    assert_ok(pkcs11_latch_open(bench->dir, identity, &latch, &bench->err), &bench->err);
    return latch;
}

static void refuse_once(struct bench *bench)
{
    KMS_CLEANUP(pkcs11_latch_close) struct pkcs11_latch latch = open_latch(bench);
    pkcs11_pin_record_refuse(&latch.record, pin_a, "CKR_PIN_INCORRECT", NOW);
    assert_ok(pkcs11_latch_write(&latch, &bench->err), &bench->err);
}

static void put(const struct bench *bench, const char *text)
{
    int fd = open(bench->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(close(fd), 0);
}

static void without_a_file_there_is_an_empty_record(void **state)
{
    KMS_CLEANUP(pkcs11_latch_close) struct pkcs11_latch latch = open_latch(*state);
    assert_int_equal(latch.fault.code, KMS_OK);
    assert_int_equal(latch.record.refused_count, 0);
}

static void what_was_written_is_read_by_the_next(void **state)
{
    refuse_once(*state);
    KMS_CLEANUP(pkcs11_latch_close) struct pkcs11_latch latch = open_latch(*state);
    assert_non_null(pkcs11_pin_record_refusal(&latch.record, pin_a));
}

static void the_file_is_the_owner_s_alone_and_nothing_else_is_left(void **state)
{
    struct bench *bench = *state;
    struct stat st;
    char temporary[128];
    refuse_once(bench);
    assert_int_equal(stat(bench->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    (void)snprintf(temporary, sizeof(temporary), "%s.new", bench->path);
    assert_int_equal(access(temporary, F_OK), -1);
}

static void another_token_has_another_file(void **state)
{
    struct bench *bench = *state;
    static const uint8_t other[KMS_SHA256_LEN] = { 0xAB, 0xCE };
    refuse_once(bench);
    struct pkcs11_latch latch = { .dir_fd = -1 };
    assert_ok(pkcs11_latch_open(bench->dir, other, &latch, &bench->err), &bench->err);
    assert_int_equal(latch.record.refused_count, 0);
    pkcs11_latch_close(&latch);
}

static void a_damaged_file_is_a_fault_that_names_it_and_the_way_out(void **state)
{
    struct bench *bench = *state;
    static const char *const texts[] = { "", "\n", "{}", "hsm-kms pin latch 1\nend\n" };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        put(bench, texts[i]);
        KMS_CLEANUP(pkcs11_latch_close) struct pkcs11_latch latch = open_latch(bench);
        assert_int_equal(latch.fault.code, KMS_E_PRECONDITION);
        assert_contains(latch.fault.msg, NAME);
        assert_contains(latch.fault.msg, "damaged");
        assert_contains(latch.fault.msg, "hsm-kms pin check");
    }
}

static void a_newer_file_is_a_fault(void **state)
{
    struct bench *bench = *state;
    put(bench, "hsm-kms pin latch 7\n");
    KMS_CLEANUP(pkcs11_latch_close) struct pkcs11_latch latch = open_latch(bench);
    assert_int_equal(latch.fault.code, KMS_E_PRECONDITION);
    assert_contains(latch.fault.msg, "newer release");
}

static void a_link_is_not_followed(void **state)
{
    struct bench *bench = *state;
    assert_int_equal(symlink("/dev/null", bench->path), 0);
    KMS_CLEANUP(pkcs11_latch_close) struct pkcs11_latch latch = open_latch(bench);
    assert_int_equal(latch.fault.code, KMS_E_PRECONDITION);
}

static void a_faulty_file_is_replaced_by_the_next_record(void **state)
{
    struct bench *bench = *state;
    put(bench, "rubbish");
    refuse_once(bench);
    KMS_CLEANUP(pkcs11_latch_close) struct pkcs11_latch latch = open_latch(bench);
    assert_int_equal(latch.fault.code, KMS_OK);
    assert_non_null(pkcs11_pin_record_refusal(&latch.record, pin_a));
}

static void a_directory_that_is_not_there_is_told_from_one_that_can_t_be_used(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_latch latch = { .dir_fd = -1 };
    char missing[64];
    (void)snprintf(missing, sizeof(missing), "%s/none", bench->dir);
    assert_int_equal(pkcs11_latch_open(missing, identity, &latch, &bench->err), KMS_E_UNAVAILABLE);
    put(bench, "a file");
    assert_int_equal(pkcs11_latch_open(bench->path, identity, &latch, &bench->err),
                     KMS_E_PRECONDITION);
    assert_int_equal(latch.dir_fd, -1);
}

static void while_another_holds_it_it_is_read_but_not_written(void **state)
{
    struct bench *bench = *state;
    refuse_once(bench);
    int holder = open(bench->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(holder, LOCK_EX), 0);
    struct pkcs11_latch latch = open_latch(bench);
    assert_non_null(pkcs11_pin_record_refusal(&latch.record, pin_a));
    assert_int_equal(pkcs11_latch_write(&latch, &bench->err), KMS_E_PRECONDITION);
    assert_contains(bench->err.msg, "another hsm-kms");
    pkcs11_latch_close(&latch);
    assert_int_equal(close(holder), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_file_there_is_an_empty_record),
        TEST(what_was_written_is_read_by_the_next),
        TEST(the_file_is_the_owner_s_alone_and_nothing_else_is_left),
        TEST(another_token_has_another_file),
        TEST(a_damaged_file_is_a_fault_that_names_it_and_the_way_out),
        TEST(a_newer_file_is_a_fault),
        TEST(a_link_is_not_followed),
        TEST(a_faulty_file_is_replaced_by_the_next_record),
        TEST(a_directory_that_is_not_there_is_told_from_one_that_can_t_be_used),
        TEST(while_another_holds_it_it_is_read_but_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
