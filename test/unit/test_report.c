/* SPDX-License-Identifier: Apache-2.0 */
#include "report/report.h"

#include "check.h"
#include "report_rig.h"

#define SECRET "/registry/secrets/default/s"

/* --- as labelled --- */

static const struct {
    const char *key, *value;
    enum kms_finding_kind kind;
} labels[] = {
    { SECRET, "k8s\x01", KMS_FINDING_PLAINTEXT },
    { SECRET, "{}", KMS_FINDING_PLAINTEXT },
    { SECRET, "", KMS_FINDING_PLAINTEXT },
    { "/registry/leases/ns/l", "{}", KMS_LISTED_EXEMPTED },
    { "/registry/masterleases/10.0.0.1", "{}", KMS_LISTED_EXEMPT },
    { SECRET, "k8s:enc:aescbc:v1:key1:0123456789abcdef0123456789abcdef",
      KMS_FINDING_OTHER_PROVIDER },
    { SECRET, "k8s:enc:new:v1:x:y", KMS_FINDING_UNKNOWN_FORMAT },
    { SECRET, "k8s:enc:kms:v2:hsm:x", KMS_FINDING_MALFORMED },
};

static void each_label_is_the_finding_that_it_is(void **state)
{
    static const char *const exempt[] = { "leases.coordination.k8s.io" };
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        report_rig_set_up(state);
        struct report_rig *rig = *state;
        rig->options.exempt = (struct kms_resources){ exempt, 1 };
        report_rig_show(rig, labels[i].key, kms_bytes_of(labels[i].value), KMS_ETCD_CURRENT);
        for (int kind = 0; kind < KMS_FINDING_KIND_COUNT; kind++)
            if (report_rig_count(rig, (enum kms_finding_kind)kind) !=
                ((enum kms_finding_kind)kind == labels[i].kind ? 1 : 0))
                fail_msg("%zu: '%s' is listed as %s or not at all", i, labels[i].value,
                         kms_finding_name((enum kms_finding_kind)kind));
        assert_int_equal(rig->listed, 1);
        report_rig_tear_down(state);
    }
    report_rig_set_up(state);
}

static void the_promoted_key_is_no_finding(void **state)
{
    struct report_rig *rig = *state;
    report_rig_show_kms(rig, SECRET, KEY_OF(2), 1, KMS_ETCD_CURRENT);
    assert_int_equal(kms_findings_count_faults(kms_report_findings(rig->report)), 0);
    assert_int_equal(kms_report_totals(rig->report)->promoted, 1);
}

static void other_keys_are_told_apart(void **state)
{
    struct report_rig *rig = *state;
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, SECRET, KEY_OF(3), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, SECRET, "arn:aws:kms", 1, KMS_ETCD_CURRENT);
    assert_int_equal(report_rig_count(rig, KMS_FINDING_OLD_KEY), 1);
    assert_int_equal(report_rig_count(rig, KMS_FINDING_UNKNOWN_KEY), 1);
    assert_int_equal(report_rig_count(rig, KMS_FINDING_FOREIGN_KEY), 1);
}

static void without_the_rings_list_no_key_is_unknown(void **state)
{
    struct report_rig *rig = *state;
    rig->options.key_id_count = 0;
    report_rig_show_kms(rig, SECRET, KEY_OF(3), 1, KMS_ETCD_CURRENT);
    assert_int_equal(report_rig_count(rig, KMS_FINDING_OLD_KEY), 1);
}

static void an_allowed_key_is_as_good_as_the_promoted_one(void **state)
{
    static const char *const allowed[] = { KEY_OF(1) };
    struct report_rig *rig = *state;
    rig->options.allowed = allowed;
    rig->options.allowed_count = 1;
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 1, KMS_ETCD_CURRENT);
    assert_int_equal(kms_findings_count_faults(kms_report_findings(rig->report)), 0);
    assert_int_equal(kms_report_totals(rig->report)->promoted, 0);
    assert_int_equal(kms_report_totals(rig->report)->allowed, 1);
}

static void history_is_counted_apart_and_is_no_finding(void **state)
{
    struct report_rig *rig = *state;
    report_rig_show_kms(rig, SECRET, KEY_OF(2), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 2, KMS_ETCD_HISTORY);
    report_rig_show(rig, SECRET, kms_bytes_of("{}"), KMS_ETCD_HISTORY);
    report_rig_show(rig, SECRET, kms_bytes_of(""), KMS_ETCD_DELETED);
    const struct kms_report_totals *totals = kms_report_totals(rig->report);
    assert_int_equal(totals->values.current, 1);
    assert_int_equal(totals->values.history, 2);
    assert_int_equal(totals->deleted, 1);
    assert_int_equal(kms_findings_count_faults(kms_report_findings(rig->report)), 0);
}

static void dek_sources_are_counted_once_each(void **state)
{
    struct report_rig *rig = *state;
    for (uint8_t i = 0; i < 6; i++)
        report_rig_show_kms(rig, SECRET, KEY_OF(2), i / 2, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 0, KMS_ETCD_CURRENT);
    assert_int_equal(kms_report_totals(rig->report)->sources, 4);
    size_t count;
    const struct kms_tally_key *keys = kms_tally_keys(kms_report_tally(rig->report), &count);
    assert_int_equal(count, 3);
    assert_int_equal(keys[1].sources, 3);
    assert_int_equal(keys[2].sources, 1);
}

static void only_expected_resources_are_judged(void **state)
{
    static const char *const expected[] = { "secrets", "configmaps" };
    struct report_rig *rig = *state;
    rig->options.expected = (struct kms_resources){ expected, 2 };
    report_rig_show(rig, SECRET, kms_bytes_of("{}"), KMS_ETCD_CURRENT);
    report_rig_show(rig, "/registry/pods/d/p", kms_bytes_of("{}"), KMS_ETCD_CURRENT);
    report_rig_show(rig, "/registry/configmaps/d/c", kms_bytes_of("{}"), KMS_ETCD_HISTORY);
    assert_int_equal(report_rig_count(rig, KMS_FINDING_PLAINTEXT), 1);
    assert_true(kms_report_has_seen(rig->report, 0));
    assert_false(kms_report_has_seen(rig->report, 1));
    assert_int_equal(kms_report_count_absent(rig->report), 1);
}

/* --- what needs a key or provider --- */

static void current_and_old_values_need_their_generation(void **state)
{
    struct report_rig *rig = *state;
    rig->options.destroy = 1;
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 1, KMS_ETCD_HISTORY);
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, SECRET, KEY_OF(2), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, SECRET, "other.v1.00112233445566778899aabbccddeeff", 1,
                        KMS_ETCD_CURRENT);
    assert_int_equal(report_rig_count(rig, KMS_LISTED_DEPENDENT), 2);
}

static void a_malformed_kms_value_may_need_any_generation(void **state)
{
    struct report_rig *rig = *state;
    rig->options.destroy = 1;
    report_rig_show(rig, SECRET, kms_bytes_of("k8s:enc:kms:v2:hsm:x"), KMS_ETCD_HISTORY);
    report_rig_show(rig, SECRET, kms_bytes_of("k8s:enc:aescbc:v1:k:x"), KMS_ETCD_HISTORY);
    assert_int_equal(report_rig_count(rig, KMS_LISTED_DEPENDENT), 1);
}

static const struct {
    const char *provider;
    uint64_t needed_by;
} providers[] = { { "hsm", 1 },    { "old", 1 },      { "aescbc", 1 },
                  { "aesgcm", 0 }, { "identity", 1 }, { "key1", 1 } };

static void values_need_the_provider_that_wrote_them(void **state)
{
    for (size_t i = 0; i < sizeof providers / sizeof providers[0]; i++) {
        report_rig_set_up(state);
        struct report_rig *rig = *state;
        rig->options.remove = providers[i].provider;
        report_rig_show_kms(rig, SECRET, KEY_OF(2), 1, KMS_ETCD_CURRENT);
        report_rig_show(rig, SECRET, kms_bytes_of("k8s:enc:kms:v2:old:x"), KMS_ETCD_HISTORY);
        report_rig_show(rig, SECRET,
                        kms_bytes_of("k8s:enc:aescbc:v1:key1:0123456789abcdef0123456789abcdef"),
                        KMS_ETCD_CURRENT);
        report_rig_show(rig, SECRET, kms_bytes_of("{}"), KMS_ETCD_CURRENT);
        report_rig_show(rig, "/registry/masterleases/1", kms_bytes_of("{}"), KMS_ETCD_CURRENT);
        if (report_rig_count(rig, KMS_LISTED_DEPENDENT) != providers[i].needed_by)
            fail_msg("%s is needed by %d", providers[i].provider,
                     (int)report_rig_count(rig, KMS_LISTED_DEPENDENT));
        report_rig_tear_down(state);
    }
    report_rig_set_up(state);
}

/* --- beyond the prefix --- */

static void what_is_encrypted_beyond_the_prefix_may_need_a_key(void **state)
{
    struct report_rig *rig = *state;
    rig->options.destroy = 1;
    report_rig_show_kms(rig, "/k3s/secrets/default/s", KEY_OF(1), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, "/registryother", KEY_OF(1), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, "bare", KEY_OF(1), 1, KMS_ETCD_HISTORY);
    assert_int_equal(report_rig_count(rig, KMS_LISTED_DEPENDENT), 3);
    assert_int_equal(kms_report_totals(rig->report)->beyond, 3);
    assert_int_equal(kms_findings_count_faults(kms_report_findings(rig->report)), 0);
}

static void what_others_keep_in_etcd_in_the_clear_does_not_count(void **state)
{
    struct report_rig *rig = *state;
    report_rig_show(rig, "/cilium/state", kms_bytes_of("{}"), KMS_ETCD_CURRENT);
    report_rig_show(rig, "compact_rev_key", kms_bytes_of("7"), KMS_ETCD_CURRENT);
    assert_int_equal(kms_report_totals(rig->report)->values.current, 0);
    assert_int_equal(kms_report_totals(rig->report)->beyond, 0);
    assert_int_equal(kms_findings_count_faults(kms_report_findings(rig->report)), 0);
}

/* --- by proof --- */

static const struct {
    enum kms_proof_result result;
    uint32_t generation;
    bool untried;
    uint64_t faults, dependents, proven;
} proofs[] = {
    { KMS_PROOF_GOOD, 2, false, 0, 0, 1 },    { KMS_PROOF_SWAPPED, 1, false, 1, 1, 0 },
    { KMS_PROOF_SWAPPED, 3, false, 1, 0, 0 }, { KMS_PROOF_CORRUPT, 0, false, 1, 1, 0 },
    { KMS_PROOF_LOST, 0, false, 1, 0, 0 },    { KMS_PROOF_BARRED, 0, false, 1, 1, 0 },
    { KMS_PROOF_FOREIGN, 0, false, 0, 0, 0 }, { KMS_PROOF_FOREIGN, 0, true, 0, 1, 0 },
};

static void each_proof_is_judged(void **state)
{
    for (size_t i = 0; i < sizeof proofs / sizeof proofs[0]; i++) {
        report_rig_set_up(state);
        struct report_rig *rig = *state;
        rig->options.destroy = 1;
        report_rig_prove(rig, proofs[i].result, proofs[i].generation);
        rig->untried = proofs[i].untried;
        report_rig_show_kms(rig, SECRET, KEY_OF(2), 1, KMS_ETCD_CURRENT);
        if (kms_findings_count_faults(kms_report_findings(rig->report)) != proofs[i].faults ||
            report_rig_count(rig, KMS_LISTED_DEPENDENT) != proofs[i].dependents ||
            kms_report_totals(rig->report)->proven != proofs[i].proven)
            fail_msg("proof %zu is judged wrongly", i);
        report_rig_tear_down(state);
    }
    report_rig_set_up(state);
}

static void what_is_proven_is_counted_by_key(void **state)
{
    struct report_rig *rig = *state;
    report_rig_prove(rig, KMS_PROOF_GOOD, 2);
    report_rig_show_kms(rig, SECRET, KEY_OF(2), 1, KMS_ETCD_CURRENT);
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 2, KMS_ETCD_CURRENT);
    rig->result = KMS_PROOF_CORRUPT;
    report_rig_show_kms(rig, SECRET, KEY_OF(2), 3, KMS_ETCD_CURRENT);
    size_t count;
    const struct kms_tally_key *keys = kms_tally_keys(kms_report_tally(rig->report), &count);
    assert_int_equal(count, 3);
    assert_int_equal(keys[1].sources, 2);
    assert_int_equal(keys[1].proven, 1);
    assert_int_equal(keys[2].proven, 1);
    assert_int_equal(kms_report_totals(rig->report)->proven, 2);
    assert_int_equal(kms_report_totals(rig->report)->proven_promoted, 1);
}

static void each_source_is_proved_once_in_history_too(void **state)
{
    struct report_rig *rig = *state;
    report_rig_prove(rig, KMS_PROOF_GOOD, 2);
    for (uint8_t i = 0; i < 4; i++) {
        report_rig_show_kms(rig, SECRET, KEY_OF(2), i / 2, KMS_ETCD_CURRENT);
        report_rig_show_kms(rig, SECRET, KEY_OF(2), 9, KMS_ETCD_HISTORY);
    }
    assert_int_equal(rig->proved, 3);
}

static void a_lost_key_is_marked(void **state)
{
    struct report_rig *rig = *state;
    report_rig_prove(rig, KMS_PROOF_LOST, 0);
    report_rig_show_kms(rig, SECRET, KEY_OF(1), 1, KMS_ETCD_CURRENT);
    size_t count;
    assert_true(kms_tally_keys(kms_report_tally(rig->report), &count)[1].lost);
}

static void samples_are_opened(void **state)
{
    struct report_rig *rig = *state;
    void *vectors = NULL;
    assert_int_equal(etcd_vectors_set_up(&vectors), 0);
    const struct etcd_vector *vector = etcd_vectors_find(vectors, "kms-v2",
                                                         "/registry/secrets/t1/s1");
    report_rig_prove(rig, KMS_PROOF_GOOD, 2);
    rig->seed = vector->dek_source.data;
    rig->options.sample = 2;
    report_rig_show(rig, vector->etcd_key, vector->value, KMS_ETCD_CURRENT);
    report_rig_show(rig, "/registry/secrets/t1/moved", vector->value, KMS_ETCD_CURRENT);
    report_rig_show(rig, vector->etcd_key, vector->value, KMS_ETCD_HISTORY);
    assert_int_equal(kms_report_totals(rig->report)->opened, 1);
    assert_int_equal(report_rig_count(rig, KMS_FINDING_CORRUPT_OBJECT), 1);
    etcd_vectors_tear_down(&vectors);
}

static void samples_are_as_many_as_asked_for_and_not_all(void **state)
{
    struct report_rig *rig = *state;
    report_rig_prove(rig, KMS_PROOF_GOOD, 2);
    rig->options.sample = 5;
    for (int i = 0; i < 2000; i++)
        report_rig_show_kms(rig, SECRET, KEY_OF(2), 1, KMS_ETCD_CURRENT);
    /* once for the source; 5 and then 5/6 + 5/7 + ... = 29 samples on average */
    assert_in_range(rig->proved, 6, 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, report_rig_set_up, report_rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_label_is_the_finding_that_it_is),
        TEST(the_promoted_key_is_no_finding),
        TEST(other_keys_are_told_apart),
        TEST(without_the_rings_list_no_key_is_unknown),
        TEST(an_allowed_key_is_as_good_as_the_promoted_one),
        TEST(history_is_counted_apart_and_is_no_finding),
        TEST(dek_sources_are_counted_once_each),
        TEST(only_expected_resources_are_judged),
        TEST(current_and_old_values_need_their_generation),
        TEST(a_malformed_kms_value_may_need_any_generation),
        TEST(values_need_the_provider_that_wrote_them),
        TEST(each_proof_is_judged),
        TEST(what_is_encrypted_beyond_the_prefix_may_need_a_key),
        TEST(what_others_keep_in_etcd_in_the_clear_does_not_count),
        TEST(what_is_proven_is_counted_by_key),
        TEST(each_source_is_proved_once_in_history_too),
        TEST(a_lost_key_is_marked),
        TEST(samples_are_opened),
        TEST(samples_are_as_many_as_asked_for_and_not_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
