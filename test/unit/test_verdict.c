/* SPDX-License-Identifier: Apache-2.0 */
#include "report/verdict.h"

#include "check.h"
#include "report_rig.h"

#define SECRET "/registry/secrets/default/s"

static void show(struct report_rig *rig, const char *key_id)
{
    report_rig_show_kms(rig, SECRET, key_id, 1, KMS_ETCD_CURRENT);
}

static void show_nothing(struct report_rig *rig)
{
    report_rig_show(rig, SECRET, kms_bytes_of(""), KMS_ETCD_DELETED);
}

static void assert_verdict(const struct report_rig *rig, const struct kms_etcd_summary *summary,
                           enum kms_verdict_kind kind, const char *text)
{
    struct kms_verdict verdict = kms_report_verdict(rig->report, summary);
    assert_string_equal(kms_verdict_name(verdict.kind), kms_verdict_name(kind));
    assert_contains(verdict.text, text);
}

static const struct kms_etcd_summary whole = { .kind = KMS_ETCD_SNAPSHOT, .span_count = 1 };

static void all_under_the_promoted_key_is_clean(void **state)
{
    show(*state, KEY_OF(2));
    assert_verdict(*state, &whole, KMS_VERDICT_CLEAN, "everything");
}

static void a_fault_is_a_finding(void **state)
{
    show(*state, KEY_OF(1));
    assert_verdict(*state, &whole, KMS_VERDICT_FINDINGS, "1 finding(s)");
}

static void nothing_at_all_is_a_finding(void **state)
{
    show_nothing(*state);
    assert_verdict(*state, &whole, KMS_VERDICT_FINDINGS, "--etcd-prefix");
}

static void an_absent_resource_is_a_finding(void **state)
{
    static const char *const expected[] = { "pods" };
    struct report_rig *rig = *state;
    rig->options.expected = (struct kms_resources){ expected, 1 };
    show(rig, KEY_OF(2));
    assert_verdict(rig, &whole, KMS_VERDICT_FINDINGS, "1 expected resource(s) absent");
}

static void a_lost_key_is_more_than_a_finding(void **state)
{
    report_rig_prove(*state, KMS_PROOF_LOST, 0);
    show(*state, KEY_OF(1));
    assert_verdict(*state, &whole, KMS_VERDICT_LOST, "do not delete");
}

static void what_narrows_the_question_is_said(void **state)
{
    static const char *const expected[] = { "secrets" }, *const allowed[] = { KEY_OF(1) };
    struct report_rig *rig = *state;
    rig->options.expected = (struct kms_resources){ expected, 1 };
    rig->options.allowed = allowed;
    rig->options.allowed_count = 1;
    show(rig, KEY_OF(1));
    assert_verdict(rig, &whole, KMS_VERDICT_CLEAN, "of the expected resources");
    assert_verdict(rig, &whole, KMS_VERDICT_CLEAN, "or an allowed one");
}

static void a_part_is_never_clean(void **state)
{
    const struct kms_etcd_summary part = { .kind = KMS_ETCD_SERVER, .stopped = true };
    show(*state, KEY_OF(2));
    assert_verdict(*state, &part, KMS_VERDICT_PARTIAL, "stopped");
}

static void may_be_destroyed(struct report_rig *rig)
{
    rig->options.destroy = 1;
    report_rig_prove(rig, KMS_PROOF_GOOD, 2);
}

static void a_generation_that_nothing_names_may_go_whatever_else_is_found(void **state)
{
    may_be_destroyed(*state);
    show(*state, KEY_OF(2));
    report_rig_show(*state, SECRET, kms_bytes_of("{}"), KMS_ETCD_CURRENT);
    assert_verdict(*state, &whole, KMS_VERDICT_CLEAN, "nothing here needs it;");
}

static const struct kms_etcd_summary server = { .kind = KMS_ETCD_SERVER, .span_count = 1 };

static void a_server_without_the_promoted_key_may_be_another_one(void **state)
{
    may_be_destroyed(*state);
    report_rig_show(*state, SECRET, kms_bytes_of("{}"), KMS_ETCD_CURRENT);
    assert_verdict(*state, &server, KMS_VERDICT_NEEDED, "another etcd");
    report_rig_prove(*state, KMS_PROOF_FOREIGN, 0);
    show(*state, "foreign");
    assert_verdict(*state, &server, KMS_VERDICT_NEEDED, "another etcd");
    report_rig_prove(*state, KMS_PROOF_GOOD, 2);
    show(*state, KEY_OF(2));
    assert_verdict(*state, &server, KMS_VERDICT_CLEAN, "nothing here needs it;");
}

/* Whoever can write there makes labels, and no seeds. */
static void a_label_does_not_make_it_the_right_server(void **state)
{
    may_be_destroyed(*state);
    report_rig_prove(*state, KMS_PROOF_SWAPPED, 3);
    show(*state, KEY_OF(2));
    assert_verdict(*state, &server, KMS_VERDICT_NEEDED, "another etcd");
}

static void a_generation_that_nobody_knows_is_said_to_be_so(void **state)
{
    struct report_rig *rig = *state;
    may_be_destroyed(rig);
    rig->options.destroy = 77;
    show(rig, KEY_OF(2));
    assert_verdict(rig, &whole, KMS_VERDICT_CLEAN, "nor is such a KEK known");
}

static void a_generation_that_something_names_may_not_go(void **state)
{
    may_be_destroyed(*state);
    show(*state, KEY_OF(1));
    assert_verdict(*state, &whole, KMS_VERDICT_NEEDED, "1 value(s)");
}

static void the_promoted_generation_may_not_go(void **state)
{
    struct report_rig *rig = *state;
    may_be_destroyed(rig);
    rig->options.destroy = 2;
    show(rig, "foreign");
    assert_verdict(rig, &whole, KMS_VERDICT_NEEDED, "promoted");
}

static void what_this_node_promoted_may_not_go_whatever_key_id_is_given(void **state)
{
    struct report_rig *rig = *state;
    may_be_destroyed(rig);
    rig->options.promoted = 1;
    show(rig, KEY_OF(2));
    assert_verdict(rig, &whole, KMS_VERDICT_NEEDED, "promoted");
}

static void lost_keys_leave_the_question_open(void **state)
{
    may_be_destroyed(*state);
    report_rig_prove(*state, KMS_PROOF_LOST, 0);
    show(*state, KEY_OF(3));
    assert_verdict(*state, &whole, KMS_VERDICT_LOST, "restore");
}

static void a_member_db_shows_nothing(void **state)
{
    const struct kms_etcd_summary member = { .kind = KMS_ETCD_MEMBER_DB, .span_count = 1 };
    may_be_destroyed(*state);
    show(*state, KEY_OF(2));
    assert_verdict(*state, &member, KMS_VERDICT_NEEDED, "SHA-256");
}

static void two_revisions_show_nothing(void **state)
{
    const struct kms_etcd_summary twice = { .kind = KMS_ETCD_SERVER, .span_count = 2 };
    may_be_destroyed(*state);
    show(*state, KEY_OF(2));
    assert_verdict(*state, &twice, KMS_VERDICT_NEEDED, "compacted");
}

static void an_empty_prefix_shows_nothing(void **state)
{
    may_be_destroyed(*state);
    show_nothing(*state);
    assert_verdict(*state, &whole, KMS_VERDICT_NEEDED, "--etcd-prefix");
}

static void a_provider_that_nothing_names_may_go(void **state)
{
    struct report_rig *rig = *state;
    rig->options.remove = "before";
    show(rig, KEY_OF(2));
    assert_verdict(rig, &whole, KMS_VERDICT_CLEAN, "nothing here needs it");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, report_rig_set_up, report_rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_under_the_promoted_key_is_clean),
        TEST(a_fault_is_a_finding),
        TEST(nothing_at_all_is_a_finding),
        TEST(an_absent_resource_is_a_finding),
        TEST(a_lost_key_is_more_than_a_finding),
        TEST(what_narrows_the_question_is_said),
        TEST(a_part_is_never_clean),
        TEST(a_generation_that_nothing_names_may_go_whatever_else_is_found),
        TEST(a_server_without_the_promoted_key_may_be_another_one),
        TEST(a_label_does_not_make_it_the_right_server),
        TEST(a_generation_that_nobody_knows_is_said_to_be_so),
        TEST(a_generation_that_something_names_may_not_go),
        TEST(the_promoted_generation_may_not_go),
        TEST(what_this_node_promoted_may_not_go_whatever_key_id_is_given),
        TEST(lost_keys_leave_the_question_open),
        TEST(a_member_db_shows_nothing),
        TEST(two_revisions_show_nothing),
        TEST(an_empty_prefix_shows_nothing),
        TEST(a_provider_that_nothing_names_may_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
