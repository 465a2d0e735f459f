/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "evidence.h"
#include "kms/fd.h"
#include "text.h"

#define SAID "stderr"
#define PRINTED "stdout"

enum { CHUNK = 64 * 1024, SAID_MAX = 2048 };

struct gathering {
    struct kms_evidence *evidence;
    struct kms_stage *stage;
    struct kms_signals *signals;
};

/* Whatever is copied: it's the stage, beside --out, that has no room. */
static enum kms_code fail_to_write(const struct gathering *gathering, const char *name,
                                   struct kms_error *err)
{
    return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errno,
                          "%s into %.200s.stage, which --out names", name, gathering->stage->out);
}

/* --- copies --- */

static bool is_file(const struct stat *st, const char *path)
{
    struct stat other;
    return path != NULL && stat(path, &other) == 0 && other.st_dev == st->st_dev &&
           other.st_ino == st->st_ino;
}

/* By whatever name. */
static bool is_below(const struct stat *st, char *dir)
{
    char *const dirs[] = { dir, NULL };
    FTS *tree = fts_open(dirs, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    bool found = false;
    for (FTSENT *entry = tree != NULL ? fts_read(tree) : NULL; entry != NULL && !found;
         entry = fts_read(tree))
        found = entry->fts_info == FTS_F && entry->fts_statp->st_dev == st->st_dev &&
                entry->fts_statp->st_ino == st->st_ino;
    if (tree != NULL)
        (void)fts_close(tree);
    return found;
}

/* What an operator hands over by mistake; NULL: it's none of these. */
static const char *secret_name(const struct kms_evidence *evidence, const struct stat *st)
{
    const struct kms_config *config = &evidence->config;
    for (size_t i = 0; i < config->token_count; i++)
        if (is_file(st, config->tokens[i].pin_file))
            return "the PIN of a token";
    if (is_file(st, evidence->options.etcd.key_path))
        return "the private key of --key";
    return is_below(st, config->state_dir) ? "a file of state_dir" : NULL;
}

/* Nothing but a file, and of what the service writes only its own: root must not be led elsewhere. */
static bool may_copy(struct kms_evidence_file *file, const struct kms_evidence *evidence, int fd)
{
    struct stat st;
    const char *secret = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "%s is no file", file->from);
    else if (file->of_service && evidence->service_known && st.st_uid != evidence->service_uid)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING,
                         "%s belongs to uid %u, not to the service's, %u: give it back (chown)",
                         file->from, (unsigned)st.st_uid, (unsigned)evidence->service_uid);
    else if (file->by_operator && (secret = secret_name(evidence, &st)) != NULL)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "%s is %s, and no statement", file->from,
                         secret);
    else if (file->by_operator && st.st_size > KMS_EVIDENCE_STATEMENT_BYTES_MAX)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "%s has more than %d MiB", file->from,
                         KMS_EVIDENCE_STATEMENT_BYTES_MAX >> 20);
    else
        return true;
    return false;
}

/* All that is there now; *ret_whole: up to the last line end. */
static enum kms_code copy(const struct gathering *gathering, const struct kms_evidence_file *file,
                          int from_fd, int to_fd, off_t *ret_whole, struct kms_error *err)
{
    char chunk[CHUNK];
    off_t done = 0, whole = 0;
    size_t len = 0;
    do {
        if (!kms_fd_read(from_fd, chunk, sizeof(chunk), &len))
            return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "%s", file->from);
        if (!kms_fd_write(to_fd, (struct kms_bytes){ (const uint8_t *)chunk, len }))
            return fail_to_write(gathering, file->name, err);
        const char *end = memrchr(chunk, '\n', len);
        if (end != NULL)
            whole = done + (end - chunk) + 1;
        done += (off_t)len;
    } while (len == sizeof(chunk));
    *ret_whole = whole;
    return KMS_OK;
}

static enum kms_code copy_open(const struct gathering *gathering, struct kms_evidence_file *file,
                               int from_fd, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int to_fd = -1;
    off_t whole = 0;
    if (!may_copy(file, gathering->evidence, from_fd))
        return KMS_OK;
    enum kms_code rc = kms_stage_create(gathering->stage, file->name, &to_fd, err);
    if (rc != KMS_OK)
        return rc;
    rc = copy(gathering, file, from_fd, to_fd, &whole, err);
    if (rc != KMS_OK)
        return rc;
    if (file->whole_lines && ftruncate(to_fd, whole) != 0)
        return fail_to_write(gathering, file->name, err);
    if (file->whole_lines && whole == 0)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "%s has no whole line", file->from);
    return KMS_OK;
}

static enum kms_code copy_file(const struct gathering *gathering, struct kms_evidence_file *file,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int fd = -1;
    int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | (file->of_service ? O_NOFOLLOW : 0);
    if (file->from_fd >= 0)
        return copy_open(gathering, file, file->from_fd, err);
    fd = open(file->from, flags);
    if (fd >= 0)
        return copy_open(gathering, file, fd, err);
    kms_evidence_set(file, KMS_EVIDENCE_MISSING, "%s can't be opened: %s", file->from,
                     strerror(errno));
    return KMS_OK;
}

/* --- commands --- */

/* The end of what @fd has, from a line's beginning.  Owned; NULL: nothing. */
static char *read_end(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_size == 0)
        return NULL;
    size_t len = st.st_size < SAID_MAX ? (size_t)st.st_size : (size_t)SAID_MAX;
    char *text = kms_must_alloc(calloc(1, len + 1));
    if (!kms_fd_read_at(fd, text, len, (uint64_t)st.st_size - len)) {
        free(text);
        return NULL;
    }
    const char *line_end = (off_t)len < st.st_size ? strchr(text, '\n') : NULL;
    if (line_end != NULL)
        memmove(text, line_end + 1, strlen(line_end + 1) + 1);
    return text;
}

static const char *meaning_of(int code)
{
    switch (code) {
    case KMS_EXIT_FINDINGS:
        return "it found something that wants mending";
    case KMS_EXIT_REFUSED:
        return "it refused for safety";
    case KMS_EXIT_LOST:
        return "values are under KEKs that aren't there";
    default:
        return "it failed";
    }
}

/* What a command that failed said last is the reason. */
static const char *last_line(const char *said)
{
    static const char prefix[] = "hsm-kms: ";
    size_t len = said != NULL ? strlen(said) : 0;
    while (len > 0 && said[len - 1] == '\n')
        len--;
    const char *line_end = len > 0 ? memrchr(said, '\n', len) : NULL;
    const char *line = line_end != NULL ? line_end + 1 : said;
    bool named = line != NULL && strncmp(line, prefix, strlen(prefix)) == 0;
    return named ? line + strlen(prefix) : line;
}

static void judge(struct kms_evidence_file *file, int64_t timeout_ms, bool printed)
{
    const struct kms_evidence_ending *ending = &file->ending;
    const char *line = last_line(file->said);
    int len = line != NULL ? (int)strcspn(line, "\n") : 0;
    bool exited = ending->how == KMS_CHILD_EXITED;
    if (ending->how == KMS_CHILD_LATE)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING,
                         "the command wasn't done after %lld s and was killed: see whether the "
                         "token hangs, or give a longer --timeout",
                         (long long)(timeout_ms / 1000));
    else if (!exited)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "the command was killed by signal %d",
                         ending->code);
    else if (!printed || ending->code == KMS_EXIT_ERROR || ending->code > KMS_EXIT_LOST)
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "exit status %d: %.*s", ending->code,
                         len > 0 ? len : (int)strlen("it printed nothing"),
                         len > 0 ? line : "it printed nothing");
    else if (ending->code != KMS_EXIT_OK)
        kms_evidence_set(file, KMS_EVIDENCE_FINDINGS, "exit status %d: %s", ending->code,
                         meaning_of(ending->code));
}

/* Runs the file's command with its stdout to @out_fd.  Those that check files of the archive run among them,
 * so that their command lines are good wherever the archive is unpacked. */
static enum kms_code run(const struct gathering *gathering, struct kms_evidence_file *file,
                         int out_fd, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int err_fd = -1;
    struct stat st = { .st_size = 0 };
    int64_t timeout_ms = gathering->evidence->options.timeout_ms;
    enum kms_code rc = kms_stage_scratch(gathering->stage, SAID, &err_fd, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_child child = {
        .argv = file->argv,
        .dir_fd = file->source == KMS_EVIDENCE_CHECK ? gathering->stage->files_fd : -1,
        .out_fd = out_fd,
        .err_fd = err_fd,
        .timeout_ms = timeout_ms,
    };
    rc = kms_child_run(&child, gathering->signals, &file->ending, err);
    if (rc != KMS_OK)
        return rc;
    file->said = read_end(err_fd);
    judge(file, timeout_ms, fstat(out_fd, &st) == 0 && st.st_size > 0);
    return KMS_OK;
}

static enum kms_code run_into_file(const struct gathering *gathering,
                                   struct kms_evidence_file *file, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int out_fd = -1;
    enum kms_code rc = kms_stage_create(gathering->stage, file->name, &out_fd, err);
    return rc == KMS_OK ? run(gathering, file, out_fd, err) : rc;
}

/* --- the audit log's key and checks --- */

static enum kms_code write_text(const struct gathering *gathering, const char *name,
                                const char *text, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int fd = -1;
    enum kms_code rc = kms_stage_create(gathering->stage, name, &fd, err);
    if (rc == KMS_OK && !kms_fd_write(fd, kms_bytes_of(text)))
        rc = fail_to_write(gathering, name, err);
    return rc;
}

static enum kms_code take_key(const struct gathering *gathering, struct kms_evidence_file *file,
                              struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int fd = -1;
    enum kms_code rc = kms_stage_scratch(gathering->stage, PRINTED, &fd, err);
    if (rc == KMS_OK)
        rc = run(gathering, file, fd, err);
    if (rc != KMS_OK || file->status == KMS_EVIDENCE_MISSING)
        return rc;
    if (lseek(fd, 0, SEEK_SET) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "lseek", errno, PRINTED);
    json_t *printed = json_loadfd(fd, 0, NULL);
    const char *pem = json_string_value(json_object_get(printed, "public_key"));
    if (pem != NULL)
        rc = write_text(gathering, file->name, pem, err);
    else
        kms_evidence_set(
            file, KMS_EVIDENCE_MISSING,
            "no key signs the audit log's checkpoints: hsm-kms audit key --make makes one");
    json_decref(printed);
    return rc;
}

static size_t count_audit(const struct kms_evidence *evidence, uint64_t *ret_bytes)
{
    size_t count = 0;
    *ret_bytes = 0;
    for (size_t i = 0; i < evidence->count; i++) {
        if (!evidence->files[i].audit || !kms_evidence_is_there(&evidence->files[i]))
            continue;
        count++;
        *ret_bytes += evidence->files[i].size;
    }
    return count;
}

/* Names the gathered files; false: there is nothing to run on, or too much. */
static bool complete_check(const struct kms_evidence *evidence, struct kms_evidence_file *check)
{
    bool verifies = strcmp(check->argv[2], "verify") == 0;
    uint64_t bytes = 0;
    size_t count = count_audit(evidence, &bytes);
    if (count == 0) {
        kms_evidence_set(check, KMS_EVIDENCE_MISSING, "there is no file of the audit log");
        return false;
    }
    if (!verifies && (bytes > KMS_EVIDENCE_SHOW_BYTES_MAX || count > KMS_EVIDENCE_SHOW_FILES_MAX)) {
        kms_evidence_set(check, KMS_EVIDENCE_LEFT_OUT,
                         "the audit log's files are %zu with %llu MiB: run hsm-kms audit show on "
                         "those that are asked for",
                         count, (unsigned long long)(bytes >> 20));
        return false;
    }
    for (size_t i = 0; i < evidence->count; i++) {
        const struct kms_evidence_file *file = &evidence->files[i];
        if (verifies && file->source == KMS_EVIDENCE_KEY && kms_evidence_is_there(file)) {
            kms_evidence_argv(check, "--checkpoint-key");
            kms_evidence_argv(check, file->name);
        }
        if (file->audit && kms_evidence_is_there(file))
            kms_evidence_argv(check, file->name);
    }
    return true;
}

/* --- all --- */

static enum kms_code write_versions(const struct gathering *gathering,
                                    const struct kms_evidence_file *file, struct kms_error *err)
{
    json_t *object = kms_evidence_versions(gathering->evidence, gathering->stage);
    char *text = kms_must_alloc(json_dumps(object, JSON_INDENT(2) | JSON_ENSURE_ASCII));
    enum kms_code rc = write_text(gathering, file->name, text, err);
    free(text);
    json_decref(object);
    return rc;
}

static enum kms_code make(const struct gathering *gathering, struct kms_evidence_file *file,
                          struct kms_error *err)
{
    switch (file->source) {
    case KMS_EVIDENCE_COMMAND:
        return run_into_file(gathering, file, err);
    case KMS_EVIDENCE_COPY:
        return copy_file(gathering, file, err);
    case KMS_EVIDENCE_KEY:
        return take_key(gathering, file, err);
    case KMS_EVIDENCE_CHECK:
        if (!complete_check(gathering->evidence, file))
            return KMS_OK;
        return run_into_file(gathering, file, err);
    case KMS_EVIDENCE_OWN:
        return write_versions(gathering, file, err);
    case KMS_EVIDENCE_ABOUT:
        break; /* packing's */
    }
    return KMS_OK;
}

/* The operator named it, so that it can be mended before anything is done. */
static enum kms_code refuse_statement(const struct kms_evidence_file *file, struct kms_error *err)
{
    if (!file->by_operator || kms_evidence_is_there(file))
        return KMS_OK;
    return kms_fail(err, KMS_E_INVALID, "--statement: %s", file->reason);
}

static enum kms_code gather_one(const struct gathering *gathering, struct kms_evidence_file *file,
                                struct kms_error *err)
{
    enum kms_code rc = kms_evidence_is_there(file) ? make(gathering, file, err) : KMS_OK;
    if (rc == KMS_OK)
        rc = refuse_statement(file, err);
    if (rc == KMS_OK && kms_evidence_is_there(file))
        rc = kms_stage_measure(gathering->stage, file->name, file->digest, &file->size, err);
    if (rc == KMS_OK && !kms_evidence_is_there(file))
        kms_stage_remove(gathering->stage, file->name);
    if (rc == KMS_OK && kms_signals_stopped(gathering->signals))
        rc = kms_fail(err, KMS_E_UNAVAILABLE, "stopped by %s; no archive was made",
                      strsignal(gathering->signals->stop));
    return rc;
}

enum kms_code kms_evidence_gather(struct kms_evidence *evidence, struct kms_stage *stage,
                                  struct kms_signals *signals, struct kms_error *err)
{
    const struct gathering gathering = { evidence, stage, signals };
    enum kms_code rc = KMS_OK;
    for (int turn = 0; turn < 2; turn++) /* what the operator adds first */
        for (size_t i = 0; i < evidence->count && rc == KMS_OK; i++)
            if (evidence->files[i].by_operator == (turn == 0))
                rc = gather_one(&gathering, &evidence->files[i], err);
    return rc;
}
