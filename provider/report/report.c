/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "etcd/object.h"
#include "etcd/seen.h"

struct kms_report {
    struct kms_report_options options;
    struct kms_tally *tally;
    struct kms_etcd_seen *sources;
    struct kms_findings findings;
    struct kms_report_totals totals;
    bool *expected_seen; /* owned; one for each of options.expected */
};

/* One value as it is visited. */
struct visit {
    struct kms_report *report;
    const struct kms_etcd_entry *entry;
    struct kms_registry_name name;
    struct kms_value value;
    struct kms_key_id key_id;
    bool of_ring; /* @key_id is filled */
    bool below;   /* the prefix */
    bool judged;  /* it is asked about */
    struct kms_tally_place place;
};

void kms_proof_done(struct kms_proof *proof)
{
    kms_secret_done(&proof->seed);
    *proof = (struct kms_proof){ 0 };
}

enum kms_code kms_report_open(const struct kms_report_options *options,
                              struct kms_report **ret_report, struct kms_error *err)
{
    KMS_CLEANUP(kms_report_close_ptr) struct kms_report *report = calloc(1, sizeof *report);
    if (report == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    report->options = *options;
    report->expected_seen = calloc(options->expected.count + 1, sizeof *report->expected_seen);
    if (report->expected_seen == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    enum kms_code rc = kms_tally_open(&report->tally, err);
    if (rc == KMS_OK)
        rc = kms_etcd_seen_open(&report->sources, err);
    if (rc != KMS_OK)
        return rc;
    *ret_report = report;
    report = NULL;
    return KMS_OK;
}

void kms_report_close(struct kms_report *report)
{
    if (report == NULL)
        return;
    kms_findings_done(&report->findings);
    kms_etcd_seen_close(report->sources);
    kms_tally_close(report->tally);
    free(report->expected_seen);
    free(report);
}

static enum kms_code add(const struct visit *visit, enum kms_finding_kind kind, const char *detail,
                         struct kms_error *err)
{
    struct kms_report *report = visit->report;
    bool has_id = visit->value.class == KMS_VALUE_KMS_V2;
    const struct kms_finding finding = {
        .kind = kind,
        .history = visit->entry->state == KMS_ETCD_HISTORY,
        .mod_revision = visit->entry->mod_revision,
        .key = visit->entry->key,
        .key_id = has_id ? visit->value.key_id : visit->value.provider,
        .detail = detail,
    };
    if (report->options.list != NULL)
        report->options.list(report->options.list_context, &finding);
    return kms_findings_add(&report->findings, &finding, err);
}

/* --- as labelled --- */

static bool is_one_of(struct kms_bytes text, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (kms_bytes_equal(text, kms_bytes_of(texts[i])))
            return true;
    return false;
}

static enum kms_code judge_kms(const struct visit *visit, struct kms_error *err)
{
    const struct kms_report_options *options = &visit->report->options;
    struct kms_bytes key_id = visit->value.key_id;
    struct kms_report_totals *totals = &visit->report->totals;
    if (is_one_of(key_id, &options->key_id, 1)) {
        totals->promoted++;
        return KMS_OK;
    }
    if (is_one_of(key_id, options->allowed, options->allowed_count)) {
        totals->allowed++;
        return KMS_OK;
    }
    if (!visit->of_ring)
        return add(visit, KMS_FINDING_FOREIGN_KEY, "", err);
    bool known = options->key_id_count == 0 ||
                 is_one_of(key_id, options->key_ids, options->key_id_count);
    return add(visit, known ? KMS_FINDING_OLD_KEY : KMS_FINDING_UNKNOWN_KEY, "", err);
}

static enum kms_code judge_plaintext(const struct visit *visit, struct kms_error *err)
{
    const struct kms_resources *exempt = &visit->report->options.exempt;
    if (visit->name.exempt != NULL)
        return add(visit, KMS_LISTED_EXEMPT, visit->name.exempt, err);
    if (kms_resources_find(exempt, &visit->name) < exempt->count)
        return add(visit, KMS_LISTED_EXEMPTED, "", err);
    return add(visit, KMS_FINDING_PLAINTEXT, "", err);
}

static enum kms_code judge_label(const struct visit *visit, struct kms_error *err)
{
    switch (visit->value.class) {
    case KMS_VALUE_KMS_V2:
        return judge_kms(visit, err);
    case KMS_VALUE_KMS_V1:
    case KMS_VALUE_AESCBC:
    case KMS_VALUE_AESGCM:
    case KMS_VALUE_SECRETBOX:
        return add(visit, KMS_FINDING_OTHER_PROVIDER, kms_value_class_name(visit->value.class),
                   err);
    case KMS_VALUE_PROTOBUF:
    case KMS_VALUE_JSON:
    case KMS_VALUE_CBOR:
    case KMS_VALUE_OTHER:
        return judge_plaintext(visit, err);
    case KMS_VALUE_UNKNOWN:
        return add(visit, KMS_FINDING_UNKNOWN_FORMAT, "", err);
    case KMS_VALUE_MALFORMED:
        return add(visit, KMS_FINDING_MALFORMED, visit->value.problem, err);
    }
    return KMS_OK;
}

/* --- what is to be destroyed or removed --- */

/* kube-apiserver's reader forgives more than ours, so what is malformed may still be read. */
static bool may_need_generation(const struct visit *visit, uint32_t generation)
{
    if (visit->value.class == KMS_VALUE_MALFORMED)
        return visit->value.prefix == KMS_VALUE_KMS_V2;
    return visit->of_ring && visit->key_id.generation == generation;
}

static bool needs_provider(const struct visit *visit, const char *provider)
{
    enum kms_value_class prefix = visit->value.prefix;
    bool of_kms = prefix == KMS_VALUE_KMS_V2 || prefix == KMS_VALUE_KMS_V1;
    if (of_kms)
        return kms_bytes_equal(visit->value.provider, kms_bytes_of(provider));
    if (kms_value_is_plaintext(&visit->value))
        return strcmp(provider, "identity") == 0 && visit->name.exempt == NULL;
    /* the name of one of its keys, in case that is what was meant */
    return strcmp(provider, kms_value_class_name(prefix)) == 0 ||
           kms_bytes_equal(visit->value.provider, kms_bytes_of(provider));
}

static enum kms_code check_need(const struct visit *visit, struct kms_error *err)
{
    const struct kms_report_options *options = &visit->report->options;
    if (options->destroy != 0 && may_need_generation(visit, options->destroy))
        return add(visit, KMS_LISTED_DEPENDENT, "", err);
    if (options->remove != NULL && needs_provider(visit, options->remove))
        return add(visit, KMS_LISTED_DEPENDENT, "", err);
    return KMS_OK;
}

/* --- by proof --- */

static enum kms_code prove(const struct visit *visit, struct kms_proof *ret_proof,
                           struct kms_error *err)
{
    const struct kms_prover *prover = visit->report->options.prover;
    return prover->prove(prover->context, &visit->value, ret_proof, err);
}

static void count_proven(const struct visit *visit)
{
    struct kms_report *report = visit->report;
    report->totals.proven++;
    visit->place.key->proven++;
    if (kms_bytes_equal(visit->value.key_id, kms_bytes_of(report->options.key_id)))
        report->totals.proven_promoted++;
}

static enum kms_code judge_proof(const struct visit *visit, const struct kms_proof *proof,
                                 struct kms_error *err)
{
    switch (proof->result) {
    case KMS_PROOF_GOOD:
        count_proven(visit);
        return KMS_OK;
    case KMS_PROOF_SWAPPED:
        return add(visit, KMS_FINDING_SWAPPED, proof->why, err);
    case KMS_PROOF_CORRUPT:
        return add(visit, KMS_FINDING_CORRUPT_SEED, proof->why, err);
    case KMS_PROOF_LOST:
        visit->place.key->lost = true;
        return add(visit, KMS_FINDING_LOST_KEY, proof->why, err);
    case KMS_PROOF_BARRED:
        return add(visit, KMS_FINDING_UNPROVEN, proof->why, err);
    case KMS_PROOF_FOREIGN:
        visit->report->totals.untried += proof->untried;
        break; /* its label says so, too */
    }
    return KMS_OK;
}

/* What the label doesn't say: it is under the generation after all, or nobody can tell. */
static bool may_be_under(const struct visit *visit, const struct kms_proof *proof)
{
    uint32_t destroy = visit->report->options.destroy;
    if (destroy == 0 || may_need_generation(visit, destroy))
        return false;
    if (proof->result == KMS_PROOF_SWAPPED)
        return proof->generation == destroy;
    return proof->result == KMS_PROOF_CORRUPT || proof->result == KMS_PROOF_BARRED ||
           (proof->result == KMS_PROOF_FOREIGN && proof->untried);
}

static enum kms_code prove_source(const struct visit *visit, struct kms_error *err)
{
    KMS_CLEANUP(kms_proof_done) struct kms_proof proof = { 0 };
    enum kms_code rc = prove(visit, &proof, err);
    if (rc == KMS_OK)
        rc = judge_proof(visit, &proof, err);
    if (rc == KMS_OK && may_be_under(visit, &proof))
        rc = add(visit, KMS_LISTED_DEPENDENT,
                 proof.result == KMS_PROOF_SWAPPED ? proof.why : "it can't be told", err);
    return rc;
}

/* The n-th of a resource's objects is taken with a chance of sample / n: what a reservoir would have
 * held at any time, and so at least as many as asked for, whichever they are. */
static enum kms_code is_sampled(const struct visit *visit, bool *ret_sampled, struct kms_error *err)
{
    uint64_t sample = visit->report->options.sample, random = 0;
    uint64_t nth = visit->place.resource->openable;
    *ret_sampled = nth <= sample;
    if (*ret_sampled || sample == 0)
        return KMS_OK;
    if (RAND_bytes((unsigned char *)&random, sizeof random) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL gives no random bytes");
    *ret_sampled = random % nth < sample;
    return KMS_OK;
}

static enum kms_code open_object(const struct visit *visit, struct kms_error *err)
{
    bool sampled;
    enum kms_code rc = is_sampled(visit, &sampled, err);
    if (rc != KMS_OK || !sampled)
        return rc;
    KMS_CLEANUP(kms_proof_done) struct kms_proof proof = { 0 };
    KMS_CLEANUP(kms_plaintext_done) struct kms_plaintext object = { 0 };
    rc = prove(visit, &proof, err);
    if (rc != KMS_OK || proof.result != KMS_PROOF_GOOD)
        return rc;
    struct kms_error why = { .code = KMS_OK };
    rc = kms_object_open(&visit->value, visit->entry->key, &proof.seed, &object, &why);
    if (rc == KMS_E_BUSY)
        return kms_fail(err, rc, "%s", why.msg);
    if (rc != KMS_OK)
        return add(visit, KMS_FINDING_CORRUPT_OBJECT, why.msg, err);
    visit->report->totals.opened++;
    return KMS_OK;
}

static enum kms_code meet_source(const struct visit *visit, struct kms_error *err)
{
    struct kms_report *report = visit->report;
    uint8_t digest[KMS_SHA256_LEN];
    bool is_new = false;
    enum kms_code rc = kms_object_source_digest(&visit->value, digest, err);
    if (rc == KMS_OK)
        rc = kms_etcd_seen_add(report->sources, (struct kms_bytes){ digest, sizeof digest },
                               &is_new, err);
    if (rc != KMS_OK)
        return rc;
    if (is_new) {
        report->totals.sources++;
        visit->place.key->sources++;
    }
    if (report->options.prover == NULL)
        return KMS_OK;
    if (is_new)
        rc = prove_source(visit, err);
    if (rc == KMS_OK && visit->entry->state == KMS_ETCD_CURRENT)
        rc = open_object(visit, err);
    return rc;
}

/* --- visiting --- */

static void choose(struct visit *visit)
{
    const struct kms_report_options *options = &visit->report->options;
    size_t found = kms_resources_find(&options->expected, &visit->name);
    bool current = visit->entry->state == KMS_ETCD_CURRENT;
    bool expected = found < options->expected.count;
    visit->judged = visit->below && current && (expected || options->expected.count == 0);
    if (visit->below && current && expected)
        visit->report->expected_seen[found] = true;
}

enum kms_code kms_report_visit(void *report, const struct kms_etcd_entry *entry,
                               struct kms_error *err)
{
    struct visit visit = { .report = report, .entry = entry };
    struct kms_report_totals *totals = &visit.report->totals;
    const struct kms_report_options *options = &visit.report->options;
    if (entry->state == KMS_ETCD_DELETED) {
        totals->deleted++;
        return KMS_OK;
    }
    visit.below = kms_registry_is_below(options->prefix, entry->key);
    visit.value = kms_value_classify(entry->value);
    if (!visit.below && kms_value_is_plaintext(&visit.value))
        return KMS_OK; /* etcd serves others, too */
    bool current = entry->state == KMS_ETCD_CURRENT;
    totals->values.current += current;
    totals->values.history += !current;
    totals->beyond += !visit.below;
    visit.name = kms_registry_parse(options->prefix, entry->key);
    visit.of_ring = options->ring != NULL && visit.value.class == KMS_VALUE_KMS_V2 &&
                    kms_key_id_parse(options->ring, visit.value.key_id, &visit.key_id);
    choose(&visit);
    enum kms_code rc = kms_tally_add(visit.report->tally, &visit.name, &visit.value, current,
                                     &visit.place, err);
    if (rc != KMS_OK)
        return rc;
    assert(visit.place.key != NULL && visit.place.resource != NULL);
    if (visit.judged)
        rc = judge_label(&visit, err);
    if (rc == KMS_OK)
        rc = check_need(&visit, err);
    if (rc == KMS_OK && visit.value.class == KMS_VALUE_KMS_V2)
        rc = meet_source(&visit, err);
    return rc;
}

/* --- the result --- */

const struct kms_report_options *kms_report_asked(const struct kms_report *report)
{
    return &report->options;
}

const struct kms_report_totals *kms_report_totals(const struct kms_report *report)
{
    return &report->totals;
}

const struct kms_findings *kms_report_findings(const struct kms_report *report)
{
    return &report->findings;
}

struct kms_tally *kms_report_tally(struct kms_report *report)
{
    return report->tally;
}

bool kms_report_has_seen(const struct kms_report *report, size_t index)
{
    return report->expected_seen[index];
}

size_t kms_report_count_absent(const struct kms_report *report)
{
    size_t absent = 0;
    for (size_t i = 0; i < report->options.expected.count; i++)
        absent += report->expected_seen[i] ? 0 : 1;
    return absent;
}
