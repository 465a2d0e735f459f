/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kms/clock.h"
#include "kms/log.h"
#include "server_fixture.h"

static const struct kms_socket_options default_socket;
static const struct kms_server_options default_server;

static void a_worker_answers_a_blocking_call(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    assert_served(fixture);
    fixture_close(fixture);
}

static void the_poller_answers_a_call_that_does_not_block(void **state)
{
    (void)state;
    const struct kms_server_options options = { .workers = 1 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller held;
    caller_start(&held, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_held(1); /* the only worker is busy */

    bool echoed = false;
    struct kms_error err = { 0 };
    assert_int_equal(call_now(client, "Fast", sample(), &echoed, &err), KMS_OK);
    assert_true(echoed);
    assert_int_equal(tally_now().finished, 0);

    hold_release();
    assert_int_equal(caller_join(&held), KMS_OK);
    kms_client_close(client);
    fixture_close(fixture);
}

static void an_empty_message_is_a_message(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    bool echoed = false;
    struct kms_error err = { 0 };
    assert_int_equal(call_now(client, "Echo", (struct kms_bytes){ 0 }, &echoed, &err), KMS_OK);
    assert_true(echoed);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_handlers_code_and_text_reach_the_client(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    bool echoed = false;
    struct kms_error err = { 0 };
    assert_int_equal(call_now(client, "Fail", sample(), &echoed, &err), KMS_E_KEY_UNKNOWN);
    assert_string_equal(err.msg, "NOT_FOUND: no such KEK");
    kms_client_close(client);
    fixture_close(fixture);
}

static void an_unknown_method_is_unimplemented(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    bool echoed = false;
    struct kms_error err = { 0 };
    for (int i = 0; i < 3; i++) { /* the slot for unknown methods is posted again */
        assert_int_not_equal(call_now(client, "Nothing", sample(), &echoed, &err), KMS_OK);
        assert_string_equal(err.msg, "UNIMPLEMENTED: unknown method");
    }
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_full_queue_refuses_at_once(void **state)
{
    (void)state;
    const struct kms_server_options options = { .workers = 1, .queue_len = 1 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller running, waiting;
    caller_start(&running, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_held(1);
    caller_start(&waiting, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_arrived(2);

    bool echoed = false;
    struct kms_error err = { 0 };
    assert_int_equal(call_now(client, "Echo", sample(), &echoed, &err), KMS_E_BUSY);
    assert_memory_equal(err.msg, "RESOURCE_EXHAUSTED", strlen("RESOURCE_EXHAUSTED"));

    hold_release();
    assert_int_equal(caller_join(&running), KMS_OK);
    assert_int_equal(caller_join(&waiting), KMS_OK);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_call_that_times_out_in_the_queue_never_reaches_its_handler(void **state)
{
    (void)state;
    const struct kms_server_options options = { .workers = 1 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller running, waiting;
    caller_start(&running, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_held(1);
    caller_start(&waiting, client, "Hold", sample(), kms_monotonic_ms() + 200);
    assert_int_equal(caller_join(&waiting), KMS_E_DEADLINE);
    tally_wait_released(1); /* it left the queue while the only worker is busy */

    hold_release();
    assert_int_equal(caller_join(&running), KMS_OK);
    tally_wait_released(2);
    assert_int_equal(tally_now().held, 1);
    kms_client_close(client);
    fixture_close(fixture);
}

/* A client straight on the C core: it can cancel and compress. */
struct core_call {
    grpc_channel *channel;
    grpc_completion_queue *events;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *request, *reply;
    grpc_status_code status;
    grpc_slice details;
};

static void core_call_start(struct core_call *core, const struct fixture *fixture,
                            const char *method, const grpc_channel_args *args, size_t len)
{
    grpc_init();
    char target[128];
    snprintf(target, sizeof target, "unix:%s", fixture->path);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    core->channel = grpc_channel_create(target, credentials, args);
    grpc_channel_credentials_release(credentials);
    core->events = grpc_completion_queue_create_for_pluck(NULL);
    core->call = grpc_channel_create_call(core->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                          core->events, grpc_slice_from_static_string(method), NULL,
                                          gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_slice slice = grpc_slice_malloc(len);
    memset(GRPC_SLICE_START_PTR(slice), 'x', len);
    core->request = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_metadata_array_init(&core->initial);
    grpc_metadata_array_init(&core->trailing);
    grpc_op ops[6] = {
        { .op = GRPC_OP_SEND_INITIAL_METADATA },  { .op = GRPC_OP_SEND_MESSAGE },
        { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT }, { .op = GRPC_OP_RECV_INITIAL_METADATA },
        { .op = GRPC_OP_RECV_MESSAGE },           { .op = GRPC_OP_RECV_STATUS_ON_CLIENT }
    };
    ops[1].data.send_message.send_message = core->request;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &core->initial;
    ops[4].data.recv_message.recv_message = &core->reply;
    ops[5].data.recv_status_on_client.trailing_metadata = &core->trailing;
    ops[5].data.recv_status_on_client.status = &core->status;
    ops[5].data.recv_status_on_client.status_details = &core->details;
    KMS_TSAN_RELEASE(core);
    assert_int_equal(grpc_call_start_batch(core->call, ops, 6, core, NULL), GRPC_CALL_OK);
}

static grpc_status_code core_call_finish(struct core_call *core)
{
    grpc_completion_queue_pluck(core->events, core, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    KMS_TSAN_ACQUIRE(core);
    grpc_slice_unref(core->details);
    grpc_metadata_array_destroy(&core->initial);
    grpc_metadata_array_destroy(&core->trailing);
    grpc_byte_buffer_destroy(core->request);
    grpc_byte_buffer_destroy(core->reply);
    grpc_call_unref(core->call);
    grpc_completion_queue_shutdown(core->events);
    grpc_completion_queue_destroy(core->events);
    grpc_channel_destroy(core->channel);
    grpc_shutdown();
    return core->status;
}

static void a_call_cancelled_in_the_queue_never_reaches_its_handler(void **state)
{
    (void)state;
    const struct kms_server_options options = { .workers = 1 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller running;
    caller_start(&running, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    tally_wait_held(1);

    struct core_call cancelled = { 0 };
    core_call_start(&cancelled, fixture, "/test.Test/Hold", NULL, 32);
    tally_wait_arrived(2);
    grpc_call_cancel(cancelled.call, NULL);
    assert_int_equal(core_call_finish(&cancelled), GRPC_STATUS_CANCELLED);
    tally_wait_released(1);

    hold_release();
    assert_int_equal(caller_join(&running), KMS_OK);
    tally_wait_released(2);
    assert_int_equal(tally_now().held, 1);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_compressed_request_is_refused(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    char key[] = GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM;
    grpc_arg arg = { .type = GRPC_ARG_INTEGER, .key = key, .value.integer = GRPC_COMPRESS_GZIP };
    const grpc_channel_args args = { .num_args = 1, .args = &arg };
    struct core_call core = { 0 };
    core_call_start(&core, fixture, "/test.Test/Echo", &args, 4096);
    grpc_status_code status = core_call_finish(&core);
    assert_true(status == GRPC_STATUS_UNIMPLEMENTED || status == GRPC_STATUS_INVALID_ARGUMENT);
    assert_int_equal(tally_now().arrived, 0);
    fixture_close(fixture);
}

static void a_deadline_is_answered_while_the_handler_still_blocks(void **state)
{
    (void)state;
    const struct kms_server_options options = { .default_deadline_ms = 200 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller running;
    /* without a deadline of its own: only the server can end it */
    caller_start(&running, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    assert_int_equal(caller_join(&running), KMS_E_DEADLINE);
    assert_int_equal(tally_now().held, 1);
    assert_int_equal(tally_now().finished, 0);

    hold_release();
    tally_wait_released(1); /* the late result was dropped */
    assert_served(fixture);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_deadline_is_answered_in_the_queue(void **state)
{
    (void)state;
    const struct kms_server_options options = { .workers = 1, .default_deadline_ms = 200 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller running, waiting;
    caller_start(&running, client, "Hold", sample(), kms_monotonic_ms() + FIXTURE_CALL_MS);
    tally_wait_held(1);
    caller_start(&waiting, client, "Hold", sample(), KMS_DEADLINE_NEVER);
    assert_int_equal(caller_join(&waiting), KMS_E_DEADLINE);

    hold_release();
    assert_int_equal(caller_join(&running), KMS_OK);
    tally_wait_released(2);
    assert_int_equal(tally_now().held, 1);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_call_without_a_deadline_gets_the_default(void **state)
{
    (void)state;
    const struct kms_server_options options = { .default_deadline_ms = 3600 * 1000 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller caller;
    caller_start(&caller, client, "Look", sample(), KMS_DEADLINE_NEVER);
    assert_int_equal(caller_join(&caller), KMS_OK);
    assert_in_range(tally_now().left_ms, 3000 * 1000, 3600 * 1000);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_calls_own_deadline_reaches_the_handler(void **state)
{
    (void)state;
    const struct kms_server_options options = { .default_deadline_ms = 1 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    struct caller caller;
    caller_start(&caller, client, "Look", sample(), kms_monotonic_ms() + 1000 * 1000);
    assert_int_equal(caller_join(&caller), KMS_OK);
    /* core rounds what it sends up, coarsely */
    assert_in_range(tally_now().left_ms, 500 * 1000, 2000 * 1000);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_handler_is_told_who_calls(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    bool echoed = false;
    struct kms_error err = { 0 };
    assert_int_equal(call_now(client, "Look", sample(), &echoed, &err), KMS_OK);
    assert_int_equal(tally_now().peer_uid, getuid());
    assert_int_equal(tally_now().peer_pid, getpid());
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_blocking_call_carries_the_snapshot_of_its_arrival(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    bool echoed = false;
    struct kms_error err = { 0 };
    assert_int_equal(call_now(client, "Look", sample(), &echoed, &err), KMS_OK);
    assert_true(tally_now().had_snapshot);
    tally_wait_released(1);
    assert_int_equal(tally_now().arrived, 1);
    kms_client_close(client);
    fixture_close(fixture);
}

static void a_message_over_64_kib_is_refused(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    struct kms_client *client = fixture_client(fixture);
    enum { MOST = 64 * 1024 };
    uint8_t *bytes = calloc(1, MOST + 1);
    bool echoed = false;
    struct kms_error err = { 0 };
    assert_int_equal(call_now(client, "Echo", (struct kms_bytes){ bytes, MOST }, &echoed, &err),
                     KMS_OK);
    assert_true(echoed);
    assert_int_equal(call_now(client, "Echo", (struct kms_bytes){ bytes, MOST + 1 }, &echoed, &err),
                     KMS_E_BUSY);
    assert_served(fixture);
    free(bytes);
    kms_client_close(client);
    fixture_close(fixture);
}

static void garbage_on_a_connection_ends_only_that(void **state)
{
    (void)state;
    static const char *const garbage[] = {
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client hello, or nearly",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame, though it must be one",
    };
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        int fd = fixture_connect(fixture);
        assert_true(send(fd, garbage[i], strlen(garbage[i]), MSG_NOSIGNAL) > 0);
        assert_true(is_closed_by_server(fd));
        close(fd);
        assert_served(fixture);
    }
    fixture_close(fixture);
}

static void a_silent_connection_is_closed_after_the_idle_time(void **state)
{
    (void)state;
    const struct kms_server_options options = { .idle_ms = 200 };
    struct fixture *fixture = fixture_open(&options, &default_socket);
    int fd = fixture_connect(fixture);
    assert_true(is_closed_by_server(fd));
    close(fd);
    assert_served(fixture);
    fixture_close(fixture);
}

static void serve_a_hundred_calls(const struct kms_server_options *options)
{
    struct fixture *fixture = fixture_open(options, &default_socket);
    struct kms_client *clients[2] = { fixture_client(fixture), fixture_client(fixture) };
    static struct caller callers[100];
    for (size_t i = 0; i < 100; i++)
        caller_start(&callers[i], clients[i % 2], i % 4 < 2 ? "Echo" : "Fast", sample(),
                     kms_monotonic_ms() + FIXTURE_CALL_MS);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(caller_join(&callers[i]), KMS_OK);
    kms_client_close(clients[0]);
    kms_client_close(clients[1]);
    fixture_close(fixture);
}

static void two_connections_carry_fifty_calls_each(void **state)
{
    (void)state;
    serve_a_hundred_calls(&default_server);
}

static void one_worker_is_enough(void **state)
{
    (void)state;
    const struct kms_server_options options = { .workers = 1 };
    serve_a_hundred_calls(&options);
}

static void workers_are_counted_from_1_to_64(void **state)
{
    (void)state;
    static const struct kms_rpc_method none[] = { { NULL, NULL, false } };
    struct kms_server *server = NULL;
    struct kms_error err = { 0 };
    struct kms_server_options options = { .methods = none, .workers = 65 };
    assert_int_equal(kms_server_open(&options, &server, &err), KMS_E_INVALID);
    options.workers = 0;
    assert_int_equal(kms_server_open(&options, &server, &err), KMS_E_INVALID);
    options.workers = 64;
    assert_int_equal(kms_server_open(&options, &server, &err), KMS_OK);
    assert_true(kms_server_stop(server, FIXTURE_GRACE_MS));
}

int main(void)
{
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_answers_a_blocking_call),
        cmocka_unit_test(the_poller_answers_a_call_that_does_not_block),
        cmocka_unit_test(an_empty_message_is_a_message),
        cmocka_unit_test(a_handlers_code_and_text_reach_the_client),
        cmocka_unit_test(an_unknown_method_is_unimplemented),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(a_call_that_times_out_in_the_queue_never_reaches_its_handler),
        cmocka_unit_test(a_call_cancelled_in_the_queue_never_reaches_its_handler),
        cmocka_unit_test(a_compressed_request_is_refused),
        cmocka_unit_test(a_deadline_is_answered_while_the_handler_still_blocks),
        cmocka_unit_test(a_deadline_is_answered_in_the_queue),
        cmocka_unit_test(a_call_without_a_deadline_gets_the_default),
        cmocka_unit_test(a_calls_own_deadline_reaches_the_handler),
        cmocka_unit_test(a_handler_is_told_who_calls),
        cmocka_unit_test(a_blocking_call_carries_the_snapshot_of_its_arrival),
        cmocka_unit_test(a_message_over_64_kib_is_refused),
        cmocka_unit_test(garbage_on_a_connection_ends_only_that),
        cmocka_unit_test(a_silent_connection_is_closed_after_the_idle_time),
        cmocka_unit_test(two_connections_carry_fifty_calls_each),
        cmocka_unit_test(one_worker_is_enough),
        cmocka_unit_test(workers_are_counted_from_1_to_64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
