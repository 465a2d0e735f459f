/* SPDX-License-Identifier: Apache-2.0 */
/* What revert, prepare and commit decide and do: keys that get the next generation and are not
 * generated under its label. */
#ifndef KMS_KEY_RENEW_H
#define KMS_KEY_RENEW_H

#include <stdbool.h>
#include <stdint.h>

#include "backups.h"
#include "config.h"
#include "key_act.h"

enum { KMS_PENDING_LABEL_LEN = KMS_RING_MAX + 9 + KMS_BACKUP_ID_LEN }; /* ".pending." */

/* `<ring>.pending.<id>`: no KEK of the ring yet. */
void kms_pending_label_format(const char *ring, const char *id,
                              char ret_label[static KMS_PENDING_LABEL_LEN + 1]);
/* The id within @label, NULL if it isn't such a label of @ring. */
const char *kms_pending_label_id(const char *ring, const char *label);
/* 16 lower-case hexadecimal digits. */
bool kms_pending_id_is_valid(const char *id);

/* When the new generation may become active. */
struct kms_key_timing {
    const char *activate; /* as struct kms_key_plan_input has it */
    bool force;
    struct kms_config_rotation rule;
};

/* Copies the key of @target under the label of the next generation: its material becomes active
 * again, under a key_id that nobody has used.  Its backup is as old as itself, so that the
 * configuration's rule for new keys doesn't hold.  A rerun finds the copy. */
KMS_MUST_CHECK enum kms_code kms_key_revert(const struct kms_key_scene *scene,
                                            const struct kms_key_target *target,
                                            const struct kms_key_timing *timing, bool dry_run,
                                            struct kms_key_outcome *outcome, struct kms_error *err);

/* Generates a key outside the ring.  A rerun reports the one that is there, unless @another. */
KMS_MUST_CHECK enum kms_code kms_key_prepare(const struct kms_key_scene *scene, bool another,
                                             bool dry_run, struct kms_key_outcome *outcome,
                                             struct kms_error *err);

/* Records @reference and gives the prepared key @id the next generation's label.  A rerun finds it
 * in the ring. */
KMS_MUST_CHECK enum kms_code kms_key_commit(const struct kms_key_scene *scene, const char *id,
                                            const char *reference,
                                            const struct kms_key_timing *timing, bool dry_run,
                                            struct kms_key_outcome *outcome, struct kms_error *err);

#endif
