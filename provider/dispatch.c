/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to a call: the poller's side (arrival, cancellation, deadline) and the workers'. */
#include "call.h"

#include <grpc/support/time.h>

#include "kms/clock.h"
#include "kms/log.h"
#include "kms/secret.h"
#include "service.h"
#include "status.h"

static void count_refusal(struct kms_server *server, uint64_t *ret_count)
{
    pthread_mutex_lock(&server->mutex);
    if (!kms_log_limit_pass(&server->refusals, kms_monotonic_ms(), ret_count))
        *ret_count = 0;
    pthread_mutex_unlock(&server->mutex);
}

/* Calls that no handler logs, because none saw them or none was in time: at most one line a second,
 * since a flood is when they come. */
static void log_refusal(const struct kms_call *call, grpc_status_code status, const char *text)
{
    uint64_t count = 0;
    count_refusal(call->server, &count);
    if (count == 0)
        return;
    const struct kms_rpc_method *rpc = call->method->rpc;
    kms_log(KMS_LOG_WARN, "call not served", KMS_F_TEXT("path", rpc != NULL ? rpc->path : NULL),
            KMS_F_TEXT("status", kms_grpc_status_name(status)), KMS_F_TEXT("error", text),
            KMS_F_INT("peer_uid", call->rpc.peer_uid), KMS_F_INT("peer_pid", call->rpc.peer_pid),
            KMS_F_INT("total_us", kms_monotonic_us() - call->rpc.arrived_us),
            KMS_F_INT("calls", count));
}

static void refuse(struct kms_call *call, grpc_status_code status, const char *text)
{
    kms_call_ref(call);
    if (kms_call_reply(call, status, text, NULL))
        log_refusal(call, status, text);
    kms_call_unref(call);
}

static bool is_late(const struct kms_call *call)
{
    return kms_monotonic_ms() >= call->rpc.deadline_ms;
}

/* The caller is gone or its time is over. */
static void give_up(struct kms_call *call)
{
    if (is_late(call))
        refuse(call, GRPC_STATUS_DEADLINE_EXCEEDED, "the call's deadline passed; try again");
    else
        refuse(call, GRPC_STATUS_CANCELLED, "the call was cancelled");
}

static void run(struct kms_call *call)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    char text[KMS_STATUS_TEXT_MAX + 1] = "";
    enum kms_code rc = call->method->rpc->handle(&call->rpc, &reply, &err);
    kms_call_wipe(call);
    if (rc != KMS_OK)
        kms_status_text(&err, text, sizeof text);
    kms_call_reply(call, kms_status_of(rc), text, &reply);
}

void *kms_server_work(void *arg)
{
    struct kms_server *server = arg;
    struct kms_queue_item *item = NULL;
    while ((item = kms_queue_pop(&server->queue)) != NULL) {
        struct kms_call *call = (struct kms_call *)item; /* its first member */
        if (atomic_load(&call->cancelled) || is_late(call)) {
            give_up(call);
        } else {
            run(call);
            kms_secret_wipe_stack();
        }
        kms_call_unref(call);
    }
    return NULL;
}

/* --- the poller's --- */

static void watch(struct kms_server *server, struct kms_call *call)
{
    kms_call_ref(call);
    call->watched = true;
    call->watch_before = NULL;
    call->watch_after = server->watched;
    if (server->watched != NULL)
        server->watched->watch_before = call;
    server->watched = call;
    if (call->rpc.deadline_ms < server->watch_ms)
        server->watch_ms = call->rpc.deadline_ms;
}

static void unwatch(struct kms_server *server, struct kms_call *call)
{
    if (!call->watched)
        return;
    if (call->watch_before != NULL)
        call->watch_before->watch_after = call->watch_after;
    else
        server->watched = call->watch_after;
    if (call->watch_after != NULL)
        call->watch_after->watch_before = call->watch_before;
    call->watched = false;
    kms_call_unref(call);
}

/* A call that waits gives its place back; one that a worker has goes on, unheard. */
static void drop_from_queue(struct kms_call *call)
{
    if (kms_queue_remove(&call->server->queue, &call->queued))
        kms_call_unref(call);
}

static void expire(struct kms_server *server)
{
    int64_t now_ms = kms_monotonic_ms();
    if (now_ms < server->watch_ms)
        return;
    int64_t next_ms = KMS_DEADLINE_NEVER;
    struct kms_call *after = NULL;
    for (struct kms_call *call = server->watched; call != NULL; call = after) {
        after = call->watch_after;
        if (call->rpc.deadline_ms > now_ms) {
            next_ms = call->rpc.deadline_ms < next_ms ? call->rpc.deadline_ms : next_ms;
            continue;
        }
        kms_call_ref(call);
        unwatch(server, call);
        drop_from_queue(call);
        give_up(call);
        kms_call_unref(call);
    }
    server->watch_ms = next_ms;
}

static void on_closed(struct kms_call *call, bool ok)
{
    bool cancelled = !ok || call->core_cancelled != 0;
    atomic_store(&call->cancelled, cancelled);
    unwatch(call->server, call);
    if (cancelled && kms_queue_remove(&call->server->queue, &call->queued)) {
        give_up(call);
        kms_call_unref(call); /* the queue's */
    }
    kms_call_unref(call);
}

static void on_replied(struct kms_call *call, bool ok)
{
    (void)ok; /* false: the client left before the answer */
    unwatch(call->server, call);
    kms_call_unref(call);
}

static void enqueue(struct kms_call *call)
{
    struct kms_server *server = call->server;
    watch(server, call);
    kms_call_ref(call); /* the queue's, then the worker's */
    if (kms_queue_push(&server->queue, &call->queued))
        return;
    unwatch(server, call);
    refuse(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "too many calls are waiting; try again");
    kms_call_unref(call);
}

static void dispatch(struct kms_call *call)
{
    const struct kms_rpc_method *rpc = call->method->rpc;
    if (rpc == NULL) {
        refuse(call, GRPC_STATUS_UNIMPLEMENTED, "unknown method");
        return;
    }
    struct kms_error err;
    enum kms_code rc = kms_call_read(call, &err);
    if (rc != KMS_OK) {
        refuse(call, kms_status_of(rc), err.msg);
        return;
    }
    if (is_late(call)) {
        give_up(call);
        return;
    }
    if (!rpc->blocks) {
        run(call);
        return;
    }
    call->snapshot = kms_service_arrive(call->server->options.service);
    call->rpc.arrived = call->snapshot;
    enqueue(call);
}

void kms_server_arrived(struct kms_call *call, bool ok)
{
    if (!ok) {
        kms_call_discard(call);
        return;
    }
    kms_call_arm(call->server, call->method, kms_server_arrived);
    kms_call_begin(call, on_closed, on_replied);
    dispatch(call);
}

static gpr_timespec next_wake(const struct kms_server *server)
{
    if (server->watch_ms == KMS_DEADLINE_NEVER)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    int64_t left_ms = server->watch_ms - kms_monotonic_ms();
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_millis(left_ms > 0 ? left_ms : 0, GPR_TIMESPAN));
}

void *kms_server_poll(void *arg)
{
    struct kms_server *server = arg;
    for (;;) {
        grpc_event event = grpc_completion_queue_next(server->events, next_wake(server), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        if (event.type == GRPC_OP_COMPLETE) {
            KMS_TSAN_ACQUIRE(event.tag);
            struct kms_tag *tag = event.tag;
            tag->fn(tag->call, event.success != 0);
        }
        expire(server);
        kms_secret_wipe_stack(); /* core has read here, and copies the ends of messages */
    }
}
