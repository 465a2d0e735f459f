/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's end of a lane: one call at a time.  A call that isn't answered by its deadline makes the
 * lane late: nobody may use it until that answer has come after all. */
#ifndef KMS_LANE_H
#define KMS_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"
#include "host_wire.h"

enum kms_lane_state { KMS_LANE_FREE, KMS_LANE_BUSY, KMS_LANE_LATE };

/* The state is guarded by the owner's lock; the rest belongs to whoever made it busy. */
struct kms_lane {
    int fd; /* owned */
    enum kms_lane_state state;
    int64_t late_since_ms;
    uint64_t calls; /* sent so far: the number of the last one */
    struct kms_frame_reader reader;
};
void kms_lane_done(struct kms_lane *lane);

/* Sends @call with what is left until @deadline_ms, and waits for the answer.  KMS_OK: there is one,
 * perhaps a failure.  KMS_E_DEADLINE: the lane is late now.  KMS_E_UNAVAILABLE: the host is gone.
 * Others: it talks nonsense, or there is no memory to listen; the lane can't be used any more. */
KMS_MUST_CHECK enum kms_code kms_lane_exchange(struct kms_lane *lane,
                                               const struct kms_host_call *call,
                                               int64_t deadline_ms,
                                               struct kms_host_answer *ret_answer,
                                               struct kms_error *err);

/* Of a late lane that is readable: takes what has come.  KMS_OK: the old answer is there and thrown
 * away, the lane may be used again.  KMS_E_DEADLINE: not all of it yet.  Never blocks. */
KMS_MUST_CHECK enum kms_code kms_lane_drain(struct kms_lane *lane, struct kms_error *err);

#endif
