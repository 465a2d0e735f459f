/* SPDX-License-Identifier: Apache-2.0 */
/* `rotation:` of the configuration: no KEK goes live before it could be backed up. */
#ifndef KMS_ROTATION_RULE_H
#define KMS_ROTATION_RULE_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "key_plan.h"

enum kms_rotation_way {
    KMS_ROTATION_ONE_STEP, /* a key generated under its final label: create, rotate */
    KMS_ROTATION_COMMIT,   /* a prepared key with its backup reference */
};

/* Whether @rule lets a command make the key of @plan, which is KMS_KEY_CREATE or KMS_KEY_TOO_EARLY
 * (anything else is allowed).  Without an --activate in @input a plan that is too early for the rule
 * is put off, label and all; an --activate that is too early is refused, --force or not.  The ring's
 * first key has no lead: a new node starts with it whatever its stamp.
 * False: refused, @ret_why says why and what instead. */
KMS_MUST_CHECK bool kms_rotation_allows(const struct kms_config_rotation *rule,
                                        enum kms_rotation_way way,
                                        const struct kms_key_plan_input *input,
                                        struct kms_key_plan *plan, char *ret_why, size_t why_size);

#endif
