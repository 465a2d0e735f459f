/* SPDX-License-Identifier: Apache-2.0 */
/* Load on a plugin's socket, a fixed number of calls in flight on one connection.
 *
 *   bench_rpc SOCKET status  IN_FLIGHT CALLS
 *   bench_rpc SOCKET encrypt IN_FLIGHT CALLS FILE    every seed is different; FILE gets the answers
 *   bench_rpc SOCKET decrypt IN_FLIGHT CALLS FILE    what FILE holds, over and over
 *
 * Any failed call ends it with an error.  FILE: 4 bytes of length (host order), DecryptRequest. */
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/time.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proto/kmsv2.pb-c.h"
#include "times.h"

enum { SEED_LEN = 32, IN_FLIGHT_MAX = 1024, CALL_TIMEOUT_S = 60 };

struct blob {
    uint8_t *data;
    uint32_t len; /* bytes */
};

struct load {
    const char *path; /* of the method */
    grpc_channel *channel;
    grpc_completion_queue *cq;
    struct blob *requests; /* DecryptRequests that FILE held; NULL: none */
    size_t request_count;
    FILE *answers; /* where DecryptRequests go; NULL: nowhere */
    struct bench_times times;
    size_t started, ended;
};

struct slot {
    grpc_call *call;
    int64_t begun_us;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *reply;
    grpc_status_code status;
    grpc_slice details;
};

static void die(const char *what)
{
    fprintf(stderr, "bench_rpc: %s\n", what);
    exit(1);
}

static void *must_alloc(size_t len)
{
    void *data = malloc(len > 0 ? len : 1);
    if (data == NULL)
        die("out of memory");
    return data;
}

static grpc_byte_buffer *encrypt_request(void)
{
    uint8_t seed[SEED_LEN];
    if (getrandom(seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        die("getrandom");
    char uid[] = "bench";
    V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
    request.plaintext = (ProtobufCBinaryData){ sizeof seed, seed };
    request.uid = (ProtobufCBinaryData){ strlen(uid), (uint8_t *)uid };
    uint8_t packed[128];
    size_t len = v2__encrypt_request__pack(&request, packed);
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)packed, len);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static grpc_byte_buffer *next_request(const struct load *load)
{
    if (load->answers != NULL)
        return encrypt_request();
    grpc_slice slice = grpc_empty_slice();
    if (load->requests != NULL) {
        const struct blob *blob = &load->requests[load->started % load->request_count];
        slice = grpc_slice_from_copied_buffer((const char *)blob->data, blob->len);
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static void start_call(struct load *load, struct slot *slot)
{
    grpc_slice method = grpc_slice_from_static_string(load->path);
    grpc_byte_buffer *request = next_request(load);
    gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                         gpr_time_from_seconds(CALL_TIMEOUT_S, GPR_TIMESPAN));
    *slot = (struct slot){ 0 };
    slot->begun_us = bench_now_us();
    slot->call = grpc_channel_create_call(load->channel, NULL, GRPC_PROPAGATE_DEFAULTS, load->cq,
                                          method, NULL, deadline, NULL);
    grpc_op ops[6] = {
        { .op = GRPC_OP_SEND_INITIAL_METADATA },  { .op = GRPC_OP_SEND_MESSAGE },
        { .op = GRPC_OP_SEND_CLOSE_FROM_CLIENT }, { .op = GRPC_OP_RECV_INITIAL_METADATA },
        { .op = GRPC_OP_RECV_MESSAGE },           { .op = GRPC_OP_RECV_STATUS_ON_CLIENT }
    };
    ops[1].data.send_message.send_message = request;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &slot->initial;
    ops[4].data.recv_message.recv_message = &slot->reply;
    ops[5].data.recv_status_on_client.trailing_metadata = &slot->trailing;
    ops[5].data.recv_status_on_client.status = &slot->status;
    ops[5].data.recv_status_on_client.status_details = &slot->details;
    if (grpc_call_start_batch(slot->call, ops, 6, slot, NULL) != GRPC_CALL_OK)
        die("grpc_call_start_batch");
    grpc_byte_buffer_destroy(request);
    load->started++;
}

/* Keeps an EncryptResponse as the DecryptRequest that asks for its seed. */
static void keep_answer(FILE *answers, grpc_byte_buffer *reply)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, reply))
        die("unreadable answer");
    grpc_slice bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    V2__EncryptResponse *answer = v2__encrypt_response__unpack(NULL, GRPC_SLICE_LENGTH(bytes),
                                                               GRPC_SLICE_START_PTR(bytes));
    grpc_slice_unref(bytes);
    if (answer == NULL)
        die("malformed answer");
    char uid[] = "bench";
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.ciphertext = answer->ciphertext;
    request.key_id = answer->key_id;
    request.uid = (ProtobufCBinaryData){ strlen(uid), (uint8_t *)uid };
    uint32_t len = (uint32_t)v2__decrypt_request__get_packed_size(&request);
    uint8_t *packed = must_alloc(len);
    v2__decrypt_request__pack(&request, packed);
    if (fwrite(&len, sizeof len, 1, answers) != 1 || fwrite(packed, len, 1, answers) != 1)
        die("can't write FILE");
    free(packed);
    v2__encrypt_response__free_unpacked(answer, NULL);
}

static void end_call(struct load *load, struct slot *slot)
{
    load->times.us[load->ended++] = (uint32_t)(bench_now_us() - slot->begun_us);
    if (slot->status != GRPC_STATUS_OK) {
        fprintf(stderr, "bench_rpc: status %d: %.*s\n", (int)slot->status,
                (int)GRPC_SLICE_LENGTH(slot->details),
                (const char *)GRPC_SLICE_START_PTR(slot->details));
        exit(1);
    }
    if (load->answers != NULL)
        keep_answer(load->answers, slot->reply);
    grpc_slice_unref(slot->details);
    grpc_metadata_array_destroy(&slot->initial);
    grpc_metadata_array_destroy(&slot->trailing);
    grpc_byte_buffer_destroy(slot->reply);
    grpc_call_unref(slot->call);
}

static void run(struct load *load, size_t in_flight, size_t calls)
{
    static struct slot slots[IN_FLIGHT_MAX];
    bench_times_init(&load->times, calls);
    for (size_t i = 0; i < in_flight && i < calls; i++)
        start_call(load, &slots[i]);
    while (load->ended < calls) {
        grpc_event event = grpc_completion_queue_next(load->cq, gpr_inf_future(GPR_CLOCK_REALTIME),
                                                      NULL);
        struct slot *slot = event.tag;
        end_call(load, slot);
        if (load->started < calls)
            start_call(load, slot);
    }
}

static bool read_blob(FILE *file, struct blob *ret_blob)
{
    uint32_t len = 0;
    if (fread(&len, sizeof len, 1, file) != 1)
        return false;
    uint8_t *data = must_alloc(len);
    if (fread(data, 1, len, file) != len)
        die("FILE is cut off");
    *ret_blob = (struct blob){ data, len };
    return true;
}

static void read_requests(struct load *load, const char *path)
{
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        die("can't read FILE");
    struct blob blob;
    while (read_blob(file, &blob)) {
        struct blob *more = realloc(load->requests, (load->request_count + 1) * sizeof *more);
        if (more == NULL)
            die("out of memory");
        load->requests = more;
        load->requests[load->request_count++] = blob;
    }
    fclose(file);
    if (load->request_count == 0)
        die("FILE is empty");
}

static void open_method(struct load *load, const char *method, const char *file)
{
    if (strcmp(method, "status") == 0) {
        load->path = "/v2.KeyManagementService/Status";
        return;
    }
    if (file == NULL)
        die("encrypt and decrypt need a FILE");
    if (strcmp(method, "decrypt") == 0) {
        load->path = "/v2.KeyManagementService/Decrypt";
        read_requests(load, file);
        return;
    }
    if (strcmp(method, "encrypt") != 0)
        die("no such method");
    load->path = "/v2.KeyManagementService/Encrypt";
    load->answers = fopen(file, "wbe");
    if (load->answers == NULL)
        die("can't write FILE");
}

static void close_load(struct load *load)
{
    grpc_channel_destroy(load->channel);
    grpc_completion_queue_shutdown(load->cq);
    while (grpc_completion_queue_next(load->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(load->cq);
    grpc_shutdown();
    for (size_t i = 0; i < load->request_count; i++)
        free(load->requests[i].data);
    free(load->requests);
    bench_times_done(&load->times);
    if (load->answers != NULL && fclose(load->answers) != 0)
        die("can't write FILE");
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc > 6) {
        fputs("usage: bench_rpc SOCKET status|encrypt|decrypt IN_FLIGHT CALLS [FILE]\n", stderr);
        return 2;
    }
    size_t in_flight = strtoul(argv[3], NULL, 10);
    size_t calls = strtoul(argv[4], NULL, 10);
    if (in_flight < 1 || in_flight > IN_FLIGHT_MAX || calls < 1)
        die("IN_FLIGHT is out of 1..1024, or CALLS is 0");
    struct load load = { 0 };
    open_method(&load, argv[2], argc == 6 ? argv[5] : NULL);

    char target[256];
    snprintf(target, sizeof target, "unix:%s", argv[1]);
    grpc_init();
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    load.channel = grpc_channel_create(target, plain, NULL);
    grpc_channel_credentials_release(plain);
    load.cq = grpc_completion_queue_create_for_next(NULL);
    run(&load, in_flight, calls);
    bench_times_print(&load.times, argv[2]);
    close_load(&load);
    return 0;
}
