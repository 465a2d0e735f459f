/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <stdlib.h>
#include <time.h>

#include "rv.h"
#include "sessions.h"
#include "state.h"
#include "stats.h"

enum { HANG_POLL_MS = 5 };

/* All calls between enter and leave; guarded by misbehave_lock(). */
static struct misbehave_call *calls;

/* Guarded by misbehave_lock(). */
static enum { ALIVE, DEAD_UNTIL_FINALIZE, DEAD_UNTIL_EXIT } life;
static CK_RV dead_rv;

/* Shared by calls inside the module behind; alone by one that closes what others may use. */
static pthread_rwlock_t gate = PTHREAD_RWLOCK_INITIALIZER;

/* What the rules have for one call. */
struct verdict {
    unsigned delay_ms;
    const struct misbehave_rule *rule; /* the first that does more than to delay; NULL: none */
};

static void pause_ms(unsigned ms)
{
    struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    while (ms > 0 && nanosleep(&left, &left) != 0)
        continue;
}

/* --- misuse by the application --- */

static bool is_disturbed_by(const struct misbehave_call *other, const struct misbehave_call *call)
{
    if (pthread_equal(other->thread, call->thread) != 0 ||
        other->function == MISBEHAVE_C_WaitForSlotEvent) /* C_Finalize ends that */
        return false;
    if (call->function == MISBEHAVE_C_Finalize || other->function == MISBEHAVE_C_Finalize)
        return true;
    if (other->subject != MISBEHAVE_OF_SESSION)
        return false;
    if (call->function == MISBEHAVE_C_CloseAllSessions) {
        const struct misbehave_session *session = misbehave_sessions_find(other->handle);
        return session != NULL && session->slot == call->handle;
    }
    return call->subject == MISBEHAVE_OF_SESSION && call->handle == other->handle;
}

static void check_threads(const struct misbehave_call *call)
{
    for (const struct misbehave_call *other = calls; other != NULL; other = other->next) {
        if (is_disturbed_by(other, call))
            misbehave_die(call->manner.log, "%s while another thread is in %s%s",
                          misbehave_names[call->function], misbehave_names[other->function],
                          call->subject == MISBEHAVE_OF_SESSION ? " with the same session" : "");
    }
}

/* --- rules --- */

static struct verdict judge(struct misbehave_config *config, enum misbehave_function function)
{
    struct verdict verdict = { 0 };
    for (size_t i = 0; i < config->rule_count; i++) {
        struct misbehave_rule *rule = &config->rules[i];
        if (rule->function >= 0 && rule->function != (int)function)
            continue;
        rule->seen++;
        if (rule->seen < rule->nth || (rule->count > 0 && rule->seen - rule->nth >= rule->count))
            continue;
        if (rule->action == MISBEHAVE_DELAY)
            verdict.delay_ms += rule->ms;
        else if (verdict.rule == NULL)
            verdict.rule = rule;
    }
    return verdict;
}

static bool stands(const char *text)
{
    misbehave_lock();
    bool found = misbehave_control_find(text) != NULL;
    misbehave_unlock();
    return found;
}

static void hang(const struct misbehave_call *call, const struct misbehave_rule *rule)
{
    misbehave_stats_hanging(call->function, 1);
    while (stands(rule->text))
        pause_ms(HANG_POLL_MS);
    misbehave_stats_hanging(call->function, -1);
}

static void die_down(enum misbehave_action how, CK_RV rv)
{
    misbehave_lock();
    life = how == MISBEHAVE_DEAD_UNTIL_EXIT ? DEAD_UNTIL_EXIT : DEAD_UNTIL_FINALIZE;
    dead_rv = rv;
    misbehave_unlock();
}

static CK_RV suffer(struct misbehave_call *call, const struct misbehave_rule *rule)
{
    misbehave_log(call->manner.log, "%s: %s", misbehave_names[call->function], rule->text);
    switch (rule->action) {
    case MISBEHAVE_FAIL:
        return rule->rv;
    case MISBEHAVE_FAIL_AFTER:
        call->late_rv = rule->rv;
        return CKR_OK;
    case MISBEHAVE_HANG:
        hang(call, rule);
        return CKR_OK;
    case MISBEHAVE_CRASH:
        misbehave_die(call->manner.log, "%s crashes, as told", misbehave_names[call->function]);
    case MISBEHAVE_DEAD_UNTIL_FINALIZE:
    case MISBEHAVE_DEAD_UNTIL_EXIT:
        die_down(rule->action, rule->rv);
        return rule->rv;
    case MISBEHAVE_DELAY:
        break;
    }
    return CKR_OK;
}

/* --- what is away or full --- */

/* C_Finalize always reaches the module behind: what it holds must not leak. */
static CK_RV check_life(const struct misbehave_call *call)
{
    if (call->function != MISBEHAVE_C_Finalize)
        return life == ALIVE ? CKR_OK : dead_rv;
    if (life == DEAD_UNTIL_FINALIZE)
        life = ALIVE;
    return CKR_OK;
}

static CK_RV check_presence(const struct misbehave_call *call)
{
    if (call->manner.absent)
        misbehave_sessions_lose_all();
    if (call->manner.absent && call->subject == MISBEHAVE_OF_SLOT)
        return call->function == MISBEHAVE_C_GetSlotInfo ? CKR_OK : CKR_TOKEN_NOT_PRESENT;
    if (call->subject != MISBEHAVE_OF_SESSION)
        return CKR_OK;
    if (call->manner.absent)
        return CKR_DEVICE_REMOVED;
    const struct misbehave_session *session = misbehave_sessions_find(call->handle);
    return session != NULL && session->lost ? CKR_SESSION_HANDLE_INVALID : CKR_OK;
}

static CK_RV check_load(const struct misbehave_call *call)
{
    unsigned long others = 0;
    if (call->subject != MISBEHAVE_OF_SESSION || call->manner.busy_cap == 0)
        return CKR_OK;
    for (const struct misbehave_call *other = calls; other != NULL; other = other->next)
        others += other != call && other->subject == MISBEHAVE_OF_SESSION && !other->injected;
    return others >= call->manner.busy_cap ? call->manner.busy_rv : CKR_OK;
}

/* --- entering and leaving --- */

/* @ret_rule is a copy: the rules change under a call that sleeps. */
static CK_RV begin(struct misbehave_call *call, unsigned *ret_delay_ms, bool *ret_ruled,
                   struct misbehave_rule *ret_rule)
{
    misbehave_lock();
    struct misbehave_config *config = misbehave_control_now();
    call->manner = config->manner;
    misbehave_stats_use(config->stats, config->manner.log);
    misbehave_stats_called(call->function);
    check_threads(call);
    struct verdict verdict = judge(config, call->function);
    *ret_delay_ms = verdict.delay_ms + config->manner.latency_ms;
    *ret_ruled = verdict.rule != NULL;
    if (verdict.rule != NULL)
        *ret_rule = *verdict.rule;
    call->next = calls;
    calls = call;
    CK_RV rv = check_load(call);
    misbehave_unlock();
    return rv;
}

static CK_RV check_after_sleep(const struct misbehave_call *call)
{
    misbehave_lock();
    CK_RV rv = check_life(call);
    if (rv == CKR_OK)
        rv = check_presence(call);
    misbehave_unlock();
    return rv;
}

static void mark_injected(struct misbehave_call *call)
{
    misbehave_lock();
    call->injected = true;
    misbehave_unlock();
}

/* C_WaitForSlotEvent may block for good; C_Initialize and C_Finalize are alone. */
static bool needs_gate(const struct misbehave_call *call)
{
    return call->subject != MISBEHAVE_OF_NOTHING || call->function == MISBEHAVE_C_GetSlotList;
}

CK_RV misbehave_enter(struct misbehave_call *call, enum misbehave_function function,
                      enum misbehave_subject subject, CK_ULONG handle)
{
    struct misbehave_rule rule;
    unsigned delay_ms = 0;
    bool ruled = false;
    *call = (struct misbehave_call){
        .function = function, .subject = subject, .handle = handle, .thread = pthread_self()
    };
    CK_RV rv = begin(call, &delay_ms, &ruled, &rule);
    pause_ms(delay_ms);
    if (rv == CKR_OK)
        rv = check_after_sleep(call);
    if (rv == CKR_OK && ruled)
        rv = suffer(call, &rule);
    if (rv != CKR_OK) {
        mark_injected(call);
        return rv;
    }
    call->inside = needs_gate(call);
    if (call->inside)
        (void)pthread_rwlock_rdlock(&gate);
    return CKR_OK;
}

static void forget_call(const struct misbehave_call *call)
{
    struct misbehave_call **link = &calls;
    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
}

CK_RV misbehave_leave(struct misbehave_call *call, CK_RV rv)
{
    if (call->inside)
        (void)pthread_rwlock_unlock(&gate);
    if (rv == CKR_OK && call->late_rv != CKR_OK) {
        rv = call->late_rv;
        mark_injected(call);
    }
    if (rv != CKR_OK)
        misbehave_stats_failed(call->function, call->injected);
    misbehave_lock();
    forget_call(call);
    misbehave_unlock();
    return rv;
}

void misbehave_alone_begin(struct misbehave_call *call)
{
    if (call->inside)
        (void)pthread_rwlock_unlock(&gate);
    (void)pthread_rwlock_wrlock(&gate);
}

void misbehave_alone_end(struct misbehave_call *call)
{
    (void)pthread_rwlock_unlock(&gate);
    if (call->inside)
        (void)pthread_rwlock_rdlock(&gate);
}
