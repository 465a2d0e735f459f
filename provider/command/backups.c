/* SPDX-License-Identifier: Apache-2.0 */
#include "backups.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "durable.h"
#include "json.h"
#include "kms/bytes.h"
#include "kms/fd.h"

#define FILE_NAME "backups.json"
enum { FILE_MAX_BYTES = 1024 * 1024 };

static enum kms_code damaged(const char *what, struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "state_dir's " FILE_NAME " %s: it names the backups of the KEKs; restore it, "
                    "or move it away and keep it",
                    what);
}

static enum kms_code check_version(const json_t *root, struct kms_error *err)
{
    json_int_t version = json_integer_value(json_object_get(root, "version"));
    if (version > KMS_BACKUPS_VERSION)
        return kms_fail(err, KMS_E_PRECONDITION,
                        FILE_NAME " is of version %lld, a newer hsm-kms's: run that",
                        (long long)version);
    if (version < 1 || !json_is_array(json_object_get(root, "backups")))
        return damaged("lacks its version or its list", err);
    return KMS_OK;
}

/* *ret_root is owned; an empty list without the file. */
static enum kms_code read_file(int dir_fd, json_t **ret_root, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int fd = openat(dir_fd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        *ret_root = json_pack("{s:i, s:[]}", "version", KMS_BACKUPS_VERSION, "backups");
        return *ret_root != NULL ? KMS_OK : kms_fail(err, KMS_E_BUSY, "out of memory");
    }
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't read " FILE_NAME);
    if (!S_ISREG(info.st_mode) || info.st_size > FILE_MAX_BYTES)
        return damaged("is no file of this program", err);
    json_error_t fault;
    KMS_CLEANUP(kms_json_done) json_t *root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &fault);
    if (root == NULL)
        return damaged("can't be parsed", err);
    enum kms_code rc = check_version(root, err);
    if (rc != KMS_OK)
        return rc;
    *ret_root = root;
    root = NULL;
    return KMS_OK;
}

static bool from_json(const json_t *item, struct kms_backup *ret_backup)
{
    const char *id = json_string_value(json_object_get(item, "id"));
    const char *digits = json_string_value(json_object_get(item, "fingerprint"));
    const char *reference = json_string_value(json_object_get(item, "reference"));
    struct kms_backup backup = { .recorded_utc_s = json_integer_value(
                                     json_object_get(item, "recorded")) };
    if (id == NULL || strlen(id) != KMS_BACKUP_ID_LEN || digits == NULL ||
        !kms_hex_decode(digits, backup.fingerprint, KMS_FINGERPRINT_LEN) || reference == NULL ||
        strlen(reference) > KMS_BACKUP_REFERENCE_MAX)
        return false;
    memcpy(backup.id, id, KMS_BACKUP_ID_LEN);
    memcpy(backup.reference, reference, strlen(reference));
    *ret_backup = backup;
    return true;
}

static json_t *to_json(const struct kms_backup *backup)
{
    char digits[2 * KMS_FINGERPRINT_LEN + 1];
    kms_hex_encode((struct kms_bytes){ backup->fingerprint, KMS_FINGERPRINT_LEN }, digits);
    return json_pack("{s:s, s:s, s:s, s:I}", "id", backup->id, "fingerprint", digits, "reference",
                     backup->reference, "recorded", (json_int_t)backup->recorded_utc_s);
}

/* Index of the record with @id in @list, its length if there is none. */
static size_t find_id(const json_t *list, const char *id)
{
    size_t i = 0;
    while (i < json_array_size(list)) {
        const char *other = json_string_value(json_object_get(json_array_get(list, i), "id"));
        if (other != NULL && strcmp(other, id) == 0)
            break;
        i++;
    }
    return i;
}

static enum kms_code put(int dir_fd, json_t *root, const struct kms_backup *backup,
                         struct kms_error *err)
{
    json_t *list = json_object_get(root, "backups");
    size_t at = find_id(list, backup->id);
    int failed = at < json_array_size(list) ? json_array_set_new(list, at, to_json(backup))
                                            : json_array_append_new(list, to_json(backup));
    char *text = failed == 0 ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (text == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    enum kms_code rc = kms_durable_replace(dir_fd, FILE_NAME, text, err);
    free(text);
    return rc;
}

enum kms_code kms_backups_add(const char *state_dir, const struct kms_backup *backup,
                              struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "state_dir %s", state_dir);
    /* no deadline: whoever holds it writes one small file, and the kernel lets go when he dies */
    if (flock(dir_fd, LOCK_EX) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "flock", errno, "state_dir %s", state_dir);
    KMS_CLEANUP(kms_json_done) json_t *root = NULL;
    enum kms_code rc = read_file(dir_fd, &root, err);
    return rc == KMS_OK ? put(dir_fd, root, backup, err) : rc;
}

static bool matches(const struct kms_backup *backup, const char *id, const uint8_t *fingerprint)
{
    return (id == NULL || strcmp(backup->id, id) == 0) &&
           (fingerprint == NULL ||
            memcmp(backup->fingerprint, fingerprint, KMS_FINGERPRINT_LEN) == 0);
}

enum kms_code kms_backups_find(const char *state_dir, const char *id, const uint8_t *fingerprint,
                               bool *ret_found, struct kms_backup *ret_backup,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret_found = false;
    if (dir_fd < 0 && errno == ENOENT)
        return KMS_OK;
    if (dir_fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "state_dir %s", state_dir);
    KMS_CLEANUP(kms_json_done) json_t *root = NULL;
    enum kms_code rc = read_file(dir_fd, &root, err);
    if (rc != KMS_OK)
        return rc;
    const json_t *list = json_object_get(root, "backups");
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct kms_backup backup = { .recorded_utc_s = 0 };
        if (!from_json(json_array_get(list, i), &backup))
            return damaged("has a record that can't be read", err);
        if (!matches(&backup, id, fingerprint))
            continue;
        *ret_backup = backup;
        *ret_found = true;
    }
    return KMS_OK;
}
