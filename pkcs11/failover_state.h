/* SPDX-License-Identifier: Apache-2.0 */
/* Private to failover.c (the seam, wrap and unwrap), failover_list.c (listings and canaries),
 * failover_errand.c (how all tokens are asked at once), failover_merge.c (one inventory of several) and
 * failover_manage.c (commands). */
#ifndef KMS_FAILOVER_STATE_H
#define KMS_FAILOVER_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "failover.h"
#include "kms/error.h"
#include "kms/keystore.h"

enum kms_errand_kind { KMS_ERRAND_LIST, KMS_ERRAND_TRY, KMS_ERRAND_KINDS };

struct kms_failover_member {
    char name[KMS_TOKEN_NAME_MAX + 1];
    struct kms_keystore *keystore; /* owned */
    bool copies_itself;

    /* guarded by kms_failover.lock, which is never held across a call of @keystore */
    bool drained;                   /* by the last listing's filter */
    bool listed;                    /* the last listing was complete */
    bool resting;                   /* only a last resort */
    bool served;                    /* it did anything, ever */
    bool errands[KMS_ERRAND_KINDS]; /* one of the kind is under way */
    char serial[17];
    char problem[160];
    struct kms_kek_info *keks; /* owned; by its last complete listing */
    size_t kek_count;
};

struct kms_failover {
    struct kms_keystore base;
    struct kms_failover_member members[KMS_TOKENS_MAX];
    size_t count;
    pthread_mutex_t lock;
    pthread_cond_t changed;   /* an errand ended */
    size_t errand_count;      /* under way; guarded by the lock, as is the next */
    int64_t errands_until_ms; /* CLOCK_MONOTONIC: by then all should have ended */
};

/* The member is left out from now on, and one line of the log says why; or it is used again.  Nothing
 * happens if that is so already. */
void kms_failover_rest(struct kms_failover *failover, struct kms_failover_member *member,
                       const struct kms_error *why);
void kms_failover_wake(struct kms_failover *failover, struct kms_failover_member *member);

/* The members that hold @kek by their last listing and aren't drained: first those that don't rest,
 * each group in order of priority.  KMS_E_UNAVAILABLE: none, but some token wasn't listed;
 * KMS_E_PRECONDITION: none. */
KMS_MUST_CHECK enum kms_code kms_failover_pick(
    struct kms_failover *failover, const struct kms_kek_ref *kek,
    struct kms_failover_member *ret_members[KMS_TOKENS_MAX], size_t *ret_count,
    struct kms_error *err);

/* Of two failures of one call, in order of priority: *best stays unless it only says that the token
 * had no time, and @next says more.  The text names the token. */
void kms_failover_weigh(struct kms_error *best, const struct kms_failover_member *member,
                        const struct kms_error *next);

/* --- failover_list.c --- */

KMS_MUST_CHECK enum kms_code kms_failover_inventory(struct kms_keystore *base,
                                                    const struct kms_kek_filter *filter,
                                                    int64_t deadline_ms,
                                                    struct kms_inventory *ret_inventory,
                                                    struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_failover_canary(struct kms_keystore *base,
                                                 const struct kms_kek_ref *kek, int64_t deadline_ms,
                                                 struct kms_error *err);

/* --- failover_sign.c --- */

KMS_MUST_CHECK enum kms_code kms_failover_sign(struct kms_keystore *base, const char *label,
                                               struct kms_bytes message, int64_t deadline_ms,
                                               struct kms_signature *ret_signature,
                                               struct kms_error *err);

/* --- failover_manage.c --- */

extern const struct kms_manage_ops kms_failover_manage;

/* --- failover_merge.c --- */

/* One token's part of an inventory. */
struct kms_failover_part {
    const char *name;
    const struct kms_inventory *inventory; /* NULL: it wasn't listed */
};

/* One list of KEKs and others; bit i of `holders` is @parts[i].  The k-th of equal keys on one token
 * is the k-th on another.  An attribute is known as soon as what some token says of it decides:
 * weakness on one token is weakness, usable on one is usable, generated on one is generated.
 * KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_failover_merge(const struct kms_failover_part *parts, size_t count,
                                                struct kms_inventory *ret_inventory,
                                                struct kms_error *err);

#endif
