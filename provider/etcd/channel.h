/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC to one endpoint of etcd: unary calls that a flag can end. */
#ifndef KMS_ETCD_CHANNEL_H
#define KMS_ETCD_CHANNEL_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include <grpc/status.h>

#include "etcd/endpoint.h"
#include "etcd/tls.h"
#include "kms/bytes.h"
#include "kms/error.h"

struct kms_etcd_channel;

/* Connects at the first call.  @max_reply: bytes that an answer may have; a longer one is
 * RESOURCE_EXHAUSTED. */
KMS_MUST_CHECK enum kms_code kms_etcd_channel_open(const struct kms_etcd_endpoint *endpoint,
                                                   const struct kms_etcd_tls *tls, int max_reply,
                                                   struct kms_etcd_channel **ret_channel,
                                                   struct kms_error *err);
void kms_etcd_channel_close(struct kms_etcd_channel *channel);

/* What a call ended with. */
struct kms_etcd_reply {
    grpc_status_code status;
    char details[KMS_ERROR_MSG_MAX / 2]; /* printable */
    /* Of an OK: the message, owned.  Not wiped, nor in the small secure heap: it is what etcd's
     * disk has, too. */
    uint8_t *data;
    size_t len; /* bytes */
};
void kms_etcd_reply_done(struct kms_etcd_reply *reply);

/* One unary call, ended by @timeout_ms or soon after *@stop (may be NULL) becomes set.  A status
 * that isn't OK is no error of this function.  *ret_reply is released by kms_etcd_reply_done().
 * KMS_E_BUSY: no memory; KMS_E_INTERNAL. */
KMS_MUST_CHECK enum kms_code kms_etcd_channel_call(struct kms_etcd_channel *channel,
                                                   const char *method, struct kms_bytes request,
                                                   int64_t timeout_ms,
                                                   const volatile sig_atomic_t *stop,
                                                   struct kms_etcd_reply *ret_reply,
                                                   struct kms_error *err);

#endif
