/* SPDX-License-Identifier: Apache-2.0 */
#include "rotation_rule.h"

#include <stdio.h>

#include "keyid.h"
#include "kms/clock.h"

enum { MS_PER_S = 1000 };

bool kms_rotation_allows(const struct kms_config_rotation *rule, enum kms_rotation_way way,
                         const struct kms_key_plan_input *input, struct kms_key_plan *plan,
                         char *ret_why, size_t why_size)
{
    if (plan->kind != KMS_KEY_CREATE && plan->kind != KMS_KEY_TOO_EARLY)
        return true;
    if (way == KMS_ROTATION_ONE_STEP && rule->two_step) {
        (void)snprintf(ret_why, why_size,
                       "the configuration demands two steps (rotation.two_step): hsm-kms key "
                       "prepare, back the key up, then key commit");
        return false;
    }
    int64_t least_utc_s = input->now_utc_s + (rule->min_lead_ms + MS_PER_S - 1) / MS_PER_S;
    if (plan->is_first || plan->activation_utc_s >= least_utc_s)
        return true;
    if (input->activate == NULL) {
        plan->activation_utc_s = least_utc_s;
        kms_label_format(input->ring, plan->generation, least_utc_s, plan->label);
        return true;
    }
    char lead[KMS_DURATION_LEN + 1], least[KMS_RFC3339_LEN + 1];
    kms_duration_format(rule->min_lead_ms, lead);
    kms_rfc3339_format(least_utc_s, least);
    (void)snprintf(ret_why, why_size,
                   "the configuration demands a lead of %s (rotation.min_lead), so an activation "
                   "from %s on; --force doesn't override it",
                   lead, least);
    return false;
}
