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

enum { FILE_MAX_BYTES = 4096, PATH_BYTES = 4096 };

#define PREFIX "request."
#define SUFFIX ".json"

static const enum kms_request_kind kinds[] = { KMS_REQUEST_ACCEPT, KMS_REQUEST_TOMBSTONE };
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0] };

const char *kms_request_kind_name(enum kms_request_kind kind)
{
    switch (kind) {
    case KMS_REQUEST_ACCEPT:
        return "accept";
    case KMS_REQUEST_TOMBSTONE:
        return "tombstone";
    }
    return "accept";
}

static void format_name(const struct kms_request *request, char *ret_name, size_t size)
{
    snprintf(ret_name, size, PREFIX "%s.%" PRIu32 SUFFIX, kms_request_kind_name(request->kind),
             request->generation);
}

static void close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
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
    char asked[KMS_RFC3339_LEN + 1], digits[2 * KMS_FINGERPRINT_LEN + 1];
    kms_rfc3339_format(request->asked_utc_s, asked);
    kms_hex_encode((struct kms_bytes){ request->fingerprint, KMS_FINGERPRINT_LEN }, digits);
    bool accept = request->kind == KMS_REQUEST_ACCEPT;
    json_t *root = json_pack("{s:i, s:s, s:I, s:s*, s:s, s:s}", "version", KMS_REQUEST_VERSION,
                             "kind", kms_request_kind_name(request->kind), "generation",
                             (json_int_t)request->generation, "fingerprint", accept ? digits : NULL,
                             "asked", asked, "by", request->by);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    return text;
}

static enum kms_code write_request(const char *state_dir, const struct kms_request *request,
                                   struct kms_error *err)
{
    KMS_CLEANUP(close_fd) int dir_fd = -1;
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
    format_name(request, name, sizeof name);
    rc = kms_durable_replace(dir_fd, name, text, err);
    free(text);
    return rc;
}

enum kms_code kms_request_accept(const char *state_dir, uint32_t generation,
                                 const uint8_t *fingerprint, struct kms_error *err)
{
    struct kms_request request = { .kind = KMS_REQUEST_ACCEPT,
                                   .generation = generation,
                                   .asked_utc_s = kms_utc_s() };
    memcpy(request.fingerprint, fingerprint, KMS_FINGERPRINT_LEN);
    name_caller(request.by);
    return write_request(state_dir, &request, err);
}

enum kms_code kms_request_tombstone(const char *state_dir, uint32_t generation,
                                    struct kms_error *err)
{
    struct kms_request request = { .kind = KMS_REQUEST_TOMBSTONE,
                                   .generation = generation,
                                   .asked_utc_s = kms_utc_s() };
    name_caller(request.by);
    return write_request(state_dir, &request, err);
}

/* --- reading --- */

void kms_request_list_done(struct kms_request_list *list)
{
    free(list->files);
    *list = (struct kms_request_list){ 0 };
}

/* True only for exactly what format_name() writes. */
static bool parse_name(const char *name, struct kms_request *ret_request)
{
    for (size_t i = 0; i < KIND_COUNT; i++) {
        char head[KMS_REQUEST_NAME_MAX + 1], exact[KMS_REQUEST_NAME_MAX + 1];
        int len = snprintf(head, sizeof head, PREFIX "%s.", kms_request_kind_name(kinds[i]));
        if (strncmp(name, head, (size_t)len) != 0 || !isdigit((unsigned char)name[len]))
            continue;
        unsigned long number = strtoul(name + len, NULL, 10);
        if (number < 1 || number > KMS_GENERATION_MAX)
            return false;
        ret_request->kind = kinds[i];
        ret_request->generation = (uint32_t)number;
        format_name(ret_request, exact, sizeof exact);
        return strcmp(name, exact) == 0;
    }
    return false;
}

static enum kms_code damaged(const char *name, const char *what, struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "%s %s: it is left alone; delete it and run the command again", name, what);
}

/* @named is what the file's name says. */
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

    struct kms_request request = { .kind = named->kind, .generation = named->generation };
    const char *kind = json_string_value(json_object_get(root, "kind"));
    const json_t *generation = json_object_get(root, "generation");
    if (kind == NULL || strcmp(kind, kms_request_kind_name(named->kind)) != 0 ||
        !json_is_integer(generation) || json_integer_value(generation) != named->generation)
        return damaged(name, "says something else than its name", err);
    const char *digits = json_string_value(json_object_get(root, "fingerprint"));
    if (request.kind == KMS_REQUEST_ACCEPT &&
        (digits == NULL || !kms_hex_decode(digits, request.fingerprint, KMS_FINGERPRINT_LEN)))
        return damaged(name, "has no valid fingerprint", err);
    const char *asked = json_string_value(json_object_get(root, "asked"));
    const char *by = json_string_value(json_object_get(root, "by"));
    if (asked == NULL || !kms_rfc3339_parse(asked, &request.asked_utc_s) || by == NULL ||
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
    format_name(&named, file->name, sizeof file->name);
    if (read_file(dir_fd, file, &file->fault) == KMS_OK)
        file->fault = (struct kms_error){ .code = KMS_OK };
    return KMS_OK;
}

static int compare_files(const void *left, const void *right)
{
    const struct kms_request_file *a = left, *b = right;
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

/* --- applying --- */

static enum kms_code apply_accept(const struct kms_request *request, struct kms_state *state,
                                  bool *ret_changed, struct kms_error *err)
{
    if (kms_state_is_buried(state, request->generation))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "generation %" PRIu32 " was destroyed; its number is never used again",
                        request->generation);
    const struct kms_pin *pin = kms_state_pin(state, request->generation);
    *ret_changed = pin == NULL ||
                   memcmp(pin->fingerprint, request->fingerprint, KMS_FINGERPRINT_LEN) != 0;
    if (!*ret_changed)
        return KMS_OK;
    return kms_state_repin(state, request->generation, request->fingerprint, err);
}

static enum kms_code apply_tombstone(const struct kms_request *request, struct kms_state *state,
                                     bool *ret_changed, struct kms_error *err)
{
    if (state->promoted == request->generation)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "generation %" PRIu32 " is the promoted one here: it can't be given up",
                        request->generation);
    *ret_changed = !kms_state_is_buried(state, request->generation) ||
                   kms_state_pin(state, request->generation) != NULL;
    return kms_state_bury(state, request->generation, err);
}

enum kms_code kms_request_apply(const struct kms_request *request, struct kms_state *state,
                                bool *ret_changed, struct kms_error *err)
{
    switch (request->kind) {
    case KMS_REQUEST_ACCEPT:
        return apply_accept(request, state, ret_changed, err);
    case KMS_REQUEST_TOMBSTONE:
        return apply_tombstone(request, state, ret_changed, err);
    }
    return kms_fail(err, KMS_E_INTERNAL, "a request of an unknown kind");
}

enum kms_code kms_request_remove(const char *state_dir, const struct kms_request_file *file,
                                 struct kms_error *err)
{
    KMS_CLEANUP(close_fd) int dir_fd = -1;
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
