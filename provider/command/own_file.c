/* SPDX-License-Identifier: Apache-2.0 */
#include "own_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

enum kms_code kms_own_file_open(const char *path, FILE **ret_file, struct kms_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno,
                              "can't make %.200s, which must be a new file", path);
    *ret_file = fdopen(fd, "w");
    if (*ret_file != NULL)
        return KMS_OK;
    (void)close(fd);
    return kms_fail(err, KMS_E_BUSY, "out of memory");
}

enum kms_code kms_own_file_finish(FILE *file, const char *path, struct kms_error *err)
{
    bool written = ferror(file) == 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int errnum = errno;
    if (fclose(file) != 0 && written) {
        written = false;
        errnum = errno;
    }
    if (written)
        return KMS_OK;
    return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errnum, "can't write %.200s", path);
}
