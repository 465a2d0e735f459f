/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_copier.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "audit_sink.h"
#include "kms/clock.h"
#include "kms/log.h"

enum {
    QUEUE_MAX = 4 * 1024 * 1024, /* bytes of lines: some thousand */
    CLOSE_MS = 2 * 1000,         /* what a close waits for */
};

struct copy {
    struct copy *next;
    size_t len;
    uint8_t text[];
};

struct kms_audit_copier {
    struct kms_audit_sinks *sinks; /* the thread's alone */
    uint64_t sink_count;           /* 0: there is no thread */
    pthread_t thread;

    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t changed; /* there is something to send, to stop or to end */
    struct copy *first, **last;
    size_t queued; /* bytes */
    uint64_t uncopied;
    bool full; /* a line didn't fit, and the queue wasn't empty since */
    bool stopping, ended, abandoned;
};

static void free_copier(struct kms_audit_copier *copier)
{
    while (copier->first != NULL) {
        struct copy *copy = copier->first;
        copier->first = copy->next;
        free(copy);
    }
    kms_audit_sinks_close(copier->sinks);
    (void)pthread_cond_destroy(&copier->changed);
    (void)pthread_mutex_destroy(&copier->lock);
    free(copier);
}

/* --- the thread --- */

/* With the lock held, which is released meanwhile. */
static void send_first(struct kms_audit_copier *copier)
{
    struct copy *copy = copier->first;
    copier->first = copy->next;
    if (copier->first == NULL)
        copier->last = &copier->first;
    (void)pthread_mutex_unlock(&copier->lock);
    uint64_t missed = kms_audit_sinks_send(copier->sinks,
                                           (struct kms_bytes){ copy->text, copy->len });
    (void)pthread_mutex_lock(&copier->lock);
    copier->uncopied += missed;
    copier->queued -= copy->len;
    copier->full = copier->full && copier->first != NULL;
    free(copy);
}

static void *run(void *arg)
{
    struct kms_audit_copier *copier = arg;
    (void)pthread_mutex_lock(&copier->lock);
    while (!copier->abandoned && (copier->first != NULL || !copier->stopping)) {
        if (copier->first != NULL)
            send_first(copier);
        else
            (void)pthread_cond_wait(&copier->changed, &copier->lock);
    }
    copier->ended = true;
    bool abandoned = copier->abandoned;
    (void)pthread_cond_signal(&copier->changed);
    (void)pthread_mutex_unlock(&copier->lock);
    if (abandoned)
        free_copier(copier);
    return NULL;
}

/* --- others --- */

static uint64_t count_lines(struct kms_bytes text)
{
    uint64_t lines = text.data[text.len - 1] != '\n' ? 1 : 0;
    for (size_t i = 0; i < text.len; i++)
        lines += text.data[i] == '\n' ? 1 : 0;
    return lines;
}

/* Takes @copy, if it isn't NULL and fits.  With the lock held. */
static bool queue(struct kms_audit_copier *copier, struct copy *copy)
{
    if (copy == NULL || copy->len > QUEUE_MAX - copier->queued)
        return false;
    *copier->last = copy;
    copier->last = &copy->next;
    copier->queued += copy->len;
    (void)pthread_cond_signal(&copier->changed);
    return true;
}

void kms_audit_copier_send(struct kms_audit_copier *copier, struct kms_bytes text)
{
    if (copier->sink_count == 0 || text.len == 0)
        return;
    struct copy *copy = malloc(sizeof(*copy) + text.len);
    if (copy != NULL) {
        *copy = (struct copy){ .len = text.len };
        memcpy(copy->text, text.data, text.len);
    }
    (void)pthread_mutex_lock(&copier->lock);
    bool taken = queue(copier, copy), news = !taken && !copier->full;
    if (!taken) {
        copier->uncopied += copier->sink_count * count_lines(text);
        copier->full = true;
    }
    (void)pthread_mutex_unlock(&copier->lock);
    if (!taken)
        free(copy);
    if (!news)
        return;
    struct kms_error err;
    kms_fail(&err, KMS_E_BUSY, "too many wait for journald or syslog; see why these are slow");
    kms_log_error(KMS_LOG_WARN, "audit lines are not copied", &err, NULL, 0);
}

uint64_t kms_audit_copier_uncopied(struct kms_audit_copier *copier)
{
    (void)pthread_mutex_lock(&copier->lock);
    uint64_t uncopied = copier->uncopied;
    (void)pthread_mutex_unlock(&copier->lock);
    return uncopied;
}

enum kms_code kms_audit_copier_open(const struct kms_audit_options *options,
                                    struct kms_audit_copier **ret_copier, struct kms_error *err)
{
    struct kms_audit_copier *copier = calloc(1, sizeof(*copier));
    if (copier == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    copier->sink_count = (uint64_t)__builtin_popcount(options->sinks);
    copier->last = &copier->first;
    (void)pthread_mutex_init(&copier->lock, NULL);
    kms_cond_init(&copier->changed);
    enum kms_code rc = kms_audit_sinks_open(options, &copier->sinks, err);
    if (rc == KMS_OK && copier->sink_count > 0 &&
        pthread_create(&copier->thread, NULL, run, copier) != 0)
        rc = kms_fail(err, KMS_E_BUSY, "no thread for the audit log's copies");
    if (rc != KMS_OK) {
        free_copier(copier);
        return rc;
    }
    *ret_copier = copier;
    return KMS_OK;
}

/* True: the thread has ended.  Else it frees the copier when it does. */
static bool stop(struct kms_audit_copier *copier)
{
    int64_t deadline_ms = kms_monotonic_ms() + CLOSE_MS;
    (void)pthread_mutex_lock(&copier->lock);
    copier->stopping = true;
    (void)pthread_cond_signal(&copier->changed);
    while (!copier->ended && kms_cond_wait_until(&copier->changed, &copier->lock, deadline_ms))
        continue;
    bool ended = copier->ended;
    copier->abandoned = !ended;
    if (!ended)
        (void)pthread_detach(copier->thread);
    (void)pthread_mutex_unlock(&copier->lock);
    return ended;
}

void kms_audit_copier_close(struct kms_audit_copier *copier)
{
    if (copier == NULL)
        return;
    if (copier->sink_count > 0 && !stop(copier)) {
        kms_log(KMS_LOG_WARN, "audit lines are not copied",
                KMS_F_TEXT("error", "journald or syslog didn't take the last ones in time"));
        return;
    }
    if (copier->sink_count > 0)
        (void)pthread_join(copier->thread, NULL);
    free_copier(copier);
}
