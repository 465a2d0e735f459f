/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

#include "kms/clock.h"

void kms_frame_reader_done(struct kms_frame_reader *reader)
{
    kms_secret_done(&reader->body);
    *reader = (struct kms_frame_reader){ .head_len = 0 };
}

static enum kms_code fail_gone(struct kms_error *err)
{
    return kms_fail(err, KMS_E_UNAVAILABLE, "the other end of the lane is gone");
}

static int time_left(int64_t deadline_ms)
{
    if (deadline_ms == KMS_DEADLINE_NEVER)
        return -1;
    int64_t left_ms = deadline_ms - kms_monotonic_ms();
    if (left_ms < 0)
        return 0;
    return left_ms < INT_MAX ? (int)left_ms : INT_MAX;
}

static enum kms_code wait_for(int fd, short events, int64_t deadline_ms, struct kms_error *err)
{
    for (;;) {
        struct pollfd item = { .fd = fd, .events = events };
        int timeout_ms = time_left(deadline_ms);
        int ready = poll(&item, 1, timeout_ms);
        if (ready > 0)
            return KMS_OK;
        if (ready < 0 && errno != EINTR)
            return kms_fail_errno(err, KMS_E_INTERNAL, "poll", errno, "waiting on a lane");
        if (ready == 0 && time_left(deadline_ms) == 0)
            return kms_fail(err, KMS_E_DEADLINE, "no answer in time");
    }
}

/* All of @bytes. */
static enum kms_code send_bytes(int fd, struct kms_bytes bytes, int64_t deadline_ms,
                                struct kms_error *err)
{
    size_t sent = 0;
    while (sent < bytes.len) {
        ssize_t len = send(fd, bytes.data + sent, bytes.len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (len >= 0) {
            sent += (size_t)len;
            continue;
        }
        if (errno == EPIPE || errno == ECONNRESET)
            return fail_gone(err);
        if (errno != EAGAIN && errno != EINTR)
            return kms_fail_errno(err, KMS_E_INTERNAL, "send", errno, "writing to a lane");
        enum kms_code rc = wait_for(fd, POLLOUT, deadline_ms, err);
        if (rc != KMS_OK)
            return rc;
    }
    return KMS_OK;
}

enum kms_code kms_frame_send(int fd, struct kms_bytes message, int64_t deadline_ms,
                             struct kms_error *err)
{
    if (message.len > KMS_FRAME_MAX)
        return kms_fail(err, KMS_E_INVALID, "a message of %zu bytes is too long for a lane",
                        message.len);
    uint8_t head[KMS_FRAME_HEAD];
    for (size_t i = 0; i < sizeof(head); i++)
        head[i] = (uint8_t)(message.len >> (8 * i));
    enum kms_code rc = send_bytes(fd, (struct kms_bytes){ head, sizeof(head) }, deadline_ms, err);
    return rc == KMS_OK ? send_bytes(fd, message, deadline_ms, err) : rc;
}

/* Until @place has @want bytes. */
static enum kms_code receive_bytes(int fd, uint8_t *place, size_t want, size_t *len,
                                   int64_t deadline_ms, struct kms_error *err)
{
    while (*len < want) {
        ssize_t got = recv(fd, place + *len, want - *len, MSG_DONTWAIT);
        if (got > 0) {
            *len += (size_t)got;
            continue;
        }
        if (got == 0 || errno == ECONNRESET)
            return fail_gone(err);
        if (errno != EAGAIN && errno != EINTR)
            return kms_fail_errno(err, KMS_E_INTERNAL, "recv", errno, "reading from a lane");
        enum kms_code rc = wait_for(fd, POLLIN, deadline_ms, err);
        if (rc != KMS_OK)
            return rc;
    }
    return KMS_OK;
}

static size_t announced(const struct kms_frame_reader *reader)
{
    size_t len = 0;
    for (size_t i = 0; i < KMS_FRAME_HEAD; i++)
        len |= (size_t)reader->head[i] << (8 * i);
    return len;
}

enum kms_code kms_frame_receive(struct kms_frame_reader *reader, int fd, int64_t deadline_ms,
                                struct kms_secret *ret_message, struct kms_error *err)
{
    enum kms_code rc = receive_bytes(fd, reader->head, KMS_FRAME_HEAD, &reader->head_len,
                                     deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    size_t len = announced(reader);
    if (len > KMS_FRAME_MAX)
        return kms_fail(err, KMS_E_INVALID, "a message of %zu bytes on a lane", len);
    if (reader->body.data == NULL)
        rc = kms_secret_init(&reader->body, len, err);
    if (rc == KMS_OK)
        rc = receive_bytes(fd, reader->body.data, len, &reader->body_len, deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    *ret_message = kms_secret_take(&reader->body);
    kms_frame_reader_done(reader);
    return KMS_OK;
}
