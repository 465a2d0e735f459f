/* SPDX-License-Identifier: Apache-2.0 */
#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "accept.h"

enum {
    BACKLOG = 4096, /* 128 refused non-blocking clients in a burst of connects */
    MAX_PER_UID = 64,
};

static const char fresh_suffix[] = ".new"; /* the socket before it takes its place */
static const char lock_suffix[] = ".lock";

struct kms_socket {
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    mode_t mode;
    struct kms_access_rules rules;
    uint32_t *allow_uids;
    unsigned max_per_uid;
    struct kms_audit *audit;
    int lock;     /* -1: none */
    int listener; /* -1: none */
    dev_t device; /* of what we put at @path */
    ino_t inode;
    struct kms_acceptor *acceptor;
};

/* --- checks --- */

static enum kms_code copy_path(const char *path, char *ret_path, size_t size, struct kms_error *err)
{
    size_t most = size - sizeof fresh_suffix;
    if (path[0] != '/')
        return kms_fail(err, KMS_E_PRECONDITION, "socket path '%s' is not absolute", path);
    if (strlen(path) > most)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "socket path is longer than %zu bytes; choose a shorter one", most);
    strcpy(ret_path, path); /* NOLINT: the length was checked just above */
    return KMS_OK;
}

static bool parse_gid(const char *text, gid_t *ret_gid)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number >= UINT32_MAX)
        return false;
    *ret_gid = (gid_t)number;
    return true;
}

static enum kms_code find_group(const char *name, gid_t *ret_gid, struct kms_error *err)
{
    if (parse_gid(name, ret_gid))
        return KMS_OK;
    enum { RECORD_MAX = 64 * 1024 };
    char *record = malloc(RECORD_MAX);
    if (record == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    struct group group, *found = NULL;
    int failed = getgrnam_r(name, &group, record, RECORD_MAX, &found);
    if (found != NULL)
        *ret_gid = found->gr_gid;
    free(record);
    if (failed != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "getgrnam_r", failed,
                              "cannot look up socket.group '%s'", name);
    if (found == NULL)
        return kms_fail(err, KMS_E_PRECONDITION, "socket.group '%s' does not exist", name);
    return KMS_OK;
}

static void parent_of(const char *path, char *ret_dir)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == path ? 1 : (size_t)(slash - path);
    memcpy(ret_dir, path, len);
    ret_dir[len] = '\0';
}

/* Whoever may write to the directory can put a socket of its own at our path.  A sticky bit doesn't
 * help: it protects our socket, not the moment when there is none. */
static enum kms_code check_directory(const struct kms_socket *socket, struct kms_error *err)
{
    char dir[sizeof socket->path];
    parent_of(socket->path, dir);
    struct stat st;
    if (stat(dir, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "stat", errno, "socket directory '%s'", dir);
    if (!S_ISDIR(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "'%s' is not a directory", dir);
    if (st.st_uid != 0 && st.st_uid != socket->rules.self)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "socket directory '%s' belongs to uid %u; chown it to root or to uid %u",
                        dir, st.st_uid, socket->rules.self);
    if ((st.st_mode & S_IWOTH) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "socket directory '%s' is writable by others; chmod o-w it", dir);
    bool group_is_trusted = st.st_gid == 0 || st.st_gid == socket->rules.group;
    if ((st.st_mode & S_IWGRP) != 0 && !group_is_trusted)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "socket directory '%s' is writable by group %u; chmod g-w it", dir,
                        st.st_gid);
    return KMS_OK;
}

static enum kms_code take_lock(struct kms_socket *socket, struct kms_error *err)
{
    char path[sizeof socket->path + sizeof lock_suffix];
    strcpy(stpcpy(path, socket->path), lock_suffix); /* NOLINT: sized for both */
    socket->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (socket->lock < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "lock file '%s'", path);
    if (flock(socket->lock, LOCK_EX | LOCK_NB) == 0)
        return KMS_OK;
    if (errno == EWOULDBLOCK)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "another instance serves '%s'; stop it first, or give this one a socket of "
                        "its own",
                        socket->path);
    return kms_fail_errno(err, KMS_E_PRECONDITION, "flock", errno, "lock file '%s'", path);
}

static struct sockaddr_un address_of(const char *path, const char *suffix)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(stpcpy(address.sun_path, path), suffix); /* NOLINT: copy_path() checked the length */
    return address;
}

/* A program that doesn't know our lock file may be alive behind the socket. */
static enum kms_code check_stale(const char *path, struct kms_error *err)
{
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return kms_fail_errno(err, KMS_E_INTERNAL, "socket", errno, "cannot make a socket");
    const struct sockaddr_un address = address_of(path, "");
    int failed = 0;
    if (connect(probe, (const struct sockaddr *)&address, sizeof address) != 0)
        failed = errno;
    close(probe);
    if (failed == ECONNREFUSED || failed == ENOENT)
        return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION,
                    "another program listens on '%s'; stop it first, or choose another path", path);
}

static enum kms_code check_occupant(const char *path, struct kms_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT)
            return KMS_OK;
        return kms_fail_errno(err, KMS_E_PRECONDITION, "lstat", errno, "socket path '%s'", path);
    }
    if (!S_ISSOCK(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "'%s' exists and is not a socket; remove it or choose another path", path);
    return check_stale(path, err);
}

/* --- listener --- */

/* Nobody can connect before mode and group are set: umask 0777 leaves no bit, and there is no
 * listen() yet. */
static enum kms_code bind_fresh(struct kms_socket *socket, const struct sockaddr_un *fresh,
                                struct kms_error *err)
{
    struct stat st;
    if (lstat(fresh->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(fresh->sun_path); /* left by an instance that was killed; we hold the lock */
    mode_t before = umask(0777);
    int failed = 0;
    if (bind(socket->listener, (const struct sockaddr *)fresh, sizeof *fresh) != 0)
        failed = errno;
    umask(before);
    if (failed != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "bind", failed, "'%s'", fresh->sun_path);
    return KMS_OK;
}

static enum kms_code publish(struct kms_socket *socket, const char *fresh, struct kms_error *err)
{
    if (chown(fresh, (uid_t)-1, socket->rules.group) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "chown", errno,
                              "cannot give the socket to group %u", socket->rules.group);
    if (chmod(fresh, socket->mode) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "chmod", errno, "'%s'", fresh);
    if (listen(socket->listener, BACKLOG) != 0)
        return kms_fail_errno(err, KMS_E_INTERNAL, "listen", errno, "'%s'", fresh);
    if (rename(fresh, socket->path) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "rename", errno, "'%s'", socket->path);
    struct stat st;
    if (lstat(socket->path, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "lstat", errno, "'%s'", socket->path);
    socket->device = st.st_dev;
    socket->inode = st.st_ino;
    return KMS_OK;
}

static enum kms_code listen_at(struct kms_socket *ours, struct kms_error *err)
{
    ours->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ours->listener < 0)
        return kms_fail_errno(err, KMS_E_INTERNAL, "socket", errno, "cannot make a socket");
    const struct sockaddr_un fresh = address_of(ours->path, fresh_suffix);
    enum kms_code rc = bind_fresh(ours, &fresh, err);
    if (rc != KMS_OK)
        return rc;
    rc = publish(ours, fresh.sun_path, err);
    if (rc != KMS_OK)
        unlink(fresh.sun_path);
    return rc;
}

static enum kms_code copy_options(struct kms_socket *socket,
                                  const struct kms_socket_options *options, struct kms_error *err)
{
    enum kms_code rc = copy_path(options->path, socket->path, sizeof socket->path, err);
    if (rc != KMS_OK)
        return rc;
    socket->mode = options->mode;
    socket->max_per_uid = options->max_per_uid > 0 ? options->max_per_uid : MAX_PER_UID;
    socket->audit = options->audit;
    socket->rules.self = geteuid();
    if (options->allow_uid_count > 0) {
        size_t size = options->allow_uid_count * sizeof *socket->allow_uids;
        socket->allow_uids = malloc(size);
        if (socket->allow_uids == NULL)
            return kms_fail(err, KMS_E_BUSY, "out of memory");
        memcpy(socket->allow_uids, options->allow_uids, size);
        socket->rules.allow_uids = socket->allow_uids;
        socket->rules.allow_uid_count = options->allow_uid_count;
    }
    socket->rules.group = getegid();
    return options->group != NULL ? find_group(options->group, &socket->rules.group, err) : KMS_OK;
}

static enum kms_code set_up(struct kms_socket *socket, const struct kms_socket_options *options,
                            struct kms_error *err)
{
    enum kms_code rc = copy_options(socket, options, err);
    if (rc == KMS_OK)
        rc = check_directory(socket, err);
    if (rc == KMS_OK)
        rc = take_lock(socket, err);
    if (rc == KMS_OK)
        rc = check_occupant(socket->path, err);
    return rc == KMS_OK ? listen_at(socket, err) : rc;
}

enum kms_code kms_socket_open(const struct kms_socket_options *options,
                              struct kms_socket **ret_socket, struct kms_error *err)
{
    struct kms_socket *socket = calloc(1, sizeof *socket);
    if (socket == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    socket->lock = -1;
    socket->listener = -1;
    enum kms_code rc = set_up(socket, options, err);
    if (rc != KMS_OK) {
        kms_socket_close(socket);
        return rc;
    }
    *ret_socket = socket;
    return KMS_OK;
}

enum kms_code kms_socket_serve(struct kms_socket *socket, struct kms_server *server,
                               struct kms_error *err)
{
    const struct kms_acceptor_options options = { .listener = socket->listener,
                                                  .rules = socket->rules,
                                                  .max_per_uid = socket->max_per_uid,
                                                  .server = server,
                                                  .audit = socket->audit };
    return kms_acceptor_open(&options, &socket->acceptor, err);
}

/* Somebody may have put another socket at our path meanwhile; that one isn't ours to remove. */
static void unlink_ours(const struct kms_socket *socket)
{
    struct stat st;
    if (socket->inode != 0 && lstat(socket->path, &st) == 0 && st.st_dev == socket->device &&
        st.st_ino == socket->inode)
        unlink(socket->path);
}

void kms_socket_stop(struct kms_socket *socket)
{
    if (socket == NULL)
        return;
    kms_acceptor_close(socket->acceptor);
    socket->acceptor = NULL;
    if (socket->listener < 0)
        return;
    unlink_ours(socket);
    close(socket->listener);
    socket->listener = -1;
}

void kms_socket_close(struct kms_socket *socket)
{
    if (socket == NULL)
        return;
    kms_socket_stop(socket);
    if (socket->lock >= 0)
        close(socket->lock); /* and the lock with it */
    free(socket->allow_uids);
    free(socket);
}
