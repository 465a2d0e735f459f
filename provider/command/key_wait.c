/* SPDX-License-Identifier: Apache-2.0 */
#include "key_wait.h"

#include <inttypes.h>

#include "disabled.h"
#include "kms/clock.h"

enum { MS_PER_S = 1000 };

static bool refuse_unknown(const struct kms_key_wait *wait, struct kms_key_outcome *outcome)
{
    (void)kms_key_refuse(
        outcome,
        "since when generation %" PRIu32
        " is disabled isn't recorded on this node: run it where key disable ran, or "
        "key disable %" PRIu32
        " here, from which the wait counts (policy.destroy_wait); --now skips it",
        wait->generation, wait->generation);
    return false;
}

static bool was_disabled_long_enough(const struct kms_key_wait *wait,
                                     struct kms_key_outcome *outcome)
{
    struct kms_error err = { .code = KMS_OK };
    int64_t since_utc_s = 0;
    if (wait->destroy_wait_ms == 0)
        return true;
    if (kms_disabled_since(wait->state_dir, wait->generation, &since_utc_s, &err) != KMS_OK) {
        (void)kms_key_refuse(outcome, "it can't be told since when it is disabled: %s", err.msg);
        return false;
    }
    if (since_utc_s == 0)
        return refuse_unknown(wait, outcome);
    int64_t until_utc_s = since_utc_s + (wait->destroy_wait_ms + MS_PER_S - 1) / MS_PER_S;
    if (wait->now_utc_s >= until_utc_s)
        return true;
    char since[KMS_RFC3339_LEN + 1], until[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(since_utc_s, since);
    kms_rfc3339_format(until_utc_s, until);
    (void)kms_key_refuse(outcome,
                         "generation %" PRIu32 " is disabled since %s: wait until %s "
                         "(policy.destroy_wait), or --now",
                         wait->generation, since, until);
    return false;
}

bool kms_key_wait_is_over(const struct kms_key_wait *wait, struct kms_key_outcome *outcome)
{
    return was_disabled_long_enough(wait, outcome);
}
