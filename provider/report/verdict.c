/* SPDX-License-Identifier: Apache-2.0 */
#include "verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

const char *kms_verdict_name(enum kms_verdict_kind kind)
{
    switch (kind) {
    case KMS_VERDICT_CLEAN:
        return "clean";
    case KMS_VERDICT_FINDINGS:
        return "findings";
    case KMS_VERDICT_NEEDED:
        return "needed";
    case KMS_VERDICT_LOST:
        return "lost";
    case KMS_VERDICT_PARTIAL:
        return "partial";
    }
    return "partial";
}

KMS_PRINTF(2, 3)
static struct kms_verdict say(enum kms_verdict_kind kind, const char *fmt, ...)
{
    struct kms_verdict verdict = { .kind = kind };
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(verdict.text, sizeof verdict.text, fmt, args);
    va_end(args);
    return verdict;
}

static uint64_t count_of(const struct kms_report *report, enum kms_finding_kind kind)
{
    return kms_report_findings(report)->lists[kind].count;
}

static bool is_empty(const struct kms_report *report)
{
    const struct kms_count *values = &kms_report_totals(report)->values;
    return values->current + values->history == 0;
}

static struct kms_verdict say_lost(const struct kms_report *report)
{
    return say(KMS_VERDICT_LOST,
               "%" PRIu64 " DEK source(s) are under KEKs that aren't on the token: restore these; "
               "do not delete objects",
               count_of(report, KMS_FINDING_LOST_KEY));
}

/* Why this reading can't show that nothing needs a key; NULL: it can. */
static const char *find_gap(const struct kms_report *report, const struct kms_etcd_summary *summary)
{
    if (summary->kind == KMS_ETCD_MEMBER_DB)
        return "a member's db, or a file that lost its SHA-256, lacks the newest writes: read etcd "
               "itself or what etcdctl snapshot save wrote";
    if (summary->span_count > 1)
        return "etcd was compacted meanwhile, so that not all was read at one revision: run it "
               "again";
    if (is_empty(report))
        return "there is no value of kube-apiserver's: is --prefix what it has as --etcd-prefix?";
    return NULL;
}

/* A server where nothing is under the promoted key may be any other etcd.  A snapshot may be older than
 * the key. */
static bool may_be_another(const struct kms_report *report, const struct kms_etcd_summary *summary)
{
    return summary->kind == KMS_ETCD_SERVER && kms_report_asked(report)->destroy != 0 &&
           kms_report_totals(report)->proven_promoted == 0;
}

static bool is_promoted(const struct kms_report_options *options)
{
    struct kms_key_id key_id;
    if (options->destroy == 0)
        return false;
    if (options->destroy == options->promoted)
        return true;
    return options->ring != NULL &&
           kms_key_id_parse(options->ring, kms_bytes_of(options->key_id), &key_id) &&
           key_id.generation == options->destroy;
}

static bool is_generation_known(const struct kms_report_options *options)
{
    for (size_t i = 0; i < options->key_id_count; i++) {
        struct kms_key_id key_id;
        if (kms_key_id_parse(options->ring, kms_bytes_of(options->key_ids[i]), &key_id) &&
            key_id.generation == options->destroy)
            return true;
    }
    return options->key_id_count == 0;
}

static struct kms_verdict say_free(const struct kms_report_options *options)
{
    static const char rest[] = "kube-apiserver serves what it has in memory until its restart, and "
                               "other backups aren't looked at";
    if (options->remove != NULL)
        return say(KMS_VERDICT_CLEAN,
                   "nothing here needs it, if '%.100s' is how the EncryptionConfiguration has it; "
                   "%s",
                   options->remove, rest);
    return say(KMS_VERDICT_CLEAN, "nothing here needs it%s; %s",
               is_generation_known(options) ? "" : ", nor is such a KEK known", rest);
}

static struct kms_verdict judge_need(const struct kms_report *report,
                                     const struct kms_etcd_summary *summary)
{
    const struct kms_report_options *options = kms_report_asked(report);
    const char *gap = find_gap(report, summary);
    if (gap != NULL)
        return say(KMS_VERDICT_NEEDED, "this shows nothing: %s", gap);
    if (is_promoted(options))
        return say(KMS_VERDICT_NEEDED,
                   "generation %" PRIu32 " is the promoted one: kube-apiserver writes with it",
                   options->destroy);
    uint64_t dependent = count_of(report, KMS_LISTED_DEPENDENT);
    if (dependent > 0)
        return say(KMS_VERDICT_NEEDED,
                   "%" PRIu64 " value(s) need it or may do so: write them again, and wait until "
                   "etcd's history and the backups that have them are gone",
                   dependent);
    if (count_of(report, KMS_FINDING_LOST_KEY) > 0)
        return say_lost(report);
    if (may_be_another(report, summary))
        return say(KMS_VERDICT_NEEDED,
                   "this shows nothing: no value here is proven to be under the promoted key, so "
                   "this may be another etcd than the one that kube-apiserver writes to");
    return say_free(options);
}

static struct kms_verdict judge_all(const struct kms_report *report)
{
    uint64_t faults = kms_findings_count_faults(kms_report_findings(report));
    size_t absent = kms_report_count_absent(report);
    if (count_of(report, KMS_FINDING_LOST_KEY) > 0)
        return say_lost(report);
    if (kms_report_totals(report)->values.current == 0)
        return say(KMS_VERDICT_FINDINGS,
                   "there is no key below this prefix: is --prefix what kube-apiserver has as "
                   "--etcd-prefix?");
    if (faults > 0 || absent > 0)
        return say(KMS_VERDICT_FINDINGS,
                   "%" PRIu64
                   " finding(s), %zu expected resource(s) absent: see docs/operations.md, "
                   "'Prove what is encrypted'",
                   faults, absent);
    const struct kms_report_options *options = kms_report_asked(report);
    return say(KMS_VERDICT_CLEAN, "%s is encrypted under the promoted key%s",
               options->expected.count > 0 ? "of the expected resources everything that can be"
                                           : "everything that can be",
               options->allowed_count > 0 ? " or an allowed one" : "");
}

struct kms_verdict kms_report_verdict(const struct kms_report *report,
                                      const struct kms_etcd_summary *summary)
{
    const struct kms_report_options *options = kms_report_asked(report);
    if (summary->stopped)
        return say(KMS_VERDICT_PARTIAL, "stopped before the end: this is a part, and shows nothing "
                                        "of the rest");
    if (options->destroy != 0 || options->remove != NULL)
        return judge_need(report, summary);
    return judge_all(report);
}
