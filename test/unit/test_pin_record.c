/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "check.h"
#include "kms/clock.h"
#include "pin_record.h"

enum { NOW = 1800000000 };

static const uint8_t a[PKCS11_PIN_DIGEST_LEN] = { 0xA };
static const uint8_t b[PKCS11_PIN_DIGEST_LEN] = { 0xB };
static const struct pkcs11_pin_flags no_flags = { .count_low = false };
static const struct pkcs11_pin_flags low = { .count_low = true };

static struct pkcs11_pin_record fresh(void)
{
    struct pkcs11_pin_record record = { 0 };
    struct kms_error err;
    assert_ok(pkcs11_pin_record_new(&record, &err), &err);
    return record;
}

static enum kms_code judge(const struct pkcs11_pin_record *record, const uint8_t *digest,
                           const struct pkcs11_pin_flags *flags, struct kms_error *err)
{
    return pkcs11_pin_record_judge(record, digest, flags, "fake", err);
}

static void assert_may(const struct pkcs11_pin_record *record, const uint8_t *digest,
                       const struct pkcs11_pin_flags *flags)
{
    struct kms_error err;
    assert_ok(judge(record, digest, flags, &err), &err);
}

static void assert_may_not(const struct pkcs11_pin_record *record, const uint8_t *digest,
                           const struct pkcs11_pin_flags *flags, const char *why)
{
    struct kms_error err = { 0 };
    assert_int_equal(judge(record, digest, flags, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, why);
}

/* --- judging --- */

static void a_pin_that_nobody_knows_may_be_tried(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    assert_may(&record, a, &no_flags);
}

static void a_refused_pin_may_not_be_tried_and_another_may(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_refuse(&record, a, "CKR_PIN_INCORRECT", NOW);
    assert_may_not(&record, a, &no_flags, "refused this PIN");
    assert_may(&record, b, &no_flags);
}

static void attempts_that_others_spent_hold_an_unknown_pin_back(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    assert_may_not(&record, a, &low, "somebody spent PIN attempts on token 'fake'");
}

static void attempts_that_others_spent_don_t_hold_a_good_pin_back(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_good(&record, a, true, NOW);
    assert_may(&record, a, &low);
    assert_may_not(&record, b, &low, "never worked here");
}

static void a_correction_may_be_tried_although_the_token_counts_what_was_wrong(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_refuse(&record, a, "CKR_PIN_INCORRECT", NOW);
    assert_may(&record, b, &low);
}

static void a_login_that_was_cut_short_may_be_repeated_if_the_token_counts_nothing(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_begin(&record, a, false, NOW);
    assert_may(&record, a, &no_flags);
    assert_may_not(&record, a, &low, "cut short");
}

static void a_pin_that_never_worked_is_cut_short_three_times_at_most(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_begin(&record, a, false, NOW);
    pkcs11_pin_record_begin(&record, a, false, NOW);
    assert_may(&record, a, &no_flags);
    pkcs11_pin_record_begin(&record, a, false, NOW);
    assert_may_not(&record, a, &no_flags, "3 logins with this PIN were cut short");
}

/* Our login hung, and somebody else mistyped meanwhile. */
static void a_good_pin_that_was_cut_short_is_tried_again_though_the_token_counts(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_good(&record, a, true, NOW);
    pkcs11_pin_record_begin(&record, a, false, NOW);
    pkcs11_pin_record_begin(&record, a, false, NOW);
    assert_may(&record, a, &low);
    pkcs11_pin_record_begin(&record, a, false, NOW);
    assert_may_not(&record, a, &low, "cut short");
}

static void a_good_pin_may_be_cut_short_any_number_of_times(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_good(&record, a, true, NOW);
    for (int i = 0; i < 5; i++)
        pkcs11_pin_record_begin(&record, a, false, NOW);
    assert_may(&record, a, &no_flags);
    assert_may_not(&record, a, &low, "cut short");
}

static void an_unfinished_pin_counts_as_refused_once_another_is_begun_after_a_failure(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_begin(&record, a, false, NOW);
    pkcs11_pin_record_begin(&record, b, true, NOW);
    pkcs11_pin_record_refuse(&record, b, "CKR_PIN_INCORRECT", NOW);
    assert_may_not(&record, a, &low, "refused this PIN");
}

static void an_unfinished_pin_is_forgotten_once_another_is_begun_without_a_failure(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_begin(&record, a, false, NOW);
    pkcs11_pin_record_begin(&record, b, false, NOW);
    pkcs11_pin_record_refuse(&record, b, "CKR_PIN_INCORRECT", NOW);
    assert_may(&record, a, &low);
}

/* --- changes --- */

static void a_good_login_lets_what_was_refused_be_tried_again(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_refuse(&record, a, "CKR_PIN_INCORRECT", NOW);
    pkcs11_pin_record_good(&record, b, true, NOW);
    assert_may(&record, a, &no_flags);
    assert_true(pkcs11_pin_record_is_good(&record, b));
}

static void an_administrator_s_good_login_says_nothing_of_the_service_s_pin(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_refuse(&record, a, "CKR_PIN_INCORRECT", NOW);
    pkcs11_pin_record_refuse(&record, b, "CKR_PIN_INCORRECT", NOW);
    pkcs11_pin_record_good(&record, b, false, NOW);
    assert_may_not(&record, a, &no_flags, "refused this PIN");
    assert_may(&record, b, &no_flags);
    assert_false(pkcs11_pin_record_is_good(&record, b));
}

static void a_good_pin_that_is_refused_is_good_no_more(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    pkcs11_pin_record_good(&record, a, true, NOW);
    pkcs11_pin_record_refuse(&record, a, "CKR_PIN_INCORRECT", NOW);
    assert_false(pkcs11_pin_record_is_good(&record, a));
}

static void a_good_login_like_the_last_changes_nothing(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    char first[PKCS11_PIN_RECORD_MAX], second[PKCS11_PIN_RECORD_MAX];
    pkcs11_pin_record_good(&record, a, true, NOW);
    (void)pkcs11_pin_record_print(&record, first);
    pkcs11_pin_record_begin(&record, a, false, NOW + 5);
    pkcs11_pin_record_good(&record, a, true, NOW + 6);
    (void)pkcs11_pin_record_print(&record, second);
    assert_string_equal(first, second);
}

static void the_oldest_of_many_refused_pins_goes(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = fresh();
    uint8_t digest[PKCS11_PIN_DIGEST_LEN] = { 0 };
    for (size_t i = 0; i < PKCS11_PIN_REFUSED_MAX + 1; i++) {
        digest[1] = (uint8_t)i;
        pkcs11_pin_record_refuse(&record, digest, "CKR_PIN_INCORRECT", NOW + (int64_t)i);
    }
    assert_int_equal(record.refused_count, PKCS11_PIN_REFUSED_MAX);
    assert_non_null(pkcs11_pin_record_refusal(&record, digest));
    digest[1] = 0;
    assert_null(pkcs11_pin_record_refusal(&record, digest));
}

/* --- digests --- */

static void digest_of(const struct pkcs11_pin_record *record, const uint8_t *identity,
                      const char *text, uint8_t *ret)
{
    struct kms_error err;
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    assert_ok(kms_secret_copy(&pin, kms_bytes_of(text), &err), &err);
    assert_ok(pkcs11_pin_record_digest(record, identity, &pin, ret, &err), &err);
}

static void a_digest_is_pbkdf2_of_the_pin_with_salt_and_token(void **state)
{
    (void)state;
    /* hashlib.pbkdf2_hmac("sha256", b"1234", bytes(range(16)) + b"\x11" * 32, 1000) */
    static const char expected[] =
        "72a04671e3c91d749db9f4e737f67c575dbb24b58568f1621e6a3fc821c68790";
    struct pkcs11_pin_record record = { .iterations = 1000 };
    uint8_t identity[KMS_SHA256_LEN], digest[PKCS11_PIN_DIGEST_LEN];
    char hex[2 * PKCS11_PIN_DIGEST_LEN + 1];
    for (size_t i = 0; i < PKCS11_PIN_SALT_LEN; i++)
        record.salt[i] = (uint8_t)i;
    memset(identity, 0x11, sizeof(identity));
    digest_of(&record, identity, "1234", digest);
    kms_hex_encode((struct kms_bytes){ digest, sizeof(digest) }, hex);
    assert_string_equal(hex, expected);
}

static void one_pin_has_other_digests_in_another_file_and_on_another_token(void **state)
{
    (void)state;
    const struct pkcs11_pin_record one = fresh(), two = fresh();
    const uint8_t here[KMS_SHA256_LEN] = { 1 }, there[KMS_SHA256_LEN] = { 2 };
    uint8_t first[PKCS11_PIN_DIGEST_LEN], second[PKCS11_PIN_DIGEST_LEN];
    digest_of(&one, here, "1234", first);
    digest_of(&two, here, "1234", second);
    assert_memory_not_equal(first, second, sizeof(first));
    digest_of(&one, there, "1234", second);
    assert_memory_not_equal(first, second, sizeof(first));
}

/* --- text --- */

static struct pkcs11_pin_record full(void)
{
    struct pkcs11_pin_record record = fresh();
    uint8_t digest[PKCS11_PIN_DIGEST_LEN] = { 0 };
    pkcs11_pin_record_good(&record, b, true, NOW);
    for (size_t i = 0; i < PKCS11_PIN_REFUSED_MAX; i++) {
        digest[1] = (uint8_t)i;
        pkcs11_pin_record_refuse(&record, digest, "CKR_PIN_INCORRECT", NOW + (int64_t)i);
    }
    pkcs11_pin_record_begin(&record, a, false, NOW);
    return record;
}

static enum kms_code parse(const char *text, struct pkcs11_pin_record *record,
                           struct kms_error *err)
{
    return pkcs11_pin_record_parse(kms_bytes_of(text), record, err);
}

static void what_is_printed_is_read_again(void **state)
{
    (void)state;
    const struct pkcs11_pin_record record = full();
    struct pkcs11_pin_record again = { 0 };
    struct kms_error err;
    char text[PKCS11_PIN_RECORD_MAX], text_again[PKCS11_PIN_RECORD_MAX];
    size_t len = pkcs11_pin_record_print(&record, text);
    assert_int_equal(len, strlen(text));
    assert_true(len < PKCS11_PIN_RECORD_MAX / 2);
    assert_ok(parse(text, &again, &err), &err);
    assert_true(pkcs11_pin_record_is_good(&again, b));
    assert_true(pkcs11_pin_record_is_trying(&again, a));
    assert_int_equal(again.refused_count, PKCS11_PIN_REFUSED_MAX);
    (void)pkcs11_pin_record_print(&again, text_again);
    assert_string_equal(text, text_again);
}

static void a_text_that_was_cut_anywhere_is_damaged(void **state)
{
    (void)state;
    const struct pkcs11_pin_record record = full();
    struct pkcs11_pin_record again = { 0 };
    struct kms_error err;
    char text[PKCS11_PIN_RECORD_MAX];
    for (size_t len = pkcs11_pin_record_print(&record, text); len-- > 0;) {
        text[len] = '\0';
        assert_int_equal(parse(text, &again, &err), KMS_E_PRECONDITION);
    }
}

static void a_newer_version_is_told_from_damage(void **state)
{
    (void)state;
    struct pkcs11_pin_record record = { 0 };
    struct kms_error err;
    assert_int_equal(parse("hsm-kms pin latch 2\nwhatever\n", &record, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "newer release");
    assert_int_equal(parse("hsm-kms pin latch 0\nend\n", &record, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "damaged");
}

static void a_number_of_iterations_that_would_take_minutes_is_damage(void **state)
{
    (void)state;
    static const char *const numbers[] = { "0", "999", "1000001", "99999999999", "-1", "1e5", "" };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct pkcs11_pin_record record = { 0 };
        struct kms_error err;
        char text[128];
        (void)snprintf(text, sizeof(text),
                       "hsm-kms pin latch 1\nsalt 000102030405060708090a0b0c0d0e0f\n"
                       "iterations %s\nend\n",
                       numbers[i]);
        assert_int_equal(parse(text, &record, &err), KMS_E_PRECONDITION);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pin_that_nobody_knows_may_be_tried),
        cmocka_unit_test(a_refused_pin_may_not_be_tried_and_another_may),
        cmocka_unit_test(attempts_that_others_spent_hold_an_unknown_pin_back),
        cmocka_unit_test(attempts_that_others_spent_don_t_hold_a_good_pin_back),
        cmocka_unit_test(a_correction_may_be_tried_although_the_token_counts_what_was_wrong),
        cmocka_unit_test(a_login_that_was_cut_short_may_be_repeated_if_the_token_counts_nothing),
        cmocka_unit_test(a_pin_that_never_worked_is_cut_short_three_times_at_most),
        cmocka_unit_test(a_good_pin_that_was_cut_short_is_tried_again_though_the_token_counts),
        cmocka_unit_test(a_good_pin_may_be_cut_short_any_number_of_times),
        cmocka_unit_test(an_unfinished_pin_counts_as_refused_once_another_is_begun_after_a_failure),
        cmocka_unit_test(an_unfinished_pin_is_forgotten_once_another_is_begun_without_a_failure),
        cmocka_unit_test(a_good_login_lets_what_was_refused_be_tried_again),
        cmocka_unit_test(an_administrator_s_good_login_says_nothing_of_the_service_s_pin),
        cmocka_unit_test(a_good_pin_that_is_refused_is_good_no_more),
        cmocka_unit_test(a_good_login_like_the_last_changes_nothing),
        cmocka_unit_test(the_oldest_of_many_refused_pins_goes),
        cmocka_unit_test(a_digest_is_pbkdf2_of_the_pin_with_salt_and_token),
        cmocka_unit_test(one_pin_has_other_digests_in_another_file_and_on_another_token),
        cmocka_unit_test(what_is_printed_is_read_again),
        cmocka_unit_test(a_text_that_was_cut_anywhere_is_damaged),
        cmocka_unit_test(a_newer_version_is_told_from_damage),
        cmocka_unit_test(a_number_of_iterations_that_would_take_minutes_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
