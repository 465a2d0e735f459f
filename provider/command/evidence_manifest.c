/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "evidence.h"
#include "json.h"
#include "text.h"

static json_t *argv_json(char *const *argv)
{
    if (argv == NULL)
        return json_null();
    json_t *array = json_array();
    for (size_t i = 0; argv[i] != NULL; i++)
        kms_json_append(array, kms_json_text(argv[i]));
    return array;
}

static json_t *lines_json(const char *text)
{
    json_t *array = json_array();
    for (const char *line = text != NULL ? text : ""; *line != '\0'; line += strspn(line, "\n")) {
        size_t len = strcspn(line, "\n");
        if (len > 0)
            kms_json_append(array,
                            kms_json_bytes((struct kms_bytes){ (const uint8_t *)line, len }));
        line += len;
    }
    return array;
}

static const char *meaning_of(const struct kms_evidence_ending *ending)
{
    static const char *const meanings[] = {
        "done",
        "an error",
        "it worked, and found something that wants mending",
        "refused for safety",
        "values are under KEKs that aren't there",
    };
    switch (ending->how) {
    case KMS_CHILD_UNRUN:
        return NULL;
    case KMS_CHILD_EXITED:
        return ending->code < (int)(sizeof(meanings) / sizeof(meanings[0])) ? meanings[ending->code]
                                                                            : "unknown";
    case KMS_CHILD_KILLED:
        return "killed by a signal";
    case KMS_CHILD_LATE:
        return "killed at its deadline";
    case KMS_CHILD_STOPPED:
        return "killed, because evidence was stopped";
    }
    return NULL;
}

static json_t *file_json(const struct kms_evidence_file *file)
{
    const struct kms_evidence_ending *ending = &file->ending;
    bool there = kms_evidence_is_there(file), ran = ending->how != KMS_CHILD_UNRUN;
    json_t *object = json_object();
    kms_json_set(object, "file", kms_json_text(file->name));
    kms_json_set(object, "what", kms_json_text(file->what));
    kms_json_set(object, "asserted_by_operator", json_boolean(file->by_operator));
    kms_json_set(object, "status", kms_json_text(kms_evidence_status_name(file->status)));
    kms_json_set(object, "reason", kms_json_text(file->reason));
    kms_json_set(object, "notes", kms_evidence_notes(file));
    kms_json_set(object, "narrowed", json_boolean(file->narrowed));
    kms_json_set(object, "command", argv_json(file->argv));
    kms_json_set(object, "copy_of", kms_json_text(file->from));
    kms_json_set(object, "exit_status",
                 ending->how == KMS_CHILD_EXITED ? json_integer(ending->code) : json_null());
    kms_json_set(object, "exit_meaning", kms_json_text(meaning_of(ending)));
    kms_json_set(object, "stderr", lines_json(file->said));
    kms_json_set(object, "started", kms_json_time(ran ? ending->started_utc_s : 0));
    kms_json_set(object, "duration_ms", ran ? json_integer(ending->duration_ms) : json_null());
    kms_json_set(object, "bytes", there ? json_integer((json_int_t)file->size) : json_null());
    kms_json_set(object, "sha256", kms_json_text(there ? file->digest : NULL));
    return object;
}

/* From when on each writer's lines are there. */
static json_t *writers_json(const struct kms_evidence *evidence)
{
    json_t *array = json_array();
    for (size_t i = 0; i < KMS_EVIDENCE_WRITERS && evidence->writers[i].name != NULL; i++) {
        json_t *object = json_object();
        kms_json_set(object, "writer", kms_json_text(evidence->writers[i].name));
        kms_json_set(object, "from", kms_json_text(evidence->writers[i].from));
        kms_json_append(array, object);
    }
    return array;
}

json_t *kms_evidence_manifest(const struct kms_evidence *evidence)
{
    char node[HOST_NAME_MAX + 1] = "";
    json_t *object = kms_json_open("evidence-manifest"), *files = json_array();
    (void)gethostname(node, sizeof(node) - 1);
    for (size_t i = 0; i < evidence->count; i++)
        kms_json_append(files, file_json(&evidence->files[i]));
    kms_json_set(object, "program", kms_json_text("hsm-kms " KMS_VERSION));
    kms_json_set(object, "node", kms_json_text(node));
    kms_json_set(object, "cluster", kms_json_text(evidence->config.audit.cluster));
    kms_json_set(object, "ring", kms_json_text(evidence->config.ring));
    kms_json_set(object, "since", kms_json_time(evidence->options.since_utc_s));
    kms_json_set(object, "made", kms_json_time(evidence->made_utc_s));
    kms_json_set(object, "timeout_ms", json_integer(evidence->options.timeout_ms));
    kms_json_set(object, "audit", writers_json(evidence));
    kms_json_set(object, "files", files);
    return object;
}

static const char how_to_read[] =
    "Words are kept apart.  Labelled: the key_id beside a value was read; who can write etcd can\n"
    "forge it.  Proven: every distinct DEK seed was unwrapped under that KEK by the HSM, and\n"
    "sampled objects were opened; partly-proven: not every one, and the numbers say how many.\n"
    "A report that is narrowed says nothing of what it leaves out.  config.json and policy.json\n"
    "have the settings as the file said when this was made; whether the running plugin uses the\n"
    "same is said above.\n\n"
    "To check:\n"
    "- sha256sum --check --strict SHA256SUMS\n"
    "- the command of audit-verify.json in manifest.json, run here, prints audit-verify.json\n"
    "  again, but that a file which was younger than a minute then may want its first checkpoint.\n"
    "  For --checkpoint-key take a copy of the public key that was exported earlier and kept off\n"
    "  the host, not the one in audit/: who could write this archive could put a key of his own\n"
    "  there, and sign a log of his own with it\n"
    "- hsm-kms audit show --op evidence on the node's log has SHA256SUMS' own SHA-256\n\n"
    "What this doesn't prove:\n"
    "- that the host told the truth: root on it can forge every file here but those that others\n"
    "  signed.  The audit log is tamper-evident up to its last checkpoint that left the host\n"
    "- who read which Secret: that is in kube-apiserver's own audit log\n"
    "- anything of another node, of backups that no snapshot file was given of, or of the HSM\n"
    "  itself (certificates, custodians, backups): see operator/, which nobody checked\n"
    "hsm-kms puts no PIN, key, seed or value of etcd here; names of objects and hosts are here.\n"
    "What is in operator/ is as the operator gave it.\n";

static void put_file(const struct kms_evidence_file *file, FILE *out)
{
    (void)fprintf(out, "%-24s %s\n", file->name, file->what);
    if (file->reason[0] != '\0') {
        (void)fprintf(out, "%25s%s: ", "", kms_evidence_status_name(file->status));
        kms_text_put(out, file->reason);
        (void)fputc('\n', out);
    }
    for (size_t i = 0; i < json_array_size(file->notes); i++)
        (void)fprintf(out, "%25s%s\n", "", json_string_value(json_array_get(file->notes, i)));
}

static void put_writers(const struct kms_evidence *evidence, FILE *out)
{
    for (size_t i = 0; i < KMS_EVIDENCE_WRITERS && evidence->writers[i].name != NULL; i++) {
        const struct kms_evidence_writer *writer = &evidence->writers[i];
        if (writer->from[0] != '\0')
            (void)fprintf(out, "The audit log of \"%s\" is here from %s on.\n", writer->name,
                          writer->from);
        else
            (void)fprintf(out, "No line of the audit log of \"%s\" is here.\n", writer->name);
    }
    (void)fputc('\n', out);
}

void kms_evidence_readme(const struct kms_evidence *evidence, FILE *out)
{
    char since[KMS_RFC3339_LEN + 1], made[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(evidence->options.since_utc_s, since);
    kms_rfc3339_format(evidence->made_utc_s, made);
    (void)fprintf(out,
                  "Evidence of how the Secrets of a Kubernetes cluster are encrypted at rest.\n"
                  "Made by hsm-kms %s on %s, of ring %s, since %s.\n\n",
                  KMS_VERSION, made, evidence->config.ring, since);
    for (size_t i = 0; i < evidence->count; i++)
        put_file(&evidence->files[i], out);
    (void)fputs(
        "manifest.json            how each came to be: command line, exit status, time, SHA-256\n"
        "SHA256SUMS               of all files but itself\n\n",
        out);
    put_writers(evidence, out);
    (void)fputs(how_to_read, out);
}

void kms_evidence_sums(const struct kms_evidence *evidence, FILE *out)
{
    for (size_t i = 0; i < evidence->count; i++)
        if (kms_evidence_is_there(&evidence->files[i]))
            (void)fprintf(out, "%s  %s\n", evidence->files[i].digest, evidence->files[i].name);
}
