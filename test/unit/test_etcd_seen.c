/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/seen.h"

#include <stdio.h>

#include "check.h"

enum { MANY = 200 * 1000 }; /* several growths of chains and nodes */

static bool add(struct kms_etcd_seen *seen, const char *key)
{
    struct kms_error err = { 0 };
    bool new = false;
    assert_ok(kms_etcd_seen_add(seen, kms_bytes_of(key), &new, &err), &err);
    return new;
}

static void a_key_is_new_once(void **state)
{
    (void)state;
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_seen_close_ptr) struct kms_etcd_seen *seen = NULL;
    assert_ok(kms_etcd_seen_open(&seen, &err), &err);
    assert_true(add(seen, "/a"));
    assert_true(add(seen, "/b"));
    assert_true(add(seen, ""));
    assert_false(add(seen, "/a"));
    assert_false(add(seen, "/b"));
    assert_false(add(seen, ""));
}

static void many_keys_are_remembered_while_it_grows(void **state)
{
    (void)state;
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_seen_close_ptr) struct kms_etcd_seen *seen = NULL;
    assert_ok(kms_etcd_seen_open(&seen, &err), &err);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            char key[32];
            snprintf(key, sizeof key, "/registry/%d", i);
            assert_int_equal(add(seen, key), round == 0);
        }
    }
}

static void sets_know_nothing_of_each_other(void **state)
{
    (void)state;
    struct kms_error err = { 0 };
    for (int i = 0; i < 2; i++) {
        KMS_CLEANUP(kms_etcd_seen_close_ptr) struct kms_etcd_seen *seen = NULL;
        assert_ok(kms_etcd_seen_open(&seen, &err), &err);
        assert_true(add(seen, "/a"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_new_once),
        cmocka_unit_test(many_keys_are_remembered_while_it_grows),
        cmocka_unit_test(sets_know_nothing_of_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
