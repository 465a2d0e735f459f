/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "durable.h"
#include "keyid.h"
#include "kms/clock.h"
#include "kms/fd.h"

enum { FILE_MAX_BYTES = 4096, PATH_BYTES = 4096 };

#define PREFIX "request."
#define SUFFIX ".json"

static const enum kms_request_kind kinds[] = { KMS_REQUEST_ACCEPT, KMS_REQUEST_TOMBSTONE,
                                               KMS_REQUEST_DRAIN, KMS_REQUEST_RESUME,
                                               KMS_REQUEST_WAIVE };
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

const char *kms_request_kind_name(enum kms_request_kind kind)
{
    switch (kind) {
    case KMS_REQUEST_ACCEPT:
        return "accept";
    case KMS_REQUEST_TOMBSTONE:
        return "tombstone";
    case KMS_REQUEST_DRAIN:
        return "drain";
    case KMS_REQUEST_RESUME:
        return "resume";
    case KMS_REQUEST_WAIVE:
        return "waive";
    }
    return "accept";
}

static bool is_of_token(enum kms_request_kind kind)
{
    return kind == KMS_REQUEST_DRAIN || kind == KMS_REQUEST_RESUME || kind == KMS_REQUEST_WAIVE;
}

static bool is_of_generation(enum kms_request_kind kind)
{
    return kind != KMS_REQUEST_DRAIN && kind != KMS_REQUEST_RESUME;
}

static void format_name(const struct kms_request *request,
                        char ret_name[static KMS_REQUEST_NAME_MAX + 1])
{
    char generation[16] = "", token[sizeof request->token + 1] = "";
    if (is_of_generation(request->kind))
        snprintf(generation, sizeof generation, ".%" PRIu32, request->generation);
    if (is_of_token(request->kind))
        snprintf(token, sizeof token, ".%s", request->token);
    snprintf(ret_name, KMS_REQUEST_NAME_MAX + 1, PREFIX "%s%s%s" SUFFIX,
             kms_request_kind_name(request->kind), generation, token);
}

static enum kms_code open_dir(const char *state_dir, int *ret_fd, struct kms_error *err)
{
    *ret_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno,
                              "can't open state_dir %s: hsm-kms serve makes it", state_dir);
    return KMS_OK;
}

/* --- writing --- */

/* The login name survives sudo and the change to the service's account; not every process has one. */
static void name_caller(char ret_by[static KMS_REQUEST_BY_MAX + 1])
{
    if (getlogin_r(ret_by, KMS_REQUEST_BY_MAX + 1) != 0 || !kms_text_is_clean(kms_bytes_of(ret_by)))
        snprintf(ret_by, KMS_REQUEST_BY_MAX + 1, "uid %u", (unsigned)getuid());
}

/* NULL: out of memory. */
static char *request_to_text(const struct kms_request *request)
{
    char asked[KMS_RFC3339_LEN + 1], until[KMS_RFC3339_LEN + 1];
    char digits[2 * KMS_FINGERPRINT_LEN + 1];
    kms_rfc3339_format(request->asked_utc_s, asked);
    kms_rfc3339_format(request->until_utc_s, until);
    kms_hex_encode((struct kms_bytes){ request->fingerprint, KMS_FINGERPRINT_LEN }, digits);
    json_t *root = json_pack("{s:i, s:s, s:s, s:s}", "version", KMS_REQUEST_VERSION, "kind",
                             kms_request_kind_name(request->kind), "asked", asked, "by",
                             request->by);
    bool whole = root != NULL;
    if (is_of_generation(request->kind))
        whole &= json_object_set_new(root, "generation",
                                     json_integer((json_int_t)request->generation)) == 0;
    if (is_of_token(request->kind))
        whole &= json_object_set_new(root, "token", json_string(request->token)) == 0;
    if (request->kind == KMS_REQUEST_ACCEPT)
        whole &= json_object_set_new(root, "fingerprint", json_string(digits)) == 0;
    if (request->kind == KMS_REQUEST_DRAIN)
        whole &= json_object_set_new(root, "until", json_string(until)) == 0;
    char *text = whole ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    return text;
}

/* A resume that waits says nothing any more beside a later drain of the token, and the other way
 * round.  One that stays, because we are ended here, comes first in a list. */
static enum kms_code remove_opposite(int dir_fd, const struct kms_request *request,
                                     struct kms_error *err)
{
    struct kms_request opposite = *request;
    if (request->kind == KMS_REQUEST_DRAIN)
        opposite.kind = KMS_REQUEST_RESUME;
    else if (request->kind == KMS_REQUEST_RESUME)
        opposite.kind = KMS_REQUEST_DRAIN;
    else
        return KMS_OK;
    char name[KMS_REQUEST_NAME_MAX + 1];
    format_name(&opposite, name);
    if (unlinkat(dir_fd, name, 0) != 0 && errno != ENOENT)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "unlink", errno, "can't delete %s", name);
    return KMS_OK;
}

static enum kms_code write_request(const char *state_dir, const struct kms_request *request,
                                   struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = -1;
    enum kms_code rc = open_dir(state_dir, &dir_fd, err);
    if (rc != KMS_OK)
        return rc;
    /* No deadline: held only by other commands, for as long as they write one small file. */
    if (flock(dir_fd, LOCK_EX) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "flock", errno, "can't lock state_dir %s",
                              state_dir);
    char *text = request_to_text(request);
    if (text == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    char name[KMS_REQUEST_NAME_MAX + 1];
    format_name(request, name);
    rc = kms_durable_replace(dir_fd, name, text, err);
    free(text);
    return rc == KMS_OK ? remove_opposite(dir_fd, request, err) : rc;
}

/* Completes @request with who asks, and when, and leaves it. */
static enum kms_code ask(const char *state_dir, struct kms_request *request, struct kms_error *err)
{
    request->asked_utc_s = kms_utc_s();
    name_caller(request->by);
    return write_request(state_dir, request, err);
}

static enum kms_code ask_of_token(const char *state_dir, const char *token,
                                  struct kms_request *request, struct kms_error *err)
{
    if (!kms_token_name_is_valid(token))
        return kms_fail(err, KMS_E_INVALID,
                        "'%.40s' is no token's name: a-z, 0-9 and, between them, '-', at most %d",
                        token, (int)KMS_TOKEN_NAME_MAX);
    snprintf(request->token, sizeof request->token, "%s", token);
    return ask(state_dir, request, err);
}

enum kms_code kms_request_accept(const char *state_dir, uint32_t generation,
                                 const uint8_t *fingerprint, struct kms_error *err)
{
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT, .generation = generation };
    memcpy(request.fingerprint, fingerprint, KMS_FINGERPRINT_LEN);
    return ask(state_dir, &request, err);
}

enum kms_code kms_request_tombstone(const char *state_dir, uint32_t generation,
                                    struct kms_error *err)
{
    struct kms_request request = { .kind = KMS_REQUEST_TOMBSTONE, .generation = generation };
    return ask(state_dir, &request, err);
}

/* @until_utc_s has a spelling of its own, which says the same when it is read. */
static bool is_time(int64_t until_utc_s)
{
    char text[KMS_RFC3339_LEN + 1];
    int64_t again;
    kms_rfc3339_format(until_utc_s, text);
    return until_utc_s > 0 && kms_rfc3339_parse(text, &again) && again == until_utc_s;
}

enum kms_code kms_request_drain(const char *state_dir, const char *token, int64_t until_utc_s,
                                struct kms_error *err)
{
    struct kms_request request = { .kind = KMS_REQUEST_DRAIN, .until_utc_s = until_utc_s };
    if (!is_time(until_utc_s))
        return kms_fail(err, KMS_E_INVALID, "token '%.40s' can't be drained for that long", token);
    return ask_of_token(state_dir, token, &request, err);
}

enum kms_code kms_request_resume(const char *state_dir, const char *token, struct kms_error *err)
{
    struct kms_request request = { .kind = KMS_REQUEST_RESUME };
    return ask_of_token(state_dir, token, &request, err);
}

enum kms_code kms_request_waive(const char *state_dir, uint32_t generation, const char *token,
                                struct kms_error *err)
{
    struct kms_request request = { .kind = KMS_REQUEST_WAIVE, .generation = generation };
    return ask_of_token(state_dir, token, &request, err);
}

/* --- reading --- */

void kms_request_list_done(struct kms_request_list *list)
{
    free(list->files);
    *list = (struct kms_request_list){ 0 };
}

/* @subject: what stands between the kind and the end of a file's name. */
static bool parse_subject(const char *subject, struct kms_request *request)
{
    const char *at = subject;
    if (is_of_generation(request->kind)) {
        char *end;
        unsigned long number = isdigit((unsigned char)*at) ? strtoul(at, &end, 10) : 0;
        if (number < 1 || number > KMS_GENERATION_MAX)
            return false;
        request->generation = (uint32_t)number;
        at = *end == '.' ? end + 1 : end;
    }
    if (is_of_token(request->kind)) {
        size_t len = strcspn(at, ".");
        if (len >= sizeof request->token)
            return false;
        memcpy(request->token, at, len);
        return kms_token_name_is_valid(request->token);
    }
    return true;
}

/* True only for exactly what format_name() writes. */
static bool parse_name(const char *name, struct kms_request *ret_request)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        char head[KMS_REQUEST_NAME_MAX + 1], exact[KMS_REQUEST_NAME_MAX + 1];
        int len = snprintf(head, sizeof head, PREFIX "%s.", kms_request_kind_name(kinds[i]));
        if (strncmp(name, head, (size_t)len) != 0)
            continue;
        struct kms_request request = { .kind = kinds[i] };
        if (!parse_subject(name + len, &request))
            return false;
        format_name(&request, exact);
        if (strcmp(name, exact) != 0)
            return false;
        *ret_request = request;
        return true;
    }
    return false;
}

static enum kms_code damaged(const char *name, const char *what, struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "%s %s: it is left alone; delete it and run the command again", name, what);
}

static bool says(const json_t *root, const char *key, const char *text)
{
    const char *found = json_string_value(json_object_get(root, key));
    return found != NULL && strcmp(found, text) == 0;
}

/* @named is what the file's name says. */
static bool says_as_named(const json_t *root, const struct kms_request *named)
{
    const json_t *generation = json_object_get(root, "generation");
    if (is_of_generation(named->kind) &&
        (!json_is_integer(generation) || json_integer_value(generation) != named->generation))
        return false;
    if (is_of_token(named->kind) && !says(root, "token", named->token))
        return false;
    return says(root, "kind", kms_request_kind_name(named->kind));
}

static bool read_time(const json_t *root, const char *key, int64_t *ret_utc_s)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text != NULL && kms_rfc3339_parse(text, ret_utc_s);
}

static enum kms_code request_from_json(const json_t *root, const char *name,
                                       const struct kms_request *named,
                                       struct kms_request *ret_request, struct kms_error *err)
{
    const json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return damaged(name, "has no version", err);
    if (json_integer_value(version) > KMS_REQUEST_VERSION)
        return kms_fail(
            err, KMS_E_PRECONDITION,
            "%s: version %lld was written by a newer hsm-kms (this one knows %d): it is "
            "left alone",
            name, (long long)json_integer_value(version), (int)KMS_REQUEST_VERSION);

    struct kms_request request = *named;
    if (!says_as_named(root, named))
        return damaged(name, "says something else than its name", err);
    const char *digits = json_string_value(json_object_get(root, "fingerprint"));
    if (request.kind == KMS_REQUEST_ACCEPT &&
        (digits == NULL || !kms_hex_decode(digits, request.fingerprint, KMS_FINGERPRINT_LEN)))
        return damaged(name, "has no valid fingerprint", err);
    if (request.kind == KMS_REQUEST_DRAIN &&
        (!read_time(root, "until", &request.until_utc_s) || request.until_utc_s <= 0))
        return damaged(name, "doesn't say until when", err);
    const char *by = json_string_value(json_object_get(root, "by"));
    if (!read_time(root, "asked", &request.asked_utc_s) || by == NULL ||
        strlen(by) > KMS_REQUEST_BY_MAX)
        return damaged(name, "doesn't say who asked, and when", err);
    snprintf(request.by, sizeof request.by, "%s", by);
    *ret_request = request;
    return KMS_OK;
}

static enum kms_code read_file(int dir_fd, struct kms_request_file *file, struct kms_error *err)
{
    /* Not blocking: somebody may have put a FIFO there. */
    int fd = openat(dir_fd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't read %s", file->name);
    struct stat info;
    bool sane = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size <= FILE_MAX_BYTES;
    json_t *root = sane ? json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL) : NULL;
    close(fd);
    if (root == NULL)
        return damaged(file->name, "can't be parsed", err);
    file->inode = info.st_ino;
    file->written = info.st_mtim;
    struct kms_request named = file->request;
    enum kms_code rc = request_from_json(root, file->name, &named, &file->request, err);
    json_decref(root);
    return rc;
}

static enum kms_code add_file(int dir_fd, const char *name, struct kms_request_list *list,
                              struct kms_error *err)
{
    struct kms_request named = { 0 };
    if (!parse_name(name, &named))
        return KMS_OK;
    struct kms_request_file *files = reallocarray(list->files, list->count + 1, sizeof *files);
    if (files == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    list->files = files;
    struct kms_request_file *file = &files[list->count++];
    *file = (struct kms_request_file){ .request = named, .fault = { .code = KMS_OK } };
    format_name(&named, file->name);
    if (read_file(dir_fd, file, &file->fault) == KMS_OK)
        file->fault = (struct kms_error){ .code = KMS_OK };
    return KMS_OK;
}

/* Two of one second: the file that was written first. */
static int compare_files(const void *left, const void *right)
{
    const struct kms_request_file *a = left, *b = right;
    if (a->request.asked_utc_s != b->request.asked_utc_s)
        return a->request.asked_utc_s < b->request.asked_utc_s ? -1 : 1;
    if (a->written.tv_sec != b->written.tv_sec)
        return a->written.tv_sec < b->written.tv_sec ? -1 : 1;
    if (a->written.tv_nsec != b->written.tv_nsec)
        return a->written.tv_nsec < b->written.tv_nsec ? -1 : 1;
    return strcmp(a->name, b->name);
}

enum kms_code kms_request_read(const char *state_dir, struct kms_request_list *ret_list,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    DIR *dir = opendir(state_dir);
    if (dir == NULL)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "opendir", errno, "can't read state_dir %s",
                              state_dir);
    enum kms_code rc = KMS_OK;
    for (const struct dirent *entry; rc == KMS_OK && (entry = readdir(dir)) != NULL;)
        rc = add_file(dirfd(dir), entry->d_name, &list, err);
    closedir(dir);
    if (rc != KMS_OK)
        return rc;
    if (list.count > 1)
        qsort(list.files, list.count, sizeof *list.files, compare_files);
    *ret_list = list;
    list = (struct kms_request_list){ 0 };
    return KMS_OK;
}

enum kms_code kms_request_remove(const char *state_dir, const struct kms_request_file *file,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = -1;
    enum kms_code rc = open_dir(state_dir, &dir_fd, err);
    if (rc != KMS_OK)
        return rc;
    struct stat info;
    if (flock(dir_fd, LOCK_EX | LOCK_NB) != 0)
        return KMS_OK; /* a command writes now, perhaps this very file: the next refresh sees */
    bool same = fstatat(dir_fd, file->name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
                info.st_ino == file->inode && info.st_mtim.tv_sec == file->written.tv_sec &&
                info.st_mtim.tv_nsec == file->written.tv_nsec;
    if (!same)
        return KMS_OK;
    if (unlinkat(dir_fd, file->name, 0) != 0 || fsync(dir_fd) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "unlink", errno, "can't delete %s",
                              file->name);
    return KMS_OK;
}
