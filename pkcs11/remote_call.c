/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/clock.h"
#include "kms/log.h"
#include "remote_state.h"

enum {
    HOPELESS_MS = 30000, /* so long without a connection: the library may need a new process */
    TRIES_MAX = 4,       /* a call that ends hosts must not go on doing it */
    LOOP_DEATHS = 3,     /* so many in a row: calls don't wait for the next any more */
};

/* What a call holds while it is under way. */
struct ticket {
    struct kms_host_child *child;
    struct kms_lane *lane;
};

static enum kms_code fail_waiting(const struct kms_remote *remote, struct kms_error *err)
{
    if (remote->phase == KMS_REMOTE_SERVING)
        return kms_fail(err, KMS_E_BUSY, "all lanes of the token host are in use");
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "the token host is being started again; do not delete objects");
}

/* With the lock held.  KMS_OK: *ret_lane is free, or NULL: wait. */
static enum kms_code try_lane(struct kms_remote *remote, enum kms_host_op op,
                              struct kms_lane **ret_lane, struct kms_error *err)
{
    bool is_list = op == KMS_HOST_LIST;
    *ret_lane = NULL;
    if (remote->stopping)
        return kms_fail(err, KMS_E_UNAVAILABLE, "the plugin is stopping");
    if ((remote->phase == KMS_REMOTE_UNPROVED && !is_list && !remote->may_prove) ||
        (remote->phase == KMS_REMOTE_DOWN && remote->deaths >= LOOP_DEATHS)) {
        *err = remote->why;
        return kms_not_ok(err->code);
    }
    if (remote->phase == KMS_REMOTE_SERVING || (remote->phase == KMS_REMOTE_UNPROVED && is_list))
        *ret_lane = kms_host_child_free_lane(remote->child);
    return KMS_OK;
}

static enum kms_code take_lane(struct kms_remote *remote, enum kms_host_op op, int64_t deadline_ms,
                               struct ticket *ret_ticket, struct kms_error *err)
{
    struct kms_lane *lane = NULL;
    (void)pthread_mutex_lock(&remote->lock);
    enum kms_code rc = try_lane(remote, op, &lane, err);
    while (rc == KMS_OK && lane == NULL) {
        if (!kms_cond_wait_until(&remote->changed, &remote->lock, deadline_ms))
            rc = fail_waiting(remote, err);
        else
            rc = try_lane(remote, op, &lane, err);
    }
    if (rc == KMS_OK) {
        lane->state = KMS_LANE_BUSY;
        remote->child->refs++;
        *ret_ticket = (struct ticket){ remote->child, lane };
    }
    (void)pthread_mutex_unlock(&remote->lock);
    return rc;
}

/* With the lock held.  A host that listed something serves, or may prove that it can. */
static void take_news(struct kms_remote *remote, const struct ticket *ticket,
                      const struct kms_host_call *call, const struct kms_host_answer *answer)
{
    if (remote->child != ticket->child)
        return;
    remote->info = answer->token;
    if (!remote->has_chosen && answer->token.profile[0] != '\0') {
        remote->has_chosen = true;
        remote->algorithm = answer->token.algorithm;
    }
    if (answer->failure.code != KMS_OK || remote->phase == KMS_REMOTE_PROVING)
        return;
    if (call->op == KMS_HOST_CANARY)
        kms_host_memory_kek(&remote->memory, &call->kek);
    if (call->op != KMS_HOST_LIST)
        return;
    kms_host_memory_filter(&remote->memory, &call->filter);
    if (remote->phase != KMS_REMOTE_UNPROVED)
        return;
    if (!remote->memory.has_kek) {
        kms_remote_serves(remote);
        return;
    }
    remote->may_prove = true;
    kms_remote_wake_keeper(remote);
}

/* With the lock held.  A refused PIN, or what else an operator must mend, is no reason for a new
 * process: it might spend another attempt. */
static void give_up_if_hopeless(struct kms_remote *remote, const struct ticket *ticket,
                                const struct kms_host_call *call,
                                const struct kms_host_answer *answer)
{
    if (call->op != KMS_HOST_LIST || remote->child != ticket->child ||
        remote->phase == KMS_REMOTE_ENDING)
        return;
    enum kms_code code = answer->failure.code;
    if (answer->token.connected || (code != KMS_E_UNAVAILABLE && code != KMS_E_INTERNAL)) {
        remote->away_since_ms = 0;
        return;
    }
    int64_t now_ms = kms_monotonic_ms();
    if (remote->away_since_ms == 0)
        remote->away_since_ms = now_ms;
    if (now_ms - remote->away_since_ms < HOPELESS_MS)
        return;
    kms_log(KMS_LOG_WARN, "token host is given up",
            KMS_F_TEXT("reason", "its library has had no connection for too long"));
    kms_host_kill(&ticket->child->process);
    remote->phase = KMS_REMOTE_ENDING;
}

/* True: the host is lost, and the call not done. */
static bool give_back(struct kms_remote *remote, const struct ticket *ticket,
                      const struct kms_host_call *call, enum kms_code rc,
                      const struct kms_host_answer *answer)
{
    bool lost = rc != KMS_OK && rc != KMS_E_DEADLINE;
    (void)pthread_mutex_lock(&remote->lock);
    if (rc == KMS_OK) {
        ticket->lane->state = KMS_LANE_FREE;
        take_news(remote, ticket, call, answer);
        give_up_if_hopeless(remote, ticket, call, answer);
    } else if (rc == KMS_E_DEADLINE) {
        ticket->lane->state = KMS_LANE_LATE;
        ticket->lane->late_since_ms = kms_monotonic_ms();
        kms_remote_wake_keeper(remote);
    } else if (remote->child == ticket->child && remote->phase != KMS_REMOTE_ENDING) {
        kms_host_kill(&ticket->child->process); /* the lane stays busy: nobody can use it */
        remote->phase = KMS_REMOTE_ENDING;
    }
    kms_host_child_release(ticket->child);
    (void)pthread_cond_broadcast(&remote->changed);
    (void)pthread_mutex_unlock(&remote->lock);
    return lost;
}

enum kms_code kms_remote_call(struct kms_remote *remote, const struct kms_host_call *given,
                              int64_t deadline_ms, struct kms_host_answer *ret_answer,
                              struct kms_error *err)
{
    struct kms_host_call call = *given;
    for (int tries = 1;; tries++) {
        struct ticket ticket;
        enum kms_code rc = take_lane(remote, call.op, deadline_ms, &ticket, err);
        if (rc != KMS_OK)
            return rc;
        rc = kms_lane_exchange(ticket.lane, &call, deadline_ms, ret_answer, err);
        bool lost = give_back(remote, &ticket, &call, rc, ret_answer);
        call.reload = false; /* a second host would spend another PIN attempt */
        if (lost && (tries == TRIES_MAX || call.op == KMS_HOST_SIGN)) /* seeds come first */
            return kms_fail(err, KMS_E_UNAVAILABLE,
                            "the token host ended %d times during this call; do not delete objects",
                            tries);
        if (lost)
            continue;
        if (rc == KMS_E_DEADLINE)
            return kms_fail(err, rc, "the token did not answer in time; do not delete objects");
        *err = ret_answer->failure;
        return err->code;
    }
}

enum kms_code kms_remote_try(struct kms_remote *remote, const struct kms_host_call *call,
                             int64_t deadline_ms, struct kms_error *err)
{
    KMS_CLEANUP(kms_host_answer_done)
    struct kms_host_answer answer = { .failure = { .code = KMS_OK } };
    (void)pthread_mutex_lock(&remote->lock);
    struct kms_lane *lane = kms_host_child_free_lane(remote->child);
    struct ticket ticket = { remote->child, lane };
    if (lane != NULL) {
        lane->state = KMS_LANE_BUSY;
        ticket.child->refs++;
    }
    (void)pthread_mutex_unlock(&remote->lock);
    if (lane == NULL)
        return kms_fail(err, KMS_E_BUSY, "all lanes of the token host are in use");
    enum kms_code rc = kms_lane_exchange(lane, call, deadline_ms, &answer, err);
    (void)give_back(remote, &ticket, call, rc, &answer);
    if (rc != KMS_OK)
        return rc;
    *err = answer.failure;
    return err->code;
}
