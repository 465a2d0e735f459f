/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/kv.h"

#include "check.h"

#define BYTES(text) ((struct kms_bytes){ (const uint8_t *)(text), sizeof(text) - 1 })
/* key "k", created at 2, modified at 300, version 4, value "value", lease 7 */
#define MESSAGE "\x0a\x01k\x10\x02\x18\xac\x02\x20\x04\x2a\x05value\x30\x07"

static void all_fields_are_read_where_they_lie(void **state)
{
    (void)state;
    const struct kms_bytes message = BYTES(MESSAGE);
    struct kms_etcd_kv kv;
    assert_true(kms_etcd_kv_parse(message, &kv));
    assert_true(kms_bytes_equal(kv.key, BYTES("k")));
    assert_true(kms_bytes_equal(kv.value, BYTES("value")));
    assert_in_range(kv.value.data - message.data, 1, message.len);
    assert_int_equal(kv.create_revision, 2);
    assert_int_equal(kv.mod_revision, 300);
    assert_int_equal(kv.version, 4);
}

static void fields_of_later_versions_are_passed_over(void **state)
{
    (void)state;
    struct kms_etcd_kv kv;
    assert_true(kms_etcd_kv_parse(BYTES(MESSAGE "\x7a\x03new\x80\x01\x05"), &kv));
    assert_true(kms_bytes_equal(kv.value, BYTES("value")));
}

static void a_tombstone_has_a_key_alone(void **state)
{
    (void)state;
    struct kms_etcd_kv kv;
    assert_true(kms_etcd_kv_parse(BYTES("\x0a\x01k"), &kv));
    assert_int_equal(kv.value.len, 0);
    assert_int_equal(kv.mod_revision, 0);
}

static void a_message_that_is_cut_off_is_refused_or_has_fewer_fields(void **state)
{
    (void)state;
    static const size_t whole[] = { 3, 5, 8, 10, 17, 19 }; /* bytes up to the end of a field */
    size_t at = 0;
    for (size_t len = 0; len <= sizeof MESSAGE - 1; len++) {
        struct kms_etcd_kv kv;
        bool good = kms_etcd_kv_parse((struct kms_bytes){ BYTES(MESSAGE).data, len }, &kv);
        assert_int_equal(good, len == whole[at]);
        at += good;
    }
    assert_int_equal(at, sizeof whole / sizeof whole[0]);
}

static void a_field_of_another_type_is_refused(void **state)
{
    (void)state;
    struct kms_etcd_kv kv;
    assert_false(kms_etcd_kv_parse(BYTES("\x0a\x01k\x08\x05"), &kv));     /* the key as a number */
    assert_false(kms_etcd_kv_parse(BYTES("\x0a\x01k\x1a\x01x"), &kv));    /* a revision as bytes */
    assert_false(kms_etcd_kv_parse(BYTES("\x0a\x01k\x2d\1\2\3\4"), &kv)); /* the value fixed */
}

static void a_message_without_a_key_is_refused(void **state)
{
    (void)state;
    struct kms_etcd_kv kv;
    assert_false(kms_etcd_kv_parse(BYTES("\x18\x05\x2a\x05value"), &kv));
    assert_false(kms_etcd_kv_parse(BYTES("\x0a\x00"), &kv));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_fields_are_read_where_they_lie),
        cmocka_unit_test(fields_of_later_versions_are_passed_over),
        cmocka_unit_test(a_tombstone_has_a_key_alone),
        cmocka_unit_test(a_message_that_is_cut_off_is_refused_or_has_fewer_fields),
        cmocka_unit_test(a_field_of_another_type_is_refused),
        cmocka_unit_test(a_message_without_a_key_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
