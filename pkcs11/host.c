/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "frame.h"
#include "host_process.h"
#include "host_wire.h"
#include "kms/clock.h"
#include "kms/log.h"

struct host {
    struct kms_keystore *keystore;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    size_t refs;    /* of the lanes and of the caller; the last one frees */
    size_t serving; /* lanes whose thread runs */
    bool ending;    /* the other side of some lane is closed */

    /* the caller's alone */
    pthread_t threads[KMS_HOST_LANES_MAX];
    size_t thread_count;
};

struct lane {
    struct host *host;
    int fd;
};

static void release(struct host *host)
{
    (void)pthread_mutex_lock(&host->lock);
    bool last = --host->refs == 0;
    (void)pthread_mutex_unlock(&host->lock);
    if (!last)
        return;
    (void)pthread_mutex_destroy(&host->lock);
    (void)pthread_cond_destroy(&host->changed);
    free(host);
}

/* --- one call --- */

static int64_t deadline_of(const struct kms_host_call *call)
{
    int64_t deadline_ms = 0;
    if (__builtin_add_overflow(kms_monotonic_ms(), call->time_left_ms, &deadline_ms))
        return KMS_DEADLINE_NEVER;
    return deadline_ms;
}

static enum kms_code wrap(struct kms_keystore *ks, const struct kms_host_call *call,
                          int64_t deadline_ms, struct kms_host_answer *answer)
{
    struct kms_wrapped wrapped = { .len = 0 };
    struct kms_error *err = &answer->failure;
    enum kms_code rc = kms_keystore_wrap(ks, &call->kek, call->data, deadline_ms, &wrapped, err);
    if (rc != KMS_OK)
        return rc;
    answer->algorithm = wrapped.algorithm;
    return kms_secret_copy(&answer->data, (struct kms_bytes){ wrapped.data, wrapped.len }, err);
}

static enum kms_code run(struct kms_keystore *ks, const struct kms_host_call *call,
                         struct kms_host_answer *answer)
{
    int64_t deadline_ms = deadline_of(call);
    struct kms_error *err = &answer->failure;
    switch (call->op) {
    case KMS_HOST_LIST:
        if (call->reload)
            kms_keystore_reload(ks);
        return kms_keystore_list(ks, &call->filter, deadline_ms, &answer->inventory, err);
    case KMS_HOST_CANARY:
        return kms_keystore_canary(ks, &call->kek, deadline_ms, err);
    case KMS_HOST_WRAP:
        return wrap(ks, call, deadline_ms, answer);
    case KMS_HOST_UNWRAP:
        return kms_keystore_unwrap(ks, &call->kek, call->algorithm, call->data, deadline_ms,
                                   &answer->data, err);
    case KMS_HOST_SIGN:
        return kms_keystore_sign(ks, call->label, call->data, deadline_ms, &answer->signature, err);
    }
    return kms_fail(err, KMS_E_INTERNAL, "an unknown call");
}

static enum kms_code answer_request(struct kms_keystore *ks, const struct kms_secret *message,
                                    struct kms_secret *ret_reply, struct kms_error *err)
{
    struct kms_host_request request;
    enum kms_code rc = kms_host_parse_call(kms_secret_bytes(message), &request, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .id = request.call.id };
    rc = run(ks, &request.call, &answer);
    if (rc == KMS_OK)
        answer.failure = (struct kms_error){ .code = KMS_OK };
    answer.failure.code = rc; /* a failure is never taken for success */
    kms_host_request_done(&request);
    struct kms_token_info tokens[KMS_TOKENS_MAX];
    (void)kms_keystore_describe(ks, tokens);
    answer.token = tokens[0];
    return kms_host_pack_answer(&answer, ret_reply, err);
}

/* --- a lane --- */

static enum kms_code serve_one(struct lane *lane, struct kms_frame_reader *reader,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret message = { 0 };
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    enum kms_code rc = kms_frame_receive(reader, lane->fd, KMS_DEADLINE_NEVER, &message, err);
    if (rc == KMS_OK)
        rc = answer_request(lane->host->keystore, &message, &reply, err);
    if (rc == KMS_OK)
        rc = kms_frame_send(lane->fd, kms_secret_bytes(&reply), KMS_DEADLINE_NEVER, err);
    kms_secret_wipe_stack();
    return rc;
}

static void *serve_lane(void *argument)
{
    struct lane lane = *(struct lane *)argument;
    free(argument);
    KMS_CLEANUP(kms_frame_reader_done) struct kms_frame_reader reader = { .head_len = 0 };
    struct kms_error err = { .code = KMS_OK };
    while (serve_one(&lane, &reader, &err) == KMS_OK)
        continue;
    if (err.code != KMS_E_UNAVAILABLE)
        kms_log_error(KMS_LOG_ERROR, "lane ends", &err, NULL, 0);

    struct host *host = lane.host;
    (void)pthread_mutex_lock(&host->lock);
    host->serving--;
    host->ending = true;
    (void)pthread_cond_broadcast(&host->changed);
    (void)pthread_mutex_unlock(&host->lock);
    release(host);
    return NULL;
}

static bool start_lane(struct host *host, int fd)
{
    struct lane *lane = malloc(sizeof(*lane));
    if (lane == NULL)
        return false;
    *lane = (struct lane){ host, fd };
    (void)pthread_mutex_lock(&host->lock);
    host->refs++;
    host->serving++;
    (void)pthread_mutex_unlock(&host->lock);
    if (pthread_create(&host->threads[host->thread_count], NULL, serve_lane, lane) == 0) {
        host->thread_count++;
        return true;
    }
    free(lane);
    (void)pthread_mutex_lock(&host->lock);
    host->serving--;
    (void)pthread_mutex_unlock(&host->lock);
    release(host);
    return false;
}

/* All have ended: what the library keeps for a thread is released before the library is. */
static void join_all(struct host *host)
{
    for (size_t i = 0; i < host->thread_count; i++)
        (void)pthread_join(host->threads[i], NULL);
}

/* Ends every lane after its call in flight; true if all have ended. */
static bool wind_up(struct host *host, const int *lanes, size_t lane_count, int64_t grace_ms)
{
    int64_t deadline_ms = kms_monotonic_ms() + grace_ms;
    for (size_t i = 0; i < lane_count; i++)
        (void)shutdown(lanes[i], SHUT_RD);
    (void)pthread_mutex_lock(&host->lock);
    while (host->serving > 0) {
        if (!kms_cond_wait_until(&host->changed, &host->lock, deadline_ms))
            break;
    }
    bool quiet = host->serving == 0;
    (void)pthread_mutex_unlock(&host->lock);
    return quiet;
}

enum kms_code kms_host_serve(struct kms_keystore *keystore, const int *lanes, size_t lane_count,
                             int64_t grace_ms, bool *ret_quiet, struct kms_error *err)
{
    struct host *host = calloc(1, sizeof(*host));
    if (host == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    host->keystore = keystore;
    host->refs = 1;
    (void)pthread_mutex_init(&host->lock, NULL);
    kms_cond_init(&host->changed);
    bool started = true;
    for (size_t i = 0; i < lane_count && started; i++)
        started = start_lane(host, lanes[i]);

    (void)pthread_mutex_lock(&host->lock);
    while (started && !host->ending)
        (void)pthread_cond_wait(&host->changed, &host->lock);
    (void)pthread_mutex_unlock(&host->lock);
    *ret_quiet = wind_up(host, lanes, lane_count, grace_ms);
    if (*ret_quiet)
        join_all(host);
    release(host);
    return started ? KMS_OK : kms_fail(err, KMS_E_BUSY, "no thread for a lane");
}
