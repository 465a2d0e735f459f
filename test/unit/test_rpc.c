/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "fake/keystore.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "proto/health.pb-c.h"
#include "proto/kmsv2.pb-c.h"
#include "proto/node.pb-c.h"
#include "refresher.h"
#include "ring.h"
#include "rpc.h"
#include "service.h"
#include "state.h"
#include "wire.h"

static const char label[] = "prod.v1@20260101T000000Z";
enum { KEY_FILL = 0x11, WAIT_MS = 60000 };

/* A real service over a fake token, with one KEK. */
struct node {
    char dir[64];
    struct fake_keystore *fake;
    struct kms_state_dir *state_dir;
    struct kms_ring *ring;
    struct kms_refresher *refresher;
    struct kms_service *service;
    char key_id[KMS_KEY_ID_LEN + 1];
};

static void open_ring(struct node *node)
{
    struct kms_error err = { 0 };
    struct kms_state state = { 0 };
    bool is_new = false;
    assert_ok(kms_state_dir_open(node->dir, "prod", &node->state_dir, &err), &err);
    assert_ok(kms_state_read(node->dir, "prod", &state, &is_new, &err), &err);
    const struct kms_ring_options options = { .name = "prod" };
    assert_ok(kms_ring_open(&options, &state, is_new, &node->ring, &err), &err);
    kms_state_done(&state);
}

static void open_service(struct node *node)
{
    struct kms_error err = { 0 };
    const struct kms_refresher_options refresher = {
        .ring = "prod",
        .keystore = fake_keystore_seam(node->fake),
        .keks = node->ring,
        .state_dir = node->state_dir,
        .refresh_ms = 3600 * 1000,
        .canary_ms = 3600 * 1000,
    };
    assert_ok(kms_refresher_open(&refresher, &node->refresher, &err), &err);
    assert_ok(kms_refresher_start(node->refresher, &err), &err);
    const struct kms_service_options service = {
        .ring = "prod",
        .version = "1.2.3",
        .node = "cp-1",
        .keystore = fake_keystore_seam(node->fake),
        .keks = node->ring,
        .refresher = node->refresher,
        .refresh_ms = 1000,
        .canary_ms = 2000,
        .clock_skew_ms = 3000,
        .max_age_ms = 4000,
        .settings = { .sha256 = { 7 }, .read_utc_s = 5000 },
    };
    assert_ok(kms_service_open(&service, &node->service, &err), &err);
}

static int set_up(void **state)
{
    struct node *node = calloc(1, sizeof *node);
    snprintf(node->dir, sizeof node->dir, "/tmp/kms-rpc-XXXXXX");
    if (mkdtemp(node->dir) == NULL)
        return -1;
    node->fake = fake_keystore_new();
    fake_keystore_add(node->fake, label, KEY_FILL);
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    fake_keystore_fingerprint(KEY_FILL, fingerprint);
    kms_key_id_format("prod", 1, fingerprint, node->key_id);
    open_ring(node);
    open_service(node);
    *state = node;
    return kms_refresher_wait_healthy(node->refresher, kms_monotonic_ms() + WAIT_MS) ? 0 : -1;
}

static void remove_file(const char *dir, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    unlink(path);
}

static int tear_down(void **state)
{
    struct node *node = *state;
    kms_service_close(node->service);
    kms_refresher_close(node->refresher);
    kms_ring_close(node->ring);
    kms_state_dir_close(node->state_dir);
    kms_keystore_close(fake_keystore_seam(node->fake));
    remove_file(node->dir, "ring.json");
    remove_file(node->dir, "served");
    remove_file(node->dir, "lock");
    int left = rmdir(node->dir);
    free(node);
    return left;
}

/* One call of the method at @path as the server makes it. */
static enum kms_code call(const struct node *node, const char *path, struct kms_bytes request,
                          struct kms_secret *ret_reply, struct kms_error *err)
{
    const struct kms_rpc_method *method = kms_rpc_methods;
    while (method->path != NULL && strcmp(method->path, path) != 0)
        method++;
    assert_non_null(method->path);
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *arrived = kms_service_arrive(node->service);
    const struct kms_rpc_call rpc = { .service = node->service,
                                      .request = request,
                                      .arrived = arrived,
                                      .arrived_us = kms_monotonic_us(),
                                      .deadline_ms = kms_monotonic_ms() + WAIT_MS,
                                      .peer_uid = 4711,
                                      .peer_pid = 42 };
    return method->handle(&rpc, ret_reply, err);
}

static enum kms_code call_message(const struct node *node, const char *path,
                                  const ProtobufCMessage *message, struct kms_secret *ret_reply,
                                  struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret packed = { 0 };
    assert_ok(kms_pack(message, &packed, err), err);
    return call(node, path, kms_secret_bytes(&packed), ret_reply, err);
}

static const char status_path[] = "/v2.KeyManagementService/Status";
static const char encrypt_path[] = "/v2.KeyManagementService/Encrypt";
static const char decrypt_path[] = "/v2.KeyManagementService/Decrypt";
static const char check_path[] = "/grpc.health.v1.Health/Check";
static const char describe_path[] = "/hsmkms.node.v1.Node/Describe";

static struct kms_bytes seed(void)
{
    return kms_bytes_of("thirty-two bytes of a DEK seed..");
}

/* --- the handlers --- */

static void status_answers_v2_ok_and_the_key_id(void **state)
{
    const struct node *node = *state;
    struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_ok(call(node, status_path, (struct kms_bytes){ 0 }, &reply, &err), &err);
    V2__StatusResponse *status = v2__status_response__unpack(NULL, reply.len, reply.data);
    assert_non_null(status);
    assert_true(kms_bytes_equal(kms_pack_bytes(status->version), kms_bytes_of("v2")));
    assert_true(kms_bytes_equal(kms_pack_bytes(status->healthz), kms_bytes_of("ok")));
    assert_true(kms_bytes_equal(kms_pack_bytes(status->key_id), kms_bytes_of(node->key_id)));
    v2__status_response__free_unpacked(status, NULL);
    kms_secret_done(&reply);
}

static void make_unhealthy(const struct node *node)
{
    struct kms_error doubt;
    (void)kms_fail(&doubt, KMS_E_UNAVAILABLE, "the token is away");
    fake_keystore_fail(node->fake, FAKE_CANARY, KMS_E_UNAVAILABLE, -1);
    fake_keystore_fail(node->fake, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    kms_refresher_doubt(node->refresher, &doubt);
}

static void status_fails_as_a_whole_when_the_token_is_away(void **state)
{
    const struct node *node = *state;
    make_unhealthy(node);
    struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(call(node, status_path, (struct kms_bytes){ 0 }, &reply, &err),
                     KMS_E_UNAVAILABLE);
    assert_null(reply.data);
}

/* *ret owns the parts of an EncryptResponse; v2__encrypt_response__free_unpacked(…, NULL). */
static V2__EncryptResponse *encrypt(const struct node *node, struct kms_bytes uid)
{
    V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
    request.plaintext = kms_pack_data(seed());
    request.uid = kms_pack_data(uid);
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_ok(call_message(node, encrypt_path, &request.base, &reply, &err), &err);
    V2__EncryptResponse *response = v2__encrypt_response__unpack(NULL, reply.len, reply.data);
    assert_non_null(response);
    return response;
}

static void encrypt_answers_the_wrapped_seed_and_the_key_id(void **state)
{
    const struct node *node = *state;
    V2__EncryptResponse *response = encrypt(node, kms_bytes_of("u1"));
    assert_int_equal(response->ciphertext.len, 40);
    assert_true(kms_bytes_equal(kms_pack_bytes(response->key_id), kms_bytes_of(node->key_id)));
    assert_int_equal(response->n_annotations, 0);
    v2__encrypt_response__free_unpacked(response, NULL);
}

/* As kube-apiserver stores what Encrypt answered. */
static V2__DecryptRequest request_of(const V2__EncryptResponse *sealed)
{
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.ciphertext = sealed->ciphertext;
    request.key_id = sealed->key_id;
    request.uid = kms_pack_data(kms_bytes_of("u2"));
    request.n_annotations = sealed->n_annotations;
    request.annotations = sealed->annotations;
    return request;
}

static void decrypt_gives_the_seed_back(void **state)
{
    const struct node *node = *state;
    V2__EncryptResponse *sealed = encrypt(node, kms_bytes_of("u1"));
    V2__DecryptRequest request = request_of(sealed);
    struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_ok(call_message(node, decrypt_path, &request.base, &reply, &err), &err);
    V2__DecryptResponse *response = v2__decrypt_response__unpack(NULL, reply.len, reply.data);
    assert_non_null(response);
    assert_true(kms_bytes_equal(kms_pack_bytes(response->plaintext), seed()));
    v2__decrypt_response__free_unpacked(response, NULL);
    v2__encrypt_response__free_unpacked(sealed, NULL);
    kms_secret_done(&reply);
}

static void decrypt_hands_on_the_services_code(void **state)
{
    const struct node *node = *state;
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    uint8_t ciphertext[40] = { 0 };
    request.ciphertext = (ProtobufCBinaryData){ .len = sizeof ciphertext, .data = ciphertext };
    request.key_id = kms_pack_data(kms_bytes_of(node->key_id));
    request.uid = kms_pack_data(kms_bytes_of("u1"));
    fake_keystore_fail(node->fake, FAKE_UNWRAP, KMS_E_CORRUPT, 1);
    struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(call_message(node, decrypt_path, &request.base, &reply, &err), KMS_E_CORRUPT);
    assert_null(reply.data);
}

/* The same service with a log that can't be written, and must be. */
static void open_refusing_log(struct node *node, struct kms_audit **ret_audit)
{
    struct kms_error err = { 0 };
    const struct kms_audit_options options = { .path = "/nowhere/log",
                                               .writer = "serve",
                                               .on_error = KMS_AUDIT_REFUSE };
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, -1);
    assert_ok(kms_audit_open(&options, ret_audit, &err), &err);
    kms_service_close(node->service);
    const struct kms_service_options service = {
        .ring = "prod",
        .keystore = fake_keystore_seam(node->fake),
        .keks = node->ring,
        .refresher = node->refresher,
        .audit = *ret_audit,
    };
    assert_ok(kms_service_open(&service, &node->service, &err), &err);
}

static void calls_that_a_broken_log_refuses_use_no_token(void **state)
{
    struct node *node = *state;
    struct kms_audit *audit = NULL;
    V2__EncryptResponse *sealed = encrypt(node, kms_bytes_of("u1"));
    V2__DecryptRequest unseal = request_of(sealed);
    V2__EncryptRequest seal = V2__ENCRYPT_REQUEST__INIT;
    seal.plaintext = kms_pack_data(seed());
    seal.uid = kms_pack_data(kms_bytes_of("u3"));
    open_refusing_log(node, &audit);
    unsigned wraps = fake_keystore_calls(node->fake, FAKE_WRAP);
    unsigned unwraps = fake_keystore_calls(node->fake, FAKE_UNWRAP);
    struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(call_message(node, encrypt_path, &seal.base, &reply, &err), KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "audit log: ");
    assert_int_equal(call_message(node, decrypt_path, &unseal.base, &reply, &err),
                     KMS_E_UNAVAILABLE);
    assert_int_equal(fake_keystore_calls(node->fake, FAKE_WRAP), wraps);
    assert_int_equal(fake_keystore_calls(node->fake, FAKE_UNWRAP), unwraps);
    assert_int_equal(kms_audit_count(audit).lost, 2);
    kms_audit_close(audit);
    v2__encrypt_response__free_unpacked(sealed, NULL);
}

static void another_algorithm_is_annotated_and_read_again(void **state)
{
    const struct node *node = *state;
    *fake_keystore_algorithm(node->fake) = KMS_ALGORITHM_AES_GCM;
    V2__EncryptResponse *sealed = encrypt(node, kms_bytes_of("u1"));
    assert_int_equal(sealed->n_annotations, 1);
    assert_true(kms_bytes_equal(kms_pack_bytes(sealed->annotations[0]->key),
                                kms_bytes_of("algorithm.hsm-kms.dev")));
    assert_true(
        kms_bytes_equal(kms_pack_bytes(sealed->annotations[0]->value), kms_bytes_of("aes-gcm")));
    V2__DecryptRequest request = request_of(sealed);
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_ok(call_message(node, decrypt_path, &request.base, &reply, &err), &err);
    v2__encrypt_response__free_unpacked(sealed, NULL);
}

static void decrypt_refuses_annotations(void **state)
{
    const struct node *node = *state;
    V2__EncryptResponse *sealed = encrypt(node, kms_bytes_of("u1"));
    V2__Annotation annotation = V2__ANNOTATION__INIT;
    annotation.key = kms_pack_data(kms_bytes_of("mechanism.example.com"));
    V2__Annotation *annotations[] = { &annotation };
    V2__DecryptRequest request = request_of(sealed);
    request.n_annotations = 1;
    request.annotations = annotations;
    struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(call_message(node, decrypt_path, &request.base, &reply, &err), KMS_E_INVALID);
    v2__encrypt_response__free_unpacked(sealed, NULL);
}

static void every_method_refuses_what_is_no_message(void **state)
{
    const struct node *node = *state;
    for (const struct kms_rpc_method *method = kms_rpc_methods; method->path != NULL; method++) {
        struct kms_secret reply = { 0 };
        struct kms_error err = { 0 };
        assert_int_equal(call(node, method->path, kms_bytes_of("\x0a\x7fxx"), &reply, &err),
                         KMS_E_INVALID);
        assert_contains(err.msg, "malformed");
    }
}

static void only_encrypt_and_decrypt_block(void **state)
{
    (void)state;
    for (const struct kms_rpc_method *method = kms_rpc_methods; method->path != NULL; method++) {
        bool wraps = strcmp(method->path, encrypt_path) == 0 ||
                     strcmp(method->path, decrypt_path) == 0;
        assert_int_equal(method->blocks, wraps);
    }
}

static enum kms_code check_health(const struct node *node, const char *service, int *ret_status,
                                  struct kms_error *err)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = kms_pack_data(kms_bytes_of(service));
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    enum kms_code rc = call_message(node, check_path, &request.base, &reply, err);
    if (rc != KMS_OK)
        return rc;
    Grpc__Health__V1__HealthCheckResponse *response =
        grpc__health__v1__health_check_response__unpack(NULL, reply.len, reply.data);
    assert_non_null(response);
    *ret_status = (int)response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return KMS_OK;
}

enum { SERVING = 1, NOT_SERVING = 2 };

static void health_is_serving_for_the_server_and_the_service(void **state)
{
    const struct node *node = *state;
    struct kms_error err = { 0 };
    int status = 0;
    assert_ok(check_health(node, "", &status, &err), &err);
    assert_int_equal(status, SERVING);
    status = 0;
    assert_ok(check_health(node, "v2.KeyManagementService", &status, &err), &err);
    assert_int_equal(status, SERVING);
}

static void health_is_not_serving_when_the_token_is_away(void **state)
{
    const struct node *node = *state;
    make_unhealthy(node);
    struct kms_error err = { 0 };
    int status = 0;
    assert_ok(check_health(node, "", &status, &err), &err);
    assert_int_equal(status, NOT_SERVING);
}

static void health_of_another_service_is_not_found(void **state)
{
    const struct node *node = *state;
    struct kms_error err = { 0 };
    int status = 0;
    assert_int_equal(check_health(node, "v1.Other", &status, &err), KMS_E_KEY_UNKNOWN);
}

static Hsmkms__Node__V1__DescribeResponse *describe(const struct node *node)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_ok(call(node, describe_path, (struct kms_bytes){ 0 }, &reply, &err), &err);
    Hsmkms__Node__V1__DescribeResponse *response = hsmkms__node__v1__describe_response__unpack(
        NULL, reply.len, reply.data);
    assert_non_null(response);
    return response;
}

static void describe_tells_node_health_and_kek(void **state)
{
    const struct node *node = *state;
    Hsmkms__Node__V1__DescribeResponse *told = describe(node);
    assert_string_equal(told->node, "cp-1");
    assert_string_equal(told->version, "1.2.3");
    assert_string_equal(told->ring, "prod");
    assert_int_equal(told->promoted, 1);
    assert_string_equal(told->key_id, node->key_id);
    assert_int_equal(told->n_tokens, 1);
    assert_true(told->health->ok);
    assert_string_equal(told->health->code, "ok");
    assert_int_equal(told->refresh, 1000);
    assert_int_equal(told->max_age, 4000);
    assert_int_equal(told->settings.len, KMS_SHA256_LEN);
    assert_int_equal(told->settings.data[0], 7);
    assert_int_equal(told->settings_read, 5000);
    assert_int_equal(told->n_keks, 1);
    assert_string_equal(told->keks[0]->label, label);
    assert_string_equal(told->keks[0]->state, "active");
    assert_int_equal(told->keks[0]->fingerprint.len, KMS_FINGERPRINT_LEN);
    hsmkms__node__v1__describe_response__free_unpacked(told, NULL);
}

static void describe_tells_why_the_node_is_unhealthy(void **state)
{
    const struct node *node = *state;
    make_unhealthy(node);
    Hsmkms__Node__V1__DescribeResponse *told = describe(node);
    assert_false(told->health->ok);
    assert_string_equal(told->health->code, "unavailable");
    assert_true(strlen(told->health->message) > 0);
    hsmkms__node__v1__describe_response__free_unpacked(told, NULL);
}

static void a_calls_line_names_uid_and_key_id_and_never_the_seed(void **state)
{
    const struct node *node = *state;
    int log[2];
    assert_int_equal(pipe(log), 0);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, log[1]);
    V2__EncryptResponse *response = encrypt(node, kms_bytes_of("u 1"));
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    char line[4096] = "";
    assert_true(read(log[0], line, sizeof line - 1) > 0);
    assert_contains(line, "method=Encrypt");
    assert_contains(line, "uid=\"u 1\"");
    assert_contains(line, node->key_id);
    assert_contains(line, "status=OK");
    assert_contains(line, "peer_uid=4711");
    assert_contains(line, "peer_pid=42");
    assert_contains(line, "queue_us=");
    assert_contains(line, "total_us=");
    assert_null(strstr(line, "thirty-two"));
    v2__encrypt_response__free_unpacked(response, NULL);
    close(log[0]);
    close(log[1]);
}

#define TEST_ON_A_NODE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    const struct CMUnitTest tests[] = {
        TEST_ON_A_NODE(status_answers_v2_ok_and_the_key_id),
        TEST_ON_A_NODE(status_fails_as_a_whole_when_the_token_is_away),
        TEST_ON_A_NODE(encrypt_answers_the_wrapped_seed_and_the_key_id),
        TEST_ON_A_NODE(decrypt_gives_the_seed_back),
        TEST_ON_A_NODE(decrypt_hands_on_the_services_code),
        TEST_ON_A_NODE(another_algorithm_is_annotated_and_read_again),
        TEST_ON_A_NODE(calls_that_a_broken_log_refuses_use_no_token),
        TEST_ON_A_NODE(decrypt_refuses_annotations),
        TEST_ON_A_NODE(every_method_refuses_what_is_no_message),
        cmocka_unit_test(only_encrypt_and_decrypt_block),
        TEST_ON_A_NODE(health_is_serving_for_the_server_and_the_service),
        TEST_ON_A_NODE(health_is_not_serving_when_the_token_is_away),
        TEST_ON_A_NODE(health_of_another_service_is_not_found),
        TEST_ON_A_NODE(describe_tells_node_health_and_kek),
        TEST_ON_A_NODE(describe_tells_why_the_node_is_unhealthy),
        TEST_ON_A_NODE(a_calls_line_names_uid_and_key_id_and_never_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
