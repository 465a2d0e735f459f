/* SPDX-License-Identifier: Apache-2.0 */
#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 80 };

/* Writes @text and a line end to @name in @dir_fd and makes it durable. */
static enum kms_code write_durably(int dir_fd, const char *name, const char *text,
                                   struct kms_error *err)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't write %s", name);
    bool good = dprintf(fd, "%s\n", text) == (int)strlen(text) + 1 && fsync(fd) == 0;
    int errnum = errno;
    if (close(fd) != 0 && good) {
        good = false;
        errnum = errno;
    }
    if (!good)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errnum, "can't write %s", name);
    return KMS_OK;
}

enum kms_code kms_durable_replace(int dir_fd, const char *name, const char *text,
                                  struct kms_error *err)
{
    char temporary[NAME_BYTES];
    if (snprintf(temporary, sizeof temporary, "%s.new", name) >= (int)sizeof temporary)
        return kms_fail(err, KMS_E_INTERNAL, "the name %.64s is too long", name);
    enum kms_code rc = write_durably(dir_fd, temporary, text, err);
    if (rc != KMS_OK)
        return rc;
    if (renameat(dir_fd, temporary, dir_fd, name) != 0 || fsync(dir_fd) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "rename", errno, "can't replace %s", name);
    return KMS_OK;
}
