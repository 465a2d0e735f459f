/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "kms/clock.h"

static void stamp_round_trip(void **state)
{
    (void)state;
    char text[KMS_STAMP_LEN + 1];
    kms_stamp_format(1796126400, text);
    assert_string_equal(text, "20261201T120000Z");
    int64_t utc_s;
    assert_true(kms_stamp_parse(text, &utc_s));
    assert_int_equal(utc_s, 1796126400);
}

static void stamp_refuses_what_does_not_print_back(void **state)
{
    (void)state;
    int64_t utc_s;
    assert_false(kms_stamp_parse("20260231T000000Z", &utc_s)); /* 31 February */
    assert_false(kms_stamp_parse("20261201T120000", &utc_s));
    assert_false(kms_stamp_parse("20261201T120000Zx", &utc_s));
    assert_false(kms_stamp_parse("2026121T120000Z", &utc_s));
    assert_false(kms_stamp_parse("20261201T126000Z", &utc_s));
    assert_false(kms_stamp_parse("20261201T235960Z", &utc_s)); /* a leap second has no stamp */
    assert_false(kms_stamp_parse("", &utc_s));
}

static void rfc3339_round_trip(void **state)
{
    (void)state;
    int64_t utc_s;
    assert_true(kms_rfc3339_parse("2026-12-01T12:00:00Z", &utc_s));
    assert_int_equal(utc_s, 1796126400);
    char text[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(utc_s, text);
    assert_string_equal(text, "2026-12-01T12:00:00Z");
    kms_rfc3339_format_ms(utc_s * 1000 + 7, text);
    assert_string_equal(text, "2026-12-01T12:00:00.007Z");
}

static void years_that_do_not_fit_are_pinned(void **state)
{
    (void)state;
    char text[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59Z");
}

static void duration_reads_each_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        { "0s", 0 },      { "500ms", 500 },     { "30s", 30000 },
        { "5m", 300000 }, { "72h", 259200000 }, { "1d", 86400000 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t ms = -1;
        assert_true(kms_duration_parse(cases[i].text, &ms));
        assert_int_equal(ms, cases[i].ms);
    }
}

static void duration_refuses_anything_else(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "30",
                                       "s",
                                       "-1s",
                                       "1.5s",
                                       "30 s",
                                       "30S",
                                       "1h30m",
                                       "99999999999999999999s",
                                       "9223372036854775807d" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int64_t ms;
        assert_false(kms_duration_parse(bad[i], &ms));
    }
}

static void duration_formats_the_shortest_exact_form(void **state)
{
    (void)state;
    char text[KMS_DURATION_LEN + 1];
    kms_duration_format(0, text);
    assert_string_equal(text, "0s");
    kms_duration_format(90000, text);
    assert_string_equal(text, "90s");
    kms_duration_format(3600000, text);
    assert_string_equal(text, "1h");
    kms_duration_format(1500, text);
    assert_string_equal(text, "1500ms");
}

static void a_wait_ends_at_its_deadline(void **state)
{
    (void)state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond;
    kms_cond_init(&cond);
    pthread_mutex_lock(&mutex);
    assert_false(kms_cond_wait_until(&cond, &mutex, kms_monotonic_ms() + 1));
    assert_false(kms_cond_wait_until(&cond, &mutex, -5)); /* long past */
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&cond);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stamp_round_trip),
        cmocka_unit_test(stamp_refuses_what_does_not_print_back),
        cmocka_unit_test(rfc3339_round_trip),
        cmocka_unit_test(years_that_do_not_fit_are_pinned),
        cmocka_unit_test(duration_reads_each_unit),
        cmocka_unit_test(duration_refuses_anything_else),
        cmocka_unit_test(duration_formats_the_shortest_exact_form),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
