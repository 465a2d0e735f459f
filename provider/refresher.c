/* SPDX-License-Identifier: Apache-2.0 */
#include "refresher.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inbox.h"
#include "kms/clock.h"
#include "kms/log.h"

enum {
    TOKEN_CALL_MS = 10000,  /* deadline of an inventory or canary */
    REFRESH_GAP_MS = 100,   /* between two listings that somebody asked for */
    RETRY_FIRST_MS = 500,   /* after a failure, doubling … */
    RETRY_LONGEST_MS = 5000 /* … to this: well again within 10 s of the token */
};

struct kms_refresher {
    struct kms_refresher_options options;
    char label_prefix[KMS_RING_MAX + 3];

    /* the thread's alone */
    struct kms_inbox *inbox;
    int64_t next_refresh_ms;
    int64_t next_canary_ms;
    int64_t retry_ms;
    bool news;                  /* the last listing changed what some KEK is: look again soon */
    struct kms_error unwritten; /* why ring.json couldn't be written last time */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t wake;  /* for the thread: kicked or stopping */
    pthread_cond_t done;  /* for waiters: a refresh ended, or health changed */
    pthread_t thread;
    bool running;
    bool stopping;
    bool kicked;
    uint64_t begun, ended; /* number of the newest refresh that began, that ended */
    struct kms_error last; /* how the newest that ended went; code KMS_OK: it listed everything */

    struct kms_error failure; /* code KMS_OK: none since the last good canary */
    uint64_t failures;        /* counts them, so that a canary can tell what came meanwhile */
    int64_t last_good_ms;     /* CLOCK_MONOTONIC when the last good canary began; -1: never */
    int64_t health_since_utc_s;
};

enum kms_code kms_refresher_open(const struct kms_refresher_options *options,
                                 struct kms_refresher **ret_refresher, struct kms_error *err)
{
    struct kms_refresher *refresher = calloc(1, sizeof *refresher);
    if (refresher == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    enum kms_code rc = kms_inbox_open(options->state_dir, options->keks, &refresher->inbox, err);
    if (rc != KMS_OK) {
        free(refresher);
        return rc;
    }
    refresher->options = *options;
    snprintf(refresher->label_prefix, sizeof refresher->label_prefix, "%s.v", options->ring);
    pthread_mutex_init(&refresher->lock, NULL);
    kms_cond_init(&refresher->wake);
    kms_cond_init(&refresher->done);
    refresher->retry_ms = RETRY_FIRST_MS;
    refresher->last_good_ms = -1;
    refresher->health_since_utc_s = kms_utc_s();
    kms_fail(&refresher->failure, KMS_E_UNAVAILABLE, "the token is not reached yet");
    *ret_refresher = refresher;
    return KMS_OK;
}

/* --- health --- */

/* True if the two differ in what an operator would read. */
static bool differs(const struct kms_error *a, const struct kms_error *b)
{
    return a->code != b->code || strcmp(a->msg, b->msg) != 0;
}

static void log_health(struct kms_refresher *refresher, const struct kms_error *failure)
{
    const struct kms_audit_event event = {
        .op = failure->code == KMS_OK ? "healthy" : "unhealthy",
        .reason = failure->code == KMS_OK ? NULL : failure->msg,
    };
    kms_audit_write_event(refresher->options.audit, &event);
    if (failure->code == KMS_OK)
        kms_log_fields(KMS_LOG_INFO, "healthy", NULL, 0);
    else
        kms_log_error(KMS_LOG_ERROR, "unhealthy", failure, NULL, 0);
}

/* Records a failure; logged when it is news. */
static void set_failure(struct kms_refresher *refresher, const struct kms_error *err)
{
    pthread_mutex_lock(&refresher->lock);
    bool news = differs(&refresher->failure, err);
    if (refresher->failure.code == KMS_OK)
        refresher->health_since_utc_s = kms_utc_s();
    refresher->failure = *err;
    refresher->failures++;
    pthread_cond_broadcast(&refresher->done);
    pthread_mutex_unlock(&refresher->lock);
    if (news)
        log_health(refresher, err);
}

void kms_refresher_doubt(struct kms_refresher *refresher, const struct kms_error *err)
{
    set_failure(refresher, err);
    kms_refresher_kick(refresher);
}

/* A canary begun at @began_ms, after @failures failures, was good: they are over, later ones aren't. */
static void set_good(struct kms_refresher *refresher, int64_t began_ms, uint64_t failures)
{
    pthread_mutex_lock(&refresher->lock);
    refresher->last_good_ms = began_ms;
    bool recovered = refresher->failure.code != KMS_OK && refresher->failures == failures;
    if (recovered) {
        refresher->failure = (struct kms_error){ .code = KMS_OK };
        refresher->health_since_utc_s = kms_utc_s();
        pthread_cond_broadcast(&refresher->done);
    }
    pthread_mutex_unlock(&refresher->lock);
    if (recovered)
        log_health(refresher, &(struct kms_error){ .code = KMS_OK });
}

/* With the lock held. */
static enum kms_code health_now(struct kms_refresher *refresher, struct kms_error *err)
{
    if (refresher->failure.code != KMS_OK) {
        *err = refresher->failure;
        return err->code;
    }
    int64_t age_ms = kms_monotonic_ms() - refresher->last_good_ms;
    if (age_ms > 2 * refresher->options.canary_ms)
        return kms_fail(err, KMS_E_UNAVAILABLE,
                        "the token gave no sign of life for %lld s; do not delete objects",
                        (long long)(age_ms / 1000));
    return KMS_OK;
}

enum kms_code kms_refresher_health(struct kms_refresher *refresher, int64_t *ret_since_utc_s,
                                   struct kms_error *err)
{
    pthread_mutex_lock(&refresher->lock);
    enum kms_code rc = health_now(refresher, err);
    *ret_since_utc_s = refresher->health_since_utc_s;
    pthread_mutex_unlock(&refresher->lock);
    return rc;
}

bool kms_refresher_wait_healthy(struct kms_refresher *refresher, int64_t deadline_ms)
{
    struct kms_error ignored;
    pthread_mutex_lock(&refresher->lock);
    while (health_now(refresher, &ignored) != KMS_OK && !refresher->stopping) {
        if (!kms_cond_wait_until(&refresher->done, &refresher->lock, deadline_ms))
            break;
    }
    bool healthy = health_now(refresher, &ignored) == KMS_OK;
    pthread_mutex_unlock(&refresher->lock);
    return healthy;
}

/* --- asking for a refresh --- */

void kms_refresher_kick(struct kms_refresher *refresher)
{
    pthread_mutex_lock(&refresher->lock);
    refresher->kicked = true;
    pthread_cond_signal(&refresher->wake);
    pthread_mutex_unlock(&refresher->lock);
}

enum kms_code kms_refresher_wait(struct kms_refresher *refresher, int64_t deadline_ms,
                                 struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    pthread_mutex_lock(&refresher->lock);
    uint64_t wanted = refresher->begun + 1;
    refresher->kicked = true;
    pthread_cond_signal(&refresher->wake);
    while (refresher->ended < wanted && !refresher->stopping && rc == KMS_OK) {
        if (!kms_cond_wait_until(&refresher->done, &refresher->lock, deadline_ms))
            rc = KMS_E_DEADLINE;
    }
    if (refresher->ended >= wanted) {
        *err = refresher->last;
        rc = err->code;
    } else if (rc == KMS_E_DEADLINE) {
        kms_fail(err, rc, "the token was not listed in time; do not delete objects");
    } else {
        rc = kms_fail(err, KMS_E_UNAVAILABLE, "the plugin is stopping");
    }
    pthread_mutex_unlock(&refresher->lock);
    return rc;
}

/* --- one refresh --- */

static void record_entry(struct kms_refresher *refresher, const struct kms_ring_entry *entry)
{
    char text[sizeof entry->reason + 32];
    snprintf(text, sizeof text, "%s%s%s", kms_kek_state_name(entry->state),
             entry->reason[0] != '\0' ? ": " : "", entry->reason);
    kms_audit_write_event(
        refresher->options.audit,
        &(struct kms_audit_event){ .op = "kek", .key_id = entry->key_id, .reason = text });
}

static void log_entry(struct kms_refresher *refresher, const struct kms_ring_entry *entry)
{
    record_entry(refresher, entry);
    bool odd = entry->state == KMS_KEK_REFUSED || entry->state == KMS_KEK_MISSING;
    kms_log(odd ? KMS_LOG_WARN : KMS_LOG_INFO, "kek", KMS_F_TEXT("label", entry->kek.label),
            KMS_F_INT("generation", entry->generation), KMS_F_TEXT("key_id", entry->key_id),
            KMS_F_TEXT("state", kms_kek_state_name(entry->state)),
            KMS_F_TEXT("reason", entry->reason[0] != '\0' ? entry->reason : NULL));
}

/* One line for each KEK whose state is not what it was; true if there was any. */
static bool log_changes(struct kms_refresher *refresher, const struct kms_snapshot *before,
                        const struct kms_snapshot *after)
{
    bool news = false;
    for (size_t i = 0; i < after->count; i++) {
        const struct kms_ring_entry *entry = &after->entries[i];
        bool same = false;
        for (size_t k = 0; k < before->count && !same; k++) {
            const struct kms_ring_entry *old = &before->entries[k];
            same = kms_kek_order(&entry->kek, &old->kek) == 0 && entry->state == old->state &&
                   strcmp(entry->reason, old->reason) == 0;
        }
        if (!same)
            log_entry(refresher, entry);
        news |= !same;
    }
    return news;
}

/* A token that was drained isn't lost: an operator did that, by a command with lines of its own. */
static void record_token(struct kms_refresher *refresher, const struct kms_ring_token *token,
                         bool was_in_use)
{
    if (token->in_use == was_in_use || token->drained)
        return;
    const struct kms_audit_event event = {
        .op = token->in_use ? "token-regained" : "token-lost",
        .token = token->name,
        .reason = token->in_use ? NULL : token->problem,
    };
    kms_audit_write_event(refresher->options.audit, &event);
}

/* One line for each token that isn't what it was. */
static void log_tokens(struct kms_refresher *refresher, const struct kms_snapshot *before,
                       const struct kms_snapshot *after)
{
    for (size_t i = 0; i < after->token_count; i++) {
        const struct kms_ring_token *now = &after->tokens[i], *old = &before->tokens[i];
        bool known = before->token_count > i && before->complete;
        if (known && now->in_use == old->in_use && strcmp(now->problem, old->problem) == 0)
            continue;
        record_token(refresher, now, !known || old->in_use);
        if (now->in_use)
            kms_log(KMS_LOG_INFO, "token in use", KMS_F_TEXT("token", now->name),
                    KMS_F_TEXT("serial", now->serial));
        else
            kms_log(now->drained ? KMS_LOG_INFO : KMS_LOG_WARN, "token not in use",
                    KMS_F_TEXT("token", now->name), KMS_F_TEXT("reason", now->problem));
    }
}

static void record_plan(struct kms_refresher *refresher, const struct kms_ring_plan *plan)
{
    char key_id[KMS_KEY_ID_LEN + 1] = "";
    for (size_t i = 0; plan->first_use && i < plan->state.pin_count; i++) {
        const struct kms_pin *pin = &plan->state.pins[i];
        kms_key_id_format(refresher->options.ring, pin->generation, pin->fingerprint, key_id);
        kms_audit_write_event(refresher->options.audit,
                              &(struct kms_audit_event){ .op = "pinned",
                                                         .key_id = key_id,
                                                         .reason = "trusted on first use" });
    }
    if (plan->promote == 0)
        return;
    kms_key_id_format(refresher->options.ring, plan->promote, plan->promote_fingerprint, key_id);
    kms_audit_write_event(refresher->options.audit,
                          &(struct kms_audit_event){
                              .op = "promoted", .key_id = key_id, .reason = plan->promote_label });
}

/* Makes @plan durable.  If it can't be, nothing new is pinned or promoted; what was goes on. */
static enum kms_code persist(struct kms_refresher *refresher, struct kms_ring_plan *plan,
                             struct kms_error *err)
{
    if (!plan->state_changed)
        return KMS_OK;
    enum kms_code rc = kms_state_dir_write(refresher->options.state_dir, &plan->state, err);
    if (rc != KMS_OK) {
        if (differs(&refresher->unwritten, err))
            kms_log_error(KMS_LOG_ERROR, "ring.json not written", err, NULL, 0);
        refresher->unwritten = *err;
        return rc;
    }
    refresher->unwritten = (struct kms_error){ .code = KMS_OK };
    record_plan(refresher, plan);
    if (plan->first_use)
        kms_log(KMS_LOG_WARN, "keks trusted on first use",
                KMS_F_INT("pins", (int64_t)plan->state.pin_count));
    if (plan->promote != 0)
        kms_log(KMS_LOG_INFO, "kek promoted", KMS_F_TEXT("label", plan->promote_label),
                KMS_F_INT("generation", plan->promote));
    return KMS_OK;
}

static enum kms_code canary_of(struct kms_refresher *refresher, const char *label,
                               const uint8_t *fingerprint, struct kms_error *err)
{
    struct kms_kek_ref kek = { .label = label, .fingerprint = fingerprint };
    return kms_keystore_canary(refresher->options.keystore, &kek,
                               kms_monotonic_ms() + TOKEN_CALL_MS, err);
}

/* Plans until the generation to be promoted, if any, passes its canary. */
static enum kms_code plan_with_canary(struct kms_refresher *refresher,
                                      const struct kms_inventory *inventory, int64_t now_utc_s,
                                      struct kms_ring_plan *ret_plan, struct kms_error *err)
{
    struct kms_token_info tokens[KMS_TOKENS_MAX];
    (void)kms_keystore_describe(refresher->options.keystore, tokens);
    for (;;) {
        enum kms_code rc = kms_ring_plan(refresher->options.keks, inventory, tokens[0].serial,
                                         now_utc_s, ret_plan, err);
        if (rc != KMS_OK || ret_plan->promote == 0)
            return rc;
        rc = canary_of(refresher, ret_plan->promote_label, ret_plan->promote_fingerprint, err);
        if (rc == KMS_OK)
            return KMS_OK;
        if (rc == KMS_E_PRECONDITION || rc == KMS_E_CORRUPT) /* the key's own fault */
            rc = kms_ring_distrust(refresher->options.keks, ret_plan, err->msg, err);
        kms_ring_plan_done(ret_plan);
        if (rc != KMS_OK)
            return rc;
    }
}

/* The same inventory applied without the plan's news. */
static enum kms_code apply_unchanged(struct kms_refresher *refresher, struct kms_ring_plan *plan,
                                     const struct kms_error *unwritten,
                                     const struct kms_inventory *inventory, uint64_t sequence,
                                     int64_t now_utc_s, struct kms_error *err)
{
    kms_ring_plan_done(plan);
    char held[KMS_ERROR_MSG_MAX + 64];
    snprintf(held, sizeof held, "waits until ring.json can be written: %s", unwritten->msg);
    enum kms_code rc = kms_ring_keep(refresher->options.keks, held, plan, err);
    if (rc != KMS_OK)
        return rc;
    return kms_ring_apply(refresher->options.keks, plan, inventory, sequence, now_utc_s, err);
}

/* What operators changed since the last listing.  Needs no token. */
static void hear_operators(struct kms_refresher *refresher)
{
    struct kms_error err;
    bool taken = false;
    if (kms_ring_take_offer(refresher->options.keks, &taken, &err) != KMS_OK)
        kms_log_error(KMS_LOG_ERROR, "pins and adoptions not reloaded, the old ones stay", &err,
                      NULL, 0);
    else if (taken)
        kms_log_fields(KMS_LOG_INFO, "pins and adoptions reloaded", NULL, 0);
    kms_inbox_process(refresher->inbox);
}

static enum kms_code refresh(struct kms_refresher *refresher, uint64_t sequence,
                             struct kms_error *err)
{
    hear_operators(refresher);
    int64_t now_utc_s = kms_utc_s();
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    KMS_CLEANUP(kms_ring_plan_done) struct kms_ring_plan plan = { 0 };
    const struct kms_kek_filter filter = kms_ring_filter(refresher->options.keks,
                                                         refresher->label_prefix, now_utc_s);
    enum kms_code rc = kms_keystore_list(refresher->options.keystore, &filter,
                                         kms_monotonic_ms() + TOKEN_CALL_MS, &inventory, err);
    if (rc != KMS_OK)
        return rc;
    now_utc_s = kms_utc_s();
    rc = plan_with_canary(refresher, &inventory, now_utc_s, &plan, err);
    if (rc != KMS_OK)
        return rc;

    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *before = kms_ring_acquire_newest(refresher->options.keks);
    struct kms_error unwritten = { .code = KMS_OK };
    if (persist(refresher, &plan, &unwritten) == KMS_OK)
        rc = kms_ring_apply(refresher->options.keks, &plan, &inventory, sequence, now_utc_s, err);
    else
        rc = apply_unchanged(refresher, &plan, &unwritten, &inventory, sequence, now_utc_s, err);
    if (rc != KMS_OK)
        return rc;

    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *after = kms_ring_acquire_newest(refresher->options.keks);
    log_tokens(refresher, before, after);
    refresher->news = log_changes(refresher, before, after);
    if (after->code == KMS_OK)
        return KMS_OK;
    if (after->promoted == 0 && unwritten.code != KMS_OK)
        set_failure(refresher, &unwritten);
    else {
        kms_fail(err, after->code, "%s", after->problem);
        set_failure(refresher, err);
    }
    return KMS_OK; /* the listing itself was complete */
}

/* --- the thread --- */

static uint64_t begin_refresh(struct kms_refresher *refresher)
{
    pthread_mutex_lock(&refresher->lock);
    refresher->kicked = false;
    uint64_t sequence = ++refresher->begun;
    pthread_mutex_unlock(&refresher->lock);
    return sequence;
}

static void end_refresh(struct kms_refresher *refresher, uint64_t sequence,
                        const struct kms_error *result)
{
    pthread_mutex_lock(&refresher->lock);
    refresher->ended = sequence;
    refresher->last = *result;
    pthread_cond_broadcast(&refresher->done);
    pthread_mutex_unlock(&refresher->lock);
}

static bool run_refresh(struct kms_refresher *refresher)
{
    struct kms_error err = { .code = KMS_OK };
    uint64_t sequence = begin_refresh(refresher);
    enum kms_code rc = refresh(refresher, sequence, &err);
    if (rc != KMS_OK)
        set_failure(refresher, &err);
    else
        err = (struct kms_error){ .code = KMS_OK };
    end_refresh(refresher, sequence, &err);
    return rc == KMS_OK;
}

/* The canary of what is durably promoted; true if it was good (or there is nothing to try). */
static bool run_canary(struct kms_refresher *refresher)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *newest = kms_ring_acquire_newest(refresher->options.keks);
    if (newest->code != KMS_OK)
        return false;
    pthread_mutex_lock(&refresher->lock);
    uint64_t failures = refresher->failures;
    pthread_mutex_unlock(&refresher->lock);

    struct kms_error err;
    int64_t began_ms = kms_monotonic_ms();
    if (canary_of(refresher, newest->label, newest->fingerprint, &err) != KMS_OK) {
        set_failure(refresher, &err);
        return false;
    }
    set_good(refresher, began_ms, failures);
    return true;
}

static bool is_failing(struct kms_refresher *refresher)
{
    pthread_mutex_lock(&refresher->lock);
    bool failing = refresher->failure.code != KMS_OK;
    pthread_mutex_unlock(&refresher->lock);
    return failing;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Lists if due, asked for or something failed; then the canary if due or something failed. */
static void run_once(struct kms_refresher *refresher)
{
    bool listed = run_refresh(refresher);
    bool good = listed;
    int64_t now_ms = kms_monotonic_ms();
    if (good && (is_failing(refresher) || now_ms >= refresher->next_canary_ms)) {
        good = run_canary(refresher);
        refresher->next_canary_ms = now_ms + refresher->options.canary_ms;
    }
    if (good && !is_failing(refresher)) {
        refresher->retry_ms = RETRY_FIRST_MS;
        refresher->next_refresh_ms = now_ms + least(refresher->options.refresh_ms,
                                                    refresher->options.canary_ms);
        return;
    }
    if (listed && refresher->news)
        refresher->retry_ms = RETRY_FIRST_MS;
    refresher->next_refresh_ms = kms_monotonic_ms() + refresher->retry_ms;
    refresher->retry_ms = least(2 * refresher->retry_ms, RETRY_LONGEST_MS);
}

/* Sleeps until the next refresh is due or asked for; false: stop. */
static bool wait_until_due(struct kms_refresher *refresher, int64_t last_ms)
{
    pthread_mutex_lock(&refresher->lock);
    while (!refresher->stopping) {
        int64_t due_ms = refresher->next_refresh_ms;
        if (refresher->kicked)
            due_ms = least(due_ms, last_ms + REFRESH_GAP_MS);
        if (kms_monotonic_ms() >= due_ms)
            break;
        kms_cond_wait_until(&refresher->wake, &refresher->lock, due_ms);
    }
    bool go_on = !refresher->stopping;
    pthread_mutex_unlock(&refresher->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct kms_refresher *refresher = arg;
    int64_t last_ms = 0;
    while (wait_until_due(refresher, last_ms)) {
        last_ms = kms_monotonic_ms();
        run_once(refresher);
    }
    return NULL;
}

enum kms_code kms_refresher_start(struct kms_refresher *refresher, struct kms_error *err)
{
    int errnum = pthread_create(&refresher->thread, NULL, run, refresher);
    if (errnum != 0)
        return kms_fail_errno(err, KMS_E_BUSY, "pthread_create", errnum,
                              "can't start the refresher thread");
    refresher->running = true;
    return KMS_OK;
}

void kms_refresher_close(struct kms_refresher *refresher)
{
    if (refresher == NULL)
        return;
    pthread_mutex_lock(&refresher->lock);
    refresher->stopping = true;
    pthread_cond_broadcast(&refresher->wake);
    pthread_cond_broadcast(&refresher->done);
    pthread_mutex_unlock(&refresher->lock);
    if (refresher->running)
        pthread_join(refresher->thread, NULL);
    pthread_cond_destroy(&refresher->wake);
    pthread_cond_destroy(&refresher->done);
    pthread_mutex_destroy(&refresher->lock);
    kms_inbox_close(refresher->inbox);
    free(refresher);
}
