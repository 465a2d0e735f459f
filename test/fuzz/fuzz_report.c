/* SPDX-License-Identifier: Apache-2.0 */
/* Any sequence of values, with any answers of a prover: the counts of a report add up, nothing is proven
 * that the prover didn't say, and no verdict lets a key go that a value needs.
 *
 * Input: a byte for what is asked and one for how the reading ended; then for each value a byte for what
 * it is, one for its seed or its length, and of a raw value so many bytes. */
#include "report/report.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "etcd/value.h"
#include "fuzz.h"
#include "report/verdict.h"

#define ID(generation) "prod.v" #generation ".00112233445566778899aabbccddeeff"
static const char *const key_ids[] = { ID(1), ID(2) };
static const char *const labels[] = { ID(1), ID(2), ID(3), "test.v1.00112233445566778899aabbcc" };
static const char *const places[] = { "secrets", "configmaps", "apps/deployments", "masterleases" };
static const char *const exempt[] = { "configmaps" };

enum { PROMOTED = 2, WRAPPED_LEN = 40, DATA_LEN = 60, VALUE_MAX = 512 };
/* The tags of an EncryptedObject's fields. */
enum { FIELD_DATA = 0x0a, FIELD_KEY_ID = 0x12, FIELD_WRAPPED = 0x1a, FIELD_TYPE = 0x28 };

/* What was fed, and what the prover said. */
struct model {
    struct kms_report_options options;
    struct kms_prover prover;
    struct kms_count values;
    uint64_t deleted, good, lost;
    bool needed; /* something is under the generation, or may be: by its label, or by the prover */
};

/* The same source gets the same answer: by its first byte. */
static enum kms_code prove(void *context, const struct kms_value *value,
                           struct kms_proof *ret_proof, struct kms_error *err)
{
    static const uint8_t zeros[32];
    struct model *model = context;
    FUZZ_CHECK(value->class == KMS_VALUE_KMS_V2 && value->dek_source.len > 0);
    uint8_t says = value->dek_source.data[0];
    ret_proof->result = (enum kms_proof_result)((says & 0x3f) % (KMS_PROOF_FOREIGN + 1));
    ret_proof->generation = says >> 6;
    model->lost += ret_proof->result == KMS_PROOF_LOST;
    if (ret_proof->result == KMS_PROOF_CORRUPT || ret_proof->result == KMS_PROOF_BARRED ||
        (ret_proof->result == KMS_PROOF_SWAPPED && ret_proof->generation == model->options.destroy))
        model->needed = true;
    if (ret_proof->result != KMS_PROOF_GOOD)
        return KMS_OK;
    model->good++;
    return kms_secret_copy(&ret_proof->seed, (struct kms_bytes){ zeros, sizeof zeros }, err);
}

static struct model ask(uint8_t question)
{
    struct model model = { .prover = { .prove = prove } };
    model.options = (struct kms_report_options){
        .prefix = kms_bytes_of(KMS_REGISTRY_PREFIX),
        .key_id = ID(2),
        .ring = "prod",
        .key_ids = key_ids,
        .key_id_count = 2,
        .exempt = { exempt, question >> 7 },
        .promoted = PROMOTED,
        .destroy = question & 3,
        .sample = question >> 4 & 3,
    };
    return model;
}

/* --- values --- */

static uint8_t *put(uint8_t *at, uint8_t tag, const void *data, size_t len)
{
    *at++ = tag;
    *at++ = (uint8_t)len; /* less than 128 */
    memcpy(at, data, len);
    return at + len;
}

/* As kube-apiserver writes it. */
static size_t seal(uint8_t *value, const char *label, uint8_t seed)
{
    static const char head[] = "k8s:enc:kms:v2:hsm:";
    static const uint8_t data[DATA_LEN];
    const uint8_t wrapped[WRAPPED_LEN] = { seed };
    memcpy(value, head, strlen(head));
    uint8_t *at = put(value + strlen(head), FIELD_DATA, data, sizeof data);
    at = put(at, FIELD_KEY_ID, label, strlen(label));
    at = put(at, FIELD_WRAPPED, wrapped, sizeof wrapped);
    *at++ = FIELD_TYPE;
    *at++ = KMS_DEK_SEED;
    return (size_t)(at - value);
}

static void count(struct model *model, const struct kms_etcd_entry *entry)
{
    model->deleted += entry->state == KMS_ETCD_DELETED;
    model->values.current += entry->state == KMS_ETCD_CURRENT;
    model->values.history += entry->state == KMS_ETCD_HISTORY;
    struct kms_value value = kms_value_classify(entry->value);
    struct kms_key_id key_id;
    if (entry->state != KMS_ETCD_DELETED && value.class == KMS_VALUE_KMS_V2 &&
        kms_key_id_parse("prod", value.key_id, &key_id) &&
        key_id.generation == model->options.destroy)
        model->needed = true;
}

/* One value of @data; returns how many bytes that took. */
static size_t show(struct model *model, struct kms_report *report, const uint8_t *data, size_t size)
{
    uint8_t made[VALUE_MAX];
    char key[64];
    struct kms_error err = { 0 };
    size_t used = 2;
    struct kms_etcd_entry entry = { .mod_revision = 1, .state = data[0] % (KMS_ETCD_DELETED + 1) };
    if ((data[0] & 0x04) != 0) {
        size_t len = data[1] < size - 2 ? data[1] : size - 2;
        entry.value = (struct kms_bytes){ data + 2, len };
        used += len;
    } else {
        entry.value.len = seal(made, labels[data[0] >> 6], data[1]);
        entry.value.data = made;
    }
    snprintf(key, sizeof key, KMS_REGISTRY_PREFIX "/%s/a/b%u", places[data[0] >> 4 & 3], data[1]);
    entry.key = kms_bytes_of(key);
    count(model, &entry);
    FUZZ_CHECK(kms_report_visit(report, &entry, &err) == KMS_OK);
    return used;
}

/* --- what must hold --- */

static void add(struct kms_count *sum, const struct kms_count *more)
{
    sum->current += more->current;
    sum->history += more->history;
}

static void check_sum(const struct kms_count *sum, const struct model *model)
{
    FUZZ_CHECK(sum->current == model->values.current && sum->history == model->values.history);
}

/* However values are counted, all of them are. */
static void check_counts(const struct model *model, struct kms_report *report)
{
    struct kms_tally *tally = kms_report_tally(report);
    struct kms_count by_key = { 0 }, by_resource = { 0 }, by_row = { 0 };
    size_t key_count = 0, resource_count = 0, row_count = 0;
    uint64_t sources = 0;
    const struct kms_tally_key *keys = kms_tally_keys(tally, &key_count);
    const struct kms_tally_resource *found = kms_tally_resources(tally, &resource_count);
    const struct kms_tally_row *rows = kms_tally_rows(tally, &row_count);
    for (size_t i = 0; i < key_count; i++) {
        add(&by_key, &keys[i].values);
        sources += keys[i].sources;
        FUZZ_CHECK(!keys[i].lost || model->lost > 0);
    }
    for (size_t i = 0; i < resource_count; i++)
        add(&by_resource, &found[i].values);
    for (size_t i = 0; i < row_count; i++) {
        FUZZ_CHECK(rows[i].key < key_count && rows[i].resource < resource_count);
        add(&by_row, &rows[i].values);
    }
    check_sum(&by_key, model);
    check_sum(&by_resource, model);
    check_sum(&by_row, model);
    check_sum(&kms_report_totals(report)->values, model);
    FUZZ_CHECK(sources == kms_report_totals(report)->sources);
}

static void check_totals(const struct model *model, const struct kms_report *report)
{
    const struct kms_report_totals *totals = kms_report_totals(report);
    const struct kms_findings *findings = kms_report_findings(report);
    FUZZ_CHECK(totals->deleted == model->deleted);
    FUZZ_CHECK(totals->promoted <= totals->values.current);
    FUZZ_CHECK(totals->proven <= totals->sources && totals->proven <= model->good);
    FUZZ_CHECK(totals->opened <= model->good);
    for (size_t i = 0; i < KMS_FINDING_KIND_COUNT; i++) {
        const struct kms_findings_list *list = &findings->lists[i];
        FUZZ_CHECK(list->kept ==
                   (list->count < KMS_FINDINGS_SHOWN ? list->count : KMS_FINDINGS_SHOWN));
    }
}

static void check_verdict(const struct model *model, const struct kms_report *report,
                          uint8_t ending)
{
    const struct kms_etcd_summary summary = { .kind = ending % (KMS_ETCD_MEMBER_DB + 1),
                                              .stopped = (ending & 0x10) != 0,
                                              .span_count = 1 + (ending >> 6) };
    const struct kms_verdict verdict = kms_report_verdict(report, &summary);
    const struct kms_findings *findings = kms_report_findings(report);
    FUZZ_CHECK(verdict.text[0] != '\0');
    FUZZ_CHECK((verdict.kind == KMS_VERDICT_PARTIAL) == summary.stopped);
    if (verdict.kind != KMS_VERDICT_CLEAN)
        return;
    FUZZ_CHECK(model->lost == 0);
    if (model->options.destroy == 0) {
        FUZZ_CHECK(kms_findings_count_faults(findings) == 0 && model->values.current > 0);
        return;
    }
    FUZZ_CHECK(!model->needed && model->options.destroy != PROMOTED);
    FUZZ_CHECK(summary.kind != KMS_ETCD_MEMBER_DB && summary.span_count == 1);
    FUZZ_CHECK(model->values.current + model->values.history > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct model model = ask(data[0]);
    model.prover.context = &model;
    if ((data[0] & 0x04) != 0)
        model.options.prover = &model.prover;
    KMS_CLEANUP(kms_report_close_ptr) struct kms_report *report = NULL;
    struct kms_error err = { 0 };
    FUZZ_CHECK(kms_report_open(&model.options, &report, &err) == KMS_OK);
    for (size_t at = 2; at + 2 <= size;)
        at += show(&model, report, data + at, size - at);
    check_counts(&model, report);
    check_totals(&model, report);
    check_verdict(&model, report, data[1]);
    return 0;
}
