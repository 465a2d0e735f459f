/* SPDX-License-Identifier: Apache-2.0 */
#include "accept.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kms/clock.h"
#include "kms/log.h"

enum {
    BACK_OFF_MS = 50,   /* when the process is out of descriptors */
    GROUPS_MAX = 65536, /* NGROUPS_MAX of the kernel */
};

/* A connection that core owns.  Core doesn't tell when it closes one; the descriptor's number with
 * another inode behind it, or none, does. */
struct connection {
    int fd;
    uid_t uid;
    dev_t device;
    ino_t inode;
};

/* Everything but @wake belongs to the thread once it runs. */
struct kms_acceptor {
    struct kms_acceptor_options options;
    pthread_t thread;
    int wake; /* eventfd: stop */
    struct connection *connections;
    size_t count, cap;
    struct kms_log_limit refusals, failures;
};

/* --- connections --- */

static bool is_open(const struct connection *connection)
{
    struct stat st;
    return fstat(connection->fd, &st) == 0 && st.st_dev == connection->device &&
           st.st_ino == connection->inode;
}

static void forget_closed(struct kms_acceptor *acceptor)
{
    size_t kept = 0;
    for (size_t i = 0; i < acceptor->count; i++)
        if (is_open(&acceptor->connections[i]))
            acceptor->connections[kept++] = acceptor->connections[i];
    acceptor->count = kept;
}

static unsigned count_of(const struct kms_acceptor *acceptor, uid_t uid)
{
    unsigned count = 0;
    for (size_t i = 0; i < acceptor->count; i++)
        count += acceptor->connections[i].uid == uid;
    return count;
}

/* Looks for closed ones only when that can matter. */
static bool has_room(struct kms_acceptor *acceptor, uid_t uid)
{
    if (count_of(acceptor, uid) < acceptor->options.max_per_uid)
        return true;
    forget_closed(acceptor);
    return count_of(acceptor, uid) < acceptor->options.max_per_uid;
}

static bool make_place(struct kms_acceptor *acceptor)
{
    if (acceptor->count == acceptor->cap)
        forget_closed(acceptor);
    if (acceptor->count < acceptor->cap)
        return true;
    size_t cap = acceptor->cap > 0 ? 2 * acceptor->cap : 64;
    struct connection *grown = realloc(acceptor->connections, cap * sizeof *grown);
    if (grown == NULL)
        return false;
    acceptor->connections = grown;
    acceptor->cap = cap;
    return true;
}

/* Must come before core gets @fd: from then on it may be closed at any time. */
static bool remember(struct kms_acceptor *acceptor, int fd, uid_t uid)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !make_place(acceptor))
        return false;
    acceptor->connections[acceptor->count++] = (struct connection){
        .fd = fd, .uid = uid, .device = st.st_dev, .inode = st.st_ino
    };
    return true;
}

/* --- one peer --- */

static void log_refused(struct kms_acceptor *acceptor, const struct kms_access_peer *peer,
                        pid_t pid, const char *reason, uint64_t count)
{
    const struct kms_audit_peer who = { peer->uid, peer->gid, pid };
    kms_audit_write_event(acceptor->options.audit, &(struct kms_audit_event){ .op = "peer-refused",
                                                                              .reason = reason,
                                                                              .peer = &who,
                                                                              .count = count });
    kms_log(KMS_LOG_WARN, "connection refused", KMS_F_TEXT("reason", reason),
            KMS_F_INT("peer_uid", peer->uid), KMS_F_INT("peer_gid", peer->gid),
            KMS_F_INT("peer_pid", pid), KMS_F_INT("connections", count));
}

static void refuse(struct kms_acceptor *acceptor, const struct kms_access_peer *peer, pid_t pid,
                   const char *reason)
{
    uint64_t count = 0;
    if (kms_log_limit_pass(&acceptor->refusals, kms_monotonic_ms(), &count))
        log_refused(acceptor, peer, pid, reason, count);
}

/* The supplementary groups the peer had when it connected; the caller frees *ret_groups. */
static bool read_groups(int fd, gid_t **ret_groups, size_t *ret_count)
{
    socklen_t len = 64 * sizeof(gid_t);
    for (;;) {
        gid_t *groups = malloc(len);
        if (groups == NULL)
            return false;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0) {
            *ret_groups = groups;
            *ret_count = len / sizeof(gid_t);
            return true;
        }
        int failed = errno;
        free(groups);
        if (failed != ERANGE || len > GROUPS_MAX * sizeof(gid_t))
            return false;
    }
}

static const char *judge(struct kms_acceptor *acceptor, int fd, struct kms_access_peer *peer)
{
    gid_t *groups = NULL;
    if (!read_groups(fd, &groups, &peer->group_count))
        return "the kernel doesn't tell its groups";
    peer->groups = groups;
    bool allowed = kms_access_allows(&acceptor->options.rules, peer);
    peer->groups = NULL;
    free(groups);
    if (!allowed)
        return "neither uid nor group may speak to this socket";
    return has_room(acceptor, peer->uid) ? NULL : "its uid has too many connections";
}

static void admit(struct kms_acceptor *acceptor, int fd)
{
    struct ucred cred = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
    socklen_t len = sizeof cred;
    const char *reason = "the kernel doesn't tell who it is";
    struct kms_access_peer peer = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
        peer.uid = cred.uid;
        peer.gid = cred.gid;
        reason = judge(acceptor, fd, &peer);
    }
    if (reason == NULL && !remember(acceptor, fd, cred.uid))
        reason = "out of memory";
    if (reason != NULL) {
        refuse(acceptor, &peer, cred.pid, reason);
        close(fd);
        return;
    }
    const struct kms_peer adopted = { .uid = cred.uid, .gid = cred.gid, .pid = cred.pid };
    kms_server_adopt(acceptor->options.server, fd, &adopted);
}

/* --- the thread --- */

static bool sleep_or_stop(const struct kms_acceptor *acceptor, int timeout_ms)
{
    struct pollfd wake = { .fd = acceptor->wake, .events = POLLIN };
    return poll(&wake, 1, timeout_ms) > 0;
}

/* Waiting connections stay in the backlog meanwhile.  False: stop. */
static bool back_off(struct kms_acceptor *acceptor, int failed)
{
    uint64_t count = 0;
    if (kms_log_limit_pass(&acceptor->failures, kms_monotonic_ms(), &count)) {
        struct kms_error err;
        kms_fail_errno(&err, KMS_E_BUSY, "accept4", failed, "cannot accept connections");
        const struct kms_log_field more[] = { KMS_F_INT("times", count) };
        kms_log_error(KMS_LOG_WARN, "accept failed", &err, more, 1);
    }
    return !sleep_or_stop(acceptor, BACK_OFF_MS);
}

/* False: stop. */
static bool accept_one(struct kms_acceptor *acceptor)
{
    int fd = accept4(acceptor->options.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        admit(acceptor, fd);
        return true;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return true;
    return back_off(acceptor, errno);
}

static void flush_refusals(struct kms_acceptor *acceptor)
{
    uint64_t held = kms_log_limit_flush(&acceptor->refusals, kms_monotonic_ms());
    if (held == 0)
        return;
    kms_audit_write_event(acceptor->options.audit,
                          &(struct kms_audit_event){
                              .op = "peer-refused", .reason = "more, of any peer", .count = held });
    kms_log(KMS_LOG_WARN, "more connections refused", KMS_F_INT("connections", held));
}

static int poll_timeout_ms(const struct kms_acceptor *acceptor)
{
    if (acceptor->refusals.held == 0)
        return -1;
    int64_t left_ms = acceptor->refusals.open_ms - kms_monotonic_ms();
    return left_ms > 0 ? (int)left_ms : 0;
}

static void *accept_loop(void *arg)
{
    struct kms_acceptor *acceptor = arg;
    for (;;) {
        struct pollfd ready[] = { { .fd = acceptor->wake, .events = POLLIN },
                                  { .fd = acceptor->options.listener, .events = POLLIN } };
        int n = poll(ready, 2, poll_timeout_ms(acceptor));
        flush_refusals(acceptor);
        if (n > 0 && ready[0].revents != 0)
            return NULL;
        if (n > 0 && ready[1].revents != 0 && !accept_one(acceptor))
            return NULL;
    }
}

enum kms_code kms_acceptor_open(const struct kms_acceptor_options *options,
                                struct kms_acceptor **ret_acceptor, struct kms_error *err)
{
    struct kms_acceptor *acceptor = calloc(1, sizeof *acceptor);
    if (acceptor == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    acceptor->options = *options;
    acceptor->wake = eventfd(0, EFD_CLOEXEC);
    if (acceptor->wake < 0) {
        int failed = errno;
        free(acceptor);
        return kms_fail_errno(err, KMS_E_INTERNAL, "eventfd", failed, "cannot accept connections");
    }
    int failed = pthread_create(&acceptor->thread, NULL, accept_loop, acceptor);
    if (failed != 0) {
        close(acceptor->wake);
        free(acceptor);
        return kms_fail_errno(err, KMS_E_INTERNAL, "pthread_create", failed,
                              "cannot start the accept thread");
    }
    *ret_acceptor = acceptor;
    return KMS_OK;
}

void kms_acceptor_close(struct kms_acceptor *acceptor)
{
    if (acceptor == NULL)
        return;
    eventfd_write(acceptor->wake, 1);
    pthread_join(acceptor->thread, NULL);
    close(acceptor->wake);
    free(acceptor->connections);
    free(acceptor);
}
