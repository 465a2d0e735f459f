/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "audit_log.h"
#include "evidence.h"
#include "json.h"
#include "kms/fd.h"
#include "text.h"

const char *kms_evidence_status_name(enum kms_evidence_status status)
{
    switch (status) {
    case KMS_EVIDENCE_OK:
        return "ok";
    case KMS_EVIDENCE_FINDINGS:
        return "findings";
    case KMS_EVIDENCE_MISSING:
        return "missing";
    case KMS_EVIDENCE_LEFT_OUT:
        return "left-out";
    }
    return "missing";
}

/* --- files --- */

struct kms_evidence_file *kms_evidence_add(struct kms_evidence *evidence, const char *name,
                                           const char *what, enum kms_evidence_source source)
{
    evidence->files = kms_must_alloc(
        reallocarray(evidence->files, evidence->count + 1, sizeof(*evidence->files)));
    struct kms_evidence_file *file = &evidence->files[evidence->count++];
    *file = (struct kms_evidence_file){
        .name = kms_must_alloc(strdup(name)), .what = what, .source = source, .from_fd = -1
    };
    return file;
}

void kms_evidence_argv(struct kms_evidence_file *file, const char *word)
{
    size_t count = 0;
    while (file->argv != NULL && file->argv[count] != NULL)
        count++;
    file->argv = kms_must_alloc(reallocarray(file->argv, count + 2, sizeof(*file->argv)));
    file->argv[count] = kms_must_alloc(strdup(word));
    file->argv[count + 1] = NULL;
}

void kms_evidence_set(struct kms_evidence_file *file, enum kms_evidence_status status,
                      const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(file->reason, sizeof(file->reason), fmt, args);
    va_end(args);
    file->status = status;
}

void kms_evidence_note(struct kms_evidence_file *file, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    json_t *note = kms_json_text(kms_must_alloc(len >= 0 ? text : NULL));
    free(text);
    if (file->notes == NULL)
        file->notes = json_array();
    for (size_t i = 0; i < json_array_size(file->notes); i++) {
        if (json_equal(json_array_get(file->notes, i), note) != 0) {
            json_decref(note);
            return;
        }
    }
    kms_json_append(file->notes, note);
}

json_t *kms_evidence_notes(const struct kms_evidence_file *file)
{
    return file->notes != NULL ? json_incref(file->notes) : json_array();
}

struct kms_evidence_file *kms_evidence_find(const struct kms_evidence *evidence, const char *name)
{
    for (size_t i = 0; i < evidence->count; i++)
        if (strcmp(evidence->files[i].name, name) == 0)
            return &evidence->files[i];
    return NULL;
}

bool kms_evidence_is_there(const struct kms_evidence_file *file)
{
    return file->status == KMS_EVIDENCE_OK || file->status == KMS_EVIDENCE_FINDINGS;
}

static void words_done(struct kms_evidence_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
    words->count = 0;
}

static void file_done(struct kms_evidence_file *file)
{
    for (size_t i = 0; file->argv != NULL && file->argv[i] != NULL; i++)
        free(file->argv[i]);
    free((void *)file->argv);
    free(file->name);
    free(file->from);
    free(file->said);
    json_decref(file->notes);
    kms_fd_done(&file->from_fd);
}

void kms_evidence_done(struct kms_evidence *evidence)
{
    for (size_t i = 0; i < evidence->count; i++)
        file_done(&evidence->files[i]);
    free(evidence->files);
    words_done(&evidence->options.verify);
    words_done(&evidence->options.proven);
    words_done(&evidence->options.doctor);
    kms_config_done(&evidence->config);
    *evidence = (struct kms_evidence){ .count = 0 };
}

const char *kms_evidence_check_name(const char *name)
{
    if (name[0] == '\0' || name[0] == '.')
        return "its name is empty or begins with a dot";
    for (const char *at = name; *at != '\0'; at++)
        if (*at < ' ' || *at > '~' || *at == '\\' || *at == '/')
            return "its name has other than printable ASCII, or a backslash";
    return NULL;
}

/* --- commands --- */

/* "key list" */
static void add_words(struct kms_evidence_file *file, const char *words)
{
    kms_evidence_argv(file, "hsm-kms");
    for (const char *at = words; *at != '\0'; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");
        char *word = kms_must_alloc(strndup(at, len));
        kms_evidence_argv(file, word);
        free(word);
        at += len;
    }
}

static void add_option(struct kms_evidence_file *file, const char *option, const char *value)
{
    if (value == NULL)
        return;
    kms_evidence_argv(file, option);
    kms_evidence_argv(file, value);
}

static void add_given(struct kms_evidence_file *file, const struct kms_evidence_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        kms_evidence_argv(file, words->items[i]);
}

static struct kms_evidence_file *add_command(struct kms_evidence *evidence, const char *name,
                                             const char *what, const char *words)
{
    struct kms_evidence_file *file = kms_evidence_add(evidence, name, what, KMS_EVIDENCE_COMMAND);
    add_words(file, words);
    add_option(file, "-o", "json");
    return file;
}

static struct kms_evidence_file *add_configured(struct kms_evidence *evidence, const char *name,
                                                const char *what, const char *words)
{
    struct kms_evidence_file *file = add_command(evidence, name, what, words);
    add_option(file, "--config", evidence->options.config_path);
    return file;
}

static const char *first_socket(const struct kms_evidence *evidence)
{
    const struct kms_node_sources *nodes = &evidence->options.nodes;
    return nodes->socket_count > 0 ? nodes->sockets[0] : NULL;
}

static void plan_tokens(struct kms_evidence *evidence)
{
    struct kms_evidence_file *file = add_configured(
        evidence, "tokens.json", "the configured tokens, as the running plugin uses them",
        "token list");
    add_option(file, "--socket", first_socket(evidence));
    for (size_t i = 0; i < evidence->config.token_count; i++) {
        char name[sizeof("tokens/.json") + KMS_TOKEN_NAME_MAX];
        const char *token = evidence->config.tokens[i].name;
        (void)snprintf(name, sizeof(name), "tokens/%s.json", token);
        file = add_configured(evidence, name,
                              "what a token is, its library and firmware, and how it wraps",
                              "token describe");
        add_option(file, "--token", token);
    }
}

/* `status` takes either. */
static void plan_nodes(struct kms_evidence *evidence)
{
    static const char what[] = "what the plugin on this node says of itself";
    const struct kms_node_sources *nodes = &evidence->options.nodes;
    const char *socket = first_socket(evidence);
    struct kms_evidence_file *file = socket != NULL
                                         ? add_command(evidence, "node.json", what, "status")
                                         : add_configured(evidence, "node.json", what, "status");
    add_option(file, "--socket", socket);
    file = add_configured(evidence, "nodes.json", "the nodes side by side", "key nodes");
    for (size_t i = 0; i < nodes->socket_count; i++)
        add_option(file, "--socket", nodes->sockets[i]);
    for (size_t i = 0; i < nodes->file_count; i++)
        add_option(file, "--nodes", nodes->files[i]);
    if (nodes->socket_count < 2 && nodes->file_count == 0)
        kms_evidence_set(file, KMS_EVIDENCE_LEFT_OUT,
                         "neither --nodes nor a second --socket was given");
}

static void plan_verify(struct kms_evidence *evidence, const char *name, const char *what,
                        bool proven)
{
    const struct kms_etcd_choice *etcd = &evidence->options.etcd;
    struct kms_evidence_file *file = add_configured(evidence, name, what, "verify");
    add_option(file, "--etcd", etcd->endpoints);
    add_option(file, "--cacert", etcd->ca_path);
    add_option(file, "--cert", etcd->cert_path);
    add_option(file, "--key", etcd->key_path);
    add_option(file, "--snapshot", etcd->snapshot);
    add_option(file, "--socket", first_socket(evidence));
    add_given(file, &evidence->options.verify);
    if (proven)
        kms_evidence_argv(file, "--prove");
    if (proven)
        add_given(file, &evidence->options.proven);
    if (etcd->endpoints == NULL && etcd->snapshot == NULL)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "no --etcd nor --snapshot was given");
}

/* A copy says for itself what it lacks. */
static void plan_ledger(struct kms_evidence *evidence)
{
    char *path = NULL;
    if (asprintf(&path, "%s/snapshots.jsonl", evidence->config.state_dir) < 0)
        path = kms_must_alloc(NULL);
    struct kms_evidence_file *file = kms_evidence_add(
        evidence, "snapshots.jsonl", "the ledger of etcd snapshots, and which KEKs each needs",
        KMS_EVIDENCE_COPY);
    file->from = path;
    file->of_service = true;
    file->whole_lines = true;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        kms_evidence_set(file, KMS_EVIDENCE_LEFT_OUT,
                         "no snapshot was recorded on this node: hsm-kms verify --snapshot FILE "
                         "--record does");
}

static const char no_log[] =
    "no audit log is configured: audit.path in the configuration makes one";

static void plan_audit_key(struct kms_evidence *evidence)
{
    char label[KMS_AUDIT_KEY_LABEL_LEN + 1];
    char name[sizeof("audit/.pem") + sizeof(label)];
    kms_audit_key_label(evidence->config.ring, label);
    (void)snprintf(name, sizeof(name), "audit/%s.pem", label);
    struct kms_evidence_file *file = kms_evidence_add(
        evidence, name,
        "the public key that checks the audit log's checkpoints, in what the "
        "command prints",
        KMS_EVIDENCE_KEY);
    add_words(file, "audit key -o json");
    add_option(file, "--config", evidence->options.config_path);
    if (evidence->config.audit.path == NULL)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "%s", no_log);
}

/* Their command lines name what was gathered, so they are completed then. */
static void plan_checks(struct kms_evidence *evidence)
{
    char since[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(evidence->options.since_utc_s, since);
    struct kms_evidence_file *check = kms_evidence_add(
        evidence, "audit-verify.json", "the check of the audit log's files beside it",
        KMS_EVIDENCE_CHECK);
    add_words(check, "audit verify -o json");
    if (evidence->config.audit.path == NULL)
        kms_evidence_set(check, KMS_EVIDENCE_MISSING, "%s", no_log);
    struct kms_evidence_file *show = kms_evidence_add(
        evidence, "audit-show.json", "the audit log's lines since then, merged by time",
        KMS_EVIDENCE_CHECK);
    add_words(show, "audit show -o json");
    add_option(show, "--since", since);
    if (evidence->config.audit.path == NULL)
        kms_evidence_set(show, KMS_EVIDENCE_MISSING, "%s", no_log);
}

static void plan_statements(struct kms_evidence *evidence)
{
    for (size_t i = 0; i < evidence->options.statement_count; i++) {
        char name[sizeof("operator/") + NAME_MAX];
        const char *path = evidence->options.statements[i], *slash = strrchr(path, '/');
        (void)snprintf(name, sizeof(name), "operator/%.*s", NAME_MAX,
                       slash != NULL ? slash + 1 : path);
        struct kms_evidence_file *file = kms_evidence_add(
            evidence, name, "asserted by the operator", KMS_EVIDENCE_COPY);
        file->from = kms_must_alloc(strdup(path));
        file->by_operator = true;
    }
}

void kms_evidence_plan(struct kms_evidence *evidence)
{
    struct kms_account account = kms_account_of(evidence->config.state_dir);
    evidence->service_known = account.other;
    evidence->service_uid = account.uid;
    (void)add_configured(evidence, "inventory.json",
                         "the ring's KEKs on the tokens, as this node judges them", "key list");
    plan_tokens(evidence);
    plan_nodes(evidence);
    (void)add_configured(
        evidence, "policy.json",
        "what decides about keys: settings as the file says now, and what the node "
        "remembers",
        "config policy");
    (void)add_configured(
        evidence, "config.json",
        "the configuration as the file says now; of secrets it has the places only", "config show");
    plan_verify(evidence, "verify-labelled.json",
                "what is encrypted in etcd, by the labels of the values", false);
    plan_verify(evidence, "verify-proven.json",
                "the same, with the DEK seeds that the HSM unwrapped", true);
    plan_ledger(evidence);
    struct kms_evidence_file *doctor = add_configured(
        evidence, "doctor.json", "what around the plugin is as it has to be", "doctor");
    add_given(doctor, &evidence->options.doctor);
    plan_audit_key(evidence);
    if (evidence->config.audit.path != NULL)
        kms_evidence_plan_audit(evidence);
    plan_checks(evidence);
    (void)kms_evidence_add(evidence, "versions.json",
                           "what runs: the program, libraries, modules, tokens, the host",
                           KMS_EVIDENCE_OWN);
    plan_statements(evidence);
}
