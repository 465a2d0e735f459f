/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "kms/bytes.h"
#include "lock.h"

struct place {
    char dir[32];
    char path[96];
};

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    assert_non_null(place);
    *state = place;
    strcpy(place->dir, "/tmp/hsm-kms-lock-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    uint8_t digest[KMS_SHA256_LEN];
    char name[17];
    kms_sha256(kms_bytes_of("/lib/module.so"), digest);
    kms_hex_encode((struct kms_bytes){ digest, 8 }, name);
    (void)snprintf(place->path, sizeof(place->path), "%s/hsm-kms-%s.lock", place->dir, name);
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    (void)unlink(place->path);
    int left = rmdir(place->dir);
    free(place);
    return left;
}

static void the_lock_is_named_after_the_module(void **state)
{
    struct place *place = *state;
    struct pkcs11_lock lock = pkcs11_lock_acquire(place->dir, "/lib/module.so", 1000);
    assert_true(lock.fd >= 0);
    struct stat st;
    assert_int_equal(stat(place->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0444);
    pkcs11_lock_release(&lock);
    assert_int_equal(lock.fd, -1);
}

static void another_holder_is_waited_for_and_then_gone_past(void **state)
{
    struct place *place = *state;
    struct pkcs11_lock first = pkcs11_lock_acquire(place->dir, "/lib/module.so", 1000);
    struct pkcs11_lock second = pkcs11_lock_acquire(place->dir, "/lib/module.so", 30);
    assert_int_equal(second.fd, -1);
    pkcs11_lock_release(&first);
    second = pkcs11_lock_acquire(place->dir, "/lib/module.so", 1000);
    assert_true(second.fd >= 0);
    pkcs11_lock_release(&second);
}

static void a_link_is_not_followed(void **state)
{
    struct place *place = *state;
    char target[64];
    (void)snprintf(target, sizeof(target), "%s/target", place->dir);
    assert_int_equal(symlink(target, place->path), 0);
    struct pkcs11_lock lock = pkcs11_lock_acquire(place->dir, "/lib/module.so", 30);
    assert_int_equal(lock.fd, -1);
    assert_int_equal(access(target, F_OK), -1);
}

static void a_fifo_is_no_lock(void **state)
{
    struct place *place = *state;
    assert_int_equal(mkfifo(place->path, 0666), 0);
    struct pkcs11_lock lock = pkcs11_lock_acquire(place->dir, "/lib/module.so", 30);
    assert_int_equal(lock.fd, -1);
}

static void a_missing_directory_is_no_obstacle(void **state)
{
    (void)state;
    struct pkcs11_lock lock = pkcs11_lock_acquire("/nonexistent", "/lib/module.so", 30);
    assert_int_equal(lock.fd, -1);
    pkcs11_lock_release(&lock);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_lock_is_named_after_the_module),
        TEST(another_holder_is_waited_for_and_then_gone_past),
        TEST(a_link_is_not_followed),
        TEST(a_fifo_is_no_lock),
        TEST(a_missing_directory_is_no_obstacle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
