/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <openssl/crypto.h>

#include "kms/clock.h"
#include "kms/log.h"

void kms_call_arm(struct kms_server *server, const struct kms_method *method,
                  void (*arrived)(struct kms_call *call, bool ok))
{
    struct kms_call *call = gpr_zalloc(sizeof *call);
    call->server = server;
    call->method = method;
    call->arrived = (struct kms_tag){ .fn = arrived, .call = call };
    grpc_metadata_array_init(&call->metadata);
    KMS_TSAN_RELEASE(&call->arrived);
    grpc_call_error rc = GRPC_CALL_OK;
    if (method->rpc != NULL) {
        rc = grpc_server_request_registered_call(server->grpc, method->registered, &call->grpc,
                                                 &call->deadline, &call->metadata, &call->payload,
                                                 server->events, server->events, &call->arrived);
    } else {
        grpc_call_details_init(&call->details);
        rc = grpc_server_request_call(server->grpc, &call->grpc, &call->details, &call->metadata,
                                      server->events, server->events, &call->arrived);
    }
    if (rc == GRPC_CALL_OK)
        return;
    kms_log(KMS_LOG_ERROR, "cannot take calls", KMS_F_INT("grpc_call_error", rc));
    kms_call_discard(call);
}

void kms_call_discard(struct kms_call *call)
{
    grpc_metadata_array_destroy(&call->metadata);
    if (call->method->rpc == NULL)
        grpc_call_details_destroy(&call->details);
    kms_call_wipe(call);
    if (call->grpc != NULL)
        grpc_call_unref(call->grpc);
    if (call->snapshot != NULL)
        kms_snapshot_release(call->snapshot);
    gpr_free(call);
}

void kms_call_ref(struct kms_call *call)
{
    atomic_fetch_add(&call->refs, 1);
}

void kms_call_unref(struct kms_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) != 1)
        return;
    struct kms_server *server = call->server;
    kms_call_discard(call);
    pthread_mutex_lock(&server->mutex);
    if (--server->in_flight == 0)
        pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->mutex);
}

/* core names a connection that it got as a descriptor "fd:NN".  It closes the descriptor only after
 * the last call on it is released, so NN can't have been reused. */
static struct kms_peer peer_of(struct kms_call *call)
{
    struct kms_peer peer = { .uid = UINT32_MAX, .gid = UINT32_MAX };
    char *name = grpc_call_get_peer(call->grpc);
    if (name != NULL && strncmp(name, "fd:", 3) == 0) {
        struct kms_server *server = call->server;
        size_t fd = strtoul(name + 3, NULL, 10);
        pthread_mutex_lock(&server->mutex);
        if (fd < server->peer_cap)
            peer = server->peers[fd];
        pthread_mutex_unlock(&server->mutex);
    }
    gpr_free(name);
    return peer;
}

static int64_t deadline_ms_of(const struct kms_call *call)
{
    gpr_timespec deadline = call->method->rpc != NULL ? call->deadline : call->details.deadline;
    gpr_timespec when = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC);
    if (gpr_time_cmp(when, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0)
        return kms_monotonic_ms() + call->server->options.default_deadline_ms;
    gpr_timespec left = gpr_time_sub(when, gpr_now(GPR_CLOCK_MONOTONIC));
    return kms_monotonic_ms() + gpr_time_to_millis(left);
}

static bool start_batch(struct kms_call *call, const grpc_op *ops, size_t count,
                        struct kms_tag *tag)
{
    KMS_TSAN_RELEASE(tag);
    grpc_call_error rc = grpc_call_start_batch(call->grpc, ops, count, tag, NULL);
    if (rc == GRPC_CALL_OK)
        return true;
    kms_log(KMS_LOG_ERROR, "gRPC refused a batch", KMS_F_INT("grpc_call_error", rc));
    return false;
}

void kms_call_begin(struct kms_call *call, void (*closed)(struct kms_call *call, bool ok),
                    void (*replied)(struct kms_call *call, bool ok))
{
    struct kms_server *server = call->server;
    pthread_mutex_lock(&server->mutex);
    server->in_flight++;
    pthread_mutex_unlock(&server->mutex);

    struct kms_peer peer = peer_of(call);
    call->rpc = (struct kms_rpc_call){
        .service = server->options.service,
        .arrived_us = kms_monotonic_us(),
        .deadline_ms = deadline_ms_of(call),
        .peer_uid = peer.uid,
        .peer_gid = peer.gid,
        .peer_pid = peer.pid,
    };
    call->closed = (struct kms_tag){ .fn = closed, .call = call };
    call->replied = (struct kms_tag){ .fn = replied, .call = call };
    atomic_store(&call->refs, 2);
    /* A batch of its own, so that a cancellation is seen before the reply is made. */
    grpc_op op = { .op = GRPC_OP_RECV_CLOSE_ON_SERVER };
    op.data.recv_close_on_server.cancelled = &call->core_cancelled;
    if (!start_batch(call, &op, 1, &call->closed))
        kms_call_unref(call);
}

static enum kms_code join(struct kms_call *call, const grpc_slice_buffer *pieces,
                          struct kms_error *err)
{
    enum kms_code rc = kms_secret_init(&call->joined, pieces->length, err);
    if (rc != KMS_OK)
        return rc;
    uint8_t *to = call->joined.data;
    for (size_t i = 0; i < pieces->count; i++) {
        memcpy(to, GRPC_SLICE_START_PTR(pieces->slices[i]), GRPC_SLICE_LENGTH(pieces->slices[i]));
        to += GRPC_SLICE_LENGTH(pieces->slices[i]);
    }
    call->rpc.request = kms_secret_bytes(&call->joined);
    return KMS_OK;
}

enum kms_code kms_call_read(struct kms_call *call, struct kms_error *err)
{
    const grpc_byte_buffer *payload = call->payload;
    if (payload == NULL || payload->type != GRPC_BB_RAW)
        return kms_fail(err, KMS_E_INVALID, "the call brings no request message");
    if (payload->data.raw.compression != GRPC_COMPRESS_NONE)
        return kms_fail(err, KMS_E_INVALID, "compressed requests are not taken");

    const grpc_slice_buffer *pieces = &payload->data.raw.slice_buffer;
    if (pieces->count > 1)
        return join(call, pieces, err);
    if (pieces->count == 1)
        call->rpc.request = (struct kms_bytes){ .data = GRPC_SLICE_START_PTR(pieces->slices[0]),
                                                .len = GRPC_SLICE_LENGTH(pieces->slices[0]) };
    return KMS_OK;
}

void kms_call_wipe(struct kms_call *call)
{
    call->rpc.request = (struct kms_bytes){ 0 };
    kms_secret_done(&call->joined);
    if (call->payload == NULL)
        return;
    if (call->payload->type == GRPC_BB_RAW) {
        const grpc_slice_buffer *pieces = &call->payload->data.raw.slice_buffer;
        for (size_t i = 0; i < pieces->count; i++)
            OPENSSL_cleanse(GRPC_SLICE_START_PTR(pieces->slices[i]),
                            GRPC_SLICE_LENGTH(pieces->slices[i]));
    }
    grpc_byte_buffer_destroy(call->payload);
    call->payload = NULL;
}

/* Core calls it when the last reference to the reply goes, on any thread. */
static void reply_slice_done(void *owner)
{
    KMS_TSAN_ACQUIRE(owner);
    struct kms_secret *reply = owner;
    kms_secret_done(reply);
    gpr_free(reply);
}

static grpc_byte_buffer *reply_buffer(struct kms_secret *reply)
{
    uint8_t *data = reply->data;
    size_t len = reply->len;
    struct kms_secret *owner = gpr_zalloc(sizeof *owner);
    *owner = kms_secret_take(reply);
    KMS_TSAN_RELEASE(owner);
    grpc_slice slice = grpc_slice_new_with_user_data(data, len, reply_slice_done, owner);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static void send_reply(struct kms_call *call, grpc_status_code status, const char *text,
                       struct kms_secret *reply)
{
    grpc_op ops[3] = { { .op = GRPC_OP_SEND_INITIAL_METADATA } };
    size_t count = 1;
    grpc_byte_buffer *buffer = NULL;
    if (status == GRPC_STATUS_OK) {
        buffer = reply_buffer(reply);
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = buffer;
    }
    grpc_slice details = grpc_slice_from_copied_string(text);
    ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[count].data.send_status_from_server.status = status;
    ops[count++].data.send_status_from_server.status_details = &details;
    bool started = start_batch(call, ops, count, &call->replied);
    /* core holds references of its own */
    grpc_slice_unref(details);
    grpc_byte_buffer_destroy(buffer);
    if (!started)
        kms_call_unref(call);
}

bool kms_call_reply(struct kms_call *call, grpc_status_code status, const char *text,
                    struct kms_secret *reply)
{
    bool first = !atomic_exchange(&call->answered, true);
    if (first)
        send_reply(call, status, text, reply);
    if (reply != NULL)
        kms_secret_done(reply);
    return first;
}
