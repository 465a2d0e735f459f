/* SPDX-License-Identifier: Apache-2.0 */
/* New KEKs on tokens that get none by themselves (sync: escrow).  A key is made on the first token under
 * a pending label that names the label it is to have, `<ring>.pending.v<generation>@<activation>`, and
 * brought to the others; it gets its label once it is on all of them and can leave none.  Until a token
 * has it under its label it is nobody's, and withdrawn by whoever finds it; from then on it is finished, if
 * the nodes still learn of it in time: no node trusts it before the first token, which made it, labels it.
 * Copies that a vendor made meanwhile on other tokens, and that could leave them, are sealed. */
#ifndef KMS_KEY_SPREAD_H
#define KMS_KEY_SPREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"
#include "state.h"

struct kms_spread_token {
    const char *name;
    struct kms_keystore *keystore;
    bool escrow; /* keys are brought there; of the first one, which makes them: ignored */
};

/* Borrowed pointers. */
struct kms_spread {
    const char *ring;
    struct kms_spread_token tokens[KMS_TOKENS_MAX];
    size_t count;
    bool partial; /* other tokens are left out */
    /* What kms_spread_mend() is to withdraw rather than finish: keys whose activation is before, unless the
     * first token has them already; 0: none.  But never what @state (borrowed; may be NULL) pins. */
    int64_t finish_from_utc_s;
    const struct kms_state *state;
};

/* Keys must be brought to some token. */
bool kms_spread_is_needed(const struct kms_spread *spread);

/* Makes a KEK under @label on all tokens, the first one's last; tokens that copy by themselves may still
 * lack it.  *ret_kek is the first one's.  Fails with nothing left anywhere if any step fails before a
 * token has it under @label, or @give_up_utc_s has passed by then (KMS_E_BUSY); later the text says that
 * a rerun finishes.  Blocks on tokens, for minutes while they make transport keys. */
KMS_MUST_CHECK enum kms_code kms_spread_make(const struct kms_spread *spread, const char *label,
                                             int64_t give_up_utc_s, struct kms_kek_info *ret_kek,
                                             struct kms_error *err);

/* How many keys interrupted commands left, on one token each: prepared ones, and copies to be sealed. */
KMS_MUST_CHECK enum kms_code kms_spread_count(const struct kms_spread *spread, size_t *ret_count,
                                              struct kms_error *err);

/* What became of them. */
struct kms_spread_mended {
    size_t finished, withdrawn; /* keys on one token each */
};

/* Deals with what interrupted commands left, once it has stayed as it is for @patience_ms: another
 * command may be at work.  KMS_E_BUSY: it is.  KMS_E_PRECONDITION: a token that is left out may have
 * it under its label already, or it comes too late and is pinned. */
KMS_MUST_CHECK enum kms_code kms_spread_mend(const struct kms_spread *spread, int64_t patience_ms,
                                             struct kms_spread_mended *ret_mended,
                                             struct kms_error *err);

/* Destroys what has no label yet of @generation.  *ret_count: keys on one token each. */
KMS_MUST_CHECK enum kms_code kms_spread_discard(const struct kms_spread *spread,
                                                uint32_t generation, bool dry_run,
                                                size_t *ret_count, struct kms_error *err);

#endif
