/* SPDX-License-Identifier: Apache-2.0 */
/* What all tokens are asked at once, each in a thread of its own with the whole deadline.  A token that
 * hangs must not keep the caller from what the others said: its errand ends by itself, later, and what
 * it finds out counts then. */
#ifndef KMS_FAILOVER_ERRAND_H
#define KMS_FAILOVER_ERRAND_H

#include "failover_state.h"

struct kms_errand {
    struct kms_failover *failover;
    struct kms_failover_member *member;
    enum kms_errand_kind kind;
    int64_t deadline_ms;
    struct kms_kek_filter filter; /* of LIST; it and its texts are owned */
    struct kms_kek_ref kek;       /* of TRY; likewise */
    char *prefix, *label, *key_id;
    struct kms_kek_name *names;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    bool patient; /* the others wait for it: a listing without this token would be news */

    /* written by the thread until @done, which is guarded by the lock, as is @refs */
    enum kms_code rc;
    struct kms_error err;
    struct kms_inventory inventory; /* of LIST; owned */
    bool done;
    int refs;

    /* Whoever is last sees to the thread: the caller joins one that is done, so that nothing of it is
     * left when the process ends; one that is late goes by itself. */
    pthread_t thread;
    bool has_thread;
    bool is_alone; /* guarded by the lock: the caller has gone */
};

/* What a thread does: asks the token, and makes of its answer what it means for the member. */
void kms_errand_list(struct kms_errand *errand);
void kms_errand_try(struct kms_errand *errand);

struct kms_errand_order {
    enum kms_errand_kind kind;
    const struct kms_kek_filter *filter; /* of LIST */
    const struct kms_kek_ref *kek;       /* of TRY */
    int64_t deadline_ms;
};

struct kms_errands {
    struct kms_failover *failover;
    int64_t deadline_ms;
    struct kms_errand *items[KMS_TOKENS_MAX];
    size_t count;
    bool done[KMS_TOKENS_MAX]; /* by kms_errands_wait(); only then the item may be looked at */
};

/* Sends one errand to each of @members (at least one) that isn't still busy with one of the same kind.
 * kms_errands_done() after a success.  KMS_E_UNAVAILABLE: all are; KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_errands_send(struct kms_failover *failover,
                                              const struct kms_errand_order *order,
                                              struct kms_failover_member *const *members,
                                              size_t count, struct kms_errands *ret_errands,
                                              struct kms_error *err);
/* Until all are done, until the deadline, or until one is good, no patient one is under way, and a
 * little longer. */
void kms_errands_wait(struct kms_errands *errands);
void kms_errands_done(struct kms_errands *errands);

/* Waits for the threads, until their deadlines have passed.  False: one is still inside its token's
 * library; what it uses must stay. */
KMS_MUST_CHECK bool kms_errands_end(struct kms_failover *failover);

#endif
