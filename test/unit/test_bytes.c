/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "kms/bytes.h"

static void hex_round_trip(void **state)
{
    (void)state;
    const uint8_t bytes[] = { 0x00, 0x0f, 0xa0, 0xff };
    char text[9];
    kms_hex_encode((struct kms_bytes){ bytes, sizeof bytes }, text);
    assert_string_equal(text, "000fa0ff");
    uint8_t back[4];
    assert_true(kms_hex_decode("000FA0ff", back, sizeof back));
    assert_memory_equal(back, bytes, sizeof bytes);
}

static void hex_refuses_wrong_length_and_digits(void **state)
{
    (void)state;
    uint8_t back[2] = { 7, 7 };
    assert_false(kms_hex_decode("123", back, 2));
    assert_false(kms_hex_decode("12345", back, 2));
    assert_false(kms_hex_decode("12g4", back, 2));
    assert_false(kms_hex_decode("", back, 2));
    assert_int_equal(back[0], 7);
}

static void equal_compares_length_and_content(void **state)
{
    (void)state;
    assert_true(kms_bytes_equal(kms_bytes_of("ab"), kms_bytes_of("ab")));
    assert_false(kms_bytes_equal(kms_bytes_of("ab"), kms_bytes_of("abc")));
    assert_false(kms_bytes_equal(kms_bytes_of("ab"), kms_bytes_of("ac")));
    assert_true(kms_bytes_equal((struct kms_bytes){ 0 }, kms_bytes_of("")));
}

static void clean_text_takes_utf8(void **state)
{
    (void)state;
    assert_true(kms_text_is_clean(kms_bytes_of("")));
    assert_true(kms_text_is_clean(kms_bytes_of("738fef6d-prod.v1 ~")));
    assert_true(kms_text_is_clean(kms_bytes_of("\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91")));
}

static void clean_text_refuses_control_characters(void **state)
{
    (void)state;
    assert_false(kms_text_is_clean((struct kms_bytes){ (const uint8_t *)"a\0b", 3 }));
    assert_false(kms_text_is_clean(kms_bytes_of("a\nb")));
    assert_false(kms_text_is_clean(kms_bytes_of("\x7f")));
    assert_false(kms_text_is_clean(kms_bytes_of("\xc2\x85"))); /* NEL, a C1 control */
}

static void clean_text_refuses_malformed_utf8(void **state)
{
    (void)state;
    assert_false(kms_text_is_clean(kms_bytes_of("\x80")));
    assert_false(kms_text_is_clean(kms_bytes_of("\xc3")));             /* cut short */
    assert_false(kms_text_is_clean(kms_bytes_of("\xc3(")));            /* no continuation */
    assert_false(kms_text_is_clean(kms_bytes_of("\xc0\xaf")));         /* overlong '/' */
    assert_false(kms_text_is_clean(kms_bytes_of("\xed\xa0\x80")));     /* surrogate */
    assert_false(kms_text_is_clean(kms_bytes_of("\xf4\x90\x80\x80"))); /* above U+10FFFF */
    assert_false(kms_text_is_clean(kms_bytes_of("\xff\xfe")));
}

static void sha256_matches_the_standard_vector(void **state)
{
    (void)state;
    uint8_t digest[KMS_SHA256_LEN];
    kms_sha256(kms_bytes_of("abc"), digest); /* FIPS 180-4, appendix */
    char text[2 * KMS_SHA256_LEN + 1];
    kms_hex_encode((struct kms_bytes){ digest, sizeof digest }, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex_round_trip),
        cmocka_unit_test(hex_refuses_wrong_length_and_digits),
        cmocka_unit_test(equal_compares_length_and_content),
        cmocka_unit_test(clean_text_takes_utf8),
        cmocka_unit_test(clean_text_refuses_control_characters),
        cmocka_unit_test(clean_text_refuses_malformed_utf8),
        cmocka_unit_test(sha256_matches_the_standard_vector),
    };
    return cmocka_run_group_tests_name("bytes", tests, NULL, NULL);
}
