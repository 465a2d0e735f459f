/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kek_view.h"
#include "kms/clock.h"
#include "text.h"
#include "verify.h"

const char *kms_verify_level(const struct kms_verify_result *result)
{
    const struct kms_report_totals *totals = kms_report_totals(result->report);
    if (!result->options->prove || totals->proven == 0)
        return "labelled";
    return totals->proven == totals->sources ? "proven" : "partly-proven";
}

KMS_PRINTF(2, 3) static void print_field(const char *name, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)printf("%-10s", name);
    kms_text_put(stdout, text);
    (void)putchar('\n');
}

/* --- where it comes from --- */

static void print_spans(const struct kms_etcd_summary *summary)
{
    for (size_t i = 1; i < summary->span_count; i++) {
        const struct kms_etcd_span *span = &summary->spans[i];
        char *from = kms_text_escape((struct kms_bytes){ span->from, span->from_len });
        print_field("", "from key %.300s on at revision %" PRId64 ": etcd was compacted meanwhile",
                    from, span->revision);
        free(from);
    }
}

static void print_source(const struct kms_verify_result *result)
{
    const struct kms_etcd_summary *summary = result->summary;
    const struct kms_etcd_choice *etcd = &result->options->etcd;
    int64_t first = summary->span_count > 0 ? summary->spans[0].revision : 0;
    switch (summary->kind) {
    case KMS_ETCD_SERVER:
        print_field("source", "etcd %s at %.200s, member %" PRIx64 ", revision %" PRId64,
                    summary->version, etcd->endpoints, summary->member_id, first);
        break;
    case KMS_ETCD_SNAPSHOT:
        print_field("source", "snapshot %.200s, revision %" PRId64 "; its SHA-256 is right",
                    etcd->snapshot, first);
        break;
    case KMS_ETCD_MEMBER_DB:
        print_field("source",
                    "member db %.200s, revision %" PRId64
                    "; without a SHA-256, and what is still in "
                    "its WAL is missing",
                    etcd->snapshot, first);
        break;
    }
    print_spans(summary);
}

static void print_level(const struct kms_verify_result *result)
{
    const struct kms_report_totals *totals = kms_report_totals(result->report);
    if (!result->options->prove)
        print_field("level", "labelled: key_ids were read; who can write etcd can forge them");
    else
        print_field("level",
                    "%s: the HSM unwrapped %" PRIu64 " of %" PRIu64 " DEK sources; %" PRIu64
                    " objects were opened",
                    kms_verify_level(result), totals->proven, totals->sources, totals->opened);
}

/* What makes "clean" say less than it would of all values. */
static void print_names(const char *what, const struct kms_verify_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        print_field(i == 0 ? "asked" : "", "%s %.300s", what, names->items[i]);
}

static void print_question(const struct kms_verify_result *result)
{
    const struct kms_report_totals *totals = kms_report_totals(result->report);
    print_names("only", &result->options->expected);
    print_names("may be in the clear:", &result->options->exempt);
    print_names("as good as the promoted key:", &result->options->allowed);
    if (kms_verify_reads_all(result->options))
        print_field("asked",
                    "of all of etcd; %" PRIu64 " encrypted value(s) aren't below the prefix %.200s",
                    totals->beyond, result->options->prefix);
}

static void print_head(const struct kms_verify_result *result)
{
    const struct kms_report_totals *totals = kms_report_totals(result->report);
    char started[KMS_RFC3339_LEN + 1];
    kms_time_text(result->started_utc_s, started, sizeof(started));
    if (result->summary->stopped)
        print_field("PARTIAL", "stopped before the end");
    print_source(result);
    print_field("time", "%s, %" PRId64 ".%03d s", started, result->duration_ms / 1000,
                (int)(result->duration_ms % 1000));
    print_level(result);
    print_field("promoted", "%s (by %s)", result->ring->key_id, result->ring->from);
    print_question(result);
    print_field("values",
                "%" PRIu64 " current, of them %" PRIu64 " under the promoted key; %" PRIu64
                " history, %" PRIu64 " tombstones; %" PRIu64 " distinct DEK sources",
                totals->values.current, totals->promoted, totals->values.history, totals->deleted,
                totals->sources);
    if (result->options->allowed.count > 0)
        print_field("", "%" PRIu64 " current under an allowed key", totals->allowed);
}

/* --- tables --- */

static void add_bytes(struct kms_table *table, struct kms_bytes bytes)
{
    char *text = kms_text_escape(bytes);
    kms_table_add(table, text);
    free(text);
}

static void add_number(struct kms_table *table, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    kms_table_add(table, text);
}

static struct kms_table *open_table(const char *const *head, size_t count)
{
    struct kms_table *table = kms_table_open(count);
    for (size_t i = 0; i < count; i++)
        kms_table_add(table, head[i]);
    return table;
}

static void add_key(struct kms_table *table, const struct kms_tally_key *key)
{
    kms_table_add(table, key->others ? "(others)" : kms_value_class_name(key->class));
    add_bytes(table, key->provider);
    add_bytes(table, key->key_id);
}

static void add_resource(struct kms_table *table, const struct kms_tally_resource *resource)
{
    char name[2 * KMS_TALLY_NAME_MAX + 2];
    if (resource->others || resource->resource.len == 0) {
        kms_table_add(table, resource->others ? "(others)" : "(no object)");
        return;
    }
    int len = snprintf(name, sizeof(name), "%.*s%s%.*s", (int)resource->resource.len,
                       (const char *)resource->resource.data, resource->group.len > 0 ? "." : "",
                       (int)resource->group.len, (const char *)resource->group.data);
    add_bytes(table, (struct kms_bytes){ (const uint8_t *)name, (size_t)len });
}

static void print_rows(struct kms_tally *tally)
{
    static const char *const head[] = { "RESOURCE", "ENCRYPTION", "PROVIDER",
                                        "KEY_ID",   "CURRENT",    "HISTORY" };
    enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = open_table(head, COLUMNS);
    size_t count, ignored;
    const struct kms_tally_resource *resources = kms_tally_resources(tally, &ignored);
    const struct kms_tally_key *keys = kms_tally_keys(tally, &ignored);
    const struct kms_tally_row *rows = kms_tally_rows(tally, &count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].values.current + rows[i].values.history == 0)
            continue;
        add_resource(table, &resources[rows[i].resource]);
        add_key(table, &keys[rows[i].key]);
        add_number(table, rows[i].values.current);
        add_number(table, rows[i].values.history);
    }
    (void)putchar('\n');
    kms_table_print(table, stdout);
}

static void print_keys(const struct kms_tally *tally)
{
    static const char *const head[] = { "ENCRYPTION", "PROVIDER", "KEY_ID",
                                        "CURRENT",    "HISTORY",  "DEK SOURCES" };
    enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = open_table(head, COLUMNS);
    size_t count;
    const struct kms_tally_key *keys = kms_tally_keys(tally, &count);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].values.current + keys[i].values.history == 0)
            continue;
        add_key(table, &keys[i]);
        add_number(table, keys[i].values.current);
        add_number(table, keys[i].values.history);
        add_number(table, keys[i].sources);
    }
    (void)putchar('\n');
    kms_table_print(table, stdout);
}

/* --- lists --- */

static void print_item(const struct kms_findings_item *item)
{
    char *key = kms_text_escape(item->key), *id = kms_text_escape(item->key_id);
    (void)printf("  %s%s%s%s%s", key, item->cut ? "..." : "", item->history ? " (history)" : "",
                 id[0] != '\0' ? "  " : "", id);
    if (item->detail[0] != '\0') {
        (void)fputs(": ", stdout);
        kms_text_put(stdout, item->detail);
    }
    (void)putchar('\n');
    free(key);
    free(id);
}

static void print_list(const struct kms_findings *findings, enum kms_finding_kind kind)
{
    const struct kms_findings_list *list = &findings->lists[kind];
    if (list->count == 0)
        return;
    (void)printf("\n%s: %" PRIu64 "; %s\n", kms_finding_name(kind), list->count,
                 kms_finding_meaning(kind));
    for (size_t i = 0; i < list->kept; i++)
        print_item(&list->items[i]);
    if (list->count > list->kept)
        (void)printf("  and %" PRIu64 " more: --list FILE has all\n", list->count - list->kept);
}

static void print_absent(const struct kms_verify_result *result)
{
    const struct kms_verify_names *expected = &result->options->expected;
    for (size_t i = 0; i < expected->count; i++)
        if (!kms_report_has_seen(result->report, i))
            (void)printf("\nabsent: %s; expected, and there is none\n", expected->items[i]);
}

void kms_verify_print_text(const struct kms_verify_result *result)
{
    print_head(result);
    print_rows(kms_report_tally(result->report));
    print_keys(kms_report_tally(result->report));
    for (int kind = 0; kind < KMS_FINDING_KIND_COUNT; kind++)
        print_list(kms_report_findings(result->report), (enum kms_finding_kind)kind);
    print_absent(result);
    (void)printf("\n%s: %s\n", kms_verdict_name(result->verdict.kind), result->verdict.text);
}
