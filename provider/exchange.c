/* SPDX-License-Identifier: Apache-2.0 */
#include "exchange.h"

#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "kms/clock.h"
#include "kms/compiler.h"
#include "status.h"

enum { STOP_POLL_MS = 100 };

grpc_arg kms_exchange_arg(const char *key, int value)
{
    /* core's struct has no const; it only reads. */
    union {
        const char *in;
        char *out;
    } same = { .in = key };
    return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = same.out, .value.integer = value };
}

static gpr_timespec in_ms(int64_t ms)
{
    if (ms == KMS_DEADLINE_NEVER)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

void kms_exchange_init(struct kms_exchange *exchange, grpc_channel *channel, const char *method,
                       grpc_slice request, int64_t timeout_ms)
{
    grpc_slice name = grpc_slice_from_copied_string(method);
    *exchange = (struct kms_exchange){ .events = grpc_completion_queue_create_for_pluck(NULL),
                                       .request = grpc_raw_byte_buffer_create(&request, 1),
                                       .details = grpc_empty_slice() };
    exchange->call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                              exchange->events, name, NULL, in_ms(timeout_ms),
                                              NULL);
    grpc_metadata_array_init(&exchange->initial);
    grpc_metadata_array_init(&exchange->trailing);
    grpc_slice_unref(name);
}

void kms_exchange_done(struct kms_exchange *exchange)
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

/* The call's own deadline ends the wait, or its cancellation. */
static void wait_for_end(struct kms_exchange *exchange, const volatile sig_atomic_t *stop)
{
    int64_t look_ms = stop != NULL ? STOP_POLL_MS : KMS_DEADLINE_NEVER;
    while (grpc_completion_queue_pluck(exchange->events, exchange, in_ms(look_ms), NULL).type !=
           GRPC_OP_COMPLETE)
        if (stop != NULL && *stop != 0)
            grpc_call_cancel(exchange->call, NULL);
    KMS_TSAN_ACQUIRE(exchange);
}

enum kms_code kms_exchange_run(struct kms_exchange *exchange, const volatile sig_atomic_t *stop,
                               struct kms_error *err)
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
        return kms_fail(err, KMS_E_INTERNAL, "gRPC refused the call");
    wait_for_end(exchange, stop);
    return KMS_OK;
}

void kms_exchange_text(const struct kms_exchange *exchange, char *ret_text, size_t size)
{
    struct kms_error raw = { .code = kms_status_code_of(exchange->status) };
    size_t len = GRPC_SLICE_LENGTH(exchange->details);
    if (len > sizeof raw.msg - 1)
        len = sizeof raw.msg - 1;
    memcpy(raw.msg, GRPC_SLICE_START_PTR(exchange->details), len);
    kms_status_text(&raw, ret_text, size);
}

const grpc_slice_buffer *kms_exchange_reply(const struct kms_exchange *exchange)
{
    const grpc_byte_buffer *reply = exchange->reply;
    if (reply == NULL || reply->type != GRPC_BB_RAW ||
        reply->data.raw.compression != GRPC_COMPRESS_NONE)
        return NULL;
    return &reply->data.raw.slice_buffer;
}

void kms_exchange_join(const grpc_slice_buffer *pieces, uint8_t *ret_data)
{
    for (size_t i = 0; i < pieces->count; i++) {
        size_t len = GRPC_SLICE_LENGTH(pieces->slices[i]);
        memcpy(ret_data, GRPC_SLICE_START_PTR(pieces->slices[i]), len);
        ret_data += len;
    }
}
