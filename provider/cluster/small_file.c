/* SPDX-License-Identifier: Apache-2.0 */
#include "small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "kms/fd.h"

static enum kms_code fill(int fd, const char *path, struct kms_small_file *file,
                          struct kms_error *err)
{
    if (!kms_fd_read(fd, file->text, KMS_SMALL_FILE_MAX + 1, &file->len))
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "%s", path);
    if (file->len > KMS_SMALL_FILE_MAX)
        return kms_fail(err, KMS_E_INVALID, "%s: larger than %d KiB", path,
                        KMS_SMALL_FILE_MAX / 1024);
    file->text[file->len] = '\0';
    return KMS_OK;
}

enum kms_code kms_small_file_read(const char *path, struct kms_small_file *ret_file,
                                  struct kms_error *err)
{
    /* O_NONBLOCK: a FIFO there must not hold us up before it is refused. */
    KMS_CLEANUP(kms_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s", path);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "%s: not a regular file", path);
    KMS_CLEANUP(kms_small_file_done)
    struct kms_small_file file = { .text = malloc(KMS_SMALL_FILE_MAX + 1),
                                   .uid = st.st_uid,
                                   .gid = st.st_gid };
    if (file.text == NULL)
        return kms_fail(err, KMS_E_BUSY, "%s: out of memory", path);
    enum kms_code rc = fill(fd, path, &file, err);
    if (rc != KMS_OK)
        return rc;
    *ret_file = file;
    file = (struct kms_small_file){ 0 };
    return KMS_OK;
}

void kms_small_file_done(struct kms_small_file *file)
{
    free(file->text);
    *file = (struct kms_small_file){ 0 };
}
