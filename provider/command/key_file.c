/* SPDX-License-Identifier: Apache-2.0 */
#include "key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kms/fd.h"
#include "text.h"

void kms_file_done(struct kms_file *file)
{
    free(file->data);
    *file = (struct kms_file){ 0 };
}

enum kms_code kms_file_read(const char *path, struct kms_file *ret_file, struct kms_error *err)
{
    /* O_NONBLOCK: a FIFO must not hold us up before it is refused. */
    KMS_CLEANUP(kms_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return kms_fail_errno(err, KMS_E_INVALID, "open", errno, "can't read %.200s", path);
    if (!S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_INVALID, "%.200s is not a regular file", path);
    KMS_CLEANUP(kms_file_done) struct kms_file file = { 0 };
    file.data = kms_must_alloc(malloc(KMS_KEY_FILE_MAX + 1));
    if (!kms_fd_read(fd, file.data, KMS_KEY_FILE_MAX + 1, &file.len))
        return kms_fail_errno(err, KMS_E_INVALID, "read", errno, "can't read %.200s", path);
    if (file.len > KMS_KEY_FILE_MAX)
        return kms_fail(err, KMS_E_INVALID, "%.200s has more than %d bytes: it is another file",
                        path, KMS_KEY_FILE_MAX);
    *ret_file = file;
    file = (struct kms_file){ 0 };
    return KMS_OK;
}

/* --- a raw key --- */

static enum kms_code check_private(int fd, struct kms_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "can't check the raw key");
    if (!S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "the raw key is not a regular file");
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return kms_fail(err, KMS_E_PRECONDITION, "the raw key's file belongs to uid %u, not to you",
                        (unsigned)st.st_uid);
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the raw key's file is open to others (mode %04o): chmod 0600 it, and "
                        "consider who may have read it",
                        (unsigned)(st.st_mode & 07777));
    return KMS_OK;
}

enum kms_code kms_file_read_key(const char *path, struct kms_secret *ret_key, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't read the raw key");
    KMS_CLEANUP(kms_secret_done) struct kms_secret key = { 0 };
    enum kms_code rc = check_private(fd, err);
    if (rc == KMS_OK)
        rc = kms_secret_init(&key, KMS_RAW_KEY_LEN + 1, err); /* one more shows a longer file */
    if (rc != KMS_OK)
        return rc;
    if (!kms_fd_read(fd, key.data, key.cap, &key.len))
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "can't read the raw key");
    if (key.len != KMS_RAW_KEY_LEN)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the raw key's file doesn't have exactly %d bytes: an AES-256 key, neither "
                        "encoded nor ended by a newline",
                        KMS_RAW_KEY_LEN);
    *ret_key = kms_secret_take(&key);
    return KMS_OK;
}

/* --- written --- */

/* The folder of @path, open; @ret_name points into @path. */
static enum kms_code open_folder(const char *path, int *ret_fd, const char **ret_name,
                                 struct kms_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    char folder[PATH_MAX];
    int len = slash == NULL ? snprintf(folder, sizeof(folder), ".")
                            : snprintf(folder, sizeof(folder), "%.*s",
                                       (int)(slash == path ? 1 : slash - path), path);
    if (name[0] == '\0' || len < 0 || (size_t)len >= sizeof(folder))
        return kms_fail(err, KMS_E_INVALID, "%.200s is no name of a file", path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't open %.200s", folder);
    *ret_fd = fd;
    *ret_name = name;
    return KMS_OK;
}

static enum kms_code cannot_write(const char *path, int errnum, struct kms_error *err)
{
    return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errnum,
                          "can't write %.200s as uid %u (key commands run as the owner of "
                          "state_dir)",
                          path, (unsigned)geteuid());
}

static enum kms_code write_new(int folder_fd, const char *name, const char *path,
                               struct kms_bytes bytes, struct kms_error *err)
{
    int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return cannot_write(path, errno, err);
    bool good = fchmod(fd, 0600) == 0 && kms_fd_write(fd, bytes) && fsync(fd) == 0;
    int errnum = errno;
    if (close(fd) != 0 && good) {
        good = false;
        errnum = errno;
    }
    return good ? KMS_OK : cannot_write(path, errnum, err);
}

enum kms_code kms_file_write(const char *path, struct kms_bytes bytes, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int folder_fd = -1;
    const char *name = NULL;
    char fresh[NAME_MAX + 1];
    struct stat st;
    enum kms_code rc = open_folder(path, &folder_fd, &name, err);
    if (rc != KMS_OK)
        return rc;
    if (snprintf(fresh, sizeof(fresh), "%s.new", name) >= (int)sizeof(fresh))
        return kms_fail(err, KMS_E_INVALID, "the name %.200s is too long", name);
    /* A rename would put the file in the place of /dev/stdout, say. */
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "%.200s is there and is not a regular file", path);
    rc = write_new(folder_fd, fresh, path, bytes, err);
    if (rc != KMS_OK)
        return rc;
    if (renameat(folder_fd, fresh, folder_fd, name) != 0 || fsync(folder_fd) != 0)
        return cannot_write(path, errno, err);
    return KMS_OK;
}

enum kms_code kms_file_lock_folder(const char *path, int *ret_fd, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int folder_fd = -1;
    const char *name = NULL;
    enum kms_code rc = open_folder(path, &folder_fd, &name, err);
    if (rc != KMS_OK)
        return rc;
    if (flock(folder_fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? kms_fail(err, KMS_E_BUSY, "another command is writing to the folder of %.200s",
                              path)
                   : kms_fail_errno(err, KMS_E_PRECONDITION, "flock", errno,
                                    "can't lock the folder of %.200s", path);
    *ret_fd = folder_fd;
    folder_fd = -1;
    return KMS_OK;
}
