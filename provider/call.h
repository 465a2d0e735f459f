/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the server: one call, from the slot that waits for it to the last reference, and the
 * server's own struct.  Threads: "poller" is the one that takes events off the completion queue. */
#ifndef KMS_CALL_H
#define KMS_CALL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <grpc/grpc.h>

#include "access.h"
#include "kms/secret.h"
#include "queue.h"
#include "rpc.h"
#include "server.h"

enum { KMS_SERVER_METHODS_MAX = 8, KMS_SERVER_WORKERS_MAX = 64 };

struct kms_call;

/* What goes through the completion queue; the poller calls @fn. */
struct kms_tag {
    void (*fn)(struct kms_call *call, bool ok);
    struct kms_call *call;
};

/* A method as registered with core. */
struct kms_method {
    const struct kms_rpc_method *rpc; /* NULL: the slot for methods that we don't have */
    void *registered;
};

struct kms_server {
    struct kms_server_options options;
    grpc_server *grpc;
    grpc_server_credentials *credentials;
    grpc_completion_queue *events;                         /* the poller's */
    grpc_completion_queue *drain;                          /* kms_server_stop()'s own */
    struct kms_method methods[KMS_SERVER_METHODS_MAX + 1]; /* the last: unknown ones */
    size_t method_count;

    struct kms_queue queue;
    pthread_t poller, workers[KMS_SERVER_WORKERS_MAX];
    bool poller_runs;
    unsigned worker_count;

    /* The poller's alone: blocking calls that aren't answered yet. */
    struct kms_call *watched;
    int64_t watch_ms; /* no deadline among them is earlier; CLOCK_MONOTONIC */

    pthread_mutex_t mutex;  /* guards what follows */
    pthread_cond_t idle;    /* in_flight is 0 */
    unsigned in_flight;     /* calls from arrival to their last reference */
    struct kms_peer *peers; /* by fd */
    size_t peer_cap;
    struct kms_log_limit refusals;
};

/* References: one until the reply is through, one until core's close event; a blocking call has one
 * each for the watch list and for the queue or worker too. */
struct kms_call {
    struct kms_queue_item queued;
    struct kms_server *server;
    const struct kms_method *method;
    struct kms_tag arrived, closed, replied;

    grpc_call *grpc;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details; /* of unknown methods */
    grpc_byte_buffer *payload;
    struct kms_secret joined; /* the request, if core had it in pieces */
    struct kms_rpc_call rpc;
    struct kms_snapshot *snapshot;

    _Atomic unsigned refs;
    _Atomic bool answered;  /* whoever sets it first sends the reply */
    _Atomic bool cancelled; /* published by the poller from the next */
    int core_cancelled;     /* core writes it; the poller reads it in the close event */

    struct kms_call *watch_before, *watch_after; /* the poller's alone */
    bool watched;
};

/* --- call.c --- */

/* Posts a slot for the next call of @method; what arrives comes out as @arrived.  Like core itself
 * it ends the process when memory is out. */
void kms_call_arm(struct kms_server *server, const struct kms_method *method,
                  void (*arrived)(struct kms_call *call, bool ok));
/* Frees a slot that will never be used (core shuts down). */
void kms_call_discard(struct kms_call *call);

/* First thing after arrival: counts the call, reads deadline and peer, sets two references and asks
 * core for the close event. */
void kms_call_begin(struct kms_call *call, void (*closed)(struct kms_call *call, bool ok),
                    void (*replied)(struct kms_call *call, bool ok));

/* Makes call->rpc.request from the payload.  KMS_E_INVALID: none, or compressed; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_call_read(struct kms_call *call, struct kms_error *err);

/* Overwrites and frees the request's bytes, core's included.  By whoever runs the call. */
void kms_call_wipe(struct kms_call *call);

/* Sends status and, if OK, *reply (taken).  False: the call was answered before; *reply is wiped all
 * the same.  Any thread that holds a reference; afterwards the reply's own reference is gone soon. */
bool kms_call_reply(struct kms_call *call, grpc_status_code status, const char *text,
                    struct kms_secret *reply);

void kms_call_ref(struct kms_call *call);
void kms_call_unref(struct kms_call *call);

/* --- dispatch.c --- */

/* A posted slot's event: kms_call_arm()'s callback. */
void kms_server_arrived(struct kms_call *call, bool ok);
/* Thread bodies; the argument is the server. */
void *kms_server_poll(void *arg);
void *kms_server_work(void *arg);

#endif
