/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "server_fixture.h"
#include "wire.h"

static const struct kms_socket_options default_socket;
static const struct kms_server_options default_server;

/* --- a server that speaks KMS v2, and says what the test wants --- */

static enum kms_code answer(const ProtobufCMessage *message, struct kms_secret *ret_reply,
                            struct kms_error *err)
{
    return kms_pack(message, ret_reply, err);
}

static enum kms_code say_status(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                struct kms_error *err)
{
    (void)call;
    V2__StatusResponse response = V2__STATUS_RESPONSE__INIT;
    response.version = kms_pack_data(kms_bytes_of("v2"));
    response.key_id = kms_pack_data(kms_bytes_of("k1"));
    return answer(&response.base, ret_reply, err);
}

/* "Wraps" by doing nothing; the uid serves as key_id. */
static enum kms_code say_encrypt(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_wire_encrypt_done) struct kms_wire_encrypt parsed = { 0 };
    enum kms_code rc = kms_wire_parse_encrypt(call->request, &parsed, err);
    if (rc != KMS_OK)
        return rc;
    V2__EncryptResponse response = V2__ENCRYPT_RESPONSE__INIT;
    response.ciphertext = kms_pack_data(parsed.request.plaintext);
    response.key_id = kms_pack_data(parsed.request.uid);
    return answer(&response.base, ret_reply, err);
}

static enum kms_code say_decrypt(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_wire_decrypt_done) struct kms_wire_decrypt parsed = { 0 };
    enum kms_code rc = kms_wire_parse_decrypt(call->request, &parsed, err);
    if (rc != KMS_OK)
        return rc;
    if (!kms_bytes_equal(parsed.request.key_id, kms_bytes_of("u1")))
        return kms_fail(err, KMS_E_INVALID, "key_id was not handed back");
    V2__DecryptResponse response = V2__DECRYPT_RESPONSE__INIT;
    response.plaintext = kms_pack_data(parsed.request.ciphertext);
    return answer(&response.base, ret_reply, err);
}

static enum kms_code say_garbage(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                                 struct kms_error *err)
{
    (void)call;
    return kms_secret_copy(ret_reply, kms_bytes_of("\x0a\x7fxx"), err);
}

static const struct kms_rpc_method kms_methods[] = {
    { "/v2.KeyManagementService/Status", say_status, false },
    { "/v2.KeyManagementService/Encrypt", say_encrypt, true },
    { "/v2.KeyManagementService/Decrypt", say_decrypt, true },
    { "/hsmkms.node.v1.Node/Describe", say_garbage, false },
    { NULL, NULL, false },
};

struct pair {
    struct fixture *fixture;
    struct kms_client *client;
};

static int set_up(void **state)
{
    struct pair *pair = calloc(1, sizeof *pair);
    struct kms_server_options options = default_server;
    options.methods = kms_methods;
    pair->fixture = fixture_open(&options, &default_socket);
    pair->client = fixture_client(pair->fixture);
    *state = pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;
    kms_client_close(pair->client);
    fixture_close(pair->fixture);
    free(pair);
    return 0;
}

static int64_t soon(void)
{
    return kms_monotonic_ms() + FIXTURE_CALL_MS;
}

static void status_comes_back_as_a_message(void **state)
{
    const struct pair *pair = *state;
    V2__StatusResponse *response = NULL;
    struct kms_error err = { 0 };
    assert_ok(kms_client_status(pair->client, soon(), &response, &err), &err);
    assert_true(kms_bytes_equal(kms_pack_bytes(response->version), kms_bytes_of("v2")));
    assert_true(kms_bytes_equal(kms_pack_bytes(response->key_id), kms_bytes_of("k1")));
    kms_client_free_status(response);
}

static void what_encrypt_answers_goes_into_decrypt(void **state)
{
    const struct pair *pair = *state;
    V2__EncryptResponse *sealed = NULL;
    struct kms_secret seed = { 0 };
    struct kms_error err = { 0 };
    struct kms_bytes plaintext = kms_bytes_of("thirty-two bytes of a DEK seed..");
    assert_ok(kms_client_encrypt(pair->client, plaintext, "u1", soon(), &sealed, &err), &err);
    assert_ok(kms_client_decrypt(pair->client, sealed, "u2", soon(), &seed, &err), &err);
    assert_true(kms_bytes_equal(kms_secret_bytes(&seed), plaintext));
    kms_secret_done(&seed);
    kms_client_free_encrypt(sealed);
}

static void a_malformed_answer_is_an_error_of_the_server(void **state)
{
    const struct pair *pair = *state;
    Hsmkms__Node__V1__DescribeResponse *response = NULL;
    struct kms_error err = { 0 };
    assert_int_equal(kms_client_describe(pair->client, soon(), &response, &err), KMS_E_INTERNAL);
    assert_contains(err.msg, "malformed");
    assert_null(response);
}

static void a_method_that_the_server_lacks_is_named_by_its_status(void **state)
{
    const struct pair *pair = *state;
    struct kms_secret reply = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(
        kms_client_call(pair->client, "/x.Y/Z", (struct kms_bytes){ 0 }, soon(), &reply, &err),
        KMS_E_INTERNAL);
    assert_contains(err.msg, "UNIMPLEMENTED");
}

static void a_missing_socket_is_unavailable_at_once_and_says_why(void **state)
{
    (void)state;
    struct kms_client *client = NULL;
    struct kms_error err = { 0 };
    assert_ok(kms_client_open("/nonexistent/kms.sock", &client, &err), &err);
    V2__StatusResponse *response = NULL;
    assert_int_equal(kms_client_status(client, soon(), &response, &err), KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "is hsm-kms serve running there");
    assert_contains(err.msg, "No such file or directory");
    kms_client_close(client);
}

static void a_deadline_that_passed_ends_the_call(void **state)
{
    const struct pair *pair = *state;
    V2__StatusResponse *response = NULL;
    struct kms_error err = { 0 };
    assert_int_equal(kms_client_status(pair->client, kms_monotonic_ms() - 1, &response, &err),
                     KMS_E_DEADLINE);
}

static void a_path_of_any_length_is_answered(void **state)
{
    (void)state;
    char path[1024];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    struct kms_client *client = NULL;
    struct kms_error err = { 0 };
    assert_int_equal(kms_client_open(path, &client, &err), KMS_E_INVALID);
    assert_null(client);
}

int main(void)
{
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(status_comes_back_as_a_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_encrypt_answers_goes_into_decrypt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_malformed_answer_is_an_error_of_the_server, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_method_that_the_server_lacks_is_named_by_its_status,
                                        set_up, tear_down),
        cmocka_unit_test(a_missing_socket_is_unavailable_at_once_and_says_why),
        cmocka_unit_test_setup_teardown(a_deadline_that_passed_ends_the_call, set_up, tear_down),
        cmocka_unit_test(a_path_of_any_length_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
