/* SPDX-License-Identifier: Apache-2.0 */
/* One judged listing of the token: what each KEK is to this node, and which may unwrap. */
#ifndef KMS_SNAPSHOT_H
#define KMS_SNAPSHOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keyid.h"
#include "kms/error.h"
#include "kms/keystore.h"

/* What a KEK on the token is to this node. */
enum kms_kek_state {
    KMS_KEK_ACTIVE,       /* promoted: it wraps */
    KMS_KEK_PREACTIVE,    /* its activation is still to come */
    KMS_KEK_PENDING,      /* activation passed; waiting to be seen twice and to pass the canary */
    KMS_KEK_DECRYPT_ONLY, /* below the promoted one: unwraps only */
    KMS_KEK_DISABLED,     /* may neither wrap nor unwrap */
    KMS_KEK_REFUSED,      /* an anomaly; @reason says which. It is never promoted */
    KMS_KEK_MISSING,      /* pinned or to be adopted, but not on the token */
};
const char *kms_kek_state_name(enum kms_kek_state state);

struct kms_ring_entry {
    uint32_t generation; /* 0: the label can't be read */
    int64_t activation_utc_s;
    bool adopted; /* both come from the configuration, not from the label */
    enum kms_kek_state state;
    bool may_unwrap;
    char reason[400];                /* why it isn't active, where that wants saying; public */
    char key_id[KMS_KEY_ID_LEN + 1]; /* "" without a fingerprint */
    int64_t seen_since_utc_s;
    uint32_t lacking;        /* bit i: tokens[i] must have it before it is promoted, and hasn't */
    struct kms_kek_info kek; /* of MISSING: only the pinned fingerprint, and the name to look for */
};

/* One of several tokens, as this node sees it. */
struct kms_ring_token {
    char name[KMS_TOKEN_NAME_MAX + 1];
    char serial[17];
    bool required; /* must have confirmed a generation before that is promoted */
    bool listed;   /* in this listing; else it is away, or drained */
    bool drained;  /* an operator asked to leave it alone, until … */
    bool in_use;   /* listed, and it has the promoted generation */
    int64_t drained_until_utc_s;
    char problem[200]; /* why it isn't in use; public */
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
    struct kms_ring_token tokens[KMS_TOKENS_MAX]; /* in order of priority */
    size_t token_count;                           /* 0: there is one, which listed everything */
};
/* A token wasn't listed: what is missing may be there. */
bool kms_snapshot_is_partial(const struct kms_snapshot *snapshot);

/* One more reference to @snapshot, which the caller releases. */
struct kms_snapshot *kms_snapshot_acquire(struct kms_snapshot *snapshot);
void kms_snapshot_release(struct kms_snapshot *snapshot);
KMS_DEFINE_CLOSE_PTR(struct kms_snapshot *, kms_snapshot_release)

/* The KEK that may unwrap what @key_id wrapped, NULL with *err filled: KMS_E_PRECONDITION (pinned
 * but missing, disabled, changed), KMS_E_UNAVAILABLE (nothing listed yet, or it may be on a token that
 * wasn't), KMS_E_KEY_UNKNOWN (not in this snapshot: the caller decides whether the snapshot is new
 * enough to say so). */
const struct kms_ring_entry *kms_snapshot_find(const struct kms_snapshot *snapshot,
                                               const struct kms_key_id *key_id,
                                               struct kms_error *err);

#endif
