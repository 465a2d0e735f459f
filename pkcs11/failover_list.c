/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover_errand.h"
#include "kms/clock.h"

/* --- one token, in its thread --- */

/* With the lock held.  At start there is nothing to fall back on until the first canary. */
static bool nobody_served(const struct kms_failover *failover)
{
    for (size_t i = 0; i < failover->count; i++)
        if (failover->members[i].served)
            return false;
    return true;
}

/* KMS_E_BUSY: no memory for what it holds; as if it hadn't been listed. */
static enum kms_code keep(struct kms_errand *errand)
{
    const struct kms_inventory *inventory = &errand->inventory;
    struct kms_failover_member *member = errand->member;
    struct kms_kek_info *keks = calloc(inventory->count + 1, sizeof(*keks));
    if (keks == NULL)
        return kms_fail(&errand->err, KMS_E_BUSY, "out of memory for %zu KEKs", inventory->count);
    if (inventory->count > 0)
        memcpy(keks, inventory->keks, inventory->count * sizeof(*keks));
    (void)pthread_mutex_lock(&errand->failover->lock);
    free(member->keks);
    member->keks = keks;
    member->kek_count = inventory->count;
    bool first = nobody_served(errand->failover);
    (void)pthread_mutex_unlock(&errand->failover->lock);
    if (first)
        kms_failover_wake(errand->failover, member);
    return KMS_OK;
}

/* After a failure what the member holds stays: it is a last resort. */
void kms_errand_list(struct kms_errand *errand)
{
    struct kms_failover_member *member = errand->member;
    struct kms_token_info infos[KMS_TOKENS_MAX];
    enum kms_code rc = kms_keystore_list(member->keystore, &errand->filter, errand->deadline_ms,
                                         &errand->inventory, &errand->err);
    (void)kms_keystore_describe(member->keystore, infos);
    if (infos[0].serial[0] != '\0') {
        (void)pthread_mutex_lock(&errand->failover->lock);
        memcpy(member->serial, infos[0].serial, sizeof(member->serial));
        (void)pthread_mutex_unlock(&errand->failover->lock);
    }
    if (rc == KMS_OK)
        rc = keep(errand);
    if (rc != KMS_OK)
        kms_failover_rest(errand->failover, member, &errand->err);
    errand->rc = rc;
}

void kms_errand_try(struct kms_errand *errand)
{
    struct kms_failover_member *member = errand->member;
    errand->rc = kms_keystore_canary(member->keystore, &errand->kek, errand->deadline_ms,
                                     &errand->err);
    if (errand->rc == KMS_OK) {
        (void)pthread_mutex_lock(&errand->failover->lock);
        member->served = true;
        (void)pthread_mutex_unlock(&errand->failover->lock);
        kms_failover_wake(errand->failover, member);
    } else if (errand->rc != KMS_E_BUSY) {
        kms_failover_rest(errand->failover, member, &errand->err);
    }
}

/* --- all of them --- */

static struct kms_error late(void)
{
    struct kms_error err;
    kms_fail(&err, KMS_E_DEADLINE, "the token did not answer in time; do not delete objects");
    return err;
}

/* Where a library that can't be left hangs, its thread does, too. */
static void rest_late(struct kms_failover *failover, const struct kms_errands *errands)
{
    const struct kms_error why = late();
    bool over = kms_monotonic_ms() >= errands->deadline_ms;
    for (size_t i = 0; i < errands->count && over; i++)
        if (!errands->done[i])
            kms_failover_rest(failover, errands->items[i]->member, &why);
}

/* The most telling failure of all. */
static enum kms_code fail_all(const struct kms_errands *errands, struct kms_error *err)
{
    const struct kms_error unanswered = late();
    struct kms_error best = { .code = KMS_OK };
    for (size_t i = 0; i < errands->count; i++)
        kms_failover_weigh(&best, errands->items[i]->member,
                           errands->done[i] ? &errands->items[i]->err : &unanswered);
    if (err != NULL)
        *err = best;
    return kms_not_ok(best.code);
}

static bool is_good(const struct kms_errands *errands, size_t i)
{
    return errands->done[i] && errands->items[i]->rc == KMS_OK;
}

static bool any_is_good(const struct kms_errands *errands)
{
    for (size_t i = 0; i < errands->count; i++)
        if (is_good(errands, i))
            return true;
    return false;
}

/* --- listings --- */

/* Drained tokens aren't asked, and rest when they are back.  Returns how many are asked. */
static size_t drain(struct kms_failover *failover, uint32_t drained,
                    struct kms_failover_member *ret_members[KMS_TOKENS_MAX])
{
    size_t count = 0;
    (void)pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < failover->count; i++) {
        struct kms_failover_member *member = &failover->members[i];
        member->drained = (drained & (UINT32_C(1) << i)) != 0;
        member->resting = member->resting || member->drained;
        if (!member->drained)
            ret_members[count++] = member;
    }
    (void)pthread_mutex_unlock(&failover->lock);
    return count;
}

/* Says of each token whether it is in this listing, and remembers it. */
static void report(struct kms_failover *failover, const struct kms_failover_part *parts,
                   struct kms_inventory *inventory)
{
    (void)pthread_mutex_lock(&failover->lock);
    inventory->token_count = failover->count;
    for (size_t i = 0; i < failover->count; i++) {
        struct kms_failover_member *member = &failover->members[i];
        struct kms_token_listing *listing = &inventory->tokens[i];
        member->listed = parts[i].inventory != NULL;
        *listing = (struct kms_token_listing){ .listed = member->listed,
                                               .drained = member->drained };
        memcpy(listing->name, member->name, sizeof(listing->name));
        memcpy(listing->serial, member->serial, sizeof(listing->serial));
        if (member->listed || member->drained)
            continue;
        (void)snprintf(listing->problem, sizeof(listing->problem), "%s",
                       member->problem[0] != '\0' ? member->problem
                                                  : "the token did not answer in time");
    }
    (void)pthread_mutex_unlock(&failover->lock);
}

static enum kms_code merge(struct kms_failover *failover, const struct kms_errands *errands,
                           struct kms_inventory *ret_inventory, struct kms_error *err)
{
    struct kms_failover_part parts[KMS_TOKENS_MAX] = { 0 };
    for (size_t i = 0; i < failover->count; i++)
        parts[i] = (struct kms_failover_part){ failover->members[i].name, NULL };
    for (size_t i = 0; i < errands->count; i++)
        if (is_good(errands, i))
            parts[errands->items[i]->member - failover->members].inventory =
                &errands->items[i]->inventory;
    struct kms_inventory merged = { 0 };
    enum kms_code rc = kms_failover_merge(parts, failover->count, &merged, err);
    if (rc != KMS_OK)
        return rc;
    report(failover, parts, &merged);
    *ret_inventory = merged;
    return KMS_OK;
}

/* With none listed: nothing of an older listing counts. */
static void forget_listed(struct kms_failover *failover)
{
    (void)pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < failover->count; i++)
        failover->members[i].listed = false;
    (void)pthread_mutex_unlock(&failover->lock);
}

enum kms_code kms_failover_inventory(struct kms_keystore *base, const struct kms_kek_filter *filter,
                                     int64_t deadline_ms, struct kms_inventory *ret_inventory,
                                     struct kms_error *err)
{
    struct kms_failover *failover = (struct kms_failover *)base;
    const struct kms_errand_order order = { .kind = KMS_ERRAND_LIST,
                                            .filter = filter,
                                            .deadline_ms = deadline_ms };
    struct kms_failover_member *members[KMS_TOKENS_MAX];
    struct kms_errands errands;
    size_t count = drain(failover, filter->drained, members);
    if (count == 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "all %zu tokens are drained; use one again: hsm-kms token resume %s",
                        failover->count, failover->members[0].name);
    enum kms_code rc = kms_errands_send(failover, &order, members, count, &errands, err);
    if (rc == KMS_OK) {
        kms_errands_wait(&errands);
        rest_late(failover, &errands);
        rc = any_is_good(&errands) ? merge(failover, &errands, ret_inventory, err)
                                   : fail_all(&errands, err);
        kms_errands_done(&errands);
    }
    if (rc != KMS_OK)
        forget_listed(failover);
    return rc;
}

/* --- canaries --- */

enum kms_code kms_failover_canary(struct kms_keystore *base, const struct kms_kek_ref *kek,
                                  int64_t deadline_ms, struct kms_error *err)
{
    struct kms_failover *failover = (struct kms_failover *)base;
    const struct kms_errand_order order = { .kind = KMS_ERRAND_TRY,
                                            .kek = kek,
                                            .deadline_ms = deadline_ms };
    struct kms_failover_member *members[KMS_TOKENS_MAX];
    struct kms_errands errands;
    size_t count = 0;
    enum kms_code rc = kms_failover_pick(failover, kek, members, &count, err);
    if (rc == KMS_OK)
        rc = kms_errands_send(failover, &order, members, count, &errands, err);
    if (rc != KMS_OK)
        return rc;
    kms_errands_wait(&errands);
    rest_late(failover, &errands);
    if (!any_is_good(&errands))
        rc = fail_all(&errands, err);
    kms_errands_done(&errands);
    return rc;
}
