/* SPDX-License-Identifier: Apache-2.0 */
/* The KEK ring: which generation wraps now and which may unwrap.  Pure policy over inventories;
 * knows neither gRPC nor PKCS#11, reads no clock, writes no file. */
#ifndef KMS_RING_H
#define KMS_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keyid.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "snapshot.h"
#include "state.h"
#include "vouched.h"

/* What the configuration says of the tokens, in order of priority. */
struct kms_token_rules {
    struct {
        char name[KMS_TOKEN_NAME_MAX + 1];
        bool required;
    } items[KMS_TOKENS_MAX];
    size_t count;
};

struct kms_ring_options {
    const char *name;
    struct kms_token_rules tokens; /* copied; none: one token, of the name "token-1" */
    struct kms_vouched vouched;    /* the configuration's word; copied */
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

/* The configuration changed: the refresher takes a copy of @vouched with its next listing.
 * Thread-safe.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_ring_offer(struct kms_ring *ring,
                                            const struct kms_vouched *vouched,
                                            struct kms_error *err);

/* Of the configuration's word that is in force: that of an offer only once it was taken.  Thread-safe. */
struct kms_source_mark kms_ring_vouched_mark(struct kms_ring *ring);

/* --- the refresher's side: one thread --- */

/* A step that the refresher must take before ring.json may promise it. */
struct kms_ring_plan {
    struct kms_state state; /* what ring.json must say first */
    bool state_changed;
    bool first_use;   /* the new pins are trusted on first use: this node had no ring.json */
    uint32_t promote; /* generation to be promoted now; 0: none */
    char promote_label[KMS_LABEL_MAX + 1];
    uint8_t promote_fingerprint[KMS_FINGERPRINT_LEN];
    char held[160]; /* not empty: nothing can be promoted now, and why; shown with what waits */
};
void kms_ring_plan_done(struct kms_ring_plan *plan);

/* Judges a complete @inventory at @now_utc_s and says what should follow: generations to pin, one to
 * promote.  @serial: of the only token, where @inventory names none.  Changes nothing that others see. */
KMS_MUST_CHECK enum kms_code kms_ring_plan(struct kms_ring *ring,
                                           const struct kms_inventory *inventory,
                                           const char *serial, int64_t now_utc_s,
                                           struct kms_ring_plan *ret_plan, struct kms_error *err);

/* The canary of the promotion in @plan failed by the key's own fault: @reason is shown, and this key
 * is passed over until the next inventory is applied.  Then plan again.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_ring_distrust(struct kms_ring *ring,
                                               const struct kms_ring_plan *plan, const char *reason,
                                               struct kms_error *err);

/* A plan that changes nothing (*ret_plan is empty before): when ring.json couldn't be written;
 * @held says why. */
KMS_MUST_CHECK enum kms_code kms_ring_keep(struct kms_ring *ring, const char *held,
                                           struct kms_ring_plan *ret_plan, struct kms_error *err);

/* What ring.json says, for an operator's request to change. */
KMS_MUST_CHECK enum kms_code kms_ring_copy_state(const struct kms_ring *ring,
                                                 struct kms_state *ret_state,
                                                 struct kms_error *err);
/* KMS_E_PRECONDITION: @state contradicts the configuration's pins. */
KMS_MUST_CHECK enum kms_code kms_ring_check_state(const struct kms_ring *ring,
                                                  const struct kms_state *state,
                                                  struct kms_error *err);
/* Takes over @state, which is durable; it shows with the next inventory that is applied. */
void kms_ring_set_state(struct kms_ring *ring, struct kms_state *state);

/* Puts what kms_ring_offer() left, if anything, in the place of the configuration's word; *ret_taken: it
 * did.  KMS_E_PRECONDITION: it contradicts ring.json, or no longer adopts a key that data may need;
 * the old word stays. */
KMS_MUST_CHECK enum kms_code kms_ring_take_offer(struct kms_ring *ring, bool *ret_taken,
                                                 struct kms_error *err);

/* What to list at @now_utc_s: the labels that start with @label_prefix, "<ring>.v", and adopted keys, on
 * the tokens that aren't drained.  Good until the next kms_ring_take_offer(). */
struct kms_kek_filter kms_ring_filter(const struct kms_ring *ring, const char *label_prefix,
                                      int64_t now_utc_s);

/* What is durably promoted, which the next Status will announce: for the canary. */
struct kms_snapshot *kms_ring_acquire_newest(struct kms_ring *ring);

/* Publishes the judged inventory with @plan's state (already durable).  A new key_id (a promotion, or
 * a promoted key that an operator knowingly replaced) is staged: it becomes visible with the next
 * Status (kms_ring_acquire_for_status()), at once if nothing is promoted yet. */
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
