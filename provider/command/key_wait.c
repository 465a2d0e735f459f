/* SPDX-License-Identifier: Apache-2.0 */
#include "key_wait.h"

#include <inttypes.h>

#include "disabled.h"
#include "kms/clock.h"
#include "ledger.h"

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

static bool refuse_backup(const struct kms_key_wait *wait, const struct kms_ledger_need *need,
                          struct kms_key_outcome *outcome)
{
    char digest[2 * KMS_SHA256_LEN + 1], seen[KMS_RFC3339_LEN + 1];
    kms_hex_encode((struct kms_bytes){ need->sha256, KMS_SHA256_LEN }, digest);
    kms_rfc3339_format(need->utc_s, seen);
    (void)kms_key_refuse(outcome,
                         "the snapshot with SHA-256 %s, recorded at %s, %s generation %" PRIu32
                         ": wait until it is older than policy.backup_retention, or --now if it is "
                         "gone",
                         digest, seen, need->values > 0 ? "needs" : "may need", wait->generation);
    return false;
}

static bool are_backups_old(const struct kms_key_wait *wait, struct kms_key_outcome *outcome)
{
    struct kms_error err = { .code = KMS_OK };
    struct kms_ledger_need need;
    bool found = false;
    if (wait->backup_retention_ms == 0)
        return true;
    int64_t since_utc_s = wait->now_utc_s - wait->backup_retention_ms / MS_PER_S;
    if (kms_ledger_find(wait->state_dir, wait->ring, wait->generation, since_utc_s, &found, &need,
                        &err) != KMS_OK) {
        (void)kms_key_refuse(outcome, "it can't be told which snapshots need it: %s", err.msg);
        return false;
    }
    return !found || refuse_backup(wait, &need, outcome);
}

bool kms_key_wait_is_over(const struct kms_key_wait *wait, struct kms_key_outcome *outcome)
{
    if (was_disabled_long_enough(wait, outcome))
        return are_backups_old(wait, outcome);
    /* both at once: whoever skips the one by --now skips the other */
    const struct kms_key_outcome disabled = *outcome;
    if (!are_backups_old(wait, outcome)) {
        const struct kms_key_outcome backups = *outcome;
        (void)kms_key_refuse(outcome, "%.480s. And %.480s", disabled.text, backups.text);
    }
    return false;
}
