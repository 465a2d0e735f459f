/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/crypto.h>

#include "check.h"
#include "kms/secret.h"

static int open_heap(void **state)
{
    (void)state;
    return kms_secret_heap_open() ? 0 : -1;
}

static int close_heap(void **state)
{
    (void)state;
    kms_secret_heap_close();
    return 0;
}

static void a_secret_lives_in_the_secure_heap(void **state)
{
    (void)state;
    struct kms_error err;
    KMS_CLEANUP(kms_secret_done) struct kms_secret secret = { 0 };
    assert_ok(kms_secret_init(&secret, 32, &err), &err);
    assert_int_equal(CRYPTO_secure_allocated(secret.data), 1);
    assert_int_equal(secret.len, 32);
}

static void copy_and_take_move_ownership(void **state)
{
    (void)state;
    struct kms_error err;
    KMS_CLEANUP(kms_secret_done) struct kms_secret secret = { 0 };
    assert_ok(kms_secret_copy(&secret, kms_bytes_of("pin"), &err), &err);
    KMS_CLEANUP(kms_secret_done) struct kms_secret taken = kms_secret_take(&secret);
    assert_null(secret.data);
    assert_int_equal(taken.len, 3);
    assert_memory_equal(taken.data, "pin", 3);
}

static void done_twice_is_safe(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_secret secret = { 0 };
    assert_ok(kms_secret_init(&secret, 8, &err), &err);
    kms_secret_done(&secret);
    kms_secret_done(&secret);
    assert_null(secret.data);
    assert_int_equal(secret.len, 0);
}

static void an_empty_secret_is_allowed(void **state)
{
    (void)state;
    struct kms_error err;
    KMS_CLEANUP(kms_secret_done) struct kms_secret secret = { 0 };
    assert_ok(kms_secret_copy(&secret, (struct kms_bytes){ 0 }, &err), &err);
    assert_int_equal(secret.len, 0);
}

static void a_full_heap_falls_back_to_the_ordinary_one(void **state)
{
    (void)state;
    struct kms_error err;
    KMS_CLEANUP(kms_secret_done) struct kms_secret first = { 0 };
    KMS_CLEANUP(kms_secret_done) struct kms_secret second = { 0 };
    assert_ok(kms_secret_init(&first, 1 << 19, &err), &err);
    assert_ok(kms_secret_init(&second, 1 << 20, &err), &err);
    assert_int_equal(CRYPTO_secure_allocated(second.data), 0);
    assert_int_equal(second.data[(1 << 20) - 1], 0);
}

static void equal_compares_length_and_content(void **state)
{
    (void)state;
    struct kms_error err;
    KMS_CLEANUP(kms_secret_done) struct kms_secret a = { 0 };
    KMS_CLEANUP(kms_secret_done) struct kms_secret b = { 0 };
    assert_ok(kms_secret_copy(&a, kms_bytes_of("1234"), &err), &err);
    assert_ok(kms_secret_copy(&b, kms_bytes_of("1235"), &err), &err);
    assert_false(kms_secret_equal(&a, &b));
    b.data[3] = '4';
    assert_true(kms_secret_equal(&a, &b));
    b.len = 3;
    assert_false(kms_secret_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_lives_in_the_secure_heap),
        cmocka_unit_test(copy_and_take_move_ownership),
        cmocka_unit_test(done_twice_is_safe),
        cmocka_unit_test(an_empty_secret_is_allowed),
        cmocka_unit_test(a_full_heap_falls_back_to_the_ordinary_one),
        cmocka_unit_test(equal_compares_length_and_content),
    };
    return cmocka_run_group_tests_name("secret", tests, open_heap, close_heap);
}
