/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms audit show`: the lines of several logs as one, by time. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit_check.h"
#include "audit_seal.h"
#include "command.h"
#include "json.h"
#include "kms/clock.h"
#include "text.h"

#define LIMIT                                                                                      \
    "one use of a key covers many objects, because kube-apiserver keeps the seed; who read which " \
    "Secret is in kube-apiserver's own audit log"

enum { FILES_MAX = 512 };

/* One file at its next line. */
struct source {
    const char *path; /* borrowed from argv */
    FILE *in;
    struct kms_audit_reader reader;
    struct kms_audit_line line; /* json NULL: there is none */
};

struct show {
    const char *key, *op, *peer; /* NULL: any */
    const char *recipient_key;   /* NULL: sealed lines stay so */
    struct kms_audit_opener *opener;
    char since[KMS_RFC3339_LEN + 1];
    bool json;
    struct source *sources[FILES_MAX]; /* owned */
    size_t count;
    size_t shown;
    bool faulty;
};

enum { KEY = 256, SINCE, OP, PEER, RECIPIENT_KEY };
static const struct argp_option argp_options[] = {
    { "key", KEY, "KEY_ID", 0, "only of this key_id, or of those that begin so up to a '-' or '.'",
      0 },
    { "since", SINCE, "WHEN", 0, "only from this UTC time (2026-12-01T12:00:00Z), or 90d ago", 0 },
    { "op", OP, "OP", 0, "only this operation (Decrypt, key-destroy, promoted ...)", 0 },
    { "peer", PEER, "PEER", 0,
      "only of this uid (of a command: also who logged in or started it), or this executable "
      "(path or name)",
      0 },
    { "recipient-key", RECIPIENT_KEY, "FILE", 0,
      "open sealed lines (audit.encrypt) by this private key in PEM", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { 0 },
};

static void set_since(struct show *show, struct argp_state *state, const char *text)
{
    int64_t ms = 0, utc_s = 0;
    if (kms_duration_parse(text, &ms))
        kms_rfc3339_format_ms(kms_utc_ms() - ms, show->since);
    else if (kms_rfc3339_parse(text, &utc_s))
        kms_rfc3339_format_ms(utc_s * 1000, show->since);
    else
        argp_error(state, "--since is a UTC time (2026-12-01T12:00:00Z) or a duration (90d)");
}

static void add_file(struct show *show, struct argp_state *state, const char *path)
{
    if (show->count == FILES_MAX)
        argp_error(state, "%d files at most", (int)FILES_MAX);
    struct source *source = kms_must_alloc(calloc(1, sizeof(*source)));
    source->path = path;
    show->sources[show->count++] = source;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct show *show = state->input;
    switch (key) {
    case KEY:
        show->key = arg;
        return 0;
    case SINCE:
        set_since(show, state, arg);
        return 0;
    case OP:
        show->op = arg;
        return 0;
    case PEER:
        show->peer = arg;
        return 0;
    case RECIPIENT_KEY:
        show->recipient_key = arg;
        return 0;
    case 'o':
        show->json = kms_command_output_is_json(state, arg);
        return 0;
    case ARGP_KEY_ARG:
        add_file(show, state, arg);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which files?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- which lines --- */

static bool is_key(const struct kms_audit_line *line, const char *key)
{
    const char *key_id = kms_audit_line_text(line, "key_id");
    size_t len = strlen(key);
    return strncmp(key_id, key, len) == 0 && isalnum((unsigned char)key_id[len]) == 0;
}

static bool is_uid(const struct kms_audit_line *line, const char *key, const char *expected)
{
    char uid[24];
    (void)snprintf(uid, sizeof(uid), "%" PRId64, kms_audit_line_number(line, key));
    return strcmp(uid, expected) == 0;
}

/* Of a command also who logged in, and who started it; not what it only claims. */
static bool is_peer(const struct kms_audit_line *line, const char *peer)
{
    if (peer[strspn(peer, "0123456789")] == '\0')
        return is_uid(line, "peer_uid", peer) || is_uid(line, "login_uid", peer) ||
               is_uid(line, "started_uid", peer);
    const char *exe = kms_audit_line_text(line, "exe");
    const char *slash = strrchr(exe, '/');
    return strcmp(exe, peer) == 0 || (slash != NULL && strcmp(slash + 1, peer) == 0) ||
           strcmp(kms_audit_line_text(line, "comm"), peer) == 0;
}

/* What a line is printed as: the log's own records go by their type. */
static bool is_op(const struct kms_audit_line *line, const char *expected)
{
    const char *op = kms_audit_line_text(line, "op");
    return strcasecmp(op[0] != '\0' ? op : line->type, expected) == 0;
}

/* A gap may hide what is asked for, and a line that is still sealed, so they are always told. */
static bool is_asked_for(const struct show *show, const struct kms_audit_line *line)
{
    if (strcmp(line->time, show->since) < 0)
        return false;
    if (strcmp(line->type, "gap") == 0 || strcmp(line->type, "sealed") == 0)
        return true;
    return (show->key == NULL || is_key(line, show->key)) &&
           (show->op == NULL || is_op(line, show->op)) &&
           (show->peer == NULL || is_peer(line, show->peer));
}

/* --- output --- */

static void put_member(const struct kms_audit_line *line, const char *name, const char *key)
{
    const char *text = kms_audit_line_text(line, key);
    int64_t number = kms_audit_line_number(line, key);
    if (text[0] == '\0' && number < 0)
        return;
    (void)printf(" %s=", name);
    if (text[0] != '\0')
        kms_text_put(stdout, text);
    else
        (void)printf("%" PRId64, number);
}

static void print_line(const struct kms_audit_line *line)
{
    static const char *const members[][2] = {
        { "phase", "phase" },
        { "outcome", "outcome" },
        { "generation", "generation" },
        { "verified_by", "verified_by" },
        { "wait", "wait" },
        { "key_id", "key_id" },
        { "uid", "uid" },
        { "peer", "peer_uid" },
        { "login", "login_uid" },
        { "started", "started_uid" },
        { "claimed", "claimed_uid" },
        { "exe", "exe" },
        { "comm", "comm" },
        { "token_us", "token_us" },
        { "total_us", "total_us" },
        { "reason", "reason" },
        { "count", "count" },
        { "lost", "lost" },
        { "late", "late" },
        { "from", "from" },
        { "to", "to" },
        { "file", "file" },
        { "bytes", "bytes" },
        { "token", "token" },
    };
    const char *op = kms_audit_line_text(line, "op");
    kms_text_put(stdout, line->time);
    (void)putchar(' ');
    kms_text_put(stdout, kms_audit_line_text(line, "node"));
    (void)putchar(' ');
    kms_text_put(stdout, op[0] != '\0' ? op : line->type);
    put_member(line, "code", "code");
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        put_member(line, members[i][0], members[i][1]);
    (void)putchar('\n');
}

static void print(struct show *show, const struct source *source)
{
    if (!show->json) {
        print_line(&source->line);
        return;
    }
    (void)fputs(show->shown > 0 ? ",\n" : "\n", stdout);
    kms_json_set(source->line.json, "log",
                 kms_json_text(source->path)); /* no line has such a field */
    (void)json_dumpf(source->line.json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
}

/* --- merging --- */

/* One that can't be opened is shown as it is. */
static void open_line(struct show *show, struct source *source)
{
    struct kms_error why = { .code = KMS_OK };
    if (kms_audit_opener_read(show->opener, &source->line, &why) == KMS_OK)
        return;
    show->faulty = true;
    kms_command_note("%s: line %" PRIu64 " can't be opened: %s", source->path,
                     source->reader.number, why.msg);
}

/* A line that isn't one ends its file: what follows can't be told from what was put there. */
static enum kms_code advance(struct show *show, struct source *source, struct kms_error *err)
{
    bool end = false;
    struct kms_error why = { .code = KMS_OK };
    kms_audit_line_done(&source->line);
    enum kms_code rc = kms_audit_reader_next(&source->reader, &source->line, &end, &why);
    if (rc == KMS_OK && !end && show->opener != NULL)
        open_line(show, source);
    if (rc == KMS_OK)
        return KMS_OK;
    if (rc == KMS_E_PRECONDITION)
        return kms_fail(err, rc, "%s: %s", source->path, why.msg);
    show->faulty = true;
    kms_command_note("%s: line %" PRIu64
                     " %s; the rest of the file is not shown: see hsm-kms audit "
                     "verify",
                     source->path, source->reader.number, why.msg);
    return KMS_OK;
}

static enum kms_code open_all(struct show *show, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    if (show->recipient_key != NULL)
        rc = kms_audit_opener_open(show->recipient_key, &show->opener, err);
    for (size_t i = 0; i < show->count && rc == KMS_OK; i++) {
        struct source *source = show->sources[i];
        source->in = fopen(source->path, "re");
        if (source->in == NULL)
            return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s", source->path);
        source->reader.in = source->in;
        rc = advance(show, source, err);
    }
    return rc;
}

/* NULL: all are at their end. */
static struct source *earliest(const struct show *show)
{
    struct source *first = NULL;
    for (size_t i = 0; i < show->count; i++) {
        struct source *source = show->sources[i];
        if (source->line.json == NULL)
            continue;
        if (first == NULL || strcmp(source->line.time, first->line.time) < 0)
            first = source;
    }
    return first;
}

static enum kms_code show_all(struct show *show, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (struct source *source = earliest(show); source != NULL && rc == KMS_OK;
         source = earliest(show)) {
        if (is_asked_for(show, &source->line)) {
            print(show, source);
            show->shown++;
        }
        rc = advance(show, source, err);
    }
    return rc;
}

static void show_done(struct show *show)
{
    kms_audit_opener_close(show->opener);
    for (size_t i = 0; i < show->count; i++) {
        kms_audit_line_done(&show->sources[i]->line);
        if (show->sources[i]->in != NULL)
            (void)fclose(show->sources[i]->in);
        free(show->sources[i]);
    }
}

static void print_head(const struct show *show)
{
    if (show->json)
        (void)printf("{\"schema\": \"hsm-kms/audit-show/v1\",\n\"limit\": \"%s\",\n\"lines\": [",
                     LIMIT);
}

static void print_end(const struct show *show)
{
    if (show->json)
        (void)printf("\n],\n\"complete\": %s}\n", show->faulty ? "false" : "true");
    else
        kms_command_note("%s", LIMIT);
}

int kms_command_audit_show(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .args_doc = "FILE...",
        .doc = "Shows the lines of audit logs, several merged by time: who used which key, when.  "
               "It doesn't check them: hsm-kms audit verify does.  Exits 2 if a file couldn't be "
               "shown to its end.\v"
               "What it can't tell: " LIMIT ".",
    };
    KMS_CLEANUP(show_done) struct show show = { .since = "" };
    struct kms_error err = { 0 };
    if (kms_command_parse(&argp, argc, argv, &show) != 0)
        return KMS_EXIT_ERROR;
    if (open_all(&show, &err) != KMS_OK)
        return kms_command_fail(&err);
    print_head(&show);
    if (show_all(&show, &err) != KMS_OK)
        return kms_command_fail(&err);
    print_end(&show);
    return kms_command_finish(show.faulty ? KMS_EXIT_FINDINGS : KMS_EXIT_OK);
}
