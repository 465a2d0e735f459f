/* SPDX-License-Identifier: Apache-2.0 */
/* A small gRPC client for `probe`, `status` and the like: speaks to a plugin's socket as
 * kube-apiserver does. */
#ifndef KMS_CLIENT_H
#define KMS_CLIENT_H

#include <stdint.h>

#include "kms/error.h"
#include "kms/secret.h"
#include "proto/kmsv2.pb-c.h"
#include "proto/node.pb-c.h"

struct kms_client;
KMS_MUST_CHECK enum kms_code kms_client_open(const char *socket_path,
                                             struct kms_client **ret_client, struct kms_error *err);
void kms_client_close(struct kms_client *client);
KMS_DEFINE_CLOSE_PTR(struct kms_client *, kms_client_close)

/* One unary call. *ret_reply owns the reply's bytes.  A gRPC status comes back as the kms_code that
 * status.c maps to it, its name and text in err->msg. */
KMS_MUST_CHECK enum kms_code kms_client_call(struct kms_client *client, const char *path,
                                             struct kms_bytes request, int64_t deadline_ms,
                                             struct kms_secret *ret_reply, struct kms_error *err);

/* Typed forms; the caller frees the message with the matching kms_client_free_*(). */
KMS_MUST_CHECK enum kms_code kms_client_status(struct kms_client *client, int64_t deadline_ms,
                                               V2__StatusResponse **ret_response,
                                               struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_client_encrypt(struct kms_client *client,
                                                struct kms_bytes plaintext, const char *uid,
                                                int64_t deadline_ms,
                                                V2__EncryptResponse **ret_response,
                                                struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_client_decrypt(struct kms_client *client,
                                                const V2__EncryptResponse *sealed, const char *uid,
                                                int64_t deadline_ms, struct kms_secret *ret_seed,
                                                struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_client_describe(struct kms_client *client, int64_t deadline_ms,
                                                 Hsmkms__Node__V1__DescribeResponse **ret_response,
                                                 struct kms_error *err);
/* The same over a connection of its own to @socket_path. */
KMS_MUST_CHECK enum kms_code kms_client_describe_at(
    const char *socket_path, int64_t deadline_ms, Hsmkms__Node__V1__DescribeResponse **ret_response,
    struct kms_error *err);
void kms_client_free_status(V2__StatusResponse *response);
void kms_client_free_encrypt(V2__EncryptResponse *response);
void kms_client_free_describe(Hsmkms__Node__V1__DescribeResponse *response);

#endif
