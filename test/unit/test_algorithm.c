/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "kms/algorithm.h"
#include "kms/keystore.h"

static void names_are_read_as_they_are_written(void **state)
{
    (void)state;
    for (int i = 0; i < KMS_ALGORITHM_COUNT; i++) {
        enum kms_algorithm algorithm = (enum kms_algorithm)i, read;
        assert_true(kms_algorithm_parse(kms_bytes_of(kms_algorithm_name(algorithm)), &read));
        assert_int_equal(read, algorithm);
        enum kms_profile profile;
        assert_true(kms_profile_parse(kms_algorithm_name(algorithm), &profile));
        assert_int_equal(profile, kms_profile_of(algorithm));
        assert_string_equal(kms_profile_name(profile), kms_algorithm_name(algorithm));
    }
}

static void auto_is_a_profile_and_no_algorithm(void **state)
{
    (void)state;
    enum kms_profile profile = KMS_PROFILE_AES_GCM;
    enum kms_algorithm algorithm;
    assert_true(kms_profile_parse("auto", &profile));
    assert_int_equal(profile, KMS_PROFILE_AUTO);
    assert_string_equal(kms_profile_name(profile), "auto");
    assert_false(kms_algorithm_parse(kms_bytes_of("auto"), &algorithm));
    assert_false(kms_profile_parse("aes-kw-cipher", &profile));
    assert_false(kms_profile_parse("", &profile));
}

static void user_types_are_read_as_they_are_written(void **state)
{
    (void)state;
    enum kms_user_type type = KMS_USER_TYPE_USER;
    assert_true(kms_user_type_parse("crypto-user", &type));
    assert_int_equal(type, KMS_USER_TYPE_CRYPTO_USER);
    assert_true(kms_user_type_parse("user", &type));
    assert_int_equal(type, KMS_USER_TYPE_USER);
    assert_false(kms_user_type_parse("so", &type));
}

static void the_longest_seed_fits_whatever_wraps_it(void **state)
{
    (void)state;
    for (int i = 0; i < KMS_ALGORITHM_COUNT; i++) {
        size_t overhead = kms_algorithm_overhead((enum kms_algorithm)i);
        assert_true(KMS_SEED_MAX + overhead <= KMS_WRAPPED_MAX);
    }
}

static void lengths_are_a_seeds_and_what_the_algorithm_adds(void **state)
{
    (void)state;
    static const size_t seeds[] = { 16, 24, 32, 256 }, none[] = { 0, 8, 15, 17, 33, 264 };
    for (int i = 0; i < KMS_ALGORITHM_COUNT; i++) {
        enum kms_algorithm algorithm = (enum kms_algorithm)i;
        size_t overhead = kms_algorithm_overhead(algorithm);
        for (size_t k = 0; k < sizeof(seeds) / sizeof(seeds[0]); k++)
            assert_true(kms_wrapped_len_is_valid(algorithm, seeds[k] + overhead));
        for (size_t k = 0; k < sizeof(none) / sizeof(none[0]); k++)
            assert_false(kms_wrapped_len_is_valid(algorithm, none[k] + overhead));
        assert_false(kms_wrapped_len_is_valid(algorithm, overhead - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_read_as_they_are_written),
        cmocka_unit_test(auto_is_a_profile_and_no_algorithm),
        cmocka_unit_test(user_types_are_read_as_they_are_written),
        cmocka_unit_test(the_longest_seed_fits_whatever_wraps_it),
        cmocka_unit_test(lengths_are_a_seeds_and_what_the_algorithm_adds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
