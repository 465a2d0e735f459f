/* SPDX-License-Identifier: Apache-2.0 */
#include "channel.h"

#include <stdlib.h>

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include "exchange.h"

struct kms_etcd_channel {
    grpc_channel *channel;
};

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
        kms_exchange_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        kms_exchange_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        kms_exchange_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        kms_exchange_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, max_reply),
        kms_exchange_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, max_reply),
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

static enum kms_code take_message(const struct kms_exchange *exchange, struct kms_etcd_reply *reply,
                                  struct kms_error *err)
{
    const grpc_slice_buffer *pieces = kms_exchange_reply(exchange);
    if (pieces == NULL)
        return kms_fail(err, KMS_E_INTERNAL, "etcd answered OK without a message");
    uint8_t *data = malloc(pieces->length + 1); /* never of 0 bytes */
    if (data == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    kms_exchange_join(pieces, data);
    reply->data = data;
    reply->len = pieces->length;
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
    grpc_slice bytes = grpc_slice_from_copied_buffer((const char *)request.data, request.len);
    KMS_CLEANUP(kms_exchange_done) struct kms_exchange exchange;
    kms_exchange_init(&exchange, channel->channel, method, bytes, timeout_ms);
    grpc_slice_unref(bytes);
    enum kms_code rc = kms_exchange_run(&exchange, stop, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_etcd_reply reply = { .status = exchange.status };
    kms_exchange_text(&exchange, reply.details, sizeof reply.details);
    if (reply.status == GRPC_STATUS_OK)
        rc = take_message(&exchange, &reply, err);
    if (rc != KMS_OK)
        return rc;
    *ret_reply = reply;
    return KMS_OK;
}
