/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence_stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "kms/fd.h"

#define MARK ".made-by-hsm-kms-evidence" /* without it a directory isn't ours to empty */
#define FILES "files"

enum { DEPTH_MAX = 4, CHUNK = 64 * 1024 };

static enum kms_code fail(const struct kms_stage *stage, const char *op, const char *name,
                          struct kms_error *err)
{
    return kms_fail_errno(err, KMS_E_PRECONDITION, op, errno, "%.200s.stage%s%s", stage->out,
                          name[0] != '\0' ? "/" : "", name);
}

/* --- removing --- */

/* Never follows a link.  False: something is left. */
static bool empty_dir(int parent_fd, const char *name, int depth)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        kms_fd_done(&fd);
        return false;
    }
    bool done = true;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, entry->d_name, 0) == 0)
            continue;
        done = done && depth < DEPTH_MAX && empty_dir(fd, entry->d_name, depth + 1) &&
               unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0;
    }
    (void)closedir(dir);
    return done;
}

static bool is_empty(int parent_fd, const char *name)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    size_t count = 0;
    if (dir == NULL) {
        kms_fd_done(&fd);
        return false;
    }
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count <= 2; /* itself and the one above */
}

static void close_fd(int *fd)
{
    kms_fd_done(fd);
    *fd = -1;
}

void kms_stage_close(struct kms_stage *stage)
{
    if (stage->fd >= 0 && empty_dir(stage->dir_fd, stage->own, 0))
        (void)unlinkat(stage->dir_fd, stage->own, AT_REMOVEDIR);
    close_fd(&stage->files_fd);
    close_fd(&stage->fd);
    close_fd(&stage->dir_fd);
}

/* --- making --- */

/* Splits stage->out into a directory, which is opened, and names in it. */
static enum kms_code open_parent(struct kms_stage *stage, struct kms_error *err)
{
    static const char suffix[] = ".stage";
    char path[PATH_MAX];
    const char *slash = strrchr(stage->out, '/');
    const char *name = slash != NULL ? slash + 1 : stage->out;
    size_t dir_len = (size_t)(name - stage->out);
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strlen(name) + sizeof(suffix) > sizeof(stage->own) || dir_len >= sizeof(path))
        return kms_fail(err, KMS_E_INVALID, "%.200s can't be the name of a file", stage->out);
    (void)snprintf(stage->name, sizeof(stage->name), "%s", name);
    (void)snprintf(stage->own, sizeof(stage->own), "%.*s%s", (int)strlen(name), name, suffix);
    (void)snprintf(path, sizeof(path), "%.*s", (int)dir_len, stage->out);
    stage->dir_fd = open(dir_len > 0 ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (stage->dir_fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%.200s",
                              dir_len > 0 ? path : ".");
    struct stat st;
    if (fstatat(stage->dir_fd, stage->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return kms_fail(err, KMS_E_INVALID, "%.200s is there already: choose a new name",
                        stage->out);
    return KMS_OK;
}

/* Opens and locks what mkdir(2) made, or a run before us. */
static enum kms_code claim(struct kms_stage *stage, struct kms_error *err)
{
    struct stat st;
    int fd = openat(stage->dir_fd, stage->own, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        enum kms_code rc = fail(stage, "open", "", err);
        kms_fd_done(&fd);
        return rc;
    }
    bool ours = st.st_uid == geteuid() && (st.st_mode & 0077) == 0 &&
                (is_empty(stage->dir_fd, stage->own) || faccessat(fd, MARK, F_OK, 0) == 0);
    if (ours && flock(fd, LOCK_EX | LOCK_NB) == 0) {
        stage->fd = fd;
        return KMS_OK;
    }
    (void)close(fd);
    if (ours)
        return kms_fail(err, KMS_E_PRECONDITION, "%.200s.stage: another run is at work there",
                        stage->out);
    return kms_fail(err, KMS_E_PRECONDITION,
                    "%.200s.stage is in the way, and nothing that a run of ours left: choose "
                    "another name",
                    stage->out);
}

/* The mark comes first, so that what is killed after it is known as ours. */
static enum kms_code furnish(struct kms_stage *stage, struct kms_error *err)
{
    if (!empty_dir(stage->dir_fd, stage->own, 0))
        return fail(stage, "unlink", "", err);
    int mark = openat(stage->fd, MARK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (mark < 0)
        return fail(stage, "open", MARK, err);
    (void)close(mark);
    if (mkdirat(stage->fd, FILES, 0700) != 0)
        return fail(stage, "mkdir", FILES, err);
    stage->files_fd = openat(stage->fd, FILES, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return stage->files_fd >= 0 ? KMS_OK : fail(stage, "open", FILES, err);
}

enum kms_code kms_stage_open(const char *out, struct kms_stage *ret_stage, struct kms_error *err)
{
    struct kms_stage stage = { .out = out, .dir_fd = -1, .fd = -1, .files_fd = -1 };
    enum kms_code rc = open_parent(&stage, err);
    if (rc == KMS_OK && mkdirat(stage.dir_fd, stage.own, 0700) != 0 && errno != EEXIST)
        rc = fail(&stage, "mkdir", "", err);
    if (rc == KMS_OK)
        rc = claim(&stage, err);
    if (rc == KMS_OK)
        rc = furnish(&stage, err);
    if (rc == KMS_OK)
        *ret_stage = stage;
    else
        kms_stage_close(&stage);
    return rc;
}

/* --- files --- */

enum kms_code kms_stage_create(const struct kms_stage *stage, const char *name, int *ret_fd,
                               struct kms_error *err)
{
    char dir[NAME_MAX + 1] = "";
    const char *slash = strchr(name, '/');
    if (slash != NULL)
        (void)snprintf(dir, sizeof(dir), "%.*s", (int)(slash - name), name);
    if (slash != NULL && mkdirat(stage->files_fd, dir, 0700) != 0 && errno != EEXIST)
        return fail(stage, "mkdir", dir, err);
    int fd = openat(stage->files_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    if (fd < 0)
        return fail(stage, "open", name, err);
    *ret_fd = fd;
    return KMS_OK;
}

void kms_stage_remove(const struct kms_stage *stage, const char *name)
{
    (void)unlinkat(stage->files_fd, name, 0);
}

bool kms_digest_fd(int fd, char ret_digest[static 2 * KMS_SHA256_LEN + 1], uint64_t *ret_size)
{
    uint8_t chunk[CHUNK], digest[KMS_SHA256_LEN];
    uint64_t size = 0;
    size_t len = 0;
    if (lseek(fd, 0, SEEK_SET) != 0)
        return false;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    do {
        good = good && kms_fd_read(fd, chunk, sizeof(chunk), &len) &&
               EVP_DigestUpdate(context, chunk, len) == 1;
        size += good ? len : 0;
    } while (good && len == sizeof(chunk));
    good = good && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!good)
        return false;
    kms_hex_encode((struct kms_bytes){ digest, sizeof(digest) }, ret_digest);
    *ret_size = size;
    return true;
}

enum kms_code kms_stage_measure(const struct kms_stage *stage, const char *name,
                                char ret_digest[static 2 * KMS_SHA256_LEN + 1], uint64_t *ret_size,
                                struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done)
    int fd = openat(stage->files_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || !kms_digest_fd(fd, ret_digest, ret_size))
        return fail(stage, "read", name, err);
    return KMS_OK;
}

enum kms_code kms_stage_scratch(const struct kms_stage *stage, const char *name, int *ret_fd,
                                struct kms_error *err)
{
    int fd = openat(stage->fd, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(stage, "open", name, err);
    *ret_fd = fd;
    return KMS_OK;
}

/* Where the file system can't rename without replacing (NFS), a second name does it. */
static bool put_in_place(const struct kms_stage *stage, const char *name)
{
    if (renameat2(stage->fd, name, stage->dir_fd, stage->name, RENAME_NOREPLACE) == 0)
        return true;
    return (errno == EINVAL || errno == ENOSYS) &&
           linkat(stage->fd, name, stage->dir_fd, stage->name, 0) == 0;
}

enum kms_code kms_stage_publish(const struct kms_stage *stage, const char *name,
                                struct kms_error *err)
{
    bool placed = put_in_place(stage, name);
    if (!placed && errno == EEXIST)
        return kms_fail(err, KMS_E_INVALID, "%.200s is there by now: choose a new name",
                        stage->out);
    if (!placed || fsync(stage->dir_fd) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, placed ? "fsync" : "rename", errno, "%.200s",
                              stage->out);
    return KMS_OK;
}
