/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <openssl/crypto.h>

#include "exchange.h"
#include "kms/bytes.h"
#include "kms/clock.h"
#include "status.h"
#include "wire.h"

struct kms_client {
    grpc_channel *channel;
    struct sockaddr_un address;
};

static grpc_channel *create_channel(const char *target)
{
    char authority[] = "localhost"; /* as kube-apiserver */
    grpc_arg authority_arg = kms_exchange_arg(GRPC_ARG_DEFAULT_AUTHORITY, 0);
    authority_arg.type = GRPC_ARG_STRING;
    authority_arg.value.string = authority;
    grpc_arg args[] = {
        authority_arg, kms_exchange_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        kms_exchange_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        kms_exchange_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
                         1), /* each client: a connection of its own */
    };
    const grpc_channel_args channel_args = { .num_args = sizeof args / sizeof args[0],
                                             .args = args };
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, &channel_args);
    grpc_channel_credentials_release(credentials);
    return channel;
}

enum kms_code kms_client_open(const char *socket_path, struct kms_client **ret_client,
                              struct kms_error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(socket_path) >= sizeof address.sun_path)
        return kms_fail(err, KMS_E_INVALID, "socket path is too long");
    strcpy(address.sun_path, socket_path); /* NOLINT: the length was checked just above */
    char target[sizeof address.sun_path + sizeof "unix:"];
    snprintf(target, sizeof target, "unix:%s", socket_path);
    grpc_init();
    struct kms_client *client = gpr_zalloc(sizeof *client);
    client->address = address;
    client->channel = create_channel(target);
    *ret_client = client;
    return KMS_OK;
}

void kms_client_close(struct kms_client *client)
{
    if (client == NULL)
        return;
    grpc_channel_destroy(client->channel);
    gpr_free(client);
    grpc_shutdown();
}

static void secret_slice_done(void *owner)
{
    KMS_TSAN_ACQUIRE(owner);
    struct kms_secret *secret = owner;
    kms_secret_done(secret);
    gpr_free(secret);
}

/* A copy of @bytes, wiped with its last reference. */
static enum kms_code make_request(struct kms_bytes bytes, grpc_slice *ret_slice,
                                  struct kms_error *err)
{
    struct kms_secret copy = { 0 };
    enum kms_code rc = kms_secret_copy(&copy, bytes, err);
    if (rc != KMS_OK)
        return rc;
    uint8_t *data = copy.data;
    struct kms_secret *owner = gpr_zalloc(sizeof *owner);
    *owner = kms_secret_take(&copy);
    KMS_TSAN_RELEASE(owner);
    *ret_slice = grpc_slice_new_with_user_data(data, bytes.len, secret_slice_done, owner);
    return KMS_OK;
}

static void wipe_and_end(struct kms_exchange *exchange)
{
    if (exchange->reply != NULL && exchange->reply->type == GRPC_BB_RAW) {
        const grpc_slice_buffer *pieces = &exchange->reply->data.raw.slice_buffer;
        for (size_t i = 0; i < pieces->count; i++)
            OPENSSL_cleanse(GRPC_SLICE_START_PTR(pieces->slices[i]),
                            GRPC_SLICE_LENGTH(pieces->slices[i]));
    }
    kms_exchange_done(exchange);
}

static enum kms_code fail_with_status(const struct kms_exchange *exchange, struct kms_error *err)
{
    char text[KMS_STATUS_TEXT_MAX + 1];
    kms_exchange_text(exchange, text, sizeof text);
    return kms_fail(err, kms_status_code_of(exchange->status), "%s: %s",
                    kms_grpc_status_name(exchange->status), text);
}

/* core says of a failed connection neither which socket nor what to do, so we try once ourselves. */
static enum kms_code explain_unavailable(const struct kms_client *client, struct kms_error *err)
{
    enum { REFUSAL_MS = 200 };
    const char *path = client->address.sun_path;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err->code;
    if (connect(fd, (const struct sockaddr *)&client->address, sizeof client->address) != 0) {
        kms_fail_errno(err, KMS_E_UNAVAILABLE, "connect", errno,
                       "nothing answers on %s: is hsm-kms serve running there?", path);
    } else {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        char byte;
        if (poll(&ready, 1, REFUSAL_MS) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0)
            kms_fail(err, KMS_E_UNAVAILABLE,
                     "%s closes the connection: socket.group and allow_uids decide who may speak",
                     path);
    }
    close(fd);
    return err->code;
}

static enum kms_code take_reply(const struct kms_exchange *exchange, struct kms_secret *ret_reply,
                                struct kms_error *err)
{
    const grpc_slice_buffer *pieces = kms_exchange_reply(exchange);
    if (pieces == NULL)
        return kms_fail(err, KMS_E_INTERNAL, "the server answered OK without a message");
    struct kms_secret joined = { 0 };
    enum kms_code rc = kms_secret_init(&joined, pieces->length, err);
    if (rc != KMS_OK)
        return rc;
    kms_exchange_join(pieces, joined.data);
    *ret_reply = kms_secret_take(&joined);
    return KMS_OK;
}

static int64_t time_left_ms(int64_t deadline_ms)
{
    if (deadline_ms == KMS_DEADLINE_NEVER)
        return KMS_DEADLINE_NEVER;
    int64_t left_ms = deadline_ms - kms_monotonic_ms();
    return left_ms > 0 ? left_ms : 0;
}

enum kms_code kms_client_call(struct kms_client *client, const char *path, struct kms_bytes request,
                              int64_t deadline_ms, struct kms_secret *ret_reply,
                              struct kms_error *err)
{
    grpc_slice bytes;
    enum kms_code rc = make_request(request, &bytes, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(wipe_and_end) struct kms_exchange exchange;
    kms_exchange_init(&exchange, client->channel, path, bytes, time_left_ms(deadline_ms));
    grpc_slice_unref(bytes);
    rc = kms_exchange_run(&exchange, NULL, err);
    if (rc != KMS_OK)
        return rc;
    if (exchange.status != GRPC_STATUS_OK)
        rc = fail_with_status(&exchange, err);
    if (exchange.status == GRPC_STATUS_UNAVAILABLE)
        rc = explain_unavailable(client, err);
    if (rc != KMS_OK)
        return rc;
    return take_reply(&exchange, ret_reply, err);
}

/* --- typed forms --- */

static enum kms_code call_typed(struct kms_client *client, const char *path,
                                const ProtobufCMessage *request,
                                const ProtobufCMessageDescriptor *descriptor, int64_t deadline_ms,
                                ProtobufCMessage **ret_response, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret packed = { 0 };
    enum kms_code rc = kms_pack(request, &packed, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    rc = kms_client_call(client, path, kms_secret_bytes(&packed), deadline_ms, &reply, err);
    if (rc != KMS_OK)
        return rc;
    ProtobufCAllocator wiping = kms_wiping_allocator();
    ProtobufCMessage *response = protobuf_c_message_unpack(descriptor, &wiping, reply.len,
                                                           reply.data);
    if (response == NULL)
        return kms_fail(err, KMS_E_INTERNAL, "the server sent a malformed %s",
                        descriptor->short_name);
    *ret_response = response;
    return KMS_OK;
}

static void free_typed(ProtobufCMessage *response)
{
    ProtobufCAllocator wiping = kms_wiping_allocator();
    protobuf_c_message_free_unpacked(response, &wiping);
}

enum kms_code kms_client_status(struct kms_client *client, int64_t deadline_ms,
                                V2__StatusResponse **ret_response, struct kms_error *err)
{
    V2__StatusRequest request = V2__STATUS_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    enum kms_code rc = call_typed(client, "/v2.KeyManagementService/Status", &request.base,
                                  &v2__status_response__descriptor, deadline_ms, &response, err);
    if (rc == KMS_OK)
        *ret_response = (V2__StatusResponse *)response;
    return rc;
}

enum kms_code kms_client_encrypt(struct kms_client *client, struct kms_bytes plaintext,
                                 const char *uid, int64_t deadline_ms,
                                 V2__EncryptResponse **ret_response, struct kms_error *err)
{
    V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
    request.plaintext = kms_pack_data(plaintext);
    request.uid = kms_pack_data(kms_bytes_of(uid));
    ProtobufCMessage *response = NULL;
    enum kms_code rc = call_typed(client, "/v2.KeyManagementService/Encrypt", &request.base,
                                  &v2__encrypt_response__descriptor, deadline_ms, &response, err);
    if (rc == KMS_OK)
        *ret_response = (V2__EncryptResponse *)response;
    return rc;
}

enum kms_code kms_client_decrypt(struct kms_client *client, const V2__EncryptResponse *sealed,
                                 const char *uid, int64_t deadline_ms, struct kms_secret *ret_seed,
                                 struct kms_error *err)
{
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.ciphertext = sealed->ciphertext;
    request.uid = kms_pack_data(kms_bytes_of(uid));
    request.key_id = sealed->key_id;
    request.n_annotations = sealed->n_annotations;
    request.annotations = sealed->annotations;
    ProtobufCMessage *message = NULL;
    enum kms_code rc = call_typed(client, "/v2.KeyManagementService/Decrypt", &request.base,
                                  &v2__decrypt_response__descriptor, deadline_ms, &message, err);
    if (rc != KMS_OK)
        return rc;
    const V2__DecryptResponse *response = (const V2__DecryptResponse *)message;
    rc = kms_secret_copy(ret_seed, kms_pack_bytes(response->plaintext), err);
    free_typed(message);
    return rc;
}

enum kms_code kms_client_describe(struct kms_client *client, int64_t deadline_ms,
                                  Hsmkms__Node__V1__DescribeResponse **ret_response,
                                  struct kms_error *err)
{
    Hsmkms__Node__V1__DescribeRequest request = HSMKMS__NODE__V1__DESCRIBE_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    enum kms_code rc = call_typed(client, "/hsmkms.node.v1.Node/Describe", &request.base,
                                  &hsmkms__node__v1__describe_response__descriptor, deadline_ms,
                                  &response, err);
    if (rc == KMS_OK)
        *ret_response = (Hsmkms__Node__V1__DescribeResponse *)response;
    return rc;
}

enum kms_code kms_client_describe_at(const char *socket_path, int64_t deadline_ms,
                                     Hsmkms__Node__V1__DescribeResponse **ret_response,
                                     struct kms_error *err)
{
    KMS_CLEANUP(kms_client_close_ptr) struct kms_client *client = NULL;
    enum kms_code rc = kms_client_open(socket_path, &client, err);
    return rc == KMS_OK ? kms_client_describe(client, deadline_ms, ret_response, err) : rc;
}

void kms_client_free_status(V2__StatusResponse *response)
{
    free_typed((ProtobufCMessage *)response);
}

void kms_client_free_encrypt(V2__EncryptResponse *response)
{
    free_typed((ProtobufCMessage *)response);
}

void kms_client_free_describe(Hsmkms__Node__V1__DescribeResponse *response)
{
    free_typed((ProtobufCMessage *)response);
}
