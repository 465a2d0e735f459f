/* SPDX-License-Identifier: Apache-2.0 */
/* What a rotation asks of nodes: pure functions. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key_plan.h"
#include "kms/clock.h"
#include "node_view.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static enum kms_code check_refresh(const struct kms_node *node, const char *title,
                                   const struct kms_node_demand *demand, struct kms_error *err)
{
    int64_t skew_ms = larger(node->clock_skew_ms, demand->clock_skew_ms);
    int64_t needed_s = kms_key_lead_s(node->refresh_ms, skew_ms);
    if (needed_s <= demand->lead_s)
        return KMS_OK;
    char refresh[KMS_DURATION_LEN + 1], skew[KMS_DURATION_LEN + 1];
    kms_duration_format(node->refresh_ms, refresh);
    kms_duration_format(skew_ms, skew);
    return kms_fail(err, KMS_E_PRECONDITION,
                    "%s has refresh %s (clock_skew %s): it needs %" PRId64
                    " s to know a key for sure, the activation is in %" PRId64
                    " s; --activate +%" PRId64 "s gives it the time",
                    title, refresh, skew, needed_s, demand->lead_s,
                    needed_s + 10); /* the command itself takes some of it */
}

static enum kms_code check_clock(const struct kms_node *node, const char *title,
                                 const struct kms_node_demand *demand, struct kms_error *err)
{
    int64_t off_ms = llabs(node->offset_ms);
    int64_t allowed_ms = larger(node->clock_skew_ms, demand->clock_skew_ms);
    if (off_ms - node->doubt_ms <= allowed_ms)
        return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION,
                    "the clock of %s is %" PRId64 " ms %s of ours, clock_skew allows %" PRId64
                    " ms: mend the clocks",
                    title, off_ms, node->offset_ms > 0 ? "ahead" : "behind", allowed_ms);
}

enum kms_code kms_node_check(const struct kms_node *node, const struct kms_node_demand *demand,
                             struct kms_error *err)
{
    char title[KMS_NODE_TITLE_MAX];
    kms_node_title(node, title);
    if (strcmp(node->ring, demand->ring) != 0)
        return kms_fail(err, KMS_E_PRECONDITION, "%s serves ring '%s', not '%s'", title, node->ring,
                        demand->ring);
    if (node->promoted != demand->promoted)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%s has promoted generation %" PRIu32 ", others have %" PRIu32
                        ": wait until all have the same (hsm-kms key nodes)",
                        title, node->promoted, demand->promoted);
    if (!demand->lead_counts)
        return KMS_OK;
    enum kms_code rc = check_refresh(node, title, demand, err);
    return rc == KMS_OK ? check_clock(node, title, demand, err) : rc;
}

static bool has_fingerprint(const Hsmkms__Node__V1__Kek *kek, struct kms_bytes fingerprint)
{
    const struct kms_bytes own = { kek->fingerprint.data, kek->fingerprint.len };
    return fingerprint.len == 0 || kms_bytes_equal(own, fingerprint);
}

enum kms_node_sight kms_node_sees(const Hsmkms__Node__V1__DescribeResponse *description,
                                  uint32_t generation, struct kms_bytes fingerprint,
                                  char ret_why[static KMS_NODE_WHY_MAX])
{
    (void)snprintf(ret_why, KMS_NODE_WHY_MAX, "generation %" PRIu32 " is not listed yet",
                   generation);
    for (size_t i = 0; i < description->n_keks; i++) {
        const Hsmkms__Node__V1__Kek *kek = description->keks[i];
        if (kek->generation != generation)
            continue;
        if (kms_node_kek_is_usable(kek->state) && has_fingerprint(kek, fingerprint)) {
            ret_why[0] = '\0';
            return description->promoted >= generation ? KMS_NODE_PROMOTED : KMS_NODE_LISTED;
        }
        (void)snprintf(ret_why, KMS_NODE_WHY_MAX, "generation %" PRIu32 " is %s there%s%s",
                       generation, kek->state, kek->reason[0] != '\0' ? ": " : "", kek->reason);
        if (kms_node_kek_is_usable(kek->state))
            (void)snprintf(ret_why, KMS_NODE_WHY_MAX,
                           "generation %" PRIu32 " has another fingerprint there", generation);
    }
    return KMS_NODE_ABSENT;
}
