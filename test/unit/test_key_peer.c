/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include "key_peer.h"

enum { NOW = 1796126400, SKEW_S = 30, HOUR_S = 3600, DAY_S = 86400 }; /* 2026-12-01T12:00:00Z */

/* Generation 2 of ring prod is to end; its activation is long past. */
static const struct kms_key_ending past = {
    .ring = "prod",
    .generation = 2,
    .on_token = true,
    .activation_utc_s = NOW - DAY_S,
    .now_utc_s = NOW,
    .clock_skew_ms = SKEW_S * 1000,
};

static struct kms_key_ending ending_in(int64_t seconds)
{
    struct kms_key_ending ending = past;
    ending.activation_utc_s = NOW + seconds;
    return ending;
}

static struct kms_key_peer at(uint32_t promoted)
{
    return (struct kms_key_peer){
        .title = "cp-2 (/run/cp-2.sock)",
        .ring = "prod",
        .promoted = promoted,
        .told_utc_s = NOW,
        .ahead_ms = SKEW_S * 1000,
    };
}

static struct kms_key_peer exported_at(uint32_t promoted)
{
    struct kms_key_peer peer = at(promoted);
    peer.is_export = true;
    peer.told_utc_s = NOW - 3 * HOUR_S;
    return peer;
}

static void assert_allowed(const struct kms_key_peer *peer, const struct kms_key_ending *ending)
{
    char why[KMS_KEY_PEER_TEXT_MAX];
    if (!kms_key_peer_allows(peer, ending, why))
        fail_msg("refused: %s", why);
    assert_string_equal(why, "");
}

static void assert_refused(const struct kms_key_peer *peer, const struct kms_key_ending *ending,
                           const char *part)
{
    char why[KMS_KEY_PEER_TEXT_MAX];
    assert_false(kms_key_peer_allows(peer, ending, why));
    assert_contains(why, "cp-2 (/run/cp-2.sock)");
    assert_contains(why, part);
}

static void a_node_beyond_the_generation_allows_it(void **state)
{
    (void)state;
    const struct kms_key_peer peer = at(3);
    assert_allowed(&peer, &past);
}

static void a_node_at_the_generation_refuses(void **state)
{
    (void)state;
    const struct kms_key_peer peer = at(2);
    assert_refused(&peer, &past, "has promoted generation 2 and needs it");
}

static void a_node_that_lags_may_still_promote_it(void **state)
{
    (void)state;
    const struct kms_key_peer peer = at(1);
    assert_refused(&peer, &past, "has promoted generation 1, and may promote this one");
}

static void a_node_that_lags_but_declines_the_key_allows_it(void **state)
{
    (void)state;
    struct kms_key_peer peer = at(1);
    peer.declines = true;
    assert_allowed(&peer, &past);
}

static void a_node_that_declines_the_key_that_it_has_promoted_refuses(void **state)
{
    (void)state;
    struct kms_key_peer peer = at(2);
    peer.declines = true;
    assert_refused(&peer, &past, "needs it");
}

static void before_the_activation_a_node_below_it_allows_it(void **state)
{
    (void)state;
    const struct kms_key_peer peer = at(1), export = exported_at(1);
    const struct kms_key_ending ending = ending_in(HOUR_S);
    assert_allowed(&peer, &ending);
    assert_allowed(&export, &ending);
}

static void the_larger_of_the_two_clock_skews_counts(void **state)
{
    (void)state;
    struct kms_key_peer peer = at(1);
    struct kms_key_ending ending = ending_in(SKEW_S + 5);
    assert_allowed(&peer, &ending);
    peer.ahead_ms = 2 * SKEW_S * 1000;
    assert_refused(&peer, &ending, "at any moment");
    peer.ahead_ms = 0;
    ending.clock_skew_ms = 2 * SKEW_S * 1000;
    assert_refused(&peer, &ending, "at any moment");
}

static void a_clock_as_far_ahead_as_can_be_is_no_overflow(void **state)
{
    (void)state;
    struct kms_key_peer peer = exported_at(1);
    const struct kms_key_ending ending = ending_in(DAY_S);
    peer.ahead_ms = INT64_MAX;
    peer.told_utc_s = INT64_MAX / 1000;
    assert_refused(&peer, &ending, "at any moment");
}

static void a_node_without_a_promoted_generation_may_begin_with_any(void **state)
{
    (void)state;
    const struct kms_key_peer peer = at(0);
    const struct kms_key_ending ending = ending_in(DAY_S);
    assert_refused(&peer, &ending, "has promoted nothing yet, and may begin with this one");
}

static void another_ring_is_refused(void **state)
{
    (void)state;
    struct kms_key_peer peer = at(3);
    (void)strcpy(peer.ring, "test");
    assert_refused(&peer, &past, "serves ring 'test', not 'prod'");
}

static void an_old_export_beyond_the_generation_stays_true(void **state)
{
    (void)state;
    struct kms_key_peer peer = exported_at(3);
    peer.told_utc_s = NOW - 400 * DAY_S;
    assert_allowed(&peer, &past);
}

static void an_export_at_or_below_the_generation_refuses_and_says_its_age(void **state)
{
    (void)state;
    for (uint32_t promoted = 1; promoted <= 2; promoted++) {
        const struct kms_key_peer peer = exported_at(promoted);
        assert_refused(&peer, &past, "as of 2026-12-01T09:00:00Z, 3 h ago");
        assert_refused(&peer, &past, "export it anew");
    }
}

static void only_an_export_has_an_age(void **state)
{
    (void)state;
    const struct kms_key_peer peer = at(3);
    char text[KMS_KEY_PEER_TEXT_MAX];
    kms_key_peer_text(&peer, NOW, text);
    assert_string_equal(text, "cp-2 (/run/cp-2.sock) has promoted generation 3");
}

static void ages_are_told_in_the_unit_that_fits(void **state)
{
    (void)state;
    static const struct {
        int64_t age_s;
        const char *text;
    } ages[] = {
        { -5, ", 0 s ago" },         { 119, ", 119 s ago" },          { 120, ", 2 min ago" },
        { 2 * HOUR_S, ", 2 h ago" }, { 2 * DAY_S - 1, ", 47 h ago" }, { 9 * DAY_S, ", 9 d ago" }
    };
    for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
        char text[KMS_KEY_PEER_TEXT_MAX];
        struct kms_key_peer peer = exported_at(3);
        peer.told_utc_s = NOW - ages[i].age_s;
        kms_key_peer_text(&peer, NOW, text);
        assert_contains(text, ages[i].text);
    }
}

static void a_new_generation_ends_only_before_every_node(void **state)
{
    (void)state;
    struct kms_key_ending ending = ending_in(HOUR_S);
    ending.is_new = true;
    for (uint32_t promoted = 1; promoted <= 3; promoted++) {
        const struct kms_key_peer peer = at(promoted);
        if (promoted == 1)
            assert_allowed(&peer, &ending);
        else
            assert_refused(&peer, &ending, promoted == 2 ? "can't be cancelled" : "key destroy");
    }
}

/* The key is gone already; a number that a node writes under isn't buried for it. */
static void of_a_number_alone_only_the_promoted_one_is_refused(void **state)
{
    (void)state;
    struct kms_key_ending ending = past;
    ending.on_token = false;
    for (uint32_t promoted = 0; promoted <= 3; promoted++) {
        const struct kms_key_peer peer = at(promoted);
        if (promoted == 2)
            assert_refused(&peer, &ending, "needs it");
        else
            assert_allowed(&peer, &ending);
    }
}

static void the_longest_names_leave_room_for_the_advice(void **state)
{
    (void)state;
    struct kms_key_peer peer = exported_at(1);
    char why[KMS_KEY_PEER_TEXT_MAX];
    memset(peer.title, 'n', sizeof(peer.title) - 1);
    assert_false(kms_key_peer_allows(&peer, &past, why));
    assert_contains(why, "3 h ago, and may promote this one");
    assert_contains(why, "export it anew");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_beyond_the_generation_allows_it),
        cmocka_unit_test(a_node_at_the_generation_refuses),
        cmocka_unit_test(a_node_that_lags_may_still_promote_it),
        cmocka_unit_test(a_node_that_lags_but_declines_the_key_allows_it),
        cmocka_unit_test(a_node_that_declines_the_key_that_it_has_promoted_refuses),
        cmocka_unit_test(before_the_activation_a_node_below_it_allows_it),
        cmocka_unit_test(the_larger_of_the_two_clock_skews_counts),
        cmocka_unit_test(a_clock_as_far_ahead_as_can_be_is_no_overflow),
        cmocka_unit_test(a_node_without_a_promoted_generation_may_begin_with_any),
        cmocka_unit_test(another_ring_is_refused),
        cmocka_unit_test(an_old_export_beyond_the_generation_stays_true),
        cmocka_unit_test(an_export_at_or_below_the_generation_refuses_and_says_its_age),
        cmocka_unit_test(only_an_export_has_an_age),
        cmocka_unit_test(ages_are_told_in_the_unit_that_fits),
        cmocka_unit_test(a_new_generation_ends_only_before_every_node),
        cmocka_unit_test(of_a_number_alone_only_the_promoted_one_is_refused),
        cmocka_unit_test(the_longest_names_leave_room_for_the_advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
