/* SPDX-License-Identifier: Apache-2.0 */
#include "channel.h"

#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "status.h"

enum { STOP_POLL_MS = 100 };

struct kms_etcd_channel {
    grpc_channel *channel;
};

/* core's structs have no const; it only reads. */
static char *as_text(const char *in)
{
    union {
        const char *in;
        char *out;
    } same = { .in = in };
    return same.out;
}

static grpc_arg int_arg(const char *key, int value)
{
    return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = as_text(key), .value.integer = value };
}

static grpc_channel_credentials *make_credentials(bool tls, const struct kms_etcd_tls *files)
{
    if (!tls)
        return grpc_insecure_credentials_create();
    grpc_ssl_pem_key_cert_pair pair = { .private_key = (const char *)files->key.data,
                                        .cert_chain = (const char *)files->cert.data };
    return grpc_ssl_credentials_create((const char *)files->ca.data,
                                       files->key.data != NULL ? &pair : NULL, NULL, NULL);
}

enum kms_code kms_etcd_channel_open(const struct kms_etcd_endpoint *endpoint,
                                    const struct kms_etcd_tls *tls, int max_reply,
                                    struct kms_etcd_channel **ret_channel, struct kms_error *err)
{
    struct kms_etcd_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    grpc_arg args[] = {
        int_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, max_reply),
        int_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, max_reply),
    };
    const grpc_channel_args channel_args = { .num_args = sizeof args / sizeof args[0],
                                             .args = args };
    grpc_init();
    grpc_channel_credentials *credentials = make_credentials(endpoint->tls, tls);
    channel->channel = grpc_channel_create(endpoint->target, credentials, &channel_args);
    grpc_channel_credentials_release(credentials);
    *ret_channel = channel;
    return KMS_OK;
}

void kms_etcd_channel_close(struct kms_etcd_channel *channel)
{
    if (channel == NULL)
        return;
    grpc_channel_destroy(channel->channel);
    free(channel);
    grpc_shutdown();
}

/* One call's belongings. */
struct exchange {
    grpc_completion_queue *events;
    grpc_call *call;
    grpc_byte_buffer *request, *reply;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
};

static void exchange_done(struct exchange *exchange)
{
    grpc_byte_buffer_destroy(exchange->reply);
    grpc_byte_buffer_destroy(exchange->request);
    grpc_metadata_array_destroy(&exchange->initial);
    grpc_metadata_array_destroy(&exchange->trailing);
    grpc_slice_unref(exchange->details);
    grpc_call_unref(exchange->call);
    grpc_completion_queue_shutdown(exchange->events);
    grpc_completion_queue_destroy(exchange->events);
}

static gpr_timespec in_ms(int64_t ms)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

static void exchange_init(struct exchange *exchange, struct kms_etcd_channel *channel,
                          const char *method, struct kms_bytes request, int64_t timeout_ms)
{
    grpc_slice name = grpc_slice_from_copied_string(method);
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)request.data, request.len);
    *exchange = (struct exchange){ .events = grpc_completion_queue_create_for_pluck(NULL),
                                   .request = grpc_raw_byte_buffer_create(&bytes, 1),
                                   .details = grpc_empty_slice() };
    exchange->call = grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                              exchange->events, name, NULL, in_ms(timeout_ms),
                                              NULL);
    grpc_metadata_array_init(&exchange->initial);
    grpc_metadata_array_init(&exchange->trailing);
    grpc_slice_unref(name);
    grpc_slice_unref(bytes);
}

/* The call's own deadline ends the wait, or its cancellation. */
static void wait_for_end(struct exchange *exchange, const volatile sig_atomic_t *stop)
{
    while (
        grpc_completion_queue_pluck(exchange->events, exchange, in_ms(STOP_POLL_MS), NULL).type !=
        GRPC_OP_COMPLETE)
        if (stop != NULL && *stop != 0)
            grpc_call_cancel(exchange->call, NULL);
    KMS_TSAN_ACQUIRE(exchange);
}

static bool run_call(struct exchange *exchange, const volatile sig_atomic_t *stop)
{
    grpc_op ops[6] = {
        { .op = GRPC_OP_SEND_INITIAL_METADATA },  { .op = GRPC_OP_SEND_MESSAGE },
        { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT }, { .op = GRPC_OP_RECV_INITIAL_METADATA },
        { .op = GRPC_OP_RECV_MESSAGE },           { .op = GRPC_OP_RECV_STATUS_ON_CLIENT }
    };
    ops[1].data.send_message.send_message = exchange->request;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &exchange->initial;
    ops[4].data.recv_message.recv_message = &exchange->reply;
    ops[5].data.recv_status_on_client.trailing_metadata = &exchange->trailing;
    ops[5].data.recv_status_on_client.status = &exchange->status;
    ops[5].data.recv_status_on_client.status_details = &exchange->details;
    KMS_TSAN_RELEASE(exchange);
    if (grpc_call_start_batch(exchange->call, ops, 6, exchange, NULL) != GRPC_CALL_OK)
        return false;
    wait_for_end(exchange, stop);
    return true;
}

static void take_details(const struct exchange *exchange, struct kms_etcd_reply *reply)
{
    struct kms_error raw = { .code = kms_status_code_of(exchange->status) };
    size_t len = GRPC_SLICE_LENGTH(exchange->details);
    if (len > sizeof raw.msg - 1)
        len = sizeof raw.msg - 1;
    memcpy(raw.msg, GRPC_SLICE_START_PTR(exchange->details), len);
    kms_status_text(&raw, reply->details, sizeof reply->details);
}

static enum kms_code take_message(const struct exchange *exchange, struct kms_etcd_reply *reply,
                                  struct kms_error *err)
{
    const grpc_byte_buffer *message = exchange->reply;
    if (message == NULL || message->type != GRPC_BB_RAW ||
        message->data.raw.compression != GRPC_COMPRESS_NONE)
        return kms_fail(err, KMS_E_INTERNAL, "etcd answered OK without a message");
    const grpc_slice_buffer *pieces = &message->data.raw.slice_buffer;
    uint8_t *data = malloc(pieces->length + 1); /* never of 0 bytes */
    if (data == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    reply->data = data;
    for (size_t i = 0; i < pieces->count; i++) {
        size_t len = GRPC_SLICE_LENGTH(pieces->slices[i]);
        memcpy(data + reply->len, GRPC_SLICE_START_PTR(pieces->slices[i]), len);
        reply->len += len;
    }
    return KMS_OK;
}

void kms_etcd_reply_done(struct kms_etcd_reply *reply)
{
    free(reply->data);
    *reply = (struct kms_etcd_reply){ 0 };
}

enum kms_code kms_etcd_channel_call(struct kms_etcd_channel *channel, const char *method,
                                    struct kms_bytes request, int64_t timeout_ms,
                                    const volatile sig_atomic_t *stop,
                                    struct kms_etcd_reply *ret_reply, struct kms_error *err)
{
    KMS_CLEANUP(exchange_done) struct exchange exchange;
    exchange_init(&exchange, channel, method, request, timeout_ms);
    if (!run_call(&exchange, stop))
        return kms_fail(err, KMS_E_INTERNAL, "gRPC refused the call");
    struct kms_etcd_reply reply = { .status = exchange.status };
    take_details(&exchange, &reply);
    if (reply.status == GRPC_STATUS_OK) {
        enum kms_code rc = take_message(&exchange, &reply, err);
        if (rc != KMS_OK)
            return rc;
    }
    *ret_reply = reply;
    return KMS_OK;
}
