/* SPDX-License-Identifier: Apache-2.0 */
#include "access.h"

enum { LOG_INTERVAL_MS = 1000 };

static bool uid_is_listed(const struct kms_access_rules *rules, uid_t uid)
{
    for (size_t i = 0; i < rules->allow_uid_count; i++)
        if (rules->allow_uids[i] == uid)
            return true;
    return false;
}

static bool is_member(const struct kms_access_peer *peer, gid_t group)
{
    if (peer->gid == group)
        return true;
    for (size_t i = 0; i < peer->group_count; i++)
        if (peer->groups[i] == group)
            return true;
    return false;
}

bool kms_access_allows(const struct kms_access_rules *rules, const struct kms_access_peer *peer)
{
    return peer->uid == 0 || peer->uid == rules->self || uid_is_listed(rules, peer->uid) ||
           is_member(peer, rules->group);
}

bool kms_log_limit_pass(struct kms_log_limit *limit, int64_t now_ms, uint64_t *ret_count)
{
    if (now_ms < limit->open_ms) {
        limit->held++;
        return false;
    }
    *ret_count = limit->held + 1;
    *limit = (struct kms_log_limit){ .open_ms = now_ms + LOG_INTERVAL_MS };
    return true;
}

uint64_t kms_log_limit_flush(struct kms_log_limit *limit, int64_t now_ms)
{
    if (limit->held == 0 || now_ms < limit->open_ms)
        return 0;
    uint64_t count = limit->held;
    *limit = (struct kms_log_limit){ .open_ms = now_ms + LOG_INTERVAL_MS };
    return count;
}
