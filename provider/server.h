/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC C core: one completion queue, one poller, a bounded queue, N workers, an orderly stop. */
#ifndef KMS_SERVER_H
#define KMS_SERVER_H

#include <stdint.h>

#include "kms/error.h"
#include "rpc.h"

struct kms_server;
struct kms_service;

struct kms_server_options {
    struct kms_service *service;          /* borrowed */
    const struct kms_rpc_method *methods; /* static; ends with a NULL path */
    unsigned workers;                     /* 1..64: as many as the token has sessions */
    unsigned queue_len;                   /* calls that may wait for a worker; 0: 1024 */
    int64_t idle_ms;             /* a connection without a call for so long is closed; 0: 5 min */
    int64_t default_deadline_ms; /* for a call that brings none; 0: 10 s */
};

/* Starts core, poller and workers. Block SIGTERM, SIGINT, SIGHUP before. */
KMS_MUST_CHECK enum kms_code kms_server_open(const struct kms_server_options *options,
                                             struct kms_server **ret_server, struct kms_error *err);

/* Hands a connected socket to core, which owns @fd from now on.  Thread-safe. */
struct kms_peer {
    uint32_t uid, gid;
    int32_t pid;
};
void kms_server_adopt(struct kms_server *server, int fd, const struct kms_peer *peer);

/* GOAWAY, drains calls in flight for at most @grace_ms, cancels the rest, joins all threads, frees.
 * Returns false if a worker had to be given up on (stuck in the token): the process must _exit. */
bool kms_server_stop(struct kms_server *server, int64_t grace_ms);

#endif
