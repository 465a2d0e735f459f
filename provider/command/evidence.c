/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms evidence`: what an auditor asks for, in one archive. */
#include "evidence.h"

#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "audit_log.h"
#include "command.h"
#include "json.h"
#include "text.h"

enum {
    SINCE = 256,
    OUT,
    TIMEOUT,
    STATEMENT,
    DRY_RUN,
    PREFIX,
    EXEMPT,
    ALLOW,
    KEY_ID,
    SAMPLE,
    ENCRYPTION,
    MANIFEST,
    KUBEADM,
    HOST_ROOT,
    ETCD_DATA,
    UNIT,
    DATE_LEN = 10, /* "2026-12-01" */
    SINCE_DEFAULT_S = 90 * 24 * 60 * 60,
    TIMEOUT_DEFAULT_MS = 10 * 60 * 1000,
};

static const struct argp_option argp_options[] = {
    { "config", 'c', "FILE", 0, "configuration (default " KMS_CONFIG_PATH ")", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { "out", OUT, "FILE", 0, "the archive, a new file (tar)", 0 },
    { "since", SINCE, "WHEN", 0,
      "the audit log from this UTC time on (2026-12-01T12:00:00Z, 2026-12-01), or so long ago "
      "(default 90d)",
      0 },
    { "statement", STATEMENT, "FILE", 0, "the operator's own document, into operator/; repeatable",
      0 },
    { "timeout", TIMEOUT, "DURATION", 0, "what each command may take (default 10m)", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "list what would be gathered, and do nothing", 0 },
    { "prefix", PREFIX, "PREFIX", 0, "as of verify", 2 },
    { "exempt", EXEMPT, "RESOURCE", 0, "as of verify; repeatable", 2 },
    { "allow-key", ALLOW, "KEY_ID", 0, "as of verify; repeatable", 2 },
    { "key-id", KEY_ID, "KEY_ID", 0, "as of verify", 2 },
    { "sample", SAMPLE, "N", 0, "as of verify --prove", 2 },
    { "encryption-config", ENCRYPTION, "FILE", 0, "as of doctor", 3 },
    { "apiserver-manifest", MANIFEST, "FILE", 0, "as of doctor", 3 },
    { "kubeadm-config", KUBEADM, "FILE", 0, "as of doctor", 3 },
    { "host-root", HOST_ROOT, "DIR", 0, "as of doctor", 3 },
    { "etcd-data-dir", ETCD_DATA, "DIR", 0, "as of doctor", 3 },
    { "unit", UNIT, "NAME", 0, "as of doctor", 3 },
    { 0 },
};

/* --- options --- */

static void hand_on(struct kms_evidence_words *words, const char *option, const char *arg,
                    struct argp_state *state)
{
    if (words->count == KMS_EVIDENCE_WORDS_MAX)
        argp_error(state, "--%s and its like may be given %d times at most", option,
                   (int)KMS_EVIDENCE_WORDS_MAX);
    char *word = NULL;
    if (asprintf(&word, "--%s=%s", option, arg) < 0)
        word = NULL;
    words->items[words->count++] = kms_must_alloc(word);
}

static void set_since(struct kms_evidence_options *options, struct argp_state *state,
                      const char *arg)
{
    int64_t ms = 0;
    char midnight[KMS_RFC3339_LEN + 1];
    (void)snprintf(midnight, sizeof(midnight), "%.10sT00:00:00Z", arg);
    if (kms_duration_parse(arg, &ms))
        options->since_utc_s = kms_utc_s() - ms / 1000;
    else if (!kms_rfc3339_parse(strlen(arg) == DATE_LEN ? midnight : arg, &options->since_utc_s))
        argp_error(state, "--since is a UTC time (2026-12-01T12:00:00Z), a date or a duration "
                          "(90d)");
    if (options->since_utc_s > kms_utc_s())
        argp_error(state, "--since: %s is in the future", arg);
}

static void add_statement(struct kms_evidence_options *options, struct argp_state *state,
                          const char *arg)
{
    const char *slash = strrchr(arg, '/'), *name = slash != NULL ? slash + 1 : arg;
    const char *problem = kms_evidence_check_name(name);
    if (problem != NULL)
        argp_error(state, "--statement: %s: rename a copy", problem);
    if (options->statement_count == KMS_EVIDENCE_STATEMENTS_MAX)
        argp_error(state, "%d statements at most", (int)KMS_EVIDENCE_STATEMENTS_MAX);
    for (size_t i = 0; i < options->statement_count; i++) {
        const char *other = strrchr(options->statements[i], '/');
        if (strcmp(other != NULL ? other + 1 : options->statements[i], name) == 0)
            argp_error(state, "--statement: two files have one name: rename a copy");
    }
    options->statements[options->statement_count++] = arg;
}

/* A command line is a part of the archive, so it must hold no secret. */
static void check(const struct kms_evidence_options *options, struct argp_state *state)
{
    if (options->out == NULL && !options->dry_run)
        argp_error(state, "--out FILE is needed");
    if (options->out != NULL && strcmp(options->out, "-") == 0)
        argp_error(state, "--out takes a new file, not stdout, so that an archive is whole or not "
                          "there at all");
    if (options->etcd.endpoints != NULL && strchr(options->etcd.endpoints, '@') != NULL)
        argp_error(state, "--etcd takes no user and password");
}

static error_t parse_handed_on(int key, char *arg, struct argp_state *state)
{
    static const struct {
        int key;
        const char *option;
        size_t words; /* where in the options */
    } handed_on[] = {
        { PREFIX, "prefix", offsetof(struct kms_evidence_options, verify) },
        { EXEMPT, "exempt", offsetof(struct kms_evidence_options, verify) },
        { ALLOW, "allow-key", offsetof(struct kms_evidence_options, verify) },
        { KEY_ID, "key-id", offsetof(struct kms_evidence_options, verify) },
        { SAMPLE, "sample", offsetof(struct kms_evidence_options, proven) },
        { ENCRYPTION, "encryption-config", offsetof(struct kms_evidence_options, doctor) },
        { MANIFEST, "apiserver-manifest", offsetof(struct kms_evidence_options, doctor) },
        { KUBEADM, "kubeadm-config", offsetof(struct kms_evidence_options, doctor) },
        { HOST_ROOT, "host-root", offsetof(struct kms_evidence_options, doctor) },
        { ETCD_DATA, "etcd-data-dir", offsetof(struct kms_evidence_options, doctor) },
        { UNIT, "unit", offsetof(struct kms_evidence_options, doctor) },
    };
    for (size_t i = 0; i < sizeof(handed_on) / sizeof(handed_on[0]); i++) {
        if (handed_on[i].key != key)
            continue;
        void *words = (char *)state->input + handed_on[i].words;
        hand_on(words, handed_on[i].option, arg, state);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct kms_evidence_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->etcd;
        state->child_inputs[1] = &options->nodes;
        return 0;
    case 'c':
        options->config_path = arg;
        return 0;
    case 'o':
        options->json = kms_command_output_is_json(state, arg);
        return 0;
    case SINCE:
        set_since(options, state, arg);
        return 0;
    case OUT:
        options->out = arg;
        return 0;
    case TIMEOUT:
        if (!kms_duration_parse(arg, &options->timeout_ms) || options->timeout_ms <= 0)
            argp_error(state, "--timeout is a duration, like 10m");
        return 0;
    case STATEMENT:
        add_statement(options, state, arg);
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        check(options, state);
        return 0;
    default:
        return parse_handed_on(key, arg, state);
    }
}

/* --- output --- */

struct result {
    char digest[KMS_EVIDENCE_DIGITS + 1]; /* of the archive; "": there is none */
    const char *sums;                     /* of SHA256SUMS; NULL: there is none */
    bool recorded;                        /* in the audit log */
    bool unrecorded;                      /* it should be, and isn't */
};

static size_t count(const struct kms_evidence *evidence, enum kms_evidence_status status)
{
    size_t found = 0;
    for (size_t i = 0; i < evidence->count; i++)
        found += evidence->files[i].status == status ? 1 : 0;
    return found;
}

static json_t *names_json(const struct kms_evidence *evidence, enum kms_evidence_status status)
{
    json_t *array = json_array();
    for (size_t i = 0; i < evidence->count; i++)
        if (evidence->files[i].status == status)
            kms_json_append(array, kms_json_text(evidence->files[i].name));
    return array;
}

/* Nothing is there before it is gathered. */
static const char *status_name(const struct kms_evidence *evidence,
                               const struct kms_evidence_file *file)
{
    bool planned = evidence->options.dry_run && kms_evidence_is_there(file);
    return planned ? "planned" : kms_evidence_status_name(file->status);
}

static json_t *narrowed_json(const struct kms_evidence *evidence)
{
    json_t *array = json_array();
    for (size_t i = 0; i < evidence->count; i++)
        if (evidence->files[i].narrowed)
            kms_json_append(array, kms_json_text(evidence->files[i].name));
    return array;
}

static json_t *files_json(const struct kms_evidence *evidence)
{
    json_t *array = json_array();
    for (size_t i = 0; i < evidence->count; i++) {
        const struct kms_evidence_file *file = &evidence->files[i];
        json_t *object = json_object();
        kms_json_set(object, "file", kms_json_text(file->name));
        kms_json_set(object, "what", kms_json_text(file->what));
        kms_json_set(object, "status", kms_json_text(status_name(evidence, file)));
        kms_json_set(object, "reason", kms_json_text(file->reason));
        kms_json_set(object, "notes", kms_evidence_notes(file));
        kms_json_append(array, object);
    }
    return array;
}

static const char *next_step(const struct kms_evidence *evidence)
{
    if (evidence->options.dry_run)
        return "run it again without --dry-run, and with --out FILE";
    if (count(evidence, KMS_EVIDENCE_MISSING) > 0)
        return "mend why files are missing and make another archive; or hand this one over, which "
               "says what it lacks";
    if (count(evidence, KMS_EVIDENCE_FINDINGS) > 0)
        return "look at the files with findings before you hand it over";
    return "hand the archive over, and its SHA-256 by another way";
}

static void print_json(const struct kms_evidence *evidence, const struct result *result)
{
    const struct kms_evidence_options *options = &evidence->options;
    json_t *object = kms_json_open("evidence");
    kms_json_set(object, "changed", json_boolean(!options->dry_run));
    kms_json_set(object, "dry_run", json_boolean(options->dry_run));
    kms_json_set(object, "out", kms_json_text(options->out));
    kms_json_set(object, "sha256", kms_json_text(result->digest));
    kms_json_set(object, "sums_sha256", kms_json_text(result->sums));
    kms_json_set(object, "recorded", json_boolean(result->recorded));
    kms_json_set(object, "since", kms_json_time(options->since_utc_s));
    kms_json_set(object, "files", files_json(evidence));
    kms_json_set(object, "missing", names_json(evidence, KMS_EVIDENCE_MISSING));
    kms_json_set(object, "findings", names_json(evidence, KMS_EVIDENCE_FINDINGS));
    kms_json_set(object, "left_out", names_json(evidence, KMS_EVIDENCE_LEFT_OUT));
    kms_json_set(object, "narrowed", narrowed_json(evidence));
    kms_json_set(object, "next", kms_json_text(next_step(evidence)));
    kms_json_print(object);
}

static void print_text(const struct kms_evidence *evidence, const struct result *result)
{
    static const char *const head[] = { "FILE", "STATUS", "WHAT" };
    enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_table_open(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        kms_table_add(table, head[i]);
    for (size_t i = 0; i < evidence->count; i++) {
        const struct kms_evidence_file *file = &evidence->files[i];
        kms_table_add(table, file->name);
        kms_table_add(table, status_name(evidence, file));
        kms_table_add(table, file->what);
        if (file->reason[0] != '\0')
            kms_table_note(table, file->reason);
        for (size_t note = 0; note < json_array_size(file->notes); note++)
            kms_table_note(table, json_string_value(json_array_get(file->notes, note)));
    }
    kms_table_print(table, stdout);
    (void)printf("%zu missing, %zu with findings\n", count(evidence, KMS_EVIDENCE_MISSING),
                 count(evidence, KMS_EVIDENCE_FINDINGS));
    for (size_t i = 0; i < evidence->count; i++)
        if (evidence->files[i].narrowed)
            (void)printf("%s is %s\n", evidence->files[i].name, evidence->files[i].reason);
    if (result->digest[0] != '\0') {
        kms_text_put(stdout, evidence->options.out);
        (void)printf(" has SHA-256 %s%s\n", result->digest,
                     result->recorded ? "; the audit log has that of its SHA256SUMS" : "");
    }
    (void)printf("next: %s\n", next_step(evidence));
}

static int finish(const struct kms_evidence *evidence, const struct result *result)
{
    bool clean = count(evidence, KMS_EVIDENCE_MISSING) == 0 &&
                 count(evidence, KMS_EVIDENCE_FINDINGS) == 0 && !result->unrecorded;
    if (evidence->options.json)
        print_json(evidence, result);
    else
        print_text(evidence, result);
    return kms_command_finish(clean || evidence->options.dry_run ? KMS_EXIT_OK : KMS_EXIT_FINDINGS);
}

/* --- the archive --- */

/* What the audit log has of it is in nobody's hands but the log's.  Written last and as the owner of
 * state_dir, whose file it is. */
static void record(const struct kms_evidence *evidence, struct result *result)
{
    char outcome[KMS_EVIDENCE_DIGITS + 32];
    struct kms_error err = { .code = KMS_OK };
    struct kms_account account = kms_account_of(evidence->config.state_dir);
    if (evidence->config.audit.path == NULL)
        return;
    (void)snprintf(outcome, sizeof(outcome), "SHA256SUMS: %s", result->sums);
    const struct kms_audit_command line = { .op = "evidence", .done = true, .outcome = outcome };
    enum kms_code rc = kms_account_become(&account, &err);
    if (rc == KMS_OK)
        rc = kms_audit_log_line(&evidence->config, &line, &err);
    result->recorded = rc == KMS_OK;
    result->unrecorded = rc != KMS_OK;
    if (rc != KMS_OK)
        kms_command_note("this archive is missing from the audit log: %s", err.msg);
}

static enum kms_code make(struct kms_evidence *evidence, struct kms_signals *signals,
                          struct result *result, struct kms_error *err)
{
    struct kms_stage stage = { .dir_fd = -1, .fd = -1, .files_fd = -1 };
    enum kms_code rc = kms_signals_init(signals, err);
    if (rc == KMS_OK)
        rc = kms_stage_open(evidence->options.out, &stage, err);
    if (rc == KMS_OK)
        rc = kms_evidence_gather(evidence, &stage, signals, err);
    if (rc == KMS_OK)
        kms_evidence_judge(evidence, &stage);
    if (rc == KMS_OK)
        rc = kms_evidence_pack(evidence, &stage, result->digest, err);
    kms_stage_close(&stage);
    if (rc == KMS_OK)
        result->sums = evidence->files[evidence->count - 1].digest; /* packed last */
    return rc;
}

int kms_command_evidence(int argc, char **argv)
{
    static const struct argp_child children[] = {
        { &kms_etcd_choice_argp, 0, NULL, 0 },
        { &kms_node_sources_argp, 0, NULL, 0 },
        { 0 },
    };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Gathers what an auditor asks for into one archive: inventory, policy, what is "
               "encrypted "
               "in etcd, the audit log with its check, what runs.  Each part is what a command of "
               "hsm-kms prints, so that it can be run again.\vExits 0 if all is there and as it "
               "should "
               "be, 2 if a part is missing or has findings (the archive is made all the same, and "
               "says "
               "so), 1 if there is no archive.",
        .children = children,
    };
    KMS_CLEANUP(kms_evidence_done)
    struct kms_evidence evidence = { .options = { .timeout_ms = TIMEOUT_DEFAULT_MS },
                                     .made_utc_s = kms_utc_s() };
    struct result result = { .sums = NULL };
    struct kms_error err = { .code = KMS_OK };
    struct kms_evidence_options *options = &evidence.options;
    options->since_utc_s = evidence.made_utc_s - SINCE_DEFAULT_S;
    if (kms_command_parse(&argp, argc, argv, options) != 0)
        return KMS_EXIT_ERROR;
    const char *path = options->config_path != NULL ? options->config_path : KMS_CONFIG_PATH;
    if (kms_config_load(path, &evidence.config, &err) != KMS_OK)
        return kms_command_fail(&err);
    KMS_CLEANUP(kms_signals_done) struct kms_signals signals = { .fd = -1 };
    kms_evidence_plan(&evidence);
    if (options->dry_run) {
        kms_evidence_plan_about(&evidence);
        return finish(&evidence, &result);
    }
    if (make(&evidence, &signals, &result, &err) != KMS_OK)
        return kms_command_fail(&err);
    record(&evidence, &result);
    return finish(&evidence, &result);
}
