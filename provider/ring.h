/* SPDX-License-Identifier: Apache-2.0 */
/* The KEK ring: which generation wraps now and which may unwrap.  Pure policy over inventories;
 * knows neither gRPC nor PKCS#11, reads no clock, writes no file. */
#ifndef KMS_RING_H
#define KMS_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keyid.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "state.h"

/* What a KEK on the token is to this node. */
enum kms_kek_state {
    KMS_KEK_ACTIVE,       /* promoted: it wraps */
    KMS_KEK_PREACTIVE,    /* its activation is still to come */
    KMS_KEK_PENDING,      /* activation passed; waiting to be seen twice and to pass the canary */
    KMS_KEK_DECRYPT_ONLY, /* below the promoted one: unwraps only */
    KMS_KEK_DISABLED,     /* may neither wrap nor unwrap */
    KMS_KEK_REFUSED,      /* an anomaly; @reason says which. It is never promoted */
    KMS_KEK_MISSING,      /* pinned, but not on the token */
};
const char *kms_kek_state_name(enum kms_kek_state state);

struct kms_ring_entry {
    uint32_t generation; /* 0: the label can't be read */
    int64_t activation_utc_s;
    enum kms_kek_state state;
    bool may_unwrap;
    char reason[200];                /* why it isn't active, where that wants saying; public */
    char key_id[KMS_KEY_ID_LEN + 1]; /* "" without a fingerprint */
    int64_t seen_since_utc_s;
    struct kms_kek_info kek; /* of MISSING: only the pinned fingerprint */
};

/* One immutable view: acquired, read from any thread, released. */
struct kms_snapshot {
    _Atomic unsigned refs;
    uint32_t promoted;                        /* generation; 0: none yet */
    char key_id[KMS_KEY_ID_LEN + 1];          /* of the promoted one */
    char label[KMS_LABEL_MAX + 1];            /* of the promoted one */
    uint8_t fingerprint[KMS_FINGERPRINT_LEN]; /* of the promoted one, as pinned */
    enum kms_code code;              /* KMS_OK: the promoted KEK is on the token and as pinned */
    char problem[KMS_ERROR_MSG_MAX]; /* else why not, with what to do */
    bool complete;                   /* at least one complete inventory was applied */
    uint64_t sequence;               /* number of the refresh it comes from */
    int64_t listed_utc_s;            /* when that refresh was */
    struct kms_ring_entry *entries;  /* ascending by generation, then CKA_ID */
    size_t count;
};
void kms_snapshot_release(struct kms_snapshot *snapshot);
KMS_DEFINE_CLOSE_PTR(struct kms_snapshot *, kms_snapshot_release)

/* The KEK that may unwrap what @key_id wrapped, NULL with *err filled: KMS_E_PRECONDITION (pinned
 * but missing, disabled, changed), KMS_E_UNAVAILABLE (nothing listed yet), KMS_E_KEY_UNKNOWN (not in
 * this snapshot: the caller decides whether the snapshot is new enough to say so). */
const struct kms_ring_entry *kms_snapshot_find(const struct kms_snapshot *snapshot,
                                               const struct kms_key_id *key_id,
                                               struct kms_error *err);

struct kms_ring_options {
    const char *name;
    const struct kms_pin *trusted; /* fingerprints from the configuration; copied */
    size_t trusted_count;
};

struct kms_ring;
/* @state is what ring.json said; it is copied. @is_new: no ring.json yet (trust on first use). */
KMS_MUST_CHECK enum kms_code kms_ring_open(const struct kms_ring_options *options,
                                           const struct kms_state *state, bool is_new,
                                           struct kms_ring **ret_ring, struct kms_error *err);
void kms_ring_close(struct kms_ring *ring);
KMS_DEFINE_CLOSE_PTR(struct kms_ring *, kms_ring_close)

/* The newest published view; the caller releases it.  Thread-safe, never blocks for long. */
struct kms_snapshot *kms_ring_acquire(struct kms_ring *ring);

/* The one atomic step of a promotion: publishes what kms_ring_stage() left, if anything, and returns
 * the view from which this Status answers.  Called when a Status is answered, on the poller only. */
struct kms_snapshot *kms_ring_acquire_for_status(struct kms_ring *ring);

/* --- the refresher's side: one thread --- */

/* A step that the refresher must take before ring.json may promise it. */
struct kms_ring_plan {
    struct kms_state state; /* what ring.json must say first */
    bool state_changed;
    bool first_use;   /* the new pins are trusted on first use: this node had no ring.json */
    uint32_t promote; /* generation to be promoted now; 0: none */
    char promote_label[KMS_LABEL_MAX + 1];
    uint8_t promote_fingerprint[KMS_FINGERPRINT_LEN];
};
void kms_ring_plan_done(struct kms_ring_plan *plan);

/* Judges a complete @inventory at @now_utc_s and says what should follow: generations to pin, one to
 * promote.  Changes nothing that others see. */
KMS_MUST_CHECK enum kms_code kms_ring_plan(struct kms_ring *ring,
                                           const struct kms_inventory *inventory,
                                           const char *token_serial, int64_t now_utc_s,
                                           struct kms_ring_plan *ret_plan, struct kms_error *err);

/* The canary of the promotion in @plan failed by the key's own fault: @reason is shown, and this key
 * is passed over until the next inventory is applied.  Then plan again.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_ring_distrust(struct kms_ring *ring,
                                               const struct kms_ring_plan *plan, const char *reason,
                                               struct kms_error *err);

/* A plan that changes nothing (*ret_plan is empty before): when ring.json couldn't be written. */
KMS_MUST_CHECK enum kms_code kms_ring_keep(struct kms_ring *ring, struct kms_ring_plan *ret_plan,
                                           struct kms_error *err);

/* What is durably promoted, which the next Status will announce: for the canary. */
struct kms_snapshot *kms_ring_acquire_newest(struct kms_ring *ring);

/* Publishes the judged inventory with @plan's state (already durable).  A promotion is staged: it
 * becomes visible with the next Status (kms_ring_acquire_for_status()), at once if nothing is
 * promoted yet. */
KMS_MUST_CHECK enum kms_code kms_ring_apply(struct kms_ring *ring, struct kms_ring_plan *plan,
                                            const struct kms_inventory *inventory,
                                            uint64_t sequence, int64_t now_utc_s,
                                            struct kms_error *err);

/* For `key list` and `key create`, which have no daemon: judge an inventory against a state. */
KMS_MUST_CHECK enum kms_code kms_ring_judge(const struct kms_ring_options *options,
                                            const struct kms_state *state, bool is_new,
                                            const struct kms_inventory *inventory,
                                            int64_t now_utc_s, struct kms_snapshot **ret_snapshot,
                                            struct kms_error *err);

#endif
