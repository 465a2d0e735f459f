/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "unwrapper.h"
#include "verify.h"

enum { NAMED_MAX = 3, NAME_SHOWN = 100 /* bytes of a key, escaped */ };

/* The key_ids of the ring; owned, and not the texts. */
struct ids {
    const char **items;
    size_t count;
    const char *promoted;
};

static void ids_done(struct ids *ids)
{
    free((void *)ids->items);
}

static struct ids list_ids(const struct kms_verify_question *question)
{
    const struct kms_snapshot *snapshot = question->snapshot;
    struct ids ids = { .promoted = snapshot->key_id };
    ids.items = kms_must_alloc(calloc(snapshot->count + 1, sizeof(*ids.items)));
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->key_id[0] == '\0')
            continue;
        ids.items[ids.count++] = entry->key_id;
        if (entry->generation == question->promoted)
            ids.promoted = entry->key_id;
    }
    return ids;
}

/* The first values that need it, or else that nobody can read, behind what is in @why. */
static void name_first(const struct kms_report *report, char why[static KMS_VERIFY_WHY_MAX])
{
    const struct kms_findings_list *lists = kms_report_findings(report)->lists;
    const struct kms_findings_list *list = lists[KMS_LISTED_DEPENDENT].count > 0
                                               ? &lists[KMS_LISTED_DEPENDENT]
                                               : &lists[KMS_FINDING_LOST_KEY];
    for (size_t i = 0; i < list->kept && i < NAMED_MAX; i++) {
        const struct kms_findings_item *item = &list->items[i];
        char *key = kms_text_escape(item->key), *id = kms_text_escape(item->key_id);
        size_t len = strlen(why);
        (void)snprintf(why + len, KMS_VERIFY_WHY_MAX - len, "%s%.*s under %.*s%s",
                       i == 0 ? ". The first: " : ", ", (int)NAME_SHOWN, key, (int)NAME_SHOWN, id,
                       item->history ? " (history)" : "");
        free(key);
        free(id);
    }
}

static enum kms_code judge(const struct kms_report_options *options, struct kms_etcd_source *source,
                           bool *ret_free, char ret_why[static KMS_VERIFY_WHY_MAX],
                           struct kms_error *err)
{
    KMS_CLEANUP(kms_report_close_ptr) struct kms_report *report = NULL;
    KMS_CLEANUP(kms_etcd_summary_done) struct kms_etcd_summary summary = { 0 };
    enum kms_code rc = kms_report_open(options, &report, err);
    if (rc == KMS_OK)
        rc = kms_verify_read(source, NULL, report, &summary, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_verdict verdict = kms_report_verdict(report, &summary);
    *ret_free = verdict.kind == KMS_VERDICT_CLEAN;
    (void)snprintf(ret_why, KMS_VERIFY_WHY_MAX, "%s", verdict.text);
    name_first(report, ret_why);
    return KMS_OK;
}

bool kms_verify_can_destroy(const struct kms_verify_question *question,
                            struct kms_etcd_source *source, char ret_why[static KMS_VERIFY_WHY_MAX])
{
    struct kms_unwrapper unwrapper = { .ring = question->ring,
                                       .keystore = question->keystore,
                                       .snapshot = question->snapshot,
                                       .wanted = question->generation };
    const struct kms_prover prover = { .context = &unwrapper, .prove = kms_unwrapper_prove };
    KMS_CLEANUP(ids_done) struct ids ids = list_ids(question);
    const struct kms_report_options options = {
        .prefix = kms_bytes_of(question->prefix),
        .key_id = ids.promoted,
        .ring = question->ring,
        .key_ids = ids.items,
        .key_id_count = ids.count,
        .promoted = question->promoted,
        .destroy = question->generation,
        .prover = &prover,
    };
    struct kms_error err = { .code = KMS_OK };
    bool is_free = false;
    if (judge(&options, source, &is_free, ret_why, &err) != KMS_OK)
        (void)snprintf(ret_why, KMS_VERIFY_WHY_MAX, "it can't be told: %s", err.msg);
    return is_free;
}
