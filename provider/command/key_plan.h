/* SPDX-License-Identifier: Apache-2.0 */
/* What `key create` decides, apart from what it does: pure functions. */
#ifndef KMS_KEY_PLAN_H
#define KMS_KEY_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"
#include "ring.h"

struct kms_key_plan_input {
    const char *ring;
    const struct kms_snapshot *snapshot; /* the token as this node judges it */
    const struct kms_state *state;       /* what ring.json says */
    bool state_known;                    /* false: @state is empty, there is no ring.json to read */
    const char *activate; /* "now", "+1h", "2026-12-01T12:00:00Z"; NULL: the default */
    bool force;           /* an activation before the lead is up is meant */
    uint32_t from;        /* only the successor of this generation is wanted; 0: any */
    int64_t now_utc_s;
    int64_t begun_utc_s; /* when the command began, which may have waited for others; 0: now */
    int64_t refresh_ms, clock_skew_ms;
};

enum kms_key_plan_kind {
    KMS_KEY_CREATE,
    KMS_KEY_IS_PENDING, /* an earlier one waits for its promotion: nothing to do */
    KMS_KEY_TOO_EARLY,  /* some nodes may not know the key when others use it; --force overrides */
    KMS_KEY_IS_THERE,   /* the successor of @from exists: nothing to do */
    KMS_KEY_MOVED_ON,   /* neither @from nor its successor is promoted */
};

struct kms_key_plan {
    enum kms_key_plan_kind kind;
    uint32_t generation;
    int64_t activation_utc_s;
    int64_t earliest_utc_s; /* what needs no --force */
    bool is_first;          /* no node can use it before another one knows it */
    uint32_t promoted;      /* on this node, as far as is known; 0: none */
    char label[KMS_LABEL_MAX + 1];
    const struct kms_ring_entry *standing; /* of IS_PENDING, IS_THERE; borrowed from the snapshot */
};

/* KMS_E_INVALID: @activate can't be read, or no generation is left. */
KMS_MUST_CHECK enum kms_code kms_key_plan(const struct kms_key_plan_input *input,
                                          struct kms_key_plan *ret_plan, struct kms_error *err);

/* For a key that was made elsewhere: the lead that lets nodes see it isn't enough, each must be told to
 * trust it.  Unless an activation was asked for, @plan leaves a day for that.  The first key comes at
 * once, since nothing works before. */
void kms_key_leave_time_to_accept(const struct kms_key_plan_input *input,
                                  struct kms_key_plan *plan);

/* How long before its activation a key must exist, so that every node sees it in two refreshes. */
int64_t kms_key_lead_s(int64_t refresh_ms, int64_t clock_skew_ms);

/* Both are the same key: one object, or copies of it on two tokens under one label. */
bool kms_key_is_same(const struct kms_kek_info *a, const struct kms_kek_info *b);

/* The key of @inventory that has @own's generation and isn't the same, the one with the smallest CKA_ID
 * if there are several; NULL if @own is alone. */
const struct kms_kek_info *kms_key_rival(const char *ring, const struct kms_inventory *inventory,
                                         const struct kms_kek_info *own);

/* True if several keys have the highest generation: another command may be about to destroy one. */
bool kms_key_is_contended(const char *ring, const struct kms_inventory *inventory);

/* True if a key of the ring may be in the making: a token may show it to others before it has its
 * value and its origin.  Keys that were brought there look the same, but stay so. */
bool kms_key_is_unfinished(const char *ring, const struct kms_inventory *inventory);

/* Of two keys with one generation that were made at the same time, the smaller CKA_ID stays. */
bool kms_key_yields_to(const struct kms_kek_info *own, const struct kms_kek_info *rival);

/* Not an anomaly: nodes promote such a key, or decrypt with it.  Waiting for an anomaly would block
 * every later key. */
bool kms_key_is_usable(const struct kms_ring_entry *entry);

#endif
