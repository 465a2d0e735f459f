/* SPDX-License-Identifier: Apache-2.0 */
#include "lane.h"

#include <unistd.h>

#include "kms/clock.h"

void kms_lane_done(struct kms_lane *lane)
{
    kms_frame_reader_done(&lane->reader);
    if (lane->fd >= 0)
        (void)close(lane->fd);
    lane->fd = -1;
}

static enum kms_code send_call(struct kms_lane *lane, struct kms_host_call call,
                               int64_t deadline_ms, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret message = { 0 };
    call.id = ++lane->calls;
    call.time_left_ms = INT64_MAX;
    if (deadline_ms != KMS_DEADLINE_NEVER)
        call.time_left_ms = deadline_ms - kms_monotonic_ms();
    enum kms_code rc = kms_host_pack_call(&call, &message, err);
    return rc == KMS_OK ? kms_frame_send(lane->fd, kms_secret_bytes(&message), deadline_ms, err)
                        : rc;
}

/* The answer of another call would be another's seed. */
static enum kms_code take_answer(const struct kms_lane *lane, const struct kms_secret *message,
                                 struct kms_host_answer *ret_answer, struct kms_error *err)
{
    KMS_CLEANUP(kms_host_answer_done) struct kms_host_answer answer = { .id = 0 };
    enum kms_code rc = kms_host_parse_answer(kms_secret_bytes(message), &answer, err);
    if (rc != KMS_OK)
        return rc;
    if (answer.id != lane->calls)
        return kms_fail(err, KMS_E_INVALID, "the token host answers another call");
    *ret_answer = answer;
    answer = (struct kms_host_answer){ .id = 0 };
    return KMS_OK;
}

enum kms_code kms_lane_exchange(struct kms_lane *lane, const struct kms_host_call *call,
                                int64_t deadline_ms, struct kms_host_answer *ret_answer,
                                struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret message = { 0 };
    enum kms_code rc = send_call(lane, *call, deadline_ms, err);
    if (rc == KMS_E_DEADLINE) /* half a call can't be taken back */
        return kms_fail(err, KMS_E_INTERNAL, "the token host doesn't read its lane");
    if (rc == KMS_OK)
        rc = kms_frame_receive(&lane->reader, lane->fd, deadline_ms, &message, err);
    if (rc == KMS_OK)
        rc = take_answer(lane, &message, ret_answer, err);
    return rc;
}

enum kms_code kms_lane_drain(struct kms_lane *lane, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret message = { 0 };
    return kms_frame_receive(&lane->reader, lane->fd, kms_monotonic_ms(), &message, err);
}
