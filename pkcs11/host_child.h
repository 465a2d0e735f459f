/* SPDX-License-Identifier: Apache-2.0 */
/* A running token host: process and lanes.  Its user guards it with a lock of his own. */
#ifndef KMS_HOST_CHILD_H
#define KMS_HOST_CHILD_H

#include <stddef.h>
#include <stdint.h>

#include "host_process.h"
#include "kms/error.h"
#include "lane.h"

/* Lives until everybody has let it go. */
struct kms_host_child {
    struct kms_host_process process;
    struct kms_lane *lanes; /* owned */
    size_t lane_count;
    size_t refs;
};

/* Runs @command as kms_host_spawn() does; one reference is the caller's. */
KMS_MUST_CHECK enum kms_code kms_host_child_start(const struct kms_host_command *command,
                                                  size_t lane_count,
                                                  struct kms_host_child **ret_child,
                                                  struct kms_error *err);
void kms_host_child_release(struct kms_host_child *child);

/* NULL: all are in use. */
struct kms_lane *kms_host_child_free_lane(struct kms_host_child *child);

/* Takes answers that come late.  What makes the host not worth keeping at @now_ms: it talks nonsense,
 * a lane is late for longer than @late_max_ms, or all are; NULL: nothing does. */
const char *kms_host_child_look(struct kms_host_child *child, int64_t now_ms, int64_t late_max_ms);

#endif
