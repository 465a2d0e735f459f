/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_keep.h"
#include "audit_seal.h"
#include "kms/clock.h"
#include "kms/fd.h"

enum {
    MODE = 0600,
    SUFFIX_MAX = 32, /* bytes: ".cut.000000000012.1" */
    CUTS_MAX = 8,    /* files that are cut aside before one line */
    LOCK_AGAIN_MS = 20,
    TAIL_MAX = 8 * KMS_AUDIT_LINE_MAX, /* how far back an open looks for a whole line */
};

enum kms_code kms_audit_file_init(struct kms_audit_file *file,
                                  const struct kms_audit_options *options,
                                  const struct kms_audit_origin *origin,
                                  struct kms_audit_copier *copier, struct kms_error *err)
{
    *file = (struct kms_audit_file){
        .origin = *origin,
        .rotate_bytes = options->rotate_bytes,
        .rotate_keep = options->rotate_keep,
        .syncs = options->sync != KMS_AUDIT_NONE,
        .create = options->existing ? 0 : O_CREAT,
        .wait_ms = options->wait_ms,
        .copier = copier,
        .dir_fd = -1,
        .lock_fd = -1,
        .fd = -1,
    };
    if (asprintf(&file->path, "%s.%s", options->path, options->writer) < 0) {
        file->path = NULL;
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    }
    const char *slash = strrchr(file->path, '/');
    file->name = slash != NULL ? slash + 1 : file->path;
    if (strlen(file->name) + SUFFIX_MAX > NAME_MAX)
        return kms_fail(err, KMS_E_INVALID, "the name of the audit log %s is too long", file->path);
    return KMS_OK;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void shut(struct kms_audit_file *file)
{
    close_fd(&file->fd);
    close_fd(&file->dir_fd);
    close_fd(&file->lock_fd); /* last: it holds the lock */
}

void kms_audit_file_done(struct kms_audit_file *file)
{
    shut(file);
    free(file->path);
    file->path = NULL;
}

bool kms_audit_file_is_open(const struct kms_audit_file *file)
{
    return file->fd >= 0;
}

static enum kms_code fail(const struct kms_audit_file *file, const char *op, struct kms_error *err)
{
    return kms_fail_errno(err, KMS_E_PRECONDITION, op, errno, "%s: %s", file->path, op);
}

static void name_of(const struct kms_audit_file *file, const char *kind, uint64_t number,
                    char ret_name[static NAME_MAX + 1])
{
    (void)snprintf(ret_name, NAME_MAX + 1, "%s.%s%012" PRIu64, file->name, kind, number);
}

/* The @turn'th file that is cut aside before line @next: the first has no suffix. */
static void name_of_cut(const struct kms_audit_file *file, uint64_t next, unsigned turn,
                        char ret_name[static NAME_MAX + 1])
{
    name_of(file, "cut.", next, ret_name);
    size_t len = strlen(ret_name);
    if (turn > 0)
        (void)snprintf(ret_name + len, NAME_MAX + 1 - len, ".%u", turn);
}

/* --- writing --- */

/* Lines of @bodies at the end of @chain.  The caller frees *ret_text. */
static enum kms_code make_lines(struct kms_audit_chain *chain, const char *const *bodies,
                                size_t count, char **ret_text, size_t *ret_len,
                                struct kms_error *err)
{
    size_t room = 1, len = 0;
    for (size_t i = 0; i < count; i++)
        room += KMS_AUDIT_HEAD_MAX + strlen(bodies[i]);
    char *text = malloc(room);
    if (text == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    for (size_t i = 0; i < count; i++) {
        size_t put = kms_audit_line_put(chain, bodies[i], text + len, room - len);
        if (put == 0) {
            free(text);
            return kms_fail(err, KMS_E_PRECONDITION, "a chain has %" PRId64 " lines at most",
                            KMS_AUDIT_SEQ_MAX);
        }
        len += put;
    }
    *ret_text = text;
    *ret_len = len;
    return KMS_OK;
}

/* On failure the file ends where it did before, unless the system refuses that, too: then the next
 * open finds what is there. */
static enum kms_code write_lines(struct kms_audit_file *file, const char *text, size_t len,
                                 struct kms_error *err)
{
    const char *op = "write";
    bool good = kms_fd_write(file->fd, (struct kms_bytes){ (const uint8_t *)text, len });
    if (good && file->syncs) {
        op = "fdatasync";
        good = fdatasync(file->fd) == 0;
    }
    if (good)
        return KMS_OK;
    enum kms_code rc = fail(file, op, err);
    (void)(ftruncate(file->fd, (off_t)file->size) == 0 && fsync(file->fd) == 0);
    return rc;
}

static enum kms_code add(struct kms_audit_file *file, const char *const *bodies, size_t count,
                         struct kms_error *err)
{
    struct kms_audit_chain chain = file->chain;
    char *text = NULL;
    size_t len = 0;
    enum kms_code rc = make_lines(&chain, bodies, count, &text, &len, err);
    if (rc == KMS_OK)
        rc = write_lines(file, text, len, err);
    if (rc == KMS_OK) {
        file->chain = chain;
        file->size += len;
        kms_audit_copier_send(file->copier, (struct kms_bytes){ (const uint8_t *)text, len });
    }
    free(text);
    return rc;
}

/* --- opening --- */

static enum kms_code lock(struct kms_audit_file *file, struct kms_error *err)
{
    char name[NAME_MAX + 1];
    (void)snprintf(name, sizeof(name), "%s.lock", file->name);
    file->lock_fd = openat(file->dir_fd, name, O_RDWR | file->create | O_CLOEXEC | O_NOFOLLOW,
                           MODE);
    if (file->lock_fd < 0)
        return fail(file, "open", err);
    int64_t deadline_ms = kms_monotonic_ms() + file->wait_ms;
    while (flock(file->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return fail(file, "flock", err);
        if (kms_monotonic_ms() >= deadline_ms)
            return kms_fail(err, KMS_E_PRECONDITION,
                            "%s: another process writes it; see who holds %s (fuser)", file->path,
                            name);
        (void)poll(NULL, 0, LOCK_AGAIN_MS);
    }
    return KMS_OK;
}

static enum kms_code open_dir(struct kms_audit_file *file, struct kms_error *err)
{
    char *dir = strndup(file->path, (size_t)(file->name - file->path));
    if (dir == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    file->dir_fd = open(dir[0] != '\0' ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(dir);
    return file->dir_fd >= 0 ? KMS_OK : fail(file, "open", err);
}

/* How the file goes on: in an empty one with its first line, which names the file before; then with
 * the key that its lines are sealed by, so that each file can be read alone; and with the records of
 * what was cut aside for line @next, if there is that.  A new name in the directory
 * must last, too. */
static enum kms_code go_on(struct kms_audit_file *file, const char *previous, uint64_t next,
                           struct kms_error *err)
{
    char name[NAME_MAX + 1], *bodies[2 + CUTS_MAX] = { NULL };
    uint8_t digest[KMS_SHA256_LEN];
    uint64_t bytes = 0;
    size_t count = 0;
    if (file->size == 0)
        bodies[count++] = kms_audit_body_open(&file->origin, previous);
    if (file->seal != NULL)
        bodies[count++] = kms_audit_seal_key_body(file->seal, &file->origin);
    for (unsigned i = 0; i < CUTS_MAX; i++) {
        name_of_cut(file, next, i, name);
        if (kms_audit_keep_digest(file->dir_fd, name, digest, &bytes))
            bodies[count++] = kms_audit_body_cut(&file->origin, name, bytes, digest);
    }
    bool complete = true;
    for (size_t i = 0; i < count; i++)
        complete = complete && bodies[i] != NULL;
    enum kms_code rc = complete ? KMS_OK : kms_fail(err, KMS_E_BUSY, "out of memory");
    if (rc == KMS_OK && count > 0)
        rc = add(file, (const char *const *)bodies, count, err);
    for (size_t i = 0; i < count; i++)
        free(bodies[i]);
    if (rc == KMS_OK && count > 0 && file->syncs && fsync(file->dir_fd) != 0)
        return fail(file, "fsync", err);
    return rc;
}

static enum kms_code read_tail(const struct kms_audit_file *file, int fd, const char *name,
                               struct kms_audit_tail *ret_tail, struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_audit_tail_read(fd, TAIL_MAX, ret_tail, &why);
    if (rc == KMS_OK)
        return KMS_OK;
    return kms_fail(err, rc, "%.*s%s: %s", (int)(file->name - file->path), file->path, name,
                    why.msg);
}

/* The chain of a file without lines goes on where the newest rotated one ends: a rotation may have
 * been killed, or what there was of the first line is cut. */
static enum kms_code join(struct kms_audit_file *file, char ret_previous[static NAME_MAX + 1],
                          struct kms_error *err)
{
    if (!kms_audit_keep_newest(file->dir_fd, file->name, ret_previous)) {
        kms_audit_chain_begin(&file->chain);
        return KMS_OK;
    }
    int fd = openat(file->dir_fd, ret_previous, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fail(file, "open", err);
    struct kms_audit_tail tail = { .size = 0 };
    enum kms_code rc = read_tail(file, fd, ret_previous, &tail, err);
    close_fd(&fd);
    if (rc == KMS_OK && tail.good == 0)
        rc = kms_fail(err, KMS_E_PRECONDITION, "%.*s%s: holds no line; move it away",
                      (int)(file->name - file->path), file->path, ret_previous);
    if (rc == KMS_OK)
        file->chain = tail.chain;
    return rc;
}

/* A new file: what an open that was killed has cut aside before stays.  -1: errno. */
static int make_cut(const struct kms_audit_file *file, uint64_t next,
                    char ret_name[static NAME_MAX + 1])
{
    int fd = -1;
    errno = EEXIST;
    for (unsigned i = 0; i < CUTS_MAX && fd < 0 && errno == EEXIST; i++) {
        name_of_cut(file, next, i, ret_name);
        fd = openat(file->dir_fd, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
    }
    return fd;
}

/* Copies what stands behind the last whole line to a file of its own, named by line @next, then cuts
 * it.  If that is killed before there is a record, the next open finds the name; if it fails, it is
 * tried again from the start. */
static enum kms_code cut(struct kms_audit_file *file, const struct kms_audit_tail *tail,
                         uint64_t next, struct kms_error *err)
{
    char name[NAME_MAX + 1];
    uint8_t buffer[4096];
    int fd = make_cut(file, next, name);
    if (fd < 0)
        return fail(file, "open", err);
    bool good = true;
    for (off_t at = (off_t)tail->good; good && at < (off_t)tail->size;) {
        ssize_t n = pread(file->fd, buffer, sizeof(buffer), at);
        good = n > 0 && kms_fd_write(fd, (struct kms_bytes){ buffer, (size_t)n });
        at += n;
    }
    good = good && fsync(fd) == 0 && fsync(file->dir_fd) == 0;
    enum kms_code rc = good ? KMS_OK : fail(file, "cut", err);
    close_fd(&fd);
    if (rc == KMS_OK && ftruncate(file->fd, (off_t)tail->good) != 0)
        rc = fail(file, "ftruncate", err);
    if (rc != KMS_OK) {
        (void)unlinkat(file->dir_fd, name, 0);
        return rc;
    }
    return fsync(file->fd) == 0 ? KMS_OK : fail(file, "fsync", err);
}

static enum kms_code mend(struct kms_audit_file *file, struct kms_error *err)
{
    struct kms_audit_tail tail = { .size = 0 };
    char previous[NAME_MAX + 1] = "";
    enum kms_code rc = read_tail(file, file->fd, file->name, &tail, err);
    file->chain = tail.chain;
    if (rc == KMS_OK && tail.good == 0)
        rc = join(file, previous, err);
    uint64_t next = file->chain.seq + 1;
    if (rc == KMS_OK && tail.good < tail.size)
        rc = cut(file, &tail, next, err);
    file->size = tail.good;
    return rc == KMS_OK ? go_on(file, previous, next, err) : rc;
}

static enum kms_code open_all(struct kms_audit_file *file, struct kms_error *err)
{
    enum kms_code rc = open_dir(file, err);
    if (rc == KMS_OK)
        rc = lock(file, err);
    if (rc != KMS_OK)
        return rc;
    file->fd = openat(file->dir_fd, file->name,
                      O_RDWR | file->create | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, MODE);
    if (file->fd < 0)
        return fail(file, "open", err);
    struct stat st;
    if (fstat(file->fd, &st) != 0)
        return fail(file, "fstat", err);
    if (!S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "%s: not a regular file", file->path);
    return mend(file, err);
}

enum kms_code kms_audit_file_open(struct kms_audit_file *file, struct kms_error *err)
{
    shut(file);
    enum kms_code rc = open_all(file, err);
    if (rc != KMS_OK)
        shut(file);
    return rc;
}

/* --- appending --- */

/* Replaces nothing.  Only the holder of the lock makes files, and not every file system knows
 * RENAME_NOREPLACE. */
static bool move(const struct kms_audit_file *file, const char *name)
{
    if (faccessat(file->dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        errno = EEXIST;
        return false;
    }
    return errno == ENOENT && renameat(file->dir_fd, file->name, file->dir_fd, name) == 0;
}

static enum kms_code rotate(struct kms_audit_file *file, struct kms_error *err)
{
    char previous[NAME_MAX + 1];
    name_of(file, "", file->chain.seq, previous);
    if (!move(file, previous))
        return fail(file, "rename", err);
    close_fd(&file->fd);
    file->fd = openat(file->dir_fd, file->name,
                      O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, MODE);
    if (file->fd < 0)
        return fail(file, "open", err);
    file->size = 0;
    file->rotations++;
    enum kms_code rc = go_on(file, previous, file->chain.seq + 1, err);
    if (rc == KMS_OK && file->rotate_keep > 0)
        kms_audit_keep_newest_of(file->dir_fd, file->name, file->rotate_keep);
    return rc;
}

static bool is_too_large(const struct kms_audit_file *file, const char *const *bodies, size_t count)
{
    uint64_t size = file->size;
    for (size_t i = 0; i < count; i++)
        size += KMS_AUDIT_HEAD_MAX + strlen(bodies[i]);
    return file->rotate_bytes > 0 && size > file->rotate_bytes;
}

enum kms_code kms_audit_file_append(struct kms_audit_file *file, const char *const *bodies,
                                    size_t count, struct kms_error *err)
{
    enum kms_code rc = is_too_large(file, bodies, count) ? rotate(file, err) : KMS_OK;
    if (rc == KMS_OK)
        rc = add(file, bodies, count, err);
    if (rc != KMS_OK)
        shut(file);
    return rc;
}
