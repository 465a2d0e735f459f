/* SPDX-License-Identifier: Apache-2.0 */
#include "access.h"
#include "check.h"

enum { SELF = 990, GROUP = 500, STRANGER = 12345 };

static const uint32_t listed[] = { 65534, 1001 };
static const struct kms_access_rules rules = {
    .self = SELF, .group = GROUP, .allow_uids = listed, .allow_uid_count = 2
};
static const gid_t other_groups[] = { 7, 8 };
static const gid_t groups_with_ours[] = { 7, 8, GROUP };

static void root_may_speak(void **state)
{
    (void)state;
    const struct kms_access_peer peer = { .uid = 0, .gid = STRANGER };
    assert_true(kms_access_allows(&rules, &peer));
}

static void the_servers_own_uid_may_speak(void **state)
{
    (void)state;
    const struct kms_access_peer peer = { .uid = SELF, .gid = STRANGER };
    assert_true(kms_access_allows(&rules, &peer));
}

static void every_listed_uid_may_speak(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct kms_access_peer peer = { .uid = listed[i], .gid = STRANGER };
        assert_true(kms_access_allows(&rules, &peer));
    }
}

static void the_group_as_gid_may_speak(void **state)
{
    (void)state;
    const struct kms_access_peer peer = { .uid = STRANGER, .gid = GROUP };
    assert_true(kms_access_allows(&rules, &peer));
}

static void the_group_among_supplementary_groups_may_speak(void **state)
{
    (void)state;
    const struct kms_access_peer peer = {
        .uid = STRANGER, .gid = STRANGER, .groups = groups_with_ours, .group_count = 3
    };
    assert_true(kms_access_allows(&rules, &peer));
}

static void a_stranger_may_not_speak(void **state)
{
    (void)state;
    const struct kms_access_peer peer = {
        .uid = STRANGER, .gid = STRANGER, .groups = other_groups, .group_count = 2
    };
    assert_false(kms_access_allows(&rules, &peer));
}

static void a_gid_is_no_uid(void **state)
{
    (void)state;
    const struct kms_access_peer peer = { .uid = GROUP, .gid = 65534 };
    assert_false(kms_access_allows(&rules, &peer));
}

static void one_event_a_second_is_logged(void **state)
{
    (void)state;
    struct kms_log_limit limit = { 0 };
    uint64_t count = 0;
    assert_true(kms_log_limit_pass(&limit, 5000, &count));
    assert_int_equal(count, 1);
    assert_false(kms_log_limit_pass(&limit, 5001, &count));
    assert_false(kms_log_limit_pass(&limit, 5999, &count));
    assert_true(kms_log_limit_pass(&limit, 6000, &count));
    assert_int_equal(count, 3);
}

static void events_held_back_are_told_once_their_second_is_over(void **state)
{
    (void)state;
    struct kms_log_limit limit = { 0 };
    uint64_t count = 0;
    assert_true(kms_log_limit_pass(&limit, 5000, &count));
    assert_int_equal(kms_log_limit_flush(&limit, 6000), 0);
    assert_true(kms_log_limit_pass(&limit, 7000, &count));
    assert_false(kms_log_limit_pass(&limit, 7001, &count));
    assert_false(kms_log_limit_pass(&limit, 7002, &count));
    assert_int_equal(kms_log_limit_flush(&limit, 7500), 0);
    assert_int_equal(kms_log_limit_flush(&limit, 8000), 2);
    assert_int_equal(kms_log_limit_flush(&limit, 9000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(root_may_speak),
        cmocka_unit_test(the_servers_own_uid_may_speak),
        cmocka_unit_test(every_listed_uid_may_speak),
        cmocka_unit_test(the_group_as_gid_may_speak),
        cmocka_unit_test(the_group_among_supplementary_groups_may_speak),
        cmocka_unit_test(a_stranger_may_not_speak),
        cmocka_unit_test(a_gid_is_no_uid),
        cmocka_unit_test(one_event_a_second_is_logged),
        cmocka_unit_test(events_held_back_are_told_once_their_second_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
