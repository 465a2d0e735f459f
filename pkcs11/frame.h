/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on a lane (a stream socket): four bytes of length, little-endian, then the message.  They
 * carry seeds: buffers are wiped. */
#ifndef KMS_FRAME_H
#define KMS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/secret.h"

enum { KMS_FRAME_MAX = 16 << 20, KMS_FRAME_HEAD = 4 };

/* What has come of a message so far; zeroed before the first.  Release with kms_frame_reader_done(). */
struct kms_frame_reader {
    uint8_t head[KMS_FRAME_HEAD];
    size_t head_len; /* bytes */
    struct kms_secret body;
    size_t body_len; /* bytes */
};
void kms_frame_reader_done(struct kms_frame_reader *reader);

/* Both until @deadline_ms (CLOCK_MONOTONIC).  KMS_E_DEADLINE; KMS_E_UNAVAILABLE: the other side is gone;
 * KMS_E_INVALID: what came is no message; KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_frame_send(int fd, struct kms_bytes message, int64_t deadline_ms,
                                            struct kms_error *err);
/* On success *ret_message owns the message, and @reader is ready for the next.  After KMS_E_DEADLINE it
 * may be called again to go on. */
KMS_MUST_CHECK enum kms_code kms_frame_receive(struct kms_frame_reader *reader, int fd,
                                               int64_t deadline_ms, struct kms_secret *ret_message,
                                               struct kms_error *err);

#endif
