/* SPDX-License-Identifier: Apache-2.0 */
#include "report/finding.h"

#include "check.h"

static const struct kms_finding plain = {
    .kind = KMS_FINDING_PLAINTEXT,
    .history = true,
    .mod_revision = 7,
    .key = { (const uint8_t *)"/key", 4 },
    .key_id = { (const uint8_t *)"id", 2 },
    .detail = "why",
};

static void the_first_hundred_are_kept_and_all_are_counted(void **state)
{
    struct kms_findings *findings = *state;
    struct kms_error err = { 0 };
    for (int i = 0; i < 250; i++)
        assert_ok(kms_findings_add(findings, &plain, &err), &err);
    const struct kms_findings_list *list = &findings->lists[KMS_FINDING_PLAINTEXT];
    assert_int_equal(list->count, 250);
    assert_int_equal(list->kept, KMS_FINDINGS_SHOWN);
    const struct kms_findings_item *item = &list->items[99];
    assert_true(kms_bytes_equal(item->key, plain.key));
    assert_true(kms_bytes_equal(item->key_id, plain.key_id));
    assert_string_equal(item->detail, "why");
    assert_true(item->history && !item->cut);
    assert_int_equal(item->mod_revision, 7);
}

static void long_keys_are_cut(void **state)
{
    static const uint8_t key[KMS_FINDING_KEY_MAX + 1];
    struct kms_findings *findings = *state;
    struct kms_error err = { 0 };
    struct kms_finding finding = plain;
    finding.key = (struct kms_bytes){ key, sizeof key };
    assert_ok(kms_findings_add(findings, &finding, &err), &err);
    const struct kms_findings_item *item = &findings->lists[KMS_FINDING_PLAINTEXT].items[0];
    assert_true(item->cut);
    assert_int_equal(item->key.len, KMS_FINDING_KEY_MAX);
}

static void what_may_be_in_the_clear_is_no_fault(void **state)
{
    struct kms_findings *findings = *state;
    struct kms_error err = { 0 };
    struct kms_finding finding = plain;
    for (int kind = 0; kind < KMS_FINDING_KIND_COUNT; kind++) {
        finding.kind = (enum kms_finding_kind)kind;
        assert_ok(kms_findings_add(findings, &finding, &err), &err);
        assert_non_null(kms_finding_name(finding.kind));
        assert_non_null(kms_finding_meaning(finding.kind));
    }
    assert_int_equal(kms_findings_count_faults(findings), KMS_FINDING_CORRUPT_OBJECT + 1);
}

static int set_up(void **state)
{
    static struct kms_findings findings;
    *state = &findings;
    return 0;
}

static int tear_down(void **state)
{
    kms_findings_done(*state);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_hundred_are_kept_and_all_are_counted),
        TEST(long_keys_are_cut),
        TEST(what_may_be_in_the_clear_is_no_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
