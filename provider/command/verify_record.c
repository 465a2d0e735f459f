/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit_log.h"
#include "command.h"
#include "ledger.h"
#include "text.h"
#include "verify.h"

static void free_keys(struct kms_ledger_key *const *keys)
{
    free(*keys);
}

/* Those of the ring; the others are nobody's concern here.  Returns how many. */
static size_t list_keys(const struct kms_verify_result *result, struct kms_ledger_key **ret_keys)
{
    size_t count = 0, listed = 0;
    const struct kms_tally_key *tally = kms_tally_keys(kms_report_tally(result->report), &count);
    struct kms_ledger_key *keys = kms_must_alloc(calloc(count + 1, sizeof(*keys)));
    for (size_t i = 0; i < count; i++) {
        struct kms_key_id parsed;
        if (!kms_key_id_parse(result->ring->name, tally[i].key_id, &parsed))
            continue;
        struct kms_ledger_key *key = &keys[listed++];
        memcpy(key->key_id, tally[i].key_id.data, tally[i].key_id.len);
        key->current = tally[i].values.current;
        key->history = tally[i].values.history;
    }
    *ret_keys = keys;
    return listed;
}

/* Values whose KEK isn't what their key_id says, or that couldn't be tried, or that have no place among the
 * keys that are counted. */
static uint64_t count_unsure(struct kms_report *report)
{
    size_t count = 0;
    const struct kms_tally_key *others = kms_tally_keys(kms_report_tally(report), &count);
    const struct kms_findings_list *lists = kms_report_findings(report)->lists;
    return others->values.current + others->values.history + lists[KMS_FINDING_SWAPPED].count +
           lists[KMS_FINDING_CORRUPT_SEED].count + lists[KMS_FINDING_UNPROVEN].count +
           lists[KMS_FINDING_MALFORMED].count + kms_report_totals(report)->untried;
}

static enum kms_code check(const struct kms_verify_result *result, struct kms_error *err)
{
    if (result->verdict.kind == KMS_VERDICT_PARTIAL)
        return kms_fail(err, KMS_E_PRECONDITION, "a part of a snapshot isn't recorded");
    if (result->summary->kind != KMS_ETCD_SNAPSHOT)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "it isn't recorded: it lacks the SHA-256 of etcdctl snapshot save");
    return KMS_OK;
}

static enum kms_code append(const struct kms_verify_result *result, struct kms_error *err)
{
    KMS_CLEANUP(free_keys) struct kms_ledger_key *keys = NULL;
    struct kms_ledger_line line = { .utc_s = result->started_utc_s,
                                    .unsure = count_unsure(result->report) };
    memcpy(line.sha256, result->summary->sha256, sizeof(line.sha256));
    line.key_count = list_keys(result, &keys);
    line.keys = keys;
    return kms_ledger_append(result->ring->keyring.config.state_dir, &line, err);
}

/* Nothing is recorded that the audit log doesn't have: a ledger decides what may be destroyed. */
int kms_verify_record(const struct kms_verify_result *result)
{
    const struct kms_config *config = &result->ring->keyring.config;
    struct kms_audit_command line = { .op = "verify-record" };
    struct kms_error err = { .code = KMS_OK };
    if (check(result, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (kms_audit_log_begin(config, line.op, 0, &err) != KMS_OK)
        return kms_audit_log_refuse(&err);
    line.code = append(result, &err);
    if (line.code == KMS_OK)
        line.outcome = "recorded";
    kms_audit_log_done(config, &line);
    if (line.code != KMS_OK)
        return kms_command_fail(&err);
    kms_command_note("recorded in %s/snapshots.jsonl", config->state_dir);
    return KMS_EXIT_OK;
}
