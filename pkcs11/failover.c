/* SPDX-License-Identifier: Apache-2.0 */
#include "failover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover_errand.h"
#include "kms/clock.h"
#include "kms/log.h"

/* A client that gives a token less than this says nothing of the token when it hears nothing. */
enum { FAIR_SHARE_MS = 100 };

static struct kms_failover *failover_of(struct kms_keystore *base)
{
    return (struct kms_failover *)base;
}

/* --- who rests --- */

void kms_failover_rest(struct kms_failover *failover, struct kms_failover_member *member,
                       const struct kms_error *why)
{
    (void)pthread_mutex_lock(&failover->lock);
    bool news = !member->resting;
    member->resting = true;
    (void)snprintf(member->problem, sizeof(member->problem), "%.159s", why->msg);
    (void)pthread_mutex_unlock(&failover->lock);
    const struct kms_log_field name = KMS_F_TEXT("token", member->name);
    if (news)
        kms_log_error(KMS_LOG_WARN, "token rests: it is left to the last until its canary is good",
                      why, &name, 1);
}

void kms_failover_wake(struct kms_failover *failover, struct kms_failover_member *member)
{
    (void)pthread_mutex_lock(&failover->lock);
    bool news = member->resting;
    member->resting = false;
    member->problem[0] = '\0';
    (void)pthread_mutex_unlock(&failover->lock);
    if (news)
        kms_log(KMS_LOG_INFO, "token is used again", KMS_F_TEXT("token", member->name));
}

/* --- who can do it --- */

/* With the lock held. */
static bool holds(const struct kms_failover_member *member, const struct kms_kek_ref *kek)
{
    for (size_t i = 0; i < member->kek_count; i++) {
        if (kms_kek_is(&member->keks[i], kek))
            return true;
    }
    return false;
}

/* With the lock held. */
static enum kms_code nobody(const struct kms_failover *failover, const struct kms_kek_ref *kek,
                            struct kms_error *err)
{
    for (size_t i = 0; i < failover->count; i++) {
        const struct kms_failover_member *member = &failover->members[i];
        const char *why = member->problem[0] != '\0' ? member->problem : "not reached yet";
        if (!member->listed)
            return kms_fail(err, KMS_E_UNAVAILABLE,
                            "no token that was listed has the KEK '%.80s', and token '%s' wasn't "
                            "(%s); do not delete objects",
                            kek->label, member->name, member->drained ? "drained" : why);
    }
    return kms_fail(err, KMS_E_PRECONDITION,
                    "none of the %zu tokens has the KEK '%.80s' with the fingerprint asked for",
                    failover->count, kek->label);
}

enum kms_code kms_failover_pick(struct kms_failover *failover, const struct kms_kek_ref *kek,
                                struct kms_failover_member *ret_members[KMS_TOKENS_MAX],
                                size_t *ret_count, struct kms_error *err)
{
    struct kms_failover_member *resting[KMS_TOKENS_MAX];
    size_t rest_count = 0, count = 0;
    (void)pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < failover->count; i++) {
        struct kms_failover_member *member = &failover->members[i];
        if (member->drained || !holds(member, kek))
            continue;
        if (member->resting)
            resting[rest_count++] = member;
        else
            ret_members[count++] = member;
    }
    enum kms_code rc = count + rest_count > 0 ? KMS_OK : nobody(failover, kek, err);
    (void)pthread_mutex_unlock(&failover->lock);
    for (size_t i = 0; i < rest_count; i++)
        ret_members[count++] = resting[i];
    *ret_count = count;
    return rc;
}

/* --- one call --- */

struct call {
    const struct kms_kek_ref *kek;
    struct kms_bytes data;
    enum kms_algorithm algorithm;
    struct kms_wrapped *ret_wrapped; /* NULL: unwraps */
    struct kms_secret *ret_seed;
};

static enum kms_code attempt(struct kms_keystore *keystore, const struct call *call,
                             int64_t deadline_ms, struct kms_error *err)
{
    if (call->ret_wrapped != NULL)
        return kms_keystore_wrap(keystore, call->kek, call->data, deadline_ms, call->ret_wrapped,
                                 err);
    return kms_keystore_unwrap(keystore, call->kek, call->algorithm, call->data, deadline_ms,
                               call->ret_seed, err);
}

/* A token without a free session, or where this key is disabled, is asked again next time: it says no
 * at once. */
static bool tires(enum kms_code code, int64_t given_ms)
{
    return code == KMS_E_UNAVAILABLE || code == KMS_E_INTERNAL ||
           (code == KMS_E_DEADLINE && given_ms >= FAIR_SHARE_MS);
}

static bool says_little(enum kms_code code)
{
    return code == KMS_OK || code == KMS_E_DEADLINE || code == KMS_E_BUSY;
}

void kms_failover_weigh(struct kms_error *best, const struct kms_failover_member *member,
                        const struct kms_error *next)
{
    enum { NAME_LEN = sizeof("token '': ") + KMS_TOKEN_NAME_MAX };
    if (best->code != KMS_OK && !(says_little(best->code) && !says_little(next->code)))
        return;
    *best = *next;
    (void)snprintf(best->msg, sizeof(best->msg), "token '%s': %.*s", member->name,
                   (int)sizeof(best->msg) - NAME_LEN, next->msg);
}

/* An algorithm that one token can't unwrap by another may: INVALID is of the request only where it wraps. */
static bool is_so_on_every_token(const struct call *call, enum kms_code code)
{
    return code == KMS_E_CORRUPT || (code == KMS_E_INVALID && call->ret_wrapped != NULL);
}

static void note_served(struct kms_failover *failover, struct kms_failover_member *member)
{
    (void)pthread_mutex_lock(&failover->lock);
    member->served = true;
    (void)pthread_mutex_unlock(&failover->lock);
}

/* @err may be NULL. */
static enum kms_code fail_as(const struct kms_error *why, struct kms_error *err)
{
    if (err != NULL)
        *err = *why;
    return kms_not_ok(why->code);
}

static enum kms_code serve(struct kms_failover *failover, const struct call *call,
                           int64_t deadline_ms, struct kms_error *err)
{
    struct kms_failover_member *candidates[KMS_TOKENS_MAX];
    struct kms_error best = { .code = KMS_OK };
    size_t count = 0;
    enum kms_code rc = kms_failover_pick(failover, call->kek, candidates, &count, err);
    if (rc != KMS_OK)
        return rc;
    for (size_t i = 0; i < count; i++) {
        int64_t now_ms = kms_monotonic_ms();
        if (i > 0 && now_ms >= deadline_ms)
            break;
        bool last = i + 1 == count;
        int64_t given_ms = (deadline_ms - now_ms) / (int64_t)(count - i);
        struct kms_error own = { .code = KMS_OK };
        rc = attempt(candidates[i]->keystore, call, last ? deadline_ms : now_ms + given_ms, &own);
        if (rc == KMS_OK) {
            note_served(failover, candidates[i]);
            return KMS_OK;
        }
        if (is_so_on_every_token(call, rc))
            return fail_as(&own, err);
        if (tires(rc, given_ms))
            kms_failover_rest(failover, candidates[i], &own);
        kms_failover_weigh(&best, candidates[i], &own);
    }
    return fail_as(&best, err);
}

static enum kms_code wrap(struct kms_keystore *base, const struct kms_kek_ref *kek,
                          struct kms_bytes seed, int64_t deadline_ms,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    const struct call call = { .kek = kek, .data = seed, .ret_wrapped = ret_wrapped };
    return serve(failover_of(base), &call, deadline_ms, err);
}

static enum kms_code unwrap(struct kms_keystore *base, const struct kms_kek_ref *kek,
                            enum kms_algorithm algorithm, struct kms_bytes wrapped,
                            int64_t deadline_ms, struct kms_secret *ret_seed, struct kms_error *err)
{
    const struct call call = {
        .kek = kek, .data = wrapped, .algorithm = algorithm, .ret_seed = ret_seed
    };
    return serve(failover_of(base), &call, deadline_ms, err);
}

/* --- the rest --- */

static size_t describe(struct kms_keystore *base, struct kms_token_info *ret_infos)
{
    struct kms_failover *failover = failover_of(base);
    for (size_t i = 0; i < failover->count; i++) {
        struct kms_failover_member *member = &failover->members[i];
        struct kms_token_info infos[KMS_TOKENS_MAX];
        (void)kms_keystore_describe(member->keystore, infos);
        (void)pthread_mutex_lock(&failover->lock);
        memcpy(infos[0].name, member->name, sizeof(infos[0].name));
        memcpy(infos[0].problem, member->problem, sizeof(infos[0].problem));
        infos[0].resting = member->resting;
        (void)pthread_mutex_unlock(&failover->lock);
        ret_infos[i] = infos[0];
    }
    return failover->count;
}

static void reload(struct kms_keystore *base)
{
    struct kms_failover *failover = failover_of(base);
    for (size_t i = 0; i < failover->count; i++)
        kms_keystore_reload(failover->members[i].keystore);
}

static void *close_one(void *keystore)
{
    kms_keystore_close(keystore);
    return NULL;
}

/* All at once: one that hangs takes its time. */
/* Closing one in which a thread hangs would hang, too: it is left to the end of the process. */
static bool is_stuck(struct kms_failover *failover, const struct kms_failover_member *member)
{
    (void)pthread_mutex_lock(&failover->lock);
    bool stuck = member->errands[KMS_ERRAND_LIST] || member->errands[KMS_ERRAND_TRY];
    (void)pthread_mutex_unlock(&failover->lock);
    if (stuck)
        kms_log(KMS_LOG_WARN, "token has not answered, and isn't closed",
                KMS_F_TEXT("token", member->name));
    return stuck;
}

static void close_members(struct kms_failover *failover)
{
    pthread_t threads[KMS_TOKENS_MAX];
    bool has_thread[KMS_TOKENS_MAX] = { false };
    for (size_t i = 0; i < failover->count; i++) {
        struct kms_keystore *keystore = failover->members[i].keystore;
        if (is_stuck(failover, &failover->members[i]))
            continue;
        has_thread[i] = pthread_create(&threads[i], NULL, close_one, keystore) == 0;
        if (!has_thread[i])
            (void)close_one(keystore);
    }
    for (size_t i = 0; i < failover->count; i++)
        if (has_thread[i])
            (void)pthread_join(threads[i], NULL);
}

static void close_failover(struct kms_keystore *base)
{
    struct kms_failover *failover = failover_of(base);
    bool all_ended = kms_errands_end(failover);
    close_members(failover);
    if (!all_ended)
        return; /* a thread still uses it */
    for (size_t i = 0; i < failover->count; i++)
        free(failover->members[i].keks);
    (void)pthread_cond_destroy(&failover->changed);
    (void)pthread_mutex_destroy(&failover->lock);
    free(failover);
}

#define SERVING                                                                                    \
    .inventory = kms_failover_inventory, .canary = kms_failover_canary, .wrap = wrap,              \
    .unwrap = unwrap, .sign = kms_failover_sign, .describe = describe, .reload = reload,           \
    .close = close_failover

static const struct kms_keystore_ops serving_ops = { SERVING };
static const struct kms_keystore_ops managing_ops = { SERVING, .manage = &kms_failover_manage };

enum kms_code kms_failover_open(const struct kms_failover_token *tokens, size_t count,
                                struct kms_keystore **ret_keystore, struct kms_error *err)
{
    struct kms_failover *failover = calloc(1, sizeof(*failover));
    if (failover == NULL) {
        for (size_t i = 0; i < count; i++)
            kms_keystore_close(tokens[i].keystore);
        return kms_fail(err, KMS_E_BUSY, "out of memory for a keystore");
    }
    failover->base.ops = &managing_ops;
    failover->count = count;
    (void)pthread_mutex_init(&failover->lock, NULL);
    kms_cond_init(&failover->changed);
    for (size_t i = 0; i < count; i++) {
        struct kms_failover_member *member = &failover->members[i];
        (void)snprintf(member->name, sizeof(member->name), "%s", tokens[i].name);
        member->keystore = tokens[i].keystore;
        member->copies_itself = tokens[i].copies_itself;
        if (member->keystore->ops->manage == NULL)
            failover->base.ops = &serving_ops;
    }
    *ret_keystore = &failover->base;
    return KMS_OK;
}
