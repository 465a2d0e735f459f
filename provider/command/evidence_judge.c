/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "etcd/registry.h"
#include "evidence.h"
#include "json.h"
#include "keyid.h"
#include "kms/fd.h"

enum { SNAPSHOTS_MAX = 100 }; /* that are named, of those that need a KEK that is gone */

static int open_staged(const struct kms_stage *stage, const char *name)
{
    return openat(stage->files_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

/* What a command printed into @name; NULL: it isn't there.  Owned. */
static json_t *load(const struct kms_stage *stage, const char *name)
{
    KMS_CLEANUP(kms_fd_done) int fd = open_staged(stage, name);
    return fd >= 0 ? json_loadfd(fd, 0, NULL) : NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static int64_t number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* --- the reports on etcd --- */

static void add_cause(char reason[static KMS_EVIDENCE_REASON_MAX], const char *before,
                      const char *option, const char *value)
{
    size_t len = strlen(reason);
    (void)snprintf(reason + len, KMS_EVIDENCE_REASON_MAX - len, "%s%s%s", before, option, value);
}

/* A report that is narrowed says less than one of all values, however good it looks. */
static void say_narrowed(const struct kms_evidence *evidence, struct kms_evidence_file *file)
{
    static const char whole[] = "--prefix=" KMS_REGISTRY_PREFIX;
    const struct kms_evidence_words *words = &evidence->options.verify;
    const struct kms_config_verify *verify = &evidence->config.verify;
    for (size_t i = 0; i < words->count + verify->exempt_count; i++) {
        bool given = i < words->count;
        if (given && strcmp(words->items[i], whole) == 0)
            continue;
        const char *value = given ? words->items[i] : verify->exempt[i - words->count];
        const char *before = file->narrowed            ? ", "
                             : file->reason[0] != '\0' ? "; narrowed by "
                                                       : "narrowed by ";
        const char *option = given ? "" : "verify.exempt of the configuration: ";
        add_cause(file->reason, before, option, value);
        file->narrowed = true;
    }
    if (strlen(file->reason) + 1 == sizeof(file->reason))
        kms_evidence_note(file, "narrowed by more than the reason has room for: the command line "
                                "and verify.exempt of config.json have all");
}

static void say_source(const struct kms_evidence *evidence, struct kms_evidence_file *file,
                       const json_t *report)
{
    const json_t *source = json_object_get(report, "source");
    const char *snapshot = evidence->options.etcd.snapshot;
    char written[KMS_RFC3339_LEN + 1] = "an unknown time";
    struct stat st;
    if (snapshot == NULL) {
        kms_evidence_note(file, "of etcd at %s, revision %" PRId64 ", read at %s",
                          text_of(source, "name"), number_of(source, "revision"),
                          text_of(report, "started"));
        return;
    }
    if (stat(snapshot, &st) == 0)
        kms_rfc3339_format(st.st_mtime, written);
    kms_evidence_note(file, "of the %s %s, revision %" PRId64 ", a file of %s, read at %s",
                      text_of(source, "kind"), text_of(source, "name"),
                      number_of(source, "revision"), written, text_of(report, "started"));
}

static void judge_report(const struct kms_evidence *evidence, const struct kms_stage *stage,
                         const char *name)
{
    struct kms_evidence_file *file = kms_evidence_find(evidence, name);
    if (!kms_evidence_is_there(file))
        return;
    KMS_CLEANUP(kms_json_done) json_t *report = load(stage, name);
    const json_t *totals = json_object_get(report, "totals");
    kms_evidence_note(
        file, "%s: %" PRId64 " of %" PRId64 " DEK seeds unwrapped, %" PRId64 " objects opened",
        text_of(report, "level"), number_of(totals, "proven"), number_of(totals, "dek_sources"),
        number_of(totals, "opened"));
    say_source(evidence, file, report);
    say_narrowed(evidence, file);
}

/* --- the configuration --- */

static bool is_equal(const json_t *running, const json_t *file, const char *key)
{
    return strcmp(text_of(running, key), text_of(file, key)) == 0;
}

/* The file is what the next start reads.  What runs was read before. */
static void judge_configuration(const struct kms_evidence *evidence, const struct kms_stage *stage)
{
    struct kms_evidence_file *config = kms_evidence_find(evidence, "config.json");
    KMS_CLEANUP(kms_json_done) json_t *node = load(stage, "node.json");
    KMS_CLEANUP(kms_json_done) json_t *file = load(stage, "config.json");
    const json_t *running = json_object_get(node, "configuration");
    if (!kms_evidence_is_there(config))
        return;
    if (text_of(running, "settings_sha256")[0] == '\0')
        kms_evidence_note(config, "no running plugin told which configuration it uses");
    else if (!is_equal(running, file, "settings_sha256"))
        kms_evidence_set(config, KMS_EVIDENCE_FINDINGS,
                         "the running plugin uses another configuration than the file, which it "
                         "read at %s: restart it, since pins and adopt alone are reloaded",
                         text_of(running, "settings_read"));
    else if (!is_equal(running, file, "vouched_sha256"))
        kms_evidence_set(config, KMS_EVIDENCE_FINDINGS,
                         "the running plugin uses another configuration than the file, of which "
                         "it read pins and adopt at %s: reload it",
                         text_of(running, "vouched_read"));
    else
        kms_evidence_note(config,
                          "the running plugin uses the same, read at %s (pins and adopt at %s)",
                          text_of(running, "settings_read"), text_of(running, "vouched_read"));
}

/* --- the ledger --- */

static bool is_buried(const json_t *policy, uint32_t generation)
{
    const json_t *tombstones = json_object_get(policy, "tombstones");
    for (size_t i = 0; i < json_array_size(tombstones); i++)
        if (json_integer_value(json_array_get(tombstones, i)) == (json_int_t)generation)
            return true;
    return false;
}

static void judge_need(const struct kms_evidence *evidence, struct kms_evidence_file *file,
                       const json_t *line, const json_t *key, uint32_t generation)
{
    int64_t kept_s = evidence->config.policy.backup_retention_ms / 1000;
    kms_evidence_note(file,
                      "the snapshot with SHA-256 %s needs generation %" PRIu32
                      ", which is destroyed: its %" PRId64 " values can't be read",
                      text_of(line, "sha256"), generation,
                      number_of(key, "current") + number_of(key, "history"));
    if (number_of(line, "time") + kept_s > evidence->made_utc_s)
        kms_evidence_set(file, KMS_EVIDENCE_FINDINGS,
                         "within policy.backup_retention a snapshot needs generation %" PRIu32
                         ", which is destroyed",
                         generation);
}

static void judge_line(const struct kms_evidence *evidence, struct kms_evidence_file *file,
                       const json_t *policy, const json_t *line)
{
    const json_t *keys = json_object_get(line, "keys");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *key = json_array_get(keys, i);
        struct kms_key_id id;
        if (!kms_key_id_parse(evidence->config.ring, kms_bytes_of(text_of(key, "key_id")), &id) ||
            !is_buried(policy, id.generation))
            continue;
        if (json_array_size(file->notes) < SNAPSHOTS_MAX)
            judge_need(evidence, file, line, key, id.generation);
        else
            kms_evidence_note(file, "and more such");
    }
}

static void judge_ledger(const struct kms_evidence *evidence, const struct kms_stage *stage)
{
    struct kms_evidence_file *file = kms_evidence_find(evidence, "snapshots.jsonl");
    KMS_CLEANUP(kms_json_done) json_t *policy = load(stage, "policy.json");
    char *text = NULL;
    size_t capacity = 0;
    int fd = kms_evidence_is_there(file) ? open_staged(stage, file->name) : -1;
    FILE *in = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (in == NULL) {
        kms_fd_done(&fd);
        return;
    }
    for (ssize_t len; (len = getline(&text, &capacity, in)) > 0;) {
        KMS_CLEANUP(kms_json_done) json_t *line = json_loadb(text, (size_t)len, 0, NULL);
        judge_line(evidence, file, policy, line);
    }
    (void)fclose(in);
    free(text);
}

/* --- the audit log --- */

/* Who serves, or ever promoted a KEK, has begun a log. */
static void judge_absent_log(const struct kms_evidence *evidence, const struct kms_stage *stage)
{
    KMS_CLEANUP(kms_json_done) json_t *policy = load(stage, "policy.json");
    const struct kms_evidence_file *node = kms_evidence_find(evidence, "node.json");
    bool known = policy != NULL && json_is_null(json_object_get(policy, "problem"));
    const char *why = !known                               ? "state_dir can't be read"
                      : number_of(policy, "promoted") != 0 ? "state_dir remembers a promoted KEK"
                      : kms_evidence_is_there(node)        ? "the plugin runs"
                                                           : NULL;
    for (size_t i = 0; i < evidence->count && why != NULL; i++) {
        struct kms_evidence_file *file = &evidence->files[i];
        if (file->audit && file->status == KMS_EVIDENCE_LEFT_OUT && file->served)
            kms_evidence_set(file, KMS_EVIDENCE_MISSING,
                             "it isn't there, though %s: the log was taken away, or configured "
                             "since the plugin's start",
                             why);
    }
}

void kms_evidence_judge(struct kms_evidence *evidence, const struct kms_stage *stage)
{
    judge_report(evidence, stage, "verify-labelled.json");
    judge_report(evidence, stage, "verify-proven.json");
    judge_configuration(evidence, stage);
    judge_ledger(evidence, stage);
    judge_absent_log(evidence, stage);
}
