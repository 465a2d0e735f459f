/* SPDX-License-Identifier: Apache-2.0 */
/* The Unix socket: listener, lock file, and who may connect. */
#ifndef KMS_SOCKET_H
#define KMS_SOCKET_H

#include <stdint.h>
#include <sys/types.h>

#include "kms/error.h"
#include "server.h"

struct kms_socket_options {
    const char *path;
    mode_t mode;
    const char
        *group; /* name or number; peers with it (gid or supplementary) may speak; NULL: ours */
    const uint32_t *allow_uids;
    size_t allow_uid_count;
    unsigned max_per_uid;    /* connections; 0: 64 */
    struct kms_audit *audit; /* borrowed; gets who is refused; NULL: none */
};

struct kms_socket;
/* Binds under a temporary name, sets owner and mode, listens, renames over.  The lock file
 * `<path>.lock` keeps a live instance from being displaced; a stale socket is replaced; anything
 * else at @path is refused; the directory must not be writable by others.  Call before threads
 * (umask).  KMS_E_PRECONDITION says what to mend. */
KMS_MUST_CHECK enum kms_code kms_socket_open(const struct kms_socket_options *options,
                                             struct kms_socket **ret_socket, struct kms_error *err);

/* Starts the accept thread, which hands accepted peers to @server. */
KMS_MUST_CHECK enum kms_code kms_socket_serve(struct kms_socket *socket, struct kms_server *server,
                                              struct kms_error *err);

/* Stops accepting: joins the thread, closes the listener, unlinks the path if it is still ours. */
void kms_socket_stop(struct kms_socket *socket);

/* Releases the lock and frees; stops first if need be. */
void kms_socket_close(struct kms_socket *socket);
KMS_DEFINE_CLOSE_PTR(struct kms_socket *, kms_socket_close)

#endif
