/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/stride.h"

#include "check.h"

#define BYTES(text) ((struct kms_bytes){ (const uint8_t *)(text), sizeof(text) - 1 })

static void check_from(const struct kms_etcd_stride *stride, struct kms_bytes key,
                       struct kms_bytes expected)
{
    uint8_t found[64];
    assert_int_equal(stride->at + KMS_ETCD_STRIDE_BYTES, expected.len);
    assert_true(kms_etcd_stride_from(stride, key, found));
    assert_memory_equal(found, expected.data, expected.len);
}

static void it_goes_twice_as_far_as_the_page_went(void **state)
{
    (void)state;
    struct kms_etcd_stride stride;
    kms_etcd_stride_measure(&stride, BYTES("/k/10"), BYTES("/k/13"));
    assert_int_equal(stride.at, 4);
    check_from(&stride, BYTES("/k/13"), BYTES("/k/19\0\0\0\0\0\0\0"));
}

static void what_is_behind_the_number_does_not_count(void **state)
{
    (void)state;
    struct kms_etcd_stride stride;
    kms_etcd_stride_measure(&stride, BYTES("a0-------1"), BYTES("a1-------9-and-more"));
    check_from(&stride, BYTES("a1-------9"), BYTES("a3-------"));
}

static void keys_that_differ_at_their_end_alone_still_give_a_way(void **state)
{
    (void)state;
    struct kms_etcd_stride stride;
    kms_etcd_stride_measure(&stride, BYTES("a"), BYTES("a\0"));
    assert_int_equal(stride.step, 2);
    check_from(&stride, BYTES("a\0"), BYTES("a\0\0\0\0\0\0\0\2"));
}

static void a_carry_goes_on_to_the_left(void **state)
{
    (void)state;
    const struct kms_etcd_stride stride = { .at = 2, .step = 1ULL << 56 };
    check_from(&stride, BYTES("a\xff\xffz"), BYTES("b\0\0z\0\0\0\0\0\0"));
}

static void there_is_nothing_behind_the_last_key(void **state)
{
    (void)state;
    const struct kms_etcd_stride stride = { .at = 1, .step = UINT64_MAX };
    uint8_t found[1 + KMS_ETCD_STRIDE_BYTES];
    assert_false(kms_etcd_stride_from(&stride, BYTES("\xff\xff\xff"), found));
}

static void wider_is_one_byte_to_the_left(void **state)
{
    (void)state;
    struct kms_etcd_stride stride = { .at = 3, .step = 3ULL << 56 };
    kms_etcd_stride_widen(&stride);
    assert_int_equal(stride.at, 2);
    assert_int_equal(stride.step, 3ULL << 56);
    stride = (struct kms_etcd_stride){ .at = 3, .step = 3 };
    kms_etcd_stride_widen(&stride);
    assert_int_equal(stride.at, 3);
    assert_int_equal(stride.step, 3 * 256);
}

static void at_the_first_byte_it_grows_no_more(void **state)
{
    (void)state;
    struct kms_etcd_stride stride = { .at = 0, .step = 1ULL << 60 };
    kms_etcd_stride_widen(&stride);
    assert_int_equal(stride.at, 0);
    assert_true(stride.step == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_twice_as_far_as_the_page_went),
        cmocka_unit_test(what_is_behind_the_number_does_not_count),
        cmocka_unit_test(keys_that_differ_at_their_end_alone_still_give_a_way),
        cmocka_unit_test(a_carry_goes_on_to_the_left),
        cmocka_unit_test(there_is_nothing_behind_the_last_key),
        cmocka_unit_test(wider_is_one_byte_to_the_left),
        cmocka_unit_test(at_the_first_byte_it_grows_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
