/* SPDX-License-Identifier: Apache-2.0 */
/* What `key import` and `key escrow import` decide and do: keys that come from elsewhere. */
#ifndef KMS_KEY_BRING_H
#define KMS_KEY_BRING_H

#include <stdbool.h>
#include <stdint.h>

#include "key_act.h"
#include "key_renew.h"

struct kms_key_guest {
    struct kms_bytes blob;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN]; /* what the key must have */
};

/* Makes the key the next generation, by the rules of a committed one: its backup is where it comes
 * from.  Unless @timing says when, its activation leaves a day to accept it on every node.  A rerun
 * finds it in the ring. */
KMS_MUST_CHECK enum kms_code kms_key_import(const struct kms_key_scene *scene,
                                            const struct kms_key_guest *guest,
                                            const struct kms_key_timing *timing, bool dry_run,
                                            struct kms_key_outcome *outcome, struct kms_error *err);

/* Puts an escrowed key on this token under @label: a pending label, or exactly what the first token
 * calls it.  One that is here under its pending label gets its label of the ring. */
KMS_MUST_CHECK enum kms_code kms_key_adopt_escrow(const struct kms_key_scene *scene,
                                                  const struct kms_key_guest *guest,
                                                  const char *label, bool dry_run,
                                                  struct kms_key_outcome *outcome,
                                                  struct kms_error *err);

#endif
