/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms audit verify`: chains, the joins of rotated files, gaps, and who vouches for them. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "audit_check.h"
#include "audit_checkpoint.h"
#include "command.h"
#include "json.h"
#include "key_file.h"
#include "kms/clock.h"
#include "kms/signature.h"
#include "text.h"

enum {
    FILES_MAX = 100000,
    FINDING_MAX = 512,
    YOUNG_MS = 60 * 1000, /* by then a checkpoint is there: audit_signer.h */
};

struct file {
    const char *path; /* borrowed from argv */
    struct kms_audit_check check;
    struct kms_audit_forgery forgery; /* if there are keys */
    uint64_t vouched_seq;      /* the last line that is vouched for, by a checkpoint in any file */
    bool young;                /* it needs no checkpoint yet */
    const char *after;         /* the file before it, if that was given */
    char finding[FINDING_MAX]; /* "": none */
};

struct verify {
    bool json;
    const char *key_files[KMS_AUDIT_KEYS_MAX];
    size_t key_file_count;
    struct kms_audit_vouchers vouchers;
    struct file *files; /* owned */
    size_t count;
    size_t locks; /* that were named, too */
    uint64_t lines, lost, vouched;
    size_t findings;
};

enum { CHECKPOINT_KEY = 256 };
static const struct argp_option argp_options[] = {
    { "checkpoint-key", CHECKPOINT_KEY, "FILE", 0,
      "check the checkpoints' signatures by this public key, of audit key --export; as often as "
      "there are keys",
      0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { 0 },
};

/* "audit.*" has the writers' lock files, which hold nothing ever. */
static bool is_lock(const char *path)
{
    static const char end[] = ".lock";
    size_t len = strlen(path), end_len = strlen(end);
    struct stat st;
    return len > end_len && strcmp(path + len - end_len, end) == 0 && lstat(path, &st) == 0 &&
           S_ISREG(st.st_mode) && st.st_size == 0;
}

static void add_file(struct verify *verify, struct argp_state *state, const char *path)
{
    if (is_lock(path)) {
        verify->locks++;
        return;
    }
    if (verify->count == FILES_MAX)
        argp_error(state, "%d files at most", (int)FILES_MAX);
    verify->files = kms_must_alloc(
        reallocarray(verify->files, verify->count + 1, sizeof(verify->files[0])));
    verify->files[verify->count++] = (struct file){ .path = path };
}

static void add_key_file(struct verify *verify, struct argp_state *state, const char *path)
{
    if (verify->key_file_count == KMS_AUDIT_KEYS_MAX)
        argp_error(state, "%d keys at most", (int)KMS_AUDIT_KEYS_MAX);
    verify->key_files[verify->key_file_count++] = path;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct verify *verify = state->input;
    switch (key) {
    case 'o':
        verify->json = kms_command_output_is_json(state, arg);
        return 0;
    case CHECKPOINT_KEY:
        add_key_file(verify, state, arg);
        return 0;
    case ARGP_KEY_ARG:
        add_file(verify, state, arg);
        return 0;
    case ARGP_KEY_END:
        if (verify->count == 0)
            argp_error(state, "which files? Name all of one log, the rotated ones too");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum kms_code read_keys(struct verify *verify, struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    for (size_t i = 0; i < verify->key_file_count; i++) {
        KMS_CLEANUP(kms_file_done) struct kms_file pem = { 0 };
        enum kms_code rc = kms_file_read(verify->key_files[i], &pem, err);
        if (rc != KMS_OK)
            return rc;
        rc = kms_spki_of_signer((struct kms_bytes){ pem.data, pem.len },
                                &verify->vouchers.keys[verify->vouchers.key_count++], &why);
        if (rc != KMS_OK)
            return kms_fail(err, rc, "%.200s: %s", verify->key_files[i], why.msg);
    }
    return KMS_OK;
}

/* First all signatures, since a file's are often in the next one. */
static enum kms_code pass(struct verify *verify, struct file *file, bool gathers,
                          struct kms_error *err)
{
    struct kms_audit_vouchers *vouchers = verify->key_file_count > 0 ? &verify->vouchers : NULL;
    FILE *in = fopen(file->path, "re");
    if (in == NULL)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s", file->path);
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = gathers ? kms_audit_vouchers_add(vouchers, in, &file->forgery, &why)
                               : kms_audit_check_file(in, vouchers, &file->check, &why);
    (void)fclose(in);
    if (rc != KMS_OK)
        return kms_fail(err, rc, "%s: %s", file->path, why.msg);
    return KMS_OK;
}

static int by_place(const void *left, const void *right)
{
    const struct kms_audit_check *a = &((const struct file *)left)->check;
    const struct kms_audit_check *b = &((const struct file *)right)->check;
    int chains = strcmp(a->end.id, b->end.id);
    if (chains != 0)
        return chains;
    return (a->first_seq > b->first_seq) - (a->first_seq < b->first_seq);
}

/* Behind what was found before. */
KMS_PRINTF(2, 3)
static void find(struct file *file, const char *format, ...)
{
    size_t len = strlen(file->finding);
    if (len > 0)
        len += (size_t)snprintf(file->finding + len, sizeof(file->finding) - len, "; ");
    if (len >= sizeof(file->finding))
        return;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(file->finding + len, sizeof(file->finding) - len, format, args);
    va_end(args);
}

static void find_alone(struct file *file)
{
    const struct kms_audit_check *check = &file->check;
    if (check->fault_line != 0)
        find(file, "line %" PRIu64 " %s", check->fault_line, check->fault);
    else if (file->forgery.line != 0)
        find(file, "line %" PRIu64 " %s", file->forgery.line, file->forgery.why);
    else if (check->lines == 0)
        find(file, "holds no line");
}

/* A file whose first fault is known isn't joined: neither to the one before, nor the next to it. */
static void find_between(const struct file *before, struct file *file)
{
    if (before->check.fault_line != 0 || file->check.fault_line != 0 || file->check.lines == 0)
        return;
    switch (kms_audit_check_join(&before->check, &file->check)) {
    case KMS_AUDIT_UNRELATED:
        return;
    case KMS_AUDIT_JOINED:
        file->after = before->path;
        return;
    case KMS_AUDIT_MISSING:
        find(file, "lines %" PRIu64 " to %" PRIu64 " are missing before it; it names %.200s",
             before->check.end.seq + 1, file->check.first_seq - 1, file->check.previous);
        return;
    case KMS_AUDIT_FORKED:
        find(file, "doesn't go on where %.200s ends: one of them was changed", before->path);
        return;
    }
}

/* Last, since lines that are known to be lost are the least of it. */
static void find_gaps(struct file *file)
{
    const struct kms_audit_check *check = &file->check;
    if (check->fault_line == 0 && check->gaps > 0)
        find(file, "%" PRIu64 " line(s) couldn't be written: see its %" PRIu64 " gap record(s)",
             check->lost, check->gaps);
}

/* A time to come is no reason to wait for a checkpoint. */
static bool is_young(const struct kms_audit_check *check)
{
    char now[KMS_RFC3339_LEN + 1], then[KMS_RFC3339_LEN + 1];
    int64_t now_ms = kms_utc_ms();
    kms_rfc3339_format_ms(now_ms, now);
    kms_rfc3339_format_ms(now_ms - YOUNG_MS, then);
    return check->checkpoints == 0 && strcmp(check->from, then) >= 0 &&
           strcmp(check->from, now) <= 0;
}

/* A checkpoint vouches for its file up to its line, and for all files that this one goes on from. */
static void find_vouched(struct verify *verify)
{
    for (size_t i = verify->count; i-- > 0;) {
        struct file *file = &verify->files[i], *next = file + 1;
        bool whole = i + 1 < verify->count && next->after != NULL && next->vouched_seq > 0;
        file->vouched_seq = whole ? file->check.end.seq : file->check.vouched_seq;
        if (file->vouched_seq > 0)
            verify->vouched += file->vouched_seq - file->check.first_seq + 1;
        else if (verify->key_file_count > 0 && is_young(&file->check))
            file->young = true;
        else if (file->finding[0] == '\0' && verify->key_file_count > 0)
            (void)snprintf(file->finding, sizeof(file->finding),
                           "no checkpoint vouches for any of its lines");
    }
}

static enum kms_code read_all(struct verify *verify, struct kms_error *err)
{
    enum kms_code rc = read_keys(verify, err);
    for (size_t i = 0; i < verify->count && rc == KMS_OK && verify->key_file_count > 0; i++)
        rc = pass(verify, &verify->files[i], true, err);
    kms_audit_vouchers_sort(&verify->vouchers);
    for (size_t i = 0; i < verify->count && rc == KMS_OK; i++)
        rc = pass(verify, &verify->files[i], false, err);
    return rc;
}

static enum kms_code check_all(struct verify *verify, struct kms_error *err)
{
    enum kms_code rc = read_all(verify, err);
    if (rc != KMS_OK)
        return rc;
    qsort(verify->files, verify->count, sizeof(verify->files[0]), by_place);
    for (size_t i = 0; i < verify->count; i++) {
        struct file *file = &verify->files[i];
        find_alone(file);
        if (i > 0)
            find_between(file - 1, file);
        find_gaps(file);
        verify->lines += file->check.lines;
        verify->lost += file->check.lost;
    }
    find_vouched(verify);
    for (size_t i = 0; i < verify->count; i++)
        verify->findings += verify->files[i].finding[0] != '\0' ? 1 : 0;
    return KMS_OK;
}

/* --- output --- */

static void add_number(struct kms_table *table, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRIu64, number);
    kms_table_add(table, text);
}

static void add_row(struct kms_table *table, const struct file *file)
{
    const struct kms_audit_check *check = &file->check;
    char note[FINDING_MAX];
    kms_table_add(table, file->path);
    kms_table_add(table, check->writer);
    add_number(table, check->lines);
    add_number(table, check->end.seq);
    kms_table_add(table, check->from);
    kms_table_add(table, check->to);
    kms_table_add(table, file->finding[0] != '\0' ? "FINDING" : "ok");
    if (file->finding[0] != '\0')
        kms_table_note(table, file->finding);
    if (file->vouched_seq > 0 && file->vouched_seq < check->end.seq) {
        (void)snprintf(note, sizeof(note),
                       "signed up to line number %" PRIu64 ": nobody vouches for those after it",
                       file->vouched_seq);
        kms_table_note(table, note);
    }
    if (file->young)
        kms_table_note(table, "no checkpoint yet: one comes within a minute of activity");
    if (check->late > 0) {
        (void)snprintf(note, sizeof(note),
                       "%" PRIu64 " line(s) were written late: after their calls were answered",
                       check->late);
        kms_table_note(table, note);
    }
    if (file->after == NULL && check->previous[0] != '\0') {
        (void)snprintf(note, sizeof(note), "goes on from %s, which it wasn't joined to",
                       check->previous);
        kms_table_note(table, note);
    }
}

static void print_text(const struct verify *verify)
{
    static const char *const head[] = { "FILE", "WRITER", "LINES", "LAST", "FROM", "TO", "RESULT" };
    enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_table_open(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        kms_table_add(table, head[i]);
    for (size_t i = 0; i < verify->count; i++)
        add_row(table, &verify->files[i]);
    kms_table_print(table, stdout);
    (void)printf("%" PRIu64 " lines, %" PRIu64 " known to be lost, %zu finding(s)\n", verify->lines,
                 verify->lost, verify->findings);
    if (verify->locks > 0)
        (void)printf("%zu lock file(s) were left aside: they hold no line\n", verify->locks);
    if (verify->key_file_count > 0)
        (void)printf("%" PRIu64 " lines are vouched for by the token's signatures, %" PRIu64
                     " aren't\n",
                     verify->vouched, verify->lines - verify->vouched);
    (void)puts(
        verify->findings > 0
            ? "next: compare the files with a copy that left the host before"
            : "next: keep LAST of each chain elsewhere: lines cut off at an end leave no trace");
}

static json_t *file_json(const struct file *file)
{
    const struct kms_audit_check *check = &file->check;
    json_t *object = json_object();
    kms_json_set(object, "file", kms_json_text(file->path));
    kms_json_set(object, "writer", kms_json_text(check->writer));
    kms_json_set(object, "chain", kms_json_text(check->end.id));
    kms_json_set(object, "lines", json_integer((json_int_t)check->lines));
    kms_json_set(object, "first", json_integer((json_int_t)check->first_seq));
    kms_json_set(object, "last", json_integer((json_int_t)check->end.seq));
    kms_json_set(object, "last_sha256",
                 kms_json_hex((struct kms_bytes){ check->end.head, sizeof(check->end.head) }));
    kms_json_set(object, "from", kms_json_text(check->from));
    kms_json_set(object, "to", kms_json_text(check->to));
    kms_json_set(object, "gaps", json_integer((json_int_t)check->gaps));
    kms_json_set(object, "lost", json_integer((json_int_t)check->lost));
    kms_json_set(object, "late", json_integer((json_int_t)check->late));
    kms_json_set(object, "cuts", json_integer((json_int_t)check->cuts));
    kms_json_set(object, "checkpoints", json_integer((json_int_t)check->checkpoints));
    kms_json_set(object, "vouched_to",
                 file->vouched_seq != 0 ? json_integer((json_int_t)file->vouched_seq)
                                        : json_null());
    kms_json_set(object, "no_checkpoint_yet", json_boolean(file->young));
    kms_json_set(object, "previous", kms_json_text(check->previous));
    kms_json_set(object, "joined_to", kms_json_text(file->after));
    kms_json_set(object, "fault_line",
                 check->fault_line != 0 ? json_integer((json_int_t)check->fault_line)
                                        : json_null());
    kms_json_set(object, "finding", kms_json_text(file->finding));
    return object;
}

static void print_json(const struct verify *verify)
{
    json_t *files = json_array(), *object = kms_json_open("audit-verify");
    for (size_t i = 0; i < verify->count; i++)
        kms_json_append(files, file_json(&verify->files[i]));
    kms_json_set(object, "ok", json_boolean(verify->findings == 0));
    kms_json_set(object, "lines", json_integer((json_int_t)verify->lines));
    kms_json_set(object, "lost", json_integer((json_int_t)verify->lost));
    kms_json_set(object, "vouched",
                 verify->key_file_count > 0 ? json_integer((json_int_t)verify->vouched)
                                            : json_null());
    kms_json_set(object, "findings", json_integer((json_int_t)verify->findings));
    kms_json_set(object, "locks", json_integer((json_int_t)verify->locks));
    kms_json_set(object, "files", files);
    kms_json_print(object);
}

static void verify_done(struct verify *verify)
{
    free(verify->files);
    kms_audit_vouchers_done(&verify->vouchers);
}

static int run_verify(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .args_doc = "FILE...",
        .doc =
            "Checks audit logs: the hash chain of each file, how rotated files join, and the "
            "records of lines that couldn't be written; with --checkpoint-key also the token's "
            "signatures, and which lines they vouch for.  Exits 2 if there is a finding.\v"
            "A chain shows what was changed in it, not its last line's change nor what was cut off "
            "at its end, nor that root on the host wrote it anew: compare with what left the "
            "host.",
    };
    KMS_CLEANUP(verify_done) struct verify verify = { .json = false };
    if (kms_command_parse(&argp, argc, argv, &verify) != 0)
        return KMS_EXIT_ERROR;
    struct kms_error err = { 0 };
    if (check_all(&verify, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (verify.json)
        print_json(&verify);
    else
        print_text(&verify);
    return kms_command_finish(verify.findings > 0 ? KMS_EXIT_FINDINGS : KMS_EXIT_OK);
}

int kms_command_audit(int argc, char **argv)
{
    static const struct kms_command commands[] = {
        { "verify", run_verify, "check chains, joins, gaps and checkpoints of audit logs" },
        { "key", kms_command_audit_key, "the key pair that signs the log's checkpoints" },
        { "show", kms_command_audit_show, "who used which key, when" },
        { NULL, NULL, NULL },
    };
    return kms_command_dispatch(commands, argc, argv);
}
