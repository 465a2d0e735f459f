/* SPDX-License-Identifier: Apache-2.0 */
#include "ring.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "tokens.h"

enum { SIGHTINGS_TO_TRUST = 2 }; /* refreshes in a row before a new generation is pinned */

struct kms_ring {
    char name[KMS_RING_MAX + 1];

    pthread_mutex_t lock; /* guards all of this block */
    struct kms_snapshot *published;
    struct kms_snapshot *staged;   /* a promotion that the next Status announces; NULL: none */
    char used[KMS_KEY_ID_LEN + 1]; /* the last key_id that Encrypt could use; "": none yet */
    struct kms_source_mark mark;   /* of @vouched */
    struct kms_vouched offered;    /* in the place of @vouched, if @is_offered */
    bool is_offered;

    /* the refresher's alone */
    struct kms_vouched vouched; /* the configuration's word */
    struct kms_token_rules tokens;
    struct kms_state state;
    bool is_new;
    bool listed_once;
    struct kms_sighting *sightings;
    size_t sighting_count;
};

/* --- opening --- */

void kms_ring_close(struct kms_ring *ring)
{
    if (ring == NULL)
        return;
    kms_snapshot_release(ring->published);
    kms_snapshot_release(ring->staged);
    kms_state_done(&ring->state);
    pthread_mutex_destroy(&ring->lock);
    kms_vouched_done(&ring->vouched);
    kms_vouched_done(&ring->offered);
    free(ring->sightings);
    free(ring);
}

/* A pin of this node and one of the configuration can't both be right. */
static enum kms_code check_pins(const struct kms_vouched *vouched, const struct kms_state *state,
                                struct kms_error *err)
{
    for (size_t i = 0; i < vouched->pin_count; i++) {
        const struct kms_pin *given = &vouched->pins[i];
        const struct kms_pin *pin = kms_state_pin(state, given->generation);
        if (pin != NULL && memcmp(pin->fingerprint, given->fingerprint, KMS_FINGERPRINT_LEN) != 0)
            return kms_fail(err, KMS_E_PRECONDITION,
                            "pins: of the configuration and ring.json disagree on the fingerprint "
                            "of generation %u: one of them is wrong; to replace a key knowingly, "
                            "take its entry out of pins: first",
                            (unsigned)given->generation);
    }
    return KMS_OK;
}

static enum kms_code make_first_snapshot(struct kms_ring *ring, struct kms_error *err)
{
    struct kms_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    atomic_init(&snapshot->refs, 1);
    snapshot->code = KMS_E_UNAVAILABLE;
    snprintf(snapshot->problem, sizeof snapshot->problem, "no token was listed yet");
    ring->published = snapshot;
    return KMS_OK;
}

enum kms_code kms_ring_open(const struct kms_ring_options *options, const struct kms_state *state,
                            bool is_new, struct kms_ring **ret_ring, struct kms_error *err)
{
    enum kms_code rc = check_pins(&options->vouched, state, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_ring_close_ptr) struct kms_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    pthread_mutex_init(&ring->lock, NULL);
    snprintf(ring->name, sizeof ring->name, "%s", options->name);
    ring->tokens = options->tokens;
    if (ring->tokens.count == 0)
        snprintf(ring->tokens.items[0].name, sizeof ring->tokens.items[0].name, "token-1");
    ring->is_new = is_new;

    rc = kms_vouched_copy(&options->vouched, &ring->vouched, err);
    if (rc == KMS_OK)
        rc = kms_state_copy(state, &ring->state, err);
    if (rc == KMS_OK)
        rc = make_first_snapshot(ring, err);
    if (rc != KMS_OK)
        return rc;
    ring->mark = ring->vouched.mark;
    *ret_ring = ring;
    ring = NULL;
    return KMS_OK;
}

/* --- what others see --- */

struct kms_snapshot *kms_ring_acquire(struct kms_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    struct kms_snapshot *snapshot = kms_snapshot_acquire(ring->published);
    pthread_mutex_unlock(&ring->lock);
    return snapshot;
}

struct kms_snapshot *kms_ring_acquire_newest(struct kms_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    struct kms_snapshot *snapshot = kms_snapshot_acquire(ring->staged != NULL ? ring->staged
                                                                              : ring->published);
    pthread_mutex_unlock(&ring->lock);
    return snapshot;
}

struct kms_source_mark kms_ring_vouched_mark(struct kms_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    struct kms_source_mark mark = ring->mark;
    pthread_mutex_unlock(&ring->lock);
    return mark;
}

/* With the lock held, after @published changed. */
static void note_used(struct kms_ring *ring)
{
    if (ring->published->code == KMS_OK)
        memcpy(ring->used, ring->published->key_id, sizeof ring->used);
}

struct kms_snapshot *kms_ring_acquire_for_status(struct kms_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    struct kms_snapshot *old = NULL;
    if (ring->staged != NULL) {
        old = ring->published;
        ring->published = ring->staged;
        ring->staged = NULL;
        note_used(ring);
    }
    struct kms_snapshot *snapshot = kms_snapshot_acquire(ring->published);
    pthread_mutex_unlock(&ring->lock);
    kms_snapshot_release(old);
    return snapshot;
}

/* What Statuses have announced so far. */
struct announced {
    uint32_t promoted; /* 0: nothing yet */
    char used[KMS_KEY_ID_LEN + 1];
};

static struct announced get_announced(struct kms_ring *ring)
{
    struct announced shown = { 0 };
    pthread_mutex_lock(&ring->lock);
    shown.promoted = ring->published->promoted;
    memcpy(shown.used, ring->used, sizeof shown.used);
    pthread_mutex_unlock(&ring->lock);
    return shown;
}

/* @snapshot would let Encrypt use another key_id than @used, the last one. */
static bool changes_key_id(const char *used, const struct kms_snapshot *snapshot)
{
    return snapshot->code == KMS_OK && used[0] != '\0' && strcmp(used, snapshot->key_id) != 0;
}

/* Shows @newest, or until the next Status @current, if that isn't NULL; takes over both references.
 * They were judged by @shown.  If a Status has announced what was staged since, @current would take
 * Encrypt back to an older key: then what is published stays until @newest may be. */
static void publish(struct kms_ring *ring, const struct announced *shown,
                    struct kms_snapshot *current, struct kms_snapshot *newest)
{
    pthread_mutex_lock(&ring->lock);
    struct kms_snapshot *old_published = ring->published, *old_staged = ring->staged;
    struct kms_snapshot *unused = NULL;
    if (strcmp(ring->used, shown->used) != 0) {
        unused = current;
        current = changes_key_id(ring->used, newest) ? kms_snapshot_acquire(old_published) : NULL;
    }
    ring->published = current != NULL ? current : newest;
    ring->staged = current != NULL ? newest : NULL;
    note_used(ring);
    pthread_mutex_unlock(&ring->lock);
    kms_snapshot_release(old_published);
    kms_snapshot_release(old_staged);
    kms_snapshot_release(unused);
}

/* --- what an operator changes --- */

enum kms_code kms_ring_offer(struct kms_ring *ring, const struct kms_vouched *vouched,
                             struct kms_error *err)
{
    struct kms_vouched copy;
    enum kms_code rc = kms_vouched_copy(vouched, &copy, err);
    if (rc != KMS_OK)
        return rc;
    pthread_mutex_lock(&ring->lock);
    kms_vouched_done(&ring->offered);
    ring->offered = copy;
    ring->is_offered = true;
    pthread_mutex_unlock(&ring->lock);
    return KMS_OK;
}

static bool still_names(const struct kms_ring *ring, const struct kms_vouched *vouched,
                        const struct kms_ring_entry *entry)
{
    struct kms_membership member;
    return kms_vouched_identify(vouched, ring->name, &entry->kek, &member) &&
           member.generation == entry->generation;
}

/* A promoted generation may have wrapped what is in etcd: its key can't be let go by leaving out a line.
 * One that has got a label of the ring meanwhile needs no adoption any more. */
static enum kms_code check_adoptions(struct kms_ring *ring, const struct kms_vouched *vouched,
                                     struct kms_error *err)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *newest = kms_ring_acquire_newest(ring);
    for (size_t i = 0; i < newest->count; i++) {
        const struct kms_ring_entry *entry = &newest->entries[i];
        if (entry->adopted && entry->kek.fingerprinted &&
            entry->generation <= ring->state.promoted &&
            !kms_state_is_buried(&ring->state, entry->generation) &&
            !still_names(ring, vouched, entry))
            return kms_fail(
                err, KMS_E_PRECONDITION,
                "adopt: of the configuration no longer names the key of generation %u, which was "
                "promoted here and may be needed to decrypt: put the entry back, or "
                "retire the key first (hsm-kms key destroy)",
                (unsigned)entry->generation);
    }
    return KMS_OK;
}

enum kms_code kms_ring_take_offer(struct kms_ring *ring, bool *ret_taken, struct kms_error *err)
{
    pthread_mutex_lock(&ring->lock);
    struct kms_vouched offered = ring->offered;
    *ret_taken = ring->is_offered;
    ring->offered = (struct kms_vouched){ 0 };
    ring->is_offered = false;
    pthread_mutex_unlock(&ring->lock);
    if (!*ret_taken)
        return KMS_OK;
    enum kms_code rc = check_pins(&offered, &ring->state, err);
    if (rc == KMS_OK)
        rc = check_adoptions(ring, &offered, err);
    if (rc != KMS_OK) {
        kms_vouched_done(&offered);
        *ret_taken = false;
        return rc;
    }
    kms_vouched_done(&ring->vouched);
    ring->vouched = offered;
    pthread_mutex_lock(&ring->lock);
    ring->mark = offered.mark;
    pthread_mutex_unlock(&ring->lock);
    return KMS_OK;
}

struct kms_kek_filter kms_ring_filter(const struct kms_ring *ring, const char *label_prefix,
                                      int64_t now_utc_s)
{
    struct kms_kek_filter filter = kms_vouched_filter(&ring->vouched, label_prefix);
    filter.drained = kms_tokens_drained(&ring->tokens, &ring->state, now_utc_s);
    return filter;
}

enum kms_code kms_ring_copy_state(const struct kms_ring *ring, struct kms_state *ret_state,
                                  struct kms_error *err)
{
    return kms_state_copy(&ring->state, ret_state, err);
}

enum kms_code kms_ring_check_state(const struct kms_ring *ring, const struct kms_state *state,
                                   struct kms_error *err)
{
    return check_pins(&ring->vouched, state, err);
}

void kms_ring_set_state(struct kms_ring *ring, struct kms_state *state)
{
    kms_state_done(&ring->state);
    ring->state = *state;
    *state = (struct kms_state){ 0 };
}

/* --- planning --- */

void kms_ring_plan_done(struct kms_ring_plan *plan)
{
    kms_state_done(&plan->state);
    *plan = (struct kms_ring_plan){ 0 };
}

static struct kms_evidence gather(const struct kms_ring *ring, const struct kms_state *state,
                                  uint32_t promoted, const struct kms_inventory *inventory,
                                  int64_t now_utc_s)
{
    return (struct kms_evidence){
        .ring = ring->name,
        .vouched = &ring->vouched,
        .tokens = &ring->tokens,
        .state = state,
        .promoted = promoted,
        .inventory = inventory,
        .sightings = ring->sightings,
        .sighting_count = ring->sighting_count,
        .now_utc_s = now_utc_s,
    };
}

static bool is_sound(const struct kms_ring_entry *entry)
{
    switch (entry->state) {
    case KMS_KEK_ACTIVE:
    case KMS_KEK_PREACTIVE:
    case KMS_KEK_PENDING:
    case KMS_KEK_DECRYPT_ONLY:
        return true;
    case KMS_KEK_DISABLED:
    case KMS_KEK_REFUSED:
    case KMS_KEK_MISSING:
        return false;
    }
    return false;
}

/* This listing is the second in a row that shows @entry, or the first since start. */
static bool is_seen_enough(const struct kms_ring *ring, const struct kms_evidence *evidence,
                           const struct kms_ring_entry *entry)
{
    if (!ring->listed_once)
        return true;
    const struct kms_sighting *seen = kms_evidence_sighting(evidence, entry->generation,
                                                            entry->kek.fingerprint);
    return seen != NULL && seen->consecutive + 1 >= SIGHTINGS_TO_TRUST;
}

static struct kms_pin *find_pin(struct kms_state *state, uint32_t generation)
{
    for (size_t i = 0; i < state->pin_count; i++) {
        if (state->pins[i].generation == generation)
            return &state->pins[i];
    }
    return NULL;
}

static enum kms_code plan_pins(const struct kms_ring *ring, const struct kms_evidence *evidence,
                               const struct kms_snapshot *judged, const char *serial,
                               struct kms_ring_plan *plan, struct kms_error *err)
{
    for (size_t i = 0; i < judged->count; i++) {
        const struct kms_ring_entry *entry = &judged->entries[i];
        if (!is_sound(entry) || !is_seen_enough(ring, evidence, entry))
            continue;
        struct kms_pin *pin = find_pin(&plan->state, entry->generation);
        if (pin == NULL) {
            enum kms_code rc = kms_state_add_pin(&plan->state, entry->generation,
                                                 entry->kek.fingerprint, err);
            if (rc != KMS_OK)
                return rc;
            plan->state_changed = true;
            plan->first_use = ring->is_new;
            pin = find_pin(&plan->state, entry->generation);
        }
        plan->state_changed |= kms_tokens_confirm(evidence, &entry->kek, serial, pin);
    }
    return KMS_OK;
}

/* The same of every token that must have it. */
static bool is_seen_everywhere(const struct kms_ring *ring, const struct kms_evidence *evidence,
                               const struct kms_ring_entry *entry)
{
    if (entry->lacking != 0)
        return false;
    if (!ring->listed_once)
        return true;
    const struct kms_sighting *seen = kms_evidence_sighting(evidence, entry->generation,
                                                            entry->kek.fingerprint);
    return seen != NULL && seen->everywhere + 1 >= SIGHTINGS_TO_TRUST;
}

/* The generation to promote, NULL if none: the highest whose activation passed; on a node where
 * nothing is promoted and none has, the lowest whatever its stamp (a dead clock must not keep a new
 * node from starting). */
static const struct kms_ring_entry *choose(const struct kms_ring *ring,
                                           const struct kms_evidence *evidence,
                                           const struct kms_snapshot *judged)
{
    const struct kms_ring_entry *chosen = NULL, *lowest = NULL;
    for (size_t i = 0; i < judged->count; i++) {
        const struct kms_ring_entry *entry = &judged->entries[i];
        if (!is_seen_everywhere(ring, evidence, entry))
            continue;
        if (entry->state == KMS_KEK_PENDING)
            chosen = entry;
        if (entry->state == KMS_KEK_PREACTIVE && lowest == NULL)
            lowest = entry;
    }
    bool nothing_yet = ring->state.promoted == 0 && ring->state.pin_count == 0;
    return chosen == NULL && nothing_yet ? lowest : chosen;
}

enum kms_code kms_ring_plan(struct kms_ring *ring, const struct kms_inventory *inventory,
                            const char *serial, int64_t now_utc_s, struct kms_ring_plan *ret_plan,
                            struct kms_error *err)
{
    KMS_CLEANUP(kms_ring_plan_done) struct kms_ring_plan plan = { 0 };
    enum kms_code rc = kms_state_copy(&ring->state, &plan.state, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_evidence evidence = gather(ring, &ring->state, ring->state.promoted, inventory,
                                          now_utc_s);
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *judged = NULL;
    rc = kms_judge(&evidence, &judged, err);
    if (rc == KMS_OK)
        rc = plan_pins(ring, &evidence, judged, serial, &plan, err);
    if (rc != KMS_OK)
        return rc;

    const struct kms_ring_entry *chosen = choose(ring, &evidence, judged);
    if (chosen != NULL) {
        plan.promote = chosen->generation;
        plan.state.promoted = chosen->generation;
        plan.state_changed = true;
        memcpy(plan.promote_label, chosen->kek.label, sizeof plan.promote_label);
        memcpy(plan.promote_fingerprint, chosen->kek.fingerprint, KMS_FINGERPRINT_LEN);
    }
    *ret_plan = plan;
    plan = (struct kms_ring_plan){ 0 };
    return KMS_OK;
}

enum kms_code kms_ring_keep(struct kms_ring *ring, const char *held, struct kms_ring_plan *ret_plan,
                            struct kms_error *err)
{
    snprintf(ret_plan->held, sizeof ret_plan->held, "%s", held);
    return kms_state_copy(&ring->state, &ret_plan->state, err);
}

enum kms_code kms_ring_distrust(struct kms_ring *ring, const struct kms_ring_plan *plan,
                                const char *reason, struct kms_error *err)
{
    struct kms_sighting *found = NULL;
    for (size_t i = 0; i < ring->sighting_count && found == NULL; i++) {
        struct kms_sighting *seen = &ring->sightings[i];
        if (seen->generation == plan->promote &&
            memcmp(seen->fingerprint, plan->promote_fingerprint, KMS_FINGERPRINT_LEN) == 0)
            found = seen;
    }
    if (found == NULL) {
        struct kms_sighting *more = reallocarray(ring->sightings, ring->sighting_count + 1,
                                                 sizeof *more);
        if (more == NULL)
            return kms_fail(err, KMS_E_BUSY, "out of memory");
        ring->sightings = more;
        found = &more[ring->sighting_count++];
        *found = (struct kms_sighting){ .generation = plan->promote };
        memcpy(found->fingerprint, plan->promote_fingerprint, KMS_FINGERPRINT_LEN);
    }
    snprintf(found->distrust, sizeof found->distrust, "%s", reason);
    return KMS_OK;
}

/* --- applying --- */

/* What was seen, for the next listing: counts go on where the same key was seen before. */
static enum kms_code count_sightings(struct kms_ring *ring, const struct kms_evidence *evidence,
                                     const struct kms_snapshot *judged, struct kms_error *err)
{
    struct kms_sighting *sightings = calloc(judged->count + 1, sizeof *sightings);
    if (sightings == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    size_t count = 0;
    for (size_t i = 0; i < judged->count; i++) {
        const struct kms_ring_entry *entry = &judged->entries[i];
        if (entry->state == KMS_KEK_MISSING || !entry->kek.fingerprinted)
            continue;
        const struct kms_sighting *before = kms_evidence_sighting(evidence, entry->generation,
                                                                  entry->kek.fingerprint);
        struct kms_sighting *seen = &sightings[count++];
        seen->generation = entry->generation;
        memcpy(seen->fingerprint, entry->kek.fingerprint, KMS_FINGERPRINT_LEN);
        bool again = before != NULL && before->consecutive > 0;
        seen->consecutive = again ? before->consecutive + 1 : 1;
        seen->everywhere = entry->lacking != 0 ? 0 : again ? before->everywhere + 1 : 1;
        seen->since_utc_s = again ? before->since_utc_s : evidence->now_utc_s;
    }
    free(ring->sightings);
    ring->sightings = sightings;
    ring->sighting_count = count;
    return KMS_OK;
}

static void stamp(struct kms_snapshot *snapshot, uint64_t sequence, int64_t now_utc_s)
{
    snapshot->complete = true;
    snapshot->sequence = sequence;
    snapshot->listed_utc_s = now_utc_s;
}

/* What Encrypt sees until the next Status: still @shown.  But if that is another key now, none. */
static enum kms_code judge_for_now(struct kms_evidence evidence, const struct announced *shown,
                                   struct kms_snapshot **ret_current, struct kms_error *err)
{
    evidence.promoted = shown->promoted;
    enum kms_code rc = kms_judge(&evidence, ret_current, err);
    if (rc != KMS_OK || !changes_key_id(shown->used, *ret_current))
        return rc;
    struct kms_snapshot *current = *ret_current;
    current->key_id[0] = '\0';
    current->code = KMS_E_UNAVAILABLE;
    snprintf(current->problem, sizeof current->problem,
             "the KEK of generation %u was replaced and accepted: the next Status announces it",
             (unsigned)shown->promoted);
    return KMS_OK;
}

enum kms_code kms_ring_apply(struct kms_ring *ring, struct kms_ring_plan *plan,
                             const struct kms_inventory *inventory, uint64_t sequence,
                             int64_t now_utc_s, struct kms_error *err)
{
    struct announced shown = get_announced(ring);
    struct kms_evidence evidence = gather(ring, &plan->state, plan->state.promoted, inventory,
                                          now_utc_s);
    evidence.held = plan->held;
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *newest = NULL;
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *current = NULL;
    enum kms_code rc = kms_judge(&evidence, &newest, err);
    bool stage = rc == KMS_OK && shown.promoted != 0 &&
                 (plan->state.promoted != shown.promoted || changes_key_id(shown.used, newest));
    if (stage)
        rc = judge_for_now(evidence, &shown, &current, err);
    if (rc == KMS_OK)
        rc = count_sightings(ring, &evidence, newest, err);
    if (rc != KMS_OK)
        return rc;

    stamp(newest, sequence, now_utc_s);
    if (stage)
        stamp(current, sequence, now_utc_s);
    publish(ring, &shown, current, newest);
    current = newest = NULL;
    kms_state_done(&ring->state);
    ring->state = plan->state;
    plan->state = (struct kms_state){ 0 };
    ring->is_new &= ring->state.pin_count == 0;
    ring->listed_once = true;
    return KMS_OK;
}

enum kms_code kms_ring_judge(const struct kms_ring_options *options, const struct kms_state *state,
                             bool is_new, const struct kms_inventory *inventory, int64_t now_utc_s,
                             struct kms_snapshot **ret_snapshot, struct kms_error *err)
{
    KMS_CLEANUP(kms_ring_close_ptr) struct kms_ring *ring = NULL;
    enum kms_code rc = kms_ring_open(options, state, is_new, &ring, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_evidence evidence = gather(ring, state, state->promoted, inventory, now_utc_s);
    rc = kms_judge(&evidence, ret_snapshot, err);
    if (rc == KMS_OK)
        stamp(*ret_snapshot, 0, now_utc_s);
    return rc;
}
