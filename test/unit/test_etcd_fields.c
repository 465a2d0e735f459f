/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "etcd/fields.h"
#include "etcd_rig.h"

/* The first field of @bytes, which must be one. */
static struct kms_field first(const struct etcd_bytes *bytes, size_t *ret_left)
{
    struct kms_bytes rest = etcd_bytes_view(bytes);
    struct kms_field field = { 0 };
    assert_null(kms_field_next(&rest, &field));
    *ret_left = rest.len;
    return field;
}

static void assert_refused(const void *data, size_t len, const char *part)
{
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put(&bytes, data, len);
    struct kms_bytes rest = etcd_bytes_view(&bytes);
    struct kms_field field = { .number = 7 };
    const char *problem = kms_field_next(&rest, &field);
    assert_non_null(problem);
    assert_contains(problem, part);
    assert_int_equal(rest.len, len); /* nothing was touched */
    assert_int_equal(field.number, 7);
}

static void a_number_is_read(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_number(&bytes, 5, UINT64_MAX);
    etcd_put_text(&bytes, "rest");
    size_t left = 0;
    struct kms_field field = first(&bytes, &left);
    assert_int_equal(field.number, 5);
    assert_int_equal(field.type, KMS_WIRE_VARINT);
    assert_true(field.varint == UINT64_MAX);
    assert_int_equal(left, 4);
}

static void bytes_are_borrowed_where_they_lie(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put_field(&bytes, 300, kms_bytes_of("abc"));
    size_t left = 7;
    struct kms_field field = first(&bytes, &left);
    assert_int_equal(field.number, 300);
    assert_int_equal(field.type, KMS_WIRE_LEN);
    assert_ptr_equal(field.bytes.data, bytes.data + 3);
    assert_int_equal(field.bytes.len, 3);
    assert_int_equal(left, 0);
}

static void fixed_sizes_are_read(void **state)
{
    (void)state;
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes bytes = { 0 };
    etcd_put(&bytes, "\x0d\1\2\3\4\x09\1\2\3\4\5\6\7\x08", 14);
    struct kms_bytes rest = etcd_bytes_view(&bytes);
    struct kms_field field;
    assert_null(kms_field_next(&rest, &field));
    assert_int_equal(field.type, KMS_WIRE_I32);
    assert_int_equal(field.bytes.len, 4);
    assert_null(kms_field_next(&rest, &field));
    assert_int_equal(field.type, KMS_WIRE_I64);
    assert_int_equal(field.bytes.len, 8);
    assert_int_equal(rest.len, 0);
}

static void a_number_longer_than_it_is_is_refused(void **state)
{
    (void)state;
    assert_refused("\x28\x81\x00", 3, "written longer than it is");
    assert_refused("\xa8\x00\x01", 3, "written longer than it is"); /* the tag itself */
}

static void a_number_of_more_than_64_bits_is_refused(void **state)
{
    (void)state;
    assert_refused("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "longer than 64 bits");
    assert_refused("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, "longer than 64 bits");
}

static void what_is_cut_short_is_refused(void **state)
{
    (void)state;
    assert_refused("\x80", 1, "a number is cut short");
    assert_refused("\x28\xff", 2, "a number is cut short");
    assert_refused("\x0a", 1, "a number is cut short");
    assert_refused("\x0a\x02x", 3, "a field is cut short");
    assert_refused("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "a field is cut short");
    assert_refused("\x0d\1\2\3", 4, "a field is cut short");
    assert_refused("\x09\1\2\3\4\5\6\7", 8, "a field is cut short");
}

static void groups_and_unused_wire_types_are_refused(void **state)
{
    (void)state;
    assert_refused("\x0b\x0c", 2, "wire type");
    assert_refused("\x0c", 1, "wire type");
    assert_refused("\x0e", 1, "wire type");
    assert_refused("\x0f", 1, "wire type");
}

static void impossible_field_numbers_are_refused(void **state)
{
    (void)state;
    assert_refused("\x00\x01", 2, "a number that can't be");
    assert_refused("\x80\x80\x80\x80\x10\x01", 6, "a number that can't be"); /* 2^29 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_read),
        cmocka_unit_test(bytes_are_borrowed_where_they_lie),
        cmocka_unit_test(fixed_sizes_are_read),
        cmocka_unit_test(a_number_longer_than_it_is_is_refused),
        cmocka_unit_test(a_number_of_more_than_64_bits_is_refused),
        cmocka_unit_test(what_is_cut_short_is_refused),
        cmocka_unit_test(groups_and_unused_wire_types_are_refused),
        cmocka_unit_test(impossible_field_numbers_are_refused),
    };
    return cmocka_run_group_tests_name("etcd_fields", tests, NULL, NULL);
}
