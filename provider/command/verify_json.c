/* SPDX-License-Identifier: Apache-2.0 */
/* The schema is described in docs/operations.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "text.h"
#include "verify.h"

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* Identifiers of 64 bits don't fit into the numbers of most readers. */
static json_t *id_json(uint64_t id)
{
    char text[17];
    (void)snprintf(text, sizeof(text), "%" PRIx64, id);
    return id != 0 ? kms_json_text(text) : json_null();
}

static void set_count(json_t *object, const struct kms_count *values)
{
    kms_json_set(object, "current", number(values->current));
    kms_json_set(object, "history", number(values->history));
}

static json_t *spans_json(const struct kms_etcd_summary *summary)
{
    json_t *spans = json_array();
    for (size_t i = 0; i < summary->span_count; i++) {
        const struct kms_etcd_span *span = &summary->spans[i];
        json_t *item = json_object();
        kms_json_set(item, "from",
                     kms_json_bytes((struct kms_bytes){ span->from, span->from_len }));
        kms_json_set(item, "revision", json_integer(span->revision));
        kms_json_append(spans, item);
    }
    return spans;
}

static json_t *source_json(const struct kms_verify_result *result)
{
    const struct kms_etcd_summary *summary = result->summary;
    const struct kms_etcd_choice *etcd = &result->options->etcd;
    json_t *object = json_object();
    kms_json_set(object, "kind", kms_json_text(kms_etcd_kind_name(summary->kind)));
    kms_json_set(object, "name",
                 kms_json_text(etcd->snapshot != NULL ? etcd->snapshot : etcd->endpoints));
    kms_json_set(object, "prefix", kms_json_text(result->options->prefix));
    kms_json_set(object, "revision", json_integer(kms_etcd_summary_revision(summary)));
    kms_json_set(object, "spans", spans_json(summary));
    kms_json_set(object, "compact_revision", json_integer(summary->compact_revision));
    kms_json_set(object, "cluster_id", id_json(summary->cluster_id));
    kms_json_set(object, "member_id", id_json(summary->member_id));
    kms_json_set(object, "etcd_version", kms_json_text(summary->version));
    kms_json_set(object, "sha256_checked", json_boolean(summary->kind == KMS_ETCD_SNAPSHOT));
    return object;
}

static json_t *totals_json(const struct kms_report_totals *totals)
{
    json_t *object = json_object();
    set_count(object, &totals->values);
    kms_json_set(object, "deleted", number(totals->deleted));
    kms_json_set(object, "promoted", number(totals->promoted));
    kms_json_set(object, "allowed", number(totals->allowed));
    kms_json_set(object, "beyond_prefix", number(totals->beyond));
    kms_json_set(object, "dek_sources", number(totals->sources));
    kms_json_set(object, "proven", number(totals->proven));
    kms_json_set(object, "opened", number(totals->opened));
    return object;
}

static void set_key(json_t *object, const struct kms_tally_key *key)
{
    kms_json_set(object, "encryption",
                 kms_json_text(key->others ? "others" : kms_value_class_name(key->class)));
    kms_json_set(object, "provider", kms_json_bytes(key->provider));
    kms_json_set(object, "key_id", kms_json_bytes(key->key_id));
}

static json_t *keys_json(const struct kms_tally *tally)
{
    json_t *array = json_array();
    size_t count;
    const struct kms_tally_key *keys = kms_tally_keys(tally, &count);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].values.current + keys[i].values.history == 0)
            continue;
        json_t *item = json_object();
        set_key(item, &keys[i]);
        set_count(item, &keys[i].values);
        kms_json_set(item, "dek_sources", number(keys[i].sources));
        kms_json_set(item, "proven", number(keys[i].proven));
        kms_json_set(item, "lost", json_boolean(keys[i].lost));
        kms_json_append(array, item);
    }
    return array;
}

static json_t *rows_json(struct kms_tally *tally)
{
    json_t *array = json_array();
    size_t count, ignored;
    const struct kms_tally_resource *resources = kms_tally_resources(tally, &ignored);
    const struct kms_tally_key *keys = kms_tally_keys(tally, &ignored);
    const struct kms_tally_row *rows = kms_tally_rows(tally, &count);
    for (size_t i = 0; i < count; i++) {
        if (rows[i].values.current + rows[i].values.history == 0)
            continue;
        json_t *item = json_object();
        kms_json_set(item, "group", kms_json_bytes(resources[rows[i].resource].group));
        kms_json_set(item, "resource", kms_json_bytes(resources[rows[i].resource].resource));
        set_key(item, &keys[rows[i].key]);
        set_count(item, &rows[i].values);
        kms_json_append(array, item);
    }
    return array;
}

static json_t *items_json(const struct kms_findings_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->kept; i++) {
        const struct kms_findings_item *item = &list->items[i];
        json_t *object = json_object();
        kms_json_set(object, "key", kms_json_bytes(item->key));
        kms_json_set(object, "cut", json_boolean(item->cut));
        kms_json_set(object, "state", kms_json_text(item->history ? "history" : "current"));
        kms_json_set(object, "mod_revision", json_integer(item->mod_revision));
        kms_json_set(object, "key_id", kms_json_bytes(item->key_id));
        kms_json_set(object, "detail", kms_json_text(item->detail));
        kms_json_append(array, object);
    }
    return array;
}

/* Faults, or what is listed for other reasons. */
static json_t *findings_json(const struct kms_findings *findings, bool faults)
{
    json_t *array = json_array();
    for (int i = 0; i < KMS_FINDING_KIND_COUNT; i++) {
        enum kms_finding_kind kind = (enum kms_finding_kind)i;
        if (findings->lists[i].count == 0 || kms_finding_is_fault(kind) != faults)
            continue;
        json_t *object = json_object();
        kms_json_set(object, "kind", kms_json_text(kms_finding_name(kind)));
        kms_json_set(object, "meaning", kms_json_text(kms_finding_meaning(kind)));
        kms_json_set(object, "count", number(findings->lists[i].count));
        kms_json_set(object, "first", items_json(&findings->lists[i]));
        kms_json_append(array, object);
    }
    return array;
}

static json_t *absent_json(const struct kms_verify_result *result)
{
    json_t *array = json_array();
    const struct kms_verify_names *expected = &result->options->expected;
    for (size_t i = 0; i < expected->count; i++)
        if (!kms_report_has_seen(result->report, i))
            kms_json_append(array, kms_json_text(expected->items[i]));
    return array;
}

static json_t *names_json(const struct kms_verify_names *names)
{
    json_t *array = json_array();
    for (size_t i = 0; i < names->count; i++)
        kms_json_append(array, kms_json_text(names->items[i]));
    return array;
}

static json_t *question_json(const struct kms_verify_options *options)
{
    json_t *object = json_object();
    kms_json_set(object, "can_destroy",
                 options->destroy != 0 ? json_integer(options->destroy) : json_null());
    kms_json_set(object, "can_remove_provider", kms_json_text(options->remove));
    kms_json_set(object, "all_of_etcd", json_boolean(kms_verify_reads_all(options)));
    kms_json_set(object, "expected", names_json(&options->expected));
    kms_json_set(object, "allowed", names_json(&options->allowed));
    kms_json_set(object, "exempt", names_json(&options->exempt));
    return object;
}

void kms_verify_print_json(const struct kms_verify_result *result)
{
    json_t *object = kms_json_open("verify");
    kms_json_set(object, "verdict", kms_json_text(kms_verdict_name(result->verdict.kind)));
    kms_json_set(object, "text", kms_json_text(result->verdict.text));
    kms_json_set(object, "level", kms_json_text(kms_verify_level(result)));
    kms_json_set(object, "partial", json_boolean(result->summary->stopped));
    kms_json_set(object, "question", question_json(result->options));
    kms_json_set(object, "started", kms_json_time(result->started_utc_s));
    kms_json_set(object, "duration_ms", json_integer(result->duration_ms));
    kms_json_set(object, "source", source_json(result));
    kms_json_set(object, "ring", kms_json_text(result->ring->name));
    kms_json_set(object, "key_id", kms_json_text(result->ring->key_id));
    kms_json_set(object, "key_id_by", kms_json_text(result->ring->from));
    kms_json_set(object, "totals", totals_json(kms_report_totals(result->report)));
    kms_json_set(object, "keys", keys_json(kms_report_tally(result->report)));
    kms_json_set(object, "resources", rows_json(kms_report_tally(result->report)));
    kms_json_set(object, "findings", findings_json(kms_report_findings(result->report), true));
    kms_json_set(object, "listed", findings_json(kms_report_findings(result->report), false));
    kms_json_set(object, "absent", absent_json(result));
    kms_json_print(object);
}

/* --- CSV: RFC 4180 --- */

/* Quoted; what a spreadsheet would take for a formula gets an apostrophe in front. */
static void put_cell(struct kms_bytes bytes)
{
    char *text = kms_text_escape(bytes);
    (void)putchar('"');
    if (text[0] != '\0' && strchr("=+-@", text[0]) != NULL)
        (void)putchar('\'');
    for (const char *at = text; *at != '\0'; at++)
        (void)printf("%s%c", *at == '"' ? "\"" : "", *at);
    (void)fputs("\",", stdout);
    free(text);
}

/* Of what is under one key: a DEK source that wasn't unwrapped, or isn't one, is as good as its label. */
static const char *row_level(const struct kms_tally_key *key)
{
    return key->sources > 0 && key->proven == key->sources ? "proven" : "labelled";
}

void kms_verify_print_csv(const struct kms_verify_result *result)
{
    struct kms_tally *tally = kms_report_tally(result->report);
    size_t count, ignored;
    const struct kms_tally_resource *resources = kms_tally_resources(tally, &ignored);
    const struct kms_tally_key *keys = kms_tally_keys(tally, &ignored);
    const struct kms_tally_row *rows = kms_tally_rows(tally, &count);
    const char *extent = result->summary->stopped ? "partial" : "whole";
    (void)fputs("group,resource,encryption,provider,key_id,current,history,level,extent\r\n",
                stdout);
    for (size_t i = 0; i < count; i++) {
        const struct kms_tally_key *key = &keys[rows[i].key];
        if (rows[i].values.current + rows[i].values.history == 0)
            continue;
        put_cell(resources[rows[i].resource].group);
        put_cell(resources[rows[i].resource].resource);
        put_cell(kms_bytes_of(key->others ? "others" : kms_value_class_name(key->class)));
        put_cell(key->provider);
        put_cell(key->key_id);
        (void)printf("%" PRIu64 ",%" PRIu64 ",%s,%s\r\n", rows[i].values.current,
                     rows[i].values.history, row_level(key), extent);
    }
}
