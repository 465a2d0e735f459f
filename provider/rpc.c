/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc.h"

#include "describe.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "proto/health.pb-c.h"
#include "proto/kmsv2.pb-c.h"
#include "proto/node.pb-c.h"
#include "status.h"
#include "wire.h"

static const char kms_service_name[] = "v2.KeyManagementService";

/* What the log line of a call says; this is the RPC boundary, so failures are logged here. */
struct record {
    const struct kms_rpc_call *call;
    const char *method;
    enum kms_log_level level;     /* of a call that succeeds */
    struct kms_bytes uid, key_id; /* hostile; empty: not known */
    int64_t started_us;
    int64_t token_us; /* in the service: waiting for a session, and the token */
};

static struct record record_start(const struct kms_rpc_call *call, const char *method,
                                  enum kms_log_level level)
{
    return (struct record){
        .call = call, .method = method, .level = level, .started_us = kms_monotonic_us()
    };
}

static void record_finish(const struct record *record, enum kms_code code,
                          const struct kms_error *err)
{
    enum kms_log_level failed = code == KMS_E_INTERNAL ? KMS_LOG_ERROR : KMS_LOG_WARN;
    enum kms_log_level level = code == KMS_OK ? record->level : failed;
    if (!kms_log_enabled(level))
        return;

    const struct kms_rpc_call *call = record->call;
    int64_t now_us = kms_monotonic_us();
    struct kms_log_field fields[10] = { KMS_F_TEXT("method", record->method) };
    size_t count = 1;
    if (record->uid.len > 0)
        fields[count++] = KMS_F_BYTES("uid", record->uid);
    if (record->key_id.len > 0)
        fields[count++] = KMS_F_BYTES("key_id", record->key_id);
    fields[count++] = KMS_F_TEXT("status", kms_grpc_status_name(kms_status_of(code)));
    fields[count++] = KMS_F_INT("peer_uid", call->peer_uid);
    fields[count++] = KMS_F_INT("peer_pid", call->peer_pid);
    fields[count++] = KMS_F_INT("queue_us", record->started_us - call->arrived_us);
    fields[count++] = KMS_F_INT("total_us", now_us - call->arrived_us);
    if (now_us / 1000 > call->deadline_ms) /* the caller got DEADLINE_EXCEEDED instead */
        fields[count++] = KMS_F_BOOL("late", true);
    if (code != KMS_OK) {
        kms_log_error(level, "call failed", err, fields, count);
        return;
    }
    fields[count++] = KMS_F_TEXT("code", kms_code_name(code));
    kms_log_fields(level, "call", fields, count);
}

/* The line in the audit log, between the token and the answer.  KMS_E_UNAVAILABLE: there must be one
 * and isn't, so there is no answer either. */
static enum kms_code record_use(const struct record *record, struct kms_bytes ciphertext,
                                enum kms_code code, struct kms_secret *reply, struct kms_error *err)
{
    const struct kms_rpc_call *call = record->call;
    const struct kms_audit_use use = {
        .op = record->method,
        .uid = record->uid,
        .key_id = record->key_id,
        .ciphertext = ciphertext,
        .code = code,
        .peer = { .uid = call->peer_uid, .gid = call->peer_gid, .pid = call->peer_pid },
        .queue_us = record->started_us - call->arrived_us,
        .token_us = record->token_us,
        .total_us = kms_monotonic_us() - call->arrived_us,
        .deadline_ms = call->deadline_ms,
    };
    struct kms_error why;
    enum kms_code rc = kms_audit_write_use(kms_service_audit(call->service), &use, &why);
    if (rc == KMS_OK || code != KMS_OK)
        return code;
    kms_secret_done(reply);
    *err = why;
    return rc;
}

/* While calls are refused for want of their lines, they don't use the token either. */
static enum kms_code check_audit(const struct kms_rpc_call *call, struct kms_error *err)
{
    struct kms_error why;
    if (kms_audit_health(kms_service_audit(call->service), &why) == KMS_OK)
        return KMS_OK;
    return kms_fail(err, KMS_E_UNAVAILABLE, "%s", why.msg);
}

/* An empty request has no fields that we know, but it must still be a message. */
static enum kms_code check_empty(const struct kms_rpc_call *call,
                                 const ProtobufCMessageDescriptor *descriptor,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_arena_done) struct kms_arena arena = { 0 };
    enum kms_code rc = kms_arena_init(&arena, call->request.len, err);
    if (rc != KMS_OK)
        return rc;
    ProtobufCMessage *message = NULL;
    return kms_unpack(&arena, descriptor, call->request, &message, err);
}

static enum kms_code answer_status(const struct kms_rpc_call *call, struct kms_status *status,
                                   struct kms_secret *ret_reply, struct kms_error *err)
{
    enum kms_code rc = check_empty(call, &v2__status_request__descriptor, err);
    if (rc != KMS_OK)
        return rc;
    rc = kms_service_status(call->service, status, err);
    if (rc != KMS_OK)
        return rc;
    V2__StatusResponse response = V2__STATUS_RESPONSE__INIT;
    response.version = kms_pack_data(kms_bytes_of("v2"));
    response.healthz = kms_pack_data(kms_bytes_of("ok"));
    response.key_id = kms_pack_data(kms_bytes_of(status->key_id));
    return kms_pack(&response.base, ret_reply, err);
}

static enum kms_code handle_status(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                   struct kms_error *err)
{
    struct record record = record_start(call, "Status", KMS_LOG_DEBUG);
    struct kms_status status = { 0 };
    enum kms_code rc = answer_status(call, &status, ret_reply, err);
    record.key_id = kms_bytes_of(status.key_id);
    record_finish(&record, rc, err);
    return rc;
}

static enum kms_code answer_encrypt(struct record *record,
                                    const struct kms_encrypt_request *request,
                                    struct kms_encrypt_reply *reply, struct kms_secret *ret_reply,
                                    struct kms_error *err)
{
    const struct kms_rpc_call *call = record->call;
    enum kms_code rc = check_audit(call, err);
    if (rc != KMS_OK)
        return rc;
    int64_t began_us = kms_monotonic_us();
    rc = kms_service_encrypt(call->service, call->arrived, request, call->deadline_ms, reply, err);
    record->token_us = kms_monotonic_us() - began_us;
    if (rc != KMS_OK)
        return rc;
    V2__EncryptResponse response = V2__ENCRYPT_RESPONSE__INIT;
    response.ciphertext = kms_pack_data(
        (struct kms_bytes){ .data = reply->ciphertext.data, .len = reply->ciphertext.len });
    response.key_id = kms_pack_data(kms_bytes_of(reply->key_id));
    V2__Annotation entry = V2__ANNOTATION__INIT;
    V2__Annotation *entries[] = { &entry };
    entry.key = kms_pack_data(kms_bytes_of(KMS_ANNOTATION_ALGORITHM));
    entry.value = kms_pack_data(kms_bytes_of(kms_algorithm_name(reply->ciphertext.algorithm)));
    response.annotations = entries;
    response.n_annotations = reply->ciphertext.algorithm != KMS_ALGORITHM_AES_KW ? 1 : 0;
    return kms_pack(&response.base, ret_reply, err);
}

static enum kms_code handle_encrypt(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                    struct kms_error *err)
{
    struct record record = record_start(call, "Encrypt", KMS_LOG_INFO);
    KMS_CLEANUP(kms_wire_encrypt_done) struct kms_wire_encrypt parsed = { 0 };
    struct kms_encrypt_reply reply = { 0 };
    enum kms_code rc = kms_wire_parse_encrypt(call->request, &parsed, err);
    if (rc == KMS_OK) {
        record.uid = parsed.request.uid;
        rc = answer_encrypt(&record, &parsed.request, &reply, ret_reply, err);
    }
    record.key_id = kms_bytes_of(reply.key_id);
    const struct kms_bytes sealed = { reply.ciphertext.data, reply.ciphertext.len };
    rc = record_use(&record, sealed, rc, ret_reply, err);
    record_finish(&record, rc, err);
    return rc;
}

static enum kms_code answer_decrypt(struct record *record,
                                    const struct kms_decrypt_request *request,
                                    struct kms_secret *ret_reply, struct kms_error *err)
{
    const struct kms_rpc_call *call = record->call;
    KMS_CLEANUP(kms_secret_done) struct kms_secret plaintext = { 0 };
    enum kms_code rc = check_audit(call, err);
    if (rc != KMS_OK)
        return rc;
    int64_t began_us = kms_monotonic_us();
    rc = kms_service_decrypt(call->service, request, call->deadline_ms, &plaintext, err);
    record->token_us = kms_monotonic_us() - began_us;
    if (rc != KMS_OK)
        return rc;
    V2__DecryptResponse response = V2__DECRYPT_RESPONSE__INIT;
    response.plaintext = kms_pack_data(kms_secret_bytes(&plaintext));
    return kms_pack(&response.base, ret_reply, err);
}

static enum kms_code handle_decrypt(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                    struct kms_error *err)
{
    struct record record = record_start(call, "Decrypt", KMS_LOG_INFO);
    KMS_CLEANUP(kms_wire_decrypt_done) struct kms_wire_decrypt parsed = { 0 };
    enum kms_code rc = kms_wire_parse_decrypt(call->request, &parsed, err);
    if (rc == KMS_OK) {
        record.uid = parsed.request.uid;
        record.key_id = parsed.request.key_id;
        rc = answer_decrypt(&record, &parsed.request, ret_reply, err);
    }
    rc = record_use(&record, parsed.request.ciphertext, rc, ret_reply, err);
    record_finish(&record, rc, err);
    return rc;
}

static enum kms_code answer_health(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                   struct kms_error *err)
{
    KMS_CLEANUP(kms_arena_done) struct kms_arena arena = { 0 };
    enum kms_code rc = kms_arena_init(&arena, call->request.len, err);
    if (rc != KMS_OK)
        return rc;
    ProtobufCMessage *message = NULL;
    rc = kms_unpack(&arena, &grpc__health__v1__health_check_request__descriptor, call->request,
                    &message, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_bytes asked = kms_pack_bytes(
        ((const Grpc__Health__V1__HealthCheckRequest *)message)->service);
    if (asked.len > 0 && !kms_bytes_equal(asked, kms_bytes_of(kms_service_name)))
        return kms_fail(err, KMS_E_KEY_UNKNOWN, "no such service; ask for \"\" or \"%s\"",
                        kms_service_name);

    struct kms_error health;
    bool serving = kms_service_health(call->service, &health) == KMS_OK;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = serving
                          ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                          : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    return kms_pack(&response.base, ret_reply, err);
}

static enum kms_code handle_health(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                   struct kms_error *err)
{
    struct record record = record_start(call, "Check", KMS_LOG_DEBUG);
    enum kms_code rc = answer_health(call, ret_reply, err);
    record_finish(&record, rc, err);
    return rc;
}

static enum kms_code answer_describe(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                     struct kms_error *err)
{
    enum kms_code rc = check_empty(call, &hsmkms__node__v1__describe_request__descriptor, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_description_done) struct kms_description description = { 0 };
    kms_service_describe(call->service, &description);
    return kms_describe_pack(&description, ret_reply, err);
}

static enum kms_code handle_describe(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                     struct kms_error *err)
{
    struct record record = record_start(call, "Describe", KMS_LOG_DEBUG);
    enum kms_code rc = answer_describe(call, ret_reply, err);
    record_finish(&record, rc, err);
    return rc;
}

const struct kms_rpc_method kms_rpc_methods[] = {
    { "/v2.KeyManagementService/Status", handle_status, false },
    { "/v2.KeyManagementService/Encrypt", handle_encrypt, true },
    { "/v2.KeyManagementService/Decrypt", handle_decrypt, true },
    { "/grpc.health.v1.Health/Check", handle_health, false },
    { "/hsmkms.node.v1.Node/Describe", handle_describe, false },
    { NULL, NULL, false },
};
