/* SPDX-License-Identifier: Apache-2.0 */
/* Who may speak to the socket, and how often refusals are logged: pure decisions. */
#ifndef KMS_ACCESS_H
#define KMS_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kms/compiler.h"

struct kms_access_rules {
    uid_t self;                 /* the server's own effective uid */
    gid_t group;                /* socket.group, else the server's own */
    const uint32_t *allow_uids; /* borrowed */
    size_t allow_uid_count;
};

/* As the kernel tells it of a connected peer: SO_PEERCRED and SO_PEERGROUPS. */
struct kms_access_peer {
    uid_t uid;
    gid_t gid;
    const gid_t *groups; /* borrowed */
    size_t group_count;
};

/* True for root, the server's own uid, a listed uid, and members of the group. */
KMS_MUST_CHECK bool kms_access_allows(const struct kms_access_rules *rules,
                                      const struct kms_access_peer *peer);

/* Lets one event a second through; zeroed to begin with. */
struct kms_log_limit {
    int64_t open_ms; /* CLOCK_MONOTONIC: the next event passes from here on */
    uint64_t held;   /* events held back since the last that passed */
};

/* True if an event at @now_ms may be logged; *ret_count is then how many it stands for. */
KMS_MUST_CHECK bool kms_log_limit_pass(struct kms_log_limit *limit, int64_t now_ms,
                                       uint64_t *ret_count);

/* Events held back whose second is over: their number, once; 0 if there are none. */
uint64_t kms_log_limit_flush(struct kms_log_limit *limit, int64_t now_ms);

#endif
