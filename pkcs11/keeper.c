/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that starts hosts, proves them and sees them end. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kms/clock.h"
#include "kms/log.h"
#include "remote_state.h"

enum {
    PROVE_MS = 10000,          /* deadline of the first listing and canary of a new host */
    LATE_MAX_MS = 5000,        /* how long a lane may be late before its host is given up … */
    SLOW_MAX_MS = 30000,       /* … and before it served: a first login may be slow */
    MEMORY_MS = 5000,          /* between two looks at how much memory the host has */
    MEMORY_REST_MS = 10000,    /* of a new host: the limit may be too low for any */
    LEAVE_MS = 5000,           /* for the host to finalize its library */
    KILLED_MS = 5000,          /* for the kernel to end it: a driver may not let it */
    RESPAWN_FIRST_MS = 100,    /* after a host that ended before it served, doubling … */
    RESPAWN_LONGEST_MS = 5000, /* … to this */
};

void kms_remote_wake_keeper(struct kms_remote *remote)
{
    const uint64_t one = 1;
    ssize_t ignored = write(remote->wake, &one, sizeof(one));
    (void)ignored; /* full: it will look anyway */
}

static bool is_connected(struct kms_remote *remote)
{
    (void)pthread_mutex_lock(&remote->lock);
    bool connected = remote->info.connected;
    (void)pthread_mutex_unlock(&remote->lock);
    return connected;
}

/* What a new host must be able to do: what the last one did.  A KEK's own fault is no fault of the host:
 * with other KEKs it serves. */
static enum kms_code prove(struct kms_remote *remote, struct kms_error *err)
{
    const struct kms_host_memory *memory = &remote->memory; /* unchanged while PROVING */
    struct kms_host_call list = { .op = KMS_HOST_LIST };
    struct kms_host_call canary = { .op = KMS_HOST_CANARY };
    list.filter = (struct kms_kek_filter){
        .label_prefix = memory->label_prefix,
        .names = memory->names,
        .name_count = memory->name_count,
    };
    canary.kek = (struct kms_kek_ref){ memory->label, memory->fingerprint, NULL };
    enum kms_code rc = kms_remote_try(remote, &list, kms_monotonic_ms() + PROVE_MS, err);
    if (rc != KMS_OK || !memory->has_kek)
        return rc;
    rc = kms_remote_try(remote, &canary, kms_monotonic_ms() + PROVE_MS, err);
    return rc != KMS_E_DEADLINE && is_connected(remote) ? KMS_OK : rc;
}

void kms_remote_serves(struct kms_remote *remote)
{
    remote->phase = KMS_REMOTE_SERVING;
    remote->serves_since_ms = kms_monotonic_ms();
    remote->deaths = 0;
    kms_log(KMS_LOG_INFO, "token host serves", KMS_F_INT("pid", remote->child->process.pid));
}

static void end_proof(struct kms_remote *remote, const struct kms_error *result)
{
    (void)pthread_mutex_lock(&remote->lock);
    bool is_there = remote->phase == KMS_REMOTE_PROVING; /* no call has found it gone */
    bool stopping = remote->stopping;
    if (is_there && result->code == KMS_OK) {
        kms_remote_serves(remote);
    } else if (is_there) {
        remote->phase = KMS_REMOTE_UNPROVED;
        remote->why = *result;
    }
    (void)pthread_cond_broadcast(&remote->changed);
    (void)pthread_mutex_unlock(&remote->lock);
    if (result->code != KMS_OK && !stopping)
        kms_log_error(KMS_LOG_WARN, "token host doesn't serve yet", result, NULL, 0);
}

/* While PROVING: what came of it is the next phase. */
static void prove_and_tell(struct kms_remote *remote)
{
    struct kms_error err = { .code = KMS_OK };
    if (prove(remote, &err) == KMS_OK)
        err = (struct kms_error){ .code = KMS_OK }; /* a canary's failure may stand in it */
    end_proof(remote, &err);
}

/* With the lock held: there is no host, and when there may be the next. */
static void note_down(struct kms_remote *remote, const struct kms_error *why)
{
    int64_t pause_ms = 0;
    if (remote->deaths > 0) {
        unsigned doublings = remote->deaths < 8 ? remote->deaths - 1 : 7;
        pause_ms = (int64_t)RESPAWN_FIRST_MS << doublings;
        pause_ms = pause_ms < RESPAWN_LONGEST_MS ? pause_ms : RESPAWN_LONGEST_MS;
    }
    remote->deaths++;
    remote->respawn_at_ms = kms_monotonic_ms() + pause_ms;
    remote->phase = KMS_REMOTE_DOWN;
    remote->leave_by_ms = 0;
    remote->child = NULL;
    remote->why = *why;
    remote->info.connected = false;
    (void)pthread_cond_broadcast(&remote->changed);
}

/* A token's algorithm is chosen once, and this host may see it at a bad moment. */
static void keep_algorithm(struct kms_remote *remote)
{
    (void)pthread_mutex_lock(&remote->lock);
    bool known = remote->has_chosen && remote->profile != NULL;
    enum kms_algorithm algorithm = remote->algorithm;
    (void)pthread_mutex_unlock(&remote->lock);
    char *value = known ? strdup(kms_profile_name(kms_profile_of(algorithm))) : NULL;
    if (value == NULL)
        return;
    free(*remote->profile);
    *remote->profile = value;
}

/* Starts a host when its time has come, and lets it prove itself. */
static void begin(struct kms_remote *remote)
{
    keep_algorithm(remote);
    const struct kms_host_command command = { remote->path, (const char *const *)remote->argv,
                                              (const char *const *)remote->environment };
    struct kms_error err = { .code = KMS_OK };
    struct kms_host_child *child = NULL;
    enum kms_code rc = kms_host_child_start(&command, remote->lane_count, &child, &err);
    (void)pthread_mutex_lock(&remote->lock);
    bool can_prove = remote->memory.label_prefix != NULL && !remote->stopping;
    if (rc == KMS_OK) {
        remote->child = child;
        remote->away_since_ms = 0;
        remote->phase = can_prove ? KMS_REMOTE_PROVING : KMS_REMOTE_UNPROVED;
        (void)pthread_cond_broadcast(&remote->changed);
    } else {
        note_down(remote, &err);
    }
    (void)pthread_mutex_unlock(&remote->lock);
    if (rc != KMS_OK) {
        kms_log_error(KMS_LOG_ERROR, "token host not started", &err, NULL, 0);
        return;
    }
    kms_log(KMS_LOG_INFO, "token host started", KMS_F_INT("pid", child->process.pid));
    if (can_prove)
        prove_and_tell(remote);
}

/* After a proof that failed, when a listing has worked since.  False: not now. */
static bool prove_again(struct kms_remote *remote)
{
    (void)pthread_mutex_lock(&remote->lock);
    bool now = remote->may_prove && remote->phase == KMS_REMOTE_UNPROVED;
    remote->may_prove = false;
    if (now)
        remote->phase = KMS_REMOTE_PROVING;
    (void)pthread_mutex_unlock(&remote->lock);
    if (now)
        prove_and_tell(remote);
    return now;
}

/* It has ended, or soon will have. */
static void end(struct kms_remote *remote, struct kms_host_child *child, int64_t deadline_ms)
{
    char how[KMS_HOST_HOW_MAX] = "nothing yet";
    struct kms_error err = { .code = KMS_OK };
    (void)pthread_mutex_lock(&remote->lock);
    remote->phase = KMS_REMOTE_ENDING; /* nobody else kills it now: the pid may become another's */
    (void)pthread_mutex_unlock(&remote->lock);
    if (kms_host_reap(&child->process, deadline_ms, how, &err) != KMS_OK) {
        kms_host_kill(&child->process);
        if (kms_host_reap(&child->process, kms_monotonic_ms() + KILLED_MS, how, &err) != KMS_OK)
            kms_log_error(KMS_LOG_ERROR, "token host not reaped", &err, NULL, 0);
    }
    kms_fail(&err, KMS_E_UNAVAILABLE,
             "the token host ended by %s; it is started again; do not delete objects", how);
    (void)pthread_mutex_lock(&remote->lock);
    bool stopping = remote->stopping;
    note_down(remote, &err);
    kms_host_child_release(child);
    (void)pthread_mutex_unlock(&remote->lock);
    if (!stopping)
        kms_log(KMS_LOG_WARN, "token host ended", KMS_F_TEXT("by", how));
}

static int64_t late_max_ms(const struct kms_remote *remote)
{
    return remote->phase == KMS_REMOTE_SERVING ? LATE_MAX_MS : SLOW_MAX_MS;
}

/* With the lock held.  The host answers what it has begun, and ends; new calls wait for the next. */
static void ask_to_leave(struct kms_remote *remote)
{
    remote->phase = KMS_REMOTE_ENDING;
    remote->leave_by_ms = kms_monotonic_ms() + LEAVE_MS;
    for (size_t i = 0; i < remote->lane_count; i++)
        (void)shutdown(remote->child->lanes[i].fd, SHUT_WR);
}

/* With the lock held.  Libraries leak; SoftHSM 244 bytes an object. */
static void mind_memory(struct kms_remote *remote)
{
    if (remote->memory_limit == 0 || remote->phase != KMS_REMOTE_SERVING ||
        kms_monotonic_ms() - remote->serves_since_ms < MEMORY_REST_MS)
        return;
    size_t memory = kms_host_memory_of(&remote->child->process);
    if (memory <= remote->memory_limit)
        return;
    kms_log(KMS_LOG_WARN, "token host is replaced", KMS_F_TEXT("reason", "its memory"),
            KMS_F_INT("bytes", (int64_t)memory), KMS_F_INT("limit", (int64_t)remote->memory_limit));
    ask_to_leave(remote);
}

/* With the lock held: takes late answers, and gives up a host that hangs. */
static void look(struct kms_remote *remote)
{
    if (remote->phase == KMS_REMOTE_ENDING) {
        if (remote->leave_by_ms != 0 && kms_monotonic_ms() >= remote->leave_by_ms) {
            remote->leave_by_ms = 0;
            kms_host_kill(&remote->child->process);
        }
        return;
    }
    mind_memory(remote);
    const char *why = kms_host_child_look(remote->child, kms_monotonic_ms(), late_max_ms(remote));
    if (why != NULL) {
        kms_log(KMS_LOG_ERROR, "token host is given up", KMS_F_TEXT("reason", why));
        kms_host_kill(&remote->child->process);
        remote->phase = KMS_REMOTE_ENDING;
    }
    (void)pthread_cond_broadcast(&remote->changed);
}

/* The host's end, a nudge, and the late lanes, unless it is ending anyway; returns their number. */
static nfds_t list_events(struct kms_remote *remote, struct pollfd *ret_items, int *ret_timeout_ms)
{
    nfds_t count = 0;
    int64_t oldest_ms = INT64_MAX;
    ret_items[count++] = (struct pollfd){ .fd = remote->child->process.pidfd, .events = POLLIN };
    ret_items[count++] = (struct pollfd){ .fd = remote->wake, .events = POLLIN };
    for (size_t i = 0; i < remote->lane_count; i++) {
        const struct kms_lane *lane = &remote->child->lanes[i];
        if (lane->state != KMS_LANE_LATE || remote->phase == KMS_REMOTE_ENDING)
            continue;
        ret_items[count++] = (struct pollfd){ .fd = lane->fd, .events = POLLIN };
        oldest_ms = lane->late_since_ms < oldest_ms ? lane->late_since_ms : oldest_ms;
    }
    int64_t until_ms = INT64_MAX;
    if (oldest_ms != INT64_MAX)
        until_ms = oldest_ms + late_max_ms(remote);
    if (remote->phase == KMS_REMOTE_ENDING && remote->leave_by_ms != 0)
        until_ms = remote->leave_by_ms;
    int64_t left_ms = until_ms == INT64_MAX ? INT_MAX : until_ms - kms_monotonic_ms();
    if (remote->memory_limit != 0 && left_ms > MEMORY_MS)
        left_ms = MEMORY_MS;
    *ret_timeout_ms = left_ms > 0 ? (int)left_ms : 0;
    return count;
}

/* Until something happens to the host. */
static void watch(struct kms_remote *remote)
{
    enum { OTHERS = 2 };
    struct pollfd items[KMS_HOST_LANES_MAX + OTHERS];
    int timeout_ms = -1;
    (void)pthread_mutex_lock(&remote->lock);
    struct kms_host_child *child = remote->child;
    nfds_t count = list_events(remote, items, &timeout_ms);
    (void)pthread_mutex_unlock(&remote->lock);
    if (poll(items, count, timeout_ms) < 0 && errno != EINTR)
        return;
    uint64_t nudges = 0;
    if (items[1].revents != 0 && read(remote->wake, &nudges, sizeof(nudges)) < 0)
        return;
    if (items[0].revents != 0) {
        end(remote, child, KMS_DEADLINE_NEVER);
        return;
    }
    (void)pthread_mutex_lock(&remote->lock);
    look(remote);
    (void)pthread_mutex_unlock(&remote->lock);
}

void *kms_remote_keep(void *argument)
{
    struct kms_remote *remote = argument;
    (void)pthread_mutex_lock(&remote->lock);
    while (!remote->stopping) {
        bool is_down = remote->child == NULL;
        int64_t respawn_at_ms = remote->respawn_at_ms;
        if (is_down && kms_monotonic_ms() < respawn_at_ms) {
            (void)kms_cond_wait_until(&remote->changed, &remote->lock, respawn_at_ms);
            continue;
        }
        (void)pthread_mutex_unlock(&remote->lock);
        if (is_down)
            begin(remote);
        else if (!prove_again(remote))
            watch(remote);
        (void)pthread_mutex_lock(&remote->lock);
    }
    struct kms_host_child *child = remote->child;
    (void)pthread_mutex_unlock(&remote->lock);
    if (child == NULL)
        return NULL;
    for (size_t i = 0; i < remote->lane_count; i++)
        (void)shutdown(child->lanes[i].fd, SHUT_WR);
    end(remote, child, kms_monotonic_ms() + LEAVE_MS);
    return NULL;
}
