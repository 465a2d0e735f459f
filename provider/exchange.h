/* SPDX-License-Identifier: Apache-2.0 */
/* One unary call over gRPC core, as client.c makes it to a socket and etcd/channel.c to etcd: both own
 * what goes and what comes, in memory of their own kind. */
#ifndef KMS_EXCHANGE_H
#define KMS_EXCHANGE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <grpc/grpc.h>

#include "kms/error.h"

/* An integer for grpc_channel_args. */
grpc_arg kms_exchange_arg(const char *key, int value);

struct kms_exchange {
    grpc_completion_queue *events;
    grpc_call *call;
    grpc_byte_buffer *request, *reply; /* owned; no @reply: there is no message */
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
};

/* Prepares a call of @method; @request stays the caller's.  It ends @timeout_ms from now;
 * KMS_DEADLINE_NEVER: when it does.  Release with kms_exchange_done(). */
void kms_exchange_init(struct kms_exchange *exchange, grpc_channel *channel, const char *method,
                       grpc_slice request, int64_t timeout_ms);
void kms_exchange_done(struct kms_exchange *exchange);

/* Makes the call and waits for its end, or for little longer than *@stop (may be NULL) becomes set: what
 * came of it is in @status.  KMS_E_INTERNAL: gRPC refused it. */
KMS_MUST_CHECK enum kms_code kms_exchange_run(struct kms_exchange *exchange,
                                              const volatile sig_atomic_t *stop,
                                              struct kms_error *err);

/* The text beside the status, fit for a terminal: a server's isn't to be trusted with one. */
void kms_exchange_text(const struct kms_exchange *exchange, char *ret_text, size_t size);

/* The pieces of an OK's message, borrowed; NULL: it has none. */
const grpc_slice_buffer *kms_exchange_reply(const struct kms_exchange *exchange);
/* Their bytes, one after the other: @ret_data has room for all. */
void kms_exchange_join(const grpc_slice_buffer *pieces, uint8_t *ret_data);

#endif
