/* SPDX-License-Identifier: Apache-2.0 */
#include "failover_errand.h"

#include <stdlib.h>
#include <string.h>

#include "kms/clock.h"

enum {
    GRACE_MS = 1000, /* so much longer than the others do those take that nobody needs */
    SLACK_MS = 200,  /* for a keystore to say that the deadline has passed */
};

static void free_errand(struct kms_errand *errand)
{
    kms_inventory_done(&errand->inventory);
    free(errand->names);
    free(errand->prefix);
    free(errand->label);
    free(errand->key_id);
    free(errand);
}

/* With the lock held. */
static void release(struct kms_errand *errand)
{
    if (--errand->refs == 0)
        free_errand(errand);
}

/* NULL: no memory. */
static struct kms_errand *new_errand(struct kms_failover *failover,
                                     struct kms_failover_member *member,
                                     const struct kms_errand_order *order)
{
    struct kms_errand *errand = calloc(1, sizeof(*errand));
    if (errand == NULL)
        return NULL;
    errand->failover = failover;
    errand->member = member;
    errand->kind = order->kind;
    errand->deadline_ms = order->deadline_ms;
    errand->patient = order->kind == KMS_ERRAND_LIST && !member->resting;
    errand->refs = 2; /* the thread's and the caller's */
    return errand;
}

static bool copy_filter(struct kms_errand *errand, const struct kms_kek_filter *filter)
{
    errand->prefix = strdup(filter->label_prefix);
    errand->names = calloc(filter->name_count + 1, sizeof(*errand->names));
    if (errand->prefix == NULL || errand->names == NULL)
        return false;
    for (size_t i = 0; i < filter->name_count; i++)
        errand->names[i] = filter->names[i];
    errand->filter = (struct kms_kek_filter){ .label_prefix = errand->prefix,
                                              .names = errand->names,
                                              .name_count = filter->name_count };
    return true;
}

static bool copy_kek(struct kms_errand *errand, const struct kms_kek_ref *kek)
{
    errand->label = strdup(kek->label);
    errand->key_id = kek->key_id != NULL ? strdup(kek->key_id) : NULL;
    if (errand->label == NULL || (kek->key_id != NULL && errand->key_id == NULL))
        return false;
    memcpy(errand->fingerprint, kek->fingerprint, sizeof(errand->fingerprint));
    errand->kek = (struct kms_kek_ref){ errand->label, errand->fingerprint, errand->key_id };
    return true;
}

/* The caller may be gone before the token answers: it borrows nothing. */
static struct kms_errand *make(struct kms_failover *failover, struct kms_failover_member *member,
                               const struct kms_errand_order *order)
{
    struct kms_errand *errand = new_errand(failover, member, order);
    if (errand == NULL)
        return NULL;
    bool good = order->kind == KMS_ERRAND_LIST ? copy_filter(errand, order->filter)
                                               : copy_kek(errand, order->kek);
    if (good)
        return errand;
    free_errand(errand);
    return NULL;
}

static void *run(void *argument)
{
    struct kms_errand *errand = argument;
    struct kms_failover *failover = errand->failover;
    if (errand->kind == KMS_ERRAND_LIST)
        kms_errand_list(errand);
    else
        kms_errand_try(errand);
    (void)pthread_mutex_lock(&failover->lock);
    errand->done = true;
    errand->member->errands[errand->kind] = false;
    failover->errand_count--;
    (void)pthread_cond_broadcast(&failover->changed);
    if (errand->is_alone && errand->has_thread)
        (void)pthread_detach(errand->thread);
    release(errand);
    (void)pthread_mutex_unlock(&failover->lock);
    return NULL;
}

/* With the lock held, so that the thread finds itself in the errand. */
static bool run_in_thread(struct kms_errand *errand)
{
    errand->has_thread = true;
    if (pthread_create(&errand->thread, NULL, run, errand) != 0)
        errand->has_thread = false;
    return errand->has_thread;
}

enum kms_code kms_errands_send(struct kms_failover *failover, const struct kms_errand_order *order,
                               struct kms_failover_member *const *members, size_t count,
                               struct kms_errands *ret_errands, struct kms_error *err)
{
    struct kms_errands errands = { .failover = failover, .deadline_ms = order->deadline_ms };
    bool no_memory = false;
    (void)pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < count; i++) {
        bool *under_way = &members[i]->errands[order->kind];
        struct kms_errand *errand = *under_way ? NULL : make(failover, members[i], order);
        no_memory = no_memory || (!*under_way && errand == NULL);
        if (errand == NULL)
            continue;
        *under_way = true;
        failover->errand_count++;
        if (order->deadline_ms > failover->errands_until_ms)
            failover->errands_until_ms = order->deadline_ms;
        errands.items[errands.count++] = errand;
    }
    (void)pthread_mutex_unlock(&failover->lock);
    if (errands.count == 0 && no_memory)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    if (errands.count == 0)
        return kms_fail(err, KMS_E_UNAVAILABLE,
                        "token '%s' has not answered what it was asked before; do not delete "
                        "objects",
                        members[0]->name);
    for (size_t i = 0; i < errands.count; i++) {
        (void)pthread_mutex_lock(&failover->lock);
        bool started = run_in_thread(errands.items[i]);
        (void)pthread_mutex_unlock(&failover->lock);
        if (!started)
            (void)run(errands.items[i]);
    }
    *ret_errands = errands;
    return KMS_OK;
}

/* With the lock held.  True: no more is needed, and the others may have some grace. */
static bool is_enough(const struct kms_errands *errands, bool *ret_all)
{
    bool any_good = false, patient = false;
    *ret_all = true;
    for (size_t i = 0; i < errands->count; i++) {
        const struct kms_errand *errand = errands->items[i];
        *ret_all = *ret_all && errand->done;
        any_good = any_good || (errand->done && errand->rc == KMS_OK);
        patient = patient || (!errand->done && errand->patient);
    }
    return any_good && !patient;
}

static int64_t later_ms(int64_t time_ms, int64_t by_ms)
{
    return time_ms > KMS_DEADLINE_NEVER - by_ms ? KMS_DEADLINE_NEVER : time_ms + by_ms;
}

void kms_errands_wait(struct kms_errands *errands)
{
    struct kms_failover *failover = errands->failover;
    int64_t until_ms = later_ms(errands->deadline_ms, SLACK_MS);
    bool in_grace = false, all = false;
    (void)pthread_mutex_lock(&failover->lock);
    for (bool waits = true; waits;) {
        bool enough = is_enough(errands, &all);
        if (all)
            break;
        int64_t grace_end_ms = kms_monotonic_ms() + GRACE_MS;
        if (enough && !in_grace && grace_end_ms < until_ms)
            until_ms = grace_end_ms;
        in_grace = in_grace || enough;
        waits = kms_cond_wait_until(&failover->changed, &failover->lock, until_ms);
    }
    for (size_t i = 0; i < errands->count; i++)
        errands->done[i] = errands->items[i]->done;
    (void)pthread_mutex_unlock(&failover->lock);
}

void kms_errands_done(struct kms_errands *errands)
{
    struct kms_failover *failover = errands->failover;
    pthread_t ended[KMS_TOKENS_MAX];
    size_t count = 0;
    (void)pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < errands->count; i++) {
        struct kms_errand *errand = errands->items[i];
        errand->is_alone = !errand->done;
        if (errand->done && errand->has_thread)
            ended[count++] = errand->thread;
        release(errand);
    }
    (void)pthread_mutex_unlock(&failover->lock);
    for (size_t i = 0; i < count; i++)
        (void)pthread_join(ended[i], NULL);
}

bool kms_errands_end(struct kms_failover *failover)
{
    (void)pthread_mutex_lock(&failover->lock);
    int64_t until_ms = later_ms(failover->errands_until_ms, GRACE_MS);
    while (failover->errand_count > 0 &&
           kms_cond_wait_until(&failover->changed, &failover->lock, until_ms))
        ;
    bool all = failover->errand_count == 0;
    (void)pthread_mutex_unlock(&failover->lock);
    return all;
}
