/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes ⇄ messages (protobuf-c with a wiping allocator).  Each handler parses one request, calls the
 * service and packs the reply into a secret of its own; it returns the code that status.c maps. */
#ifndef KMS_RPC_H
#define KMS_RPC_H

#include <stdint.h>

#include "kms/error.h"
#include "kms/secret.h"
#include "service.h"

/* One call as the server hands it over. */
struct kms_rpc_call {
    struct kms_service *service;
    struct kms_bytes request;           /* the whole message; wiped by the server afterwards */
    const struct kms_snapshot *arrived; /* what kms_service_arrive() gave */
    int64_t arrived_us;                 /* CLOCK_MONOTONIC */
    int64_t deadline_ms;                /* CLOCK_MONOTONIC */
    uint32_t peer_uid, peer_gid;
    int32_t peer_pid;
};

typedef enum kms_code (*kms_rpc_handler)(const struct kms_rpc_call *call,
                                         struct kms_secret *ret_reply, struct kms_error *err);

struct kms_rpc_method {
    const char *path; /* "/v2.KeyManagementService/Status" */
    kms_rpc_handler handle;
    bool blocks; /* true: on a worker; false: on the poller */
};

/* The methods that this program serves; ends with a NULL path. */
extern const struct kms_rpc_method kms_rpc_methods[];

#endif
