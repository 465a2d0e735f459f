/* SPDX-License-Identifier: Apache-2.0 */
#include "server.h"

#include <string.h>

#include <grpc/compression.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include "call.h"
#include "kms/clock.h"
#include "kms/log.h"

enum {
    SLOTS_PER_METHOD = 4, /* calls that core may hand over at once; more measured no gain */
    QUEUE_LEN = 1024,
    IDLE_MS = 5 * 60 * 1000, /* kube-apiserver may be silent for a minute */
    DEFAULT_DEADLINE_MS = 10 * 1000,
    MAX_RECEIVE_BYTES = 64 * 1024,
    MAX_STREAMS = 100, /* on one connection */
    QUOTA_BYTES = 64 * 1024 * 1024,
    GOAWAY_MS = 200, /* idle clients get this long to leave by themselves */
    STUCK_MS =
        2000, /* after everything is cancelled: a worker that still runs hangs in the token */
    PEERS_MIN = 64,
};

/* core's chatter is for us when something is wrong, so its errors are no more than warnings. */
static void log_core(gpr_log_func_args *args)
{
    const char *slash = strrchr(args->file, '/');
    kms_log(args->severity == GPR_LOG_SEVERITY_ERROR ? KMS_LOG_WARN : KMS_LOG_DEBUG, "grpc",
            KMS_F_TEXT("text", args->message),
            KMS_F_TEXT("file", slash != NULL ? slash + 1 : args->file),
            KMS_F_INT("line", args->line));
}

static grpc_arg int_arg(const char *key, int value)
{
    /* core's struct has no const; it only reads. */
    union {
        const char *in;
        char *out;
    } same = { .in = key };
    return (grpc_arg){ .type = GRPC_ARG_INTEGER, .key = same.out, .value.integer = value };
}

static grpc_server *create_grpc_server(int64_t idle_ms)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("kms");
    grpc_resource_quota_resize(quota, QUOTA_BYTES);
    grpc_arg quota_arg = int_arg(GRPC_ARG_RESOURCE_QUOTA, 0);
    quota_arg.type = GRPC_ARG_POINTER;
    quota_arg.value.pointer.p = quota;
    quota_arg.value.pointer.vtable = grpc_resource_quota_arg_vtable();
    grpc_arg args[] = {
        quota_arg,
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, MAX_RECEIVE_BYTES),
        int_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, MAX_STREAMS),
        int_arg(GRPC_ARG_MAX_CONNECTION_IDLE_MS, (int)idle_ms),
        /* A decompressed request would be plaintext in buffers that we can't wipe. */
        int_arg(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0),
        int_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE),
    };
    const grpc_channel_args channel_args = { .num_args = sizeof args / sizeof args[0],
                                             .args = args };
    grpc_server *server = grpc_server_create(&channel_args, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}

static void register_methods(struct kms_server *server)
{
    const struct kms_rpc_method *rpc = server->options.methods;
    for (; rpc->path != NULL && server->method_count < KMS_SERVER_METHODS_MAX; rpc++) {
        void *registered = grpc_server_register_method(
            server->grpc, rpc->path, NULL, GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
        server->methods[server->method_count++] = (struct kms_method){ .rpc = rpc,
                                                                       .registered = registered };
    }
}

/* Without a slot for unknown methods core would queue their calls for ever. */
static void post_slots(struct kms_server *server)
{
    for (size_t i = 0; i < server->method_count; i++)
        for (int slot = 0; slot < SLOTS_PER_METHOD; slot++)
            kms_call_arm(server, &server->methods[i], kms_server_arrived);
    kms_call_arm(server, &server->methods[server->method_count], kms_server_arrived);
}

static enum kms_code check_options(const struct kms_server_options *options, struct kms_error *err)
{
    size_t methods = 0;
    while (options->methods[methods].path != NULL)
        methods++;
    if (methods > KMS_SERVER_METHODS_MAX)
        return kms_fail(err, KMS_E_INTERNAL, "%zu methods are too many", methods);
    if (options->workers < 1 || options->workers > KMS_SERVER_WORKERS_MAX)
        return kms_fail(err, KMS_E_INVALID, "%u workers: out of range 1..%d", options->workers,
                        KMS_SERVER_WORKERS_MAX);
    return KMS_OK;
}

static void set_options(struct kms_server *server, const struct kms_server_options *options)
{
    server->options = *options;
    if (server->options.queue_len == 0)
        server->options.queue_len = QUEUE_LEN;
    if (server->options.idle_ms <= 0 || server->options.idle_ms > INT32_MAX)
        server->options.idle_ms = IDLE_MS;
    if (server->options.default_deadline_ms <= 0)
        server->options.default_deadline_ms = DEFAULT_DEADLINE_MS;
}

static struct kms_server *create(const struct kms_server_options *options)
{
    struct kms_server *server = gpr_zalloc(sizeof *server);
    set_options(server, options);
    server->watch_ms = KMS_DEADLINE_NEVER;
    pthread_mutex_init(&server->mutex, NULL);
    kms_cond_init(&server->idle);
    kms_queue_init(&server->queue, server->options.queue_len);

    gpr_set_log_function(log_core);
    grpc_init();
    server->grpc = create_grpc_server(server->options.idle_ms);
    server->credentials = grpc_insecure_server_credentials_create();
    server->events = grpc_completion_queue_create_for_next(NULL);
    server->drain = grpc_completion_queue_create_for_pluck(NULL);
    grpc_server_register_completion_queue(server->grpc, server->events, NULL);
    register_methods(server);
    grpc_server_start(server->grpc);
    post_slots(server);
    return server;
}

static int start_threads(struct kms_server *server)
{
    int failed = pthread_create(&server->poller, NULL, kms_server_poll, server);
    if (failed != 0)
        return failed;
    server->poller_runs = true;
    while (server->worker_count < server->options.workers) {
        failed = pthread_create(&server->workers[server->worker_count], NULL, kms_server_work,
                                server);
        if (failed != 0)
            return failed;
        server->worker_count++;
    }
    return 0;
}

enum kms_code kms_server_open(const struct kms_server_options *options,
                              struct kms_server **ret_server, struct kms_error *err)
{
    enum kms_code rc = check_options(options, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_server *server = create(options);
    int failed = start_threads(server);
    if (failed != 0) {
        (void)kms_server_stop(server, 0); /* nothing arrived: nothing can be stuck */
        return kms_fail_errno(err, KMS_E_INTERNAL, "pthread_create", failed,
                              "cannot start a thread");
    }
    *ret_server = server;
    return KMS_OK;
}

void kms_server_adopt(struct kms_server *server, int fd, const struct kms_peer *peer)
{
    size_t at = (size_t)fd;
    pthread_mutex_lock(&server->mutex);
    if (at >= server->peer_cap) {
        size_t cap = at + 1 > PEERS_MIN ? 2 * (at + 1) : PEERS_MIN;
        server->peers = gpr_realloc(server->peers, cap * sizeof *server->peers);
        memset(server->peers + server->peer_cap, 0,
               (cap - server->peer_cap) * sizeof *server->peers);
        server->peer_cap = cap;
    }
    server->peers[at] = *peer;
    pthread_mutex_unlock(&server->mutex);
    grpc_server_add_channel_from_fd(server->grpc, fd, server->credentials);
}

/* --- stop --- */

static bool wait_idle(struct kms_server *server, int64_t deadline_ms)
{
    pthread_mutex_lock(&server->mutex);
    bool in_time = true;
    while (server->in_flight > 0 && in_time)
        in_time = kms_cond_wait_until(&server->idle, &server->mutex, deadline_ms);
    bool idle = server->in_flight == 0;
    pthread_mutex_unlock(&server->mutex);
    return idle;
}

static bool pluck_shutdown(struct kms_server *server, int64_t timeout_ms)
{
    gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                      gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
    return grpc_completion_queue_pluck(server->drain, server, until, NULL).type == GRPC_OP_COMPLETE;
}

/* Finishes calls for @grace_ms, then cancels what is left, idle connections too.  False: a worker
 * hangs in the token, so core must not be taken down under it. */
static bool drain(struct kms_server *server, int64_t grace_ms)
{
    grpc_server_shutdown_and_notify(server->grpc, server->drain, server);
    bool idle = wait_idle(server, kms_monotonic_ms() + grace_ms);
    if (!idle || !pluck_shutdown(server, GOAWAY_MS)) {
        grpc_server_cancel_all_calls(server->grpc);
        if (!pluck_shutdown(server, STUCK_MS))
            return false;
    }
    /* A forced shutdown is complete while handlers still run. */
    return wait_idle(server, kms_monotonic_ms() + STUCK_MS);
}

static void join_threads(struct kms_server *server)
{
    kms_queue_stop(&server->queue);
    for (unsigned i = 0; i < server->worker_count; i++)
        pthread_join(server->workers[i], NULL);
    grpc_completion_queue_shutdown(server->events);
    if (server->poller_runs)
        pthread_join(server->poller, NULL);
    else
        kms_server_poll(server); /* the slots come out of the queue all the same */
}

static void destroy(struct kms_server *server)
{
    grpc_server_destroy(server->grpc);
    grpc_completion_queue_destroy(server->events);
    grpc_completion_queue_shutdown(server->drain);
    grpc_completion_queue_destroy(server->drain);
    grpc_server_credentials_release(server->credentials);
    grpc_shutdown();
    kms_queue_done(&server->queue);
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->mutex);
    gpr_free(server->peers);
    gpr_free(server);
}

bool kms_server_stop(struct kms_server *server, int64_t grace_ms)
{
    if (server == NULL)
        return true;
    if (!drain(server, grace_ms)) {
        kms_log(KMS_LOG_ERROR, "a call hangs in the token: giving up on it",
                KMS_F_INT("grace_ms", grace_ms));
        return false;
    }
    join_threads(server);
    destroy(server);
    return true;
}
