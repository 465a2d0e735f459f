/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/fd.h"

#include <errno.h>
#include <unistd.h>

void kms_fd_done(const int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

bool kms_fd_read(int fd, void *ret_data, size_t cap, size_t *ret_len)
{
    uint8_t *data = ret_data;
    size_t len = 0;
    while (len < cap) {
        ssize_t got = read(fd, data + len, cap - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            break;
        len += (size_t)got;
    }
    *ret_len = len;
    return true;
}

bool kms_fd_read_at(int fd, void *ret_data, size_t len, uint64_t offset)
{
    uint8_t *data = ret_data;
    for (size_t done = 0; done < len;) {
        ssize_t got = pread(fd, data + done, len - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = 0;
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

bool kms_fd_write(int fd, struct kms_bytes bytes)
{
    for (size_t done = 0; done < bytes.len;) {
        ssize_t put = write(fd, bytes.data + done, bytes.len - done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        done += (size_t)put;
    }
    return true;
}
