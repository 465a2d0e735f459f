/* SPDX-License-Identifier: Apache-2.0 */
#include "host_child.h"

#include <stdlib.h>
#include <unistd.h>

void kms_host_child_release(struct kms_host_child *child)
{
    if (--child->refs > 0)
        return;
    for (size_t i = 0; i < child->lane_count; i++)
        kms_lane_done(&child->lanes[i]);
    if (child->process.pidfd >= 0) /* it could not be reaped */
        (void)close(child->process.pidfd);
    free(child->lanes);
    free(child);
}

enum kms_code kms_host_child_start(const struct kms_host_command *command, size_t lane_count,
                                   struct kms_host_child **ret_child, struct kms_error *err)
{
    int fds[KMS_HOST_LANES_MAX];
    struct kms_host_child *child = calloc(1, sizeof(*child));
    struct kms_lane *lanes = calloc(lane_count, sizeof(*lanes));
    enum kms_code rc = KMS_OK;
    struct kms_host_process process;
    if (child == NULL || lanes == NULL)
        rc = kms_fail(err, KMS_E_BUSY, "out of memory for a token host");
    else
        rc = kms_host_spawn(command, lane_count, fds, &process, err);
    if (rc != KMS_OK) {
        free(child);
        free(lanes);
        return rc;
    }
    for (size_t i = 0; i < lane_count; i++)
        lanes[i].fd = fds[i];
    *child = (struct kms_host_child){ process, lanes, lane_count, 1 };
    *ret_child = child;
    return KMS_OK;
}

struct kms_lane *kms_host_child_free_lane(struct kms_host_child *child)
{
    for (size_t i = 0; i < child->lane_count; i++) {
        if (child->lanes[i].state == KMS_LANE_FREE)
            return &child->lanes[i];
    }
    return NULL;
}

const char *kms_host_child_look(struct kms_host_child *child, int64_t now_ms, int64_t late_max_ms)
{
    struct kms_error err;
    size_t late = 0;
    for (size_t i = 0; i < child->lane_count; i++) {
        struct kms_lane *lane = &child->lanes[i];
        if (lane->state != KMS_LANE_LATE)
            continue;
        enum kms_code rc = kms_lane_drain(lane, &err);
        if (rc == KMS_OK) {
            lane->state = KMS_LANE_FREE;
            continue;
        }
        if (rc != KMS_E_DEADLINE)
            return rc == KMS_E_UNAVAILABLE ? "it closed a lane" : "it talks nonsense";
        if (now_ms - lane->late_since_ms >= late_max_ms)
            return "a call never came back";
        late++;
    }
    return late == child->lane_count ? "no call comes back" : NULL;
}
