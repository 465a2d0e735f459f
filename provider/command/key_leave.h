/* SPDX-License-Identifier: Apache-2.0 */
/* What `key escrow export` decides and does. */
#ifndef KMS_KEY_LEAVE_H
#define KMS_KEY_LEAVE_H

#include <stdbool.h>

#include "key_act.h"

struct kms_key_departure {
    const char *path; /* of the escrow file; its folder is locked by the caller */
    const struct kms_spki *recipient;
    enum kms_oaep_hash hash;
    bool discard; /* destroy what other exports left unfinished */
};

/* Generates a prepared key that leaves the token once, for @departure's recipient, and is sealed
 * then.  A rerun with the same file finishes what an interrupted run began; until then the key is
 * extractable, and commit refuses it. */
KMS_MUST_CHECK enum kms_code kms_key_escrow(const struct kms_key_scene *scene,
                                            const struct kms_key_departure *departure, bool dry_run,
                                            struct kms_key_outcome *outcome, struct kms_error *err);

#endif
