/* SPDX-License-Identifier: Apache-2.0 */
/* One call over several tokens: who is asked, for how long, and what is said in the end. */
#include "failover_rig.h"

#include "kms/clock.h"

enum { A, B, C, SOON_MS = 2000 };

static int set_up(void **state)
{
    static struct failover_rig rig;
    failover_rig_open(&rig, FAILOVER_RIG_MAX);
    *state = &rig;
    return 0;
}

static int tear_down(void **state)
{
    failover_rig_close(*state);
    return 0;
}

static void assert_wraps(struct failover_rig *rig)
{
    assert_ok(failover_rig_wrap(rig, SOON_MS), &rig->err);
}

/* --- who is asked --- */

static void the_first_token_serves(void **state)
{
    struct failover_rig *rig = *state;
    assert_wraps(rig);
    assert_int_equal(failover_rig_wraps(rig, A), 1);
    assert_int_equal(failover_rig_wraps(rig, B), 0);
}

static void what_one_token_wrapped_another_unwraps(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, B, KMS_E_INTERNAL);
    assert_ok(failover_rig_unwrap(rig, SOON_MS), &rig->err);
}

static void a_token_that_failed_is_not_asked_again(void **state)
{
    static const enum kms_code codes[] = { KMS_E_UNAVAILABLE, KMS_E_INTERNAL, KMS_E_DEADLINE };
    struct failover_rig *rig = *state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        unsigned before = failover_rig_wraps(rig, A);
        failover_rig_fail(rig, A, codes[i]);
        assert_wraps(rig);
        assert_wraps(rig);
        assert_int_equal(failover_rig_wraps(rig, A), before + 1);
        assert_true(failover_rig_rests(rig, A));
        failover_rig_fail(rig, A, KMS_OK);
        assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    }
}

static void a_token_that_is_busy_or_refuses_is_asked_again(void **state)
{
    static const enum kms_code codes[] = { KMS_E_BUSY, KMS_E_PRECONDITION };
    struct failover_rig *rig = *state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        unsigned before = failover_rig_wraps(rig, A);
        failover_rig_fail(rig, A, codes[i]);
        assert_wraps(rig);
        assert_wraps(rig);
        assert_int_equal(failover_rig_wraps(rig, A), before + 2);
        assert_false(failover_rig_rests(rig, A));
    }
}

static void a_bad_request_is_not_tried_elsewhere(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_INVALID);
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_INVALID);
    assert_int_equal(rig->err.code, KMS_E_INVALID);
    assert_int_equal(failover_rig_wraps(rig, B), 0);
    failover_rig_fail(rig, A, KMS_E_CORRUPT);
    assert_int_equal(failover_rig_unwrap(rig, SOON_MS), KMS_E_CORRUPT);
    assert_int_equal(rig->err.code, KMS_E_CORRUPT);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_UNWRAP), 0);
    assert_false(failover_rig_rests(rig, A));
}

static void an_algorithm_that_one_token_lacks_is_tried_on_the_next(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_INVALID);
    assert_ok(failover_rig_unwrap(rig, SOON_MS), &rig->err);
    assert_false(failover_rig_rests(rig, A));
    failover_rig_fail(rig, B, KMS_E_INVALID);
    failover_rig_fail(rig, C, KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_unwrap(rig, SOON_MS), KMS_E_INVALID);
}

static void a_token_without_the_key_is_not_asked(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_remove(rig->fakes[A], "prod.v1");
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_wraps(rig);
    assert_int_equal(failover_rig_wraps(rig, A), 0);
    assert_int_equal(failover_rig_wraps(rig, B), 1);
}

static void another_key_under_the_label_is_not_the_key(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_remove(rig->fakes[A], "prod.v1");
    fake_keystore_add(rig->fakes[A], "prod.v1", FAILOVER_FILL + 1);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    assert_wraps(rig);
    assert_int_equal(failover_rig_wraps(rig, A), 0);
}

static void a_resting_token_is_a_last_resort(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_UNAVAILABLE);
    assert_wraps(rig);
    failover_rig_fail(rig, A, KMS_OK); /* it is back, but nobody knows */
    failover_rig_fail(rig, B, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, C, KMS_E_UNAVAILABLE);
    assert_wraps(rig);
    assert_int_equal(failover_rig_wraps(rig, A), 2);
    assert_true(failover_rig_rests(rig, A));
}

static void with_two_of_three_away_the_third_serves(void **state)
{
    struct failover_rig *rig = *state;
    for (size_t left = 0; left < FAILOVER_RIG_MAX; left++) {
        for (size_t i = 0; i < FAILOVER_RIG_MAX; i++)
            failover_rig_fail(rig, i, i == left ? KMS_OK : KMS_E_UNAVAILABLE);
        assert_wraps(rig);
        assert_ok(failover_rig_unwrap(rig, SOON_MS), &rig->err);
    }
}

/* --- time --- */

static void a_hanging_token_costs_only_its_share(void **state)
{
    enum { GIVEN_MS = 1500 };
    struct failover_rig *rig = *state;
    fake_keystore_hang(rig->fakes[A], FAKE_WRAP, true);
    int64_t began_ms = kms_monotonic_ms();
    assert_ok(failover_rig_wrap(rig, GIVEN_MS), &rig->err);
    int64_t took_ms = kms_monotonic_ms() - began_ms;
    assert_in_range(took_ms, GIVEN_MS / 3 - 50, GIVEN_MS / 2);
    assert_true(failover_rig_rests(rig, A));
}

static void the_last_token_gets_all_that_is_left(void **state)
{
    enum { GIVEN_MS = 600 };
    struct failover_rig *rig = *state;
    for (size_t i = 0; i < FAILOVER_RIG_MAX; i++)
        fake_keystore_hang(rig->fakes[i], FAKE_WRAP, true);
    int64_t began_ms = kms_monotonic_ms();
    assert_int_equal(failover_rig_wrap(rig, GIVEN_MS), KMS_E_DEADLINE);
    assert_true(kms_monotonic_ms() - began_ms >= GIVEN_MS);
    assert_int_equal(failover_rig_wraps(rig, C), 1);
}

static void a_client_in_a_hurry_says_nothing_of_the_token(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_hang(rig->fakes[A], FAKE_WRAP, true);
    assert_ok(failover_rig_wrap(rig, 30), &rig->err);
    assert_false(failover_rig_rests(rig, A));
}

static void a_deadline_in_the_past_rests_nobody(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_hang(rig->fakes[A], FAKE_WRAP, true);
    assert_int_equal(failover_rig_wrap(rig, -1), KMS_E_DEADLINE);
    assert_int_equal(failover_rig_wraps(rig, B), 0);
    assert_false(failover_rig_rests(rig, A));
}

/* --- what is said --- */

static void the_first_tokens_failure_is_told_with_its_name(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, B, KMS_E_PRECONDITION);
    failover_rig_fail(rig, C, KMS_E_INTERNAL);
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_UNAVAILABLE);
    assert_int_equal(rig->err.code, KMS_E_UNAVAILABLE);
    assert_string_equal(rig->err.msg, "token 'a': fake failure: unavailable");
}

static void a_failure_that_says_more_is_preferred(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_BUSY);
    failover_rig_fail(rig, B, KMS_E_DEADLINE);
    failover_rig_fail(rig, C, KMS_E_PRECONDITION);
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_PRECONDITION);
    assert_string_equal(rig->err.msg, "token 'c': fake failure: precondition");
}

static void a_key_on_no_token_needs_mending(void **state)
{
    struct failover_rig *rig = *state;
    rig->kek.label = "prod.v2";
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "prod.v2");
    assert_int_equal(failover_rig_canary(rig, SOON_MS), KMS_E_PRECONDITION);
}

static void a_key_that_may_be_on_a_token_that_is_away_is_unavailable(void **state)
{
    struct failover_rig *rig = *state;
    fake_keystore_fail(rig->fakes[B], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_ok(failover_rig_list(rig, 0, NULL), &rig->err);
    rig->kek.label = "prod.v2";
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "token 'b'");
    assert_contains(rig->err.msg, "do not delete objects");
}

static void before_any_listing_everything_is_unavailable(void **state)
{
    (void)state;
    struct failover_rig fresh;
    failover_rig_open_unlisted(&fresh, 2);
    assert_int_equal(failover_rig_wrap(&fresh, SOON_MS), KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_canary(&fresh, SOON_MS), KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_wraps(&fresh, A), 0);
    failover_rig_close(&fresh);
}

static void a_rest_is_logged_when_it_begins_and_when_it_ends(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, B, KMS_E_UNAVAILABLE);
    failover_rig_fail(rig, C, KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_wrap(rig, SOON_MS), KMS_E_UNAVAILABLE);
    assert_int_equal(failover_rig_logged(rig, "token rests"), 3);
    assert_int_equal(failover_rig_logged(rig, "token=a "), 1);
    failover_rig_fail(rig, A, KMS_OK);
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_ok(failover_rig_canary(rig, SOON_MS), &rig->err);
    assert_int_equal(failover_rig_logged(rig, "token is used again"), 1);
}

static void tokens_describe_themselves_with_name_and_trouble(void **state)
{
    struct failover_rig *rig = *state;
    failover_rig_fail(rig, A, KMS_E_INTERNAL);
    assert_wraps(rig);
    struct kms_token_info a = failover_rig_info(rig, A), b = failover_rig_info(rig, B);
    assert_string_equal(a.name, "a");
    assert_string_equal(a.label, "fake");
    assert_true(a.resting);
    assert_string_equal(a.problem, "fake failure: internal");
    assert_string_equal(b.name, "b");
    assert_false(b.resting);
    assert_string_equal(b.problem, "");
}

/* --- signatures --- */

static enum kms_code sign(struct failover_rig *rig)
{
    struct kms_signature signature;
    return kms_keystore_sign(rig->keystore, "prod.audit", kms_bytes_of("text"),
                             kms_monotonic_ms() + SOON_MS, &signature, &rig->err);
}

static void make_audit_key(struct failover_rig *rig, size_t token)
{
    struct kms_audit_key key;
    assert_ok(kms_keystore_audit_key(fake_keystore_seam(rig->fakes[token]), "prod.audit", true, 0,
                                     &key, &rig->err),
              &rig->err);
}

static void the_token_that_has_the_key_signs(void **state)
{
    struct failover_rig *rig = *state;
    make_audit_key(rig, B);
    assert_ok(sign(rig), &rig->err);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_SIGN), 1);
    assert_int_equal(fake_keystore_calls(rig->fakes[C], FAKE_SIGN), 0);
}

static void a_token_that_cannot_sign_serves_all_the_same(void **state)
{
    struct failover_rig *rig = *state;
    make_audit_key(rig, B);
    fake_keystore_fail(rig->fakes[A], FAKE_SIGN, KMS_E_INTERNAL, -1);
    assert_ok(sign(rig), &rig->err);
    assert_false(failover_rig_rests(rig, A));
}

static void a_drained_token_signs_nothing(void **state)
{
    struct failover_rig *rig = *state;
    make_audit_key(rig, A);
    assert_ok(failover_rig_list(rig, 1U << A, NULL), &rig->err);
    assert_int_equal(sign(rig), KMS_E_PRECONDITION);
    assert_int_equal(fake_keystore_calls(rig->fakes[A], FAKE_SIGN), 0);
}

static void without_the_key_on_any_token_the_first_one_is_named(void **state)
{
    struct failover_rig *rig = *state;
    assert_int_equal(sign(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "'a'");
}

/* --- who can be managed --- */

static void keys_of_tokens_that_can_be_managed_can_be(void **state)
{
    struct failover_rig *rig = *state;
    assert_non_null(rig->keystore->ops->manage);
}

static void a_token_that_only_serves_makes_all_only_serve(void **state)
{
    (void)state;
    struct fake_keystore *fakes[] = { fake_keystore_new(), fake_keystore_new() };
    struct kms_keystore *seam = fake_keystore_seam(fakes[1]), *keystore = NULL;
    struct kms_keystore_ops only_serves = *seam->ops;
    struct kms_error err;
    only_serves.manage = NULL;
    seam->ops = &only_serves;
    const struct kms_failover_token tokens[] = { { "a", fake_keystore_seam(fakes[0]), true },
                                                 { "b", seam, true } };
    assert_ok(kms_failover_open(tokens, 2, &keystore, &err), &err);
    assert_null(keystore->ops->manage);
    kms_keystore_close(keystore);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_token_serves),
        TEST(what_one_token_wrapped_another_unwraps),
        TEST(a_token_that_failed_is_not_asked_again),
        TEST(a_token_that_is_busy_or_refuses_is_asked_again),
        TEST(a_bad_request_is_not_tried_elsewhere),
        TEST(an_algorithm_that_one_token_lacks_is_tried_on_the_next),
        TEST(a_token_without_the_key_is_not_asked),
        TEST(another_key_under_the_label_is_not_the_key),
        TEST(a_resting_token_is_a_last_resort),
        TEST(with_two_of_three_away_the_third_serves),
        TEST(a_hanging_token_costs_only_its_share),
        TEST(the_last_token_gets_all_that_is_left),
        TEST(a_client_in_a_hurry_says_nothing_of_the_token),
        TEST(a_deadline_in_the_past_rests_nobody),
        TEST(the_first_tokens_failure_is_told_with_its_name),
        TEST(a_failure_that_says_more_is_preferred),
        TEST(a_key_on_no_token_needs_mending),
        TEST(a_key_that_may_be_on_a_token_that_is_away_is_unavailable),
        TEST(before_any_listing_everything_is_unavailable),
        TEST(a_rest_is_logged_when_it_begins_and_when_it_ends),
        TEST(tokens_describe_themselves_with_name_and_trouble),
        TEST(the_token_that_has_the_key_signs),
        TEST(a_token_that_cannot_sign_serves_all_the_same),
        TEST(a_drained_token_signs_nothing),
        TEST(without_the_key_on_any_token_the_first_one_is_named),
        TEST(keys_of_tokens_that_can_be_managed_can_be),
        TEST(a_token_that_only_serves_makes_all_only_serve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
