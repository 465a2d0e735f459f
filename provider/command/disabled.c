/* SPDX-License-Identifier: Apache-2.0 */
#include "disabled.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "durable.h"
#include "kms/fd.h"

enum { NAME_BYTES = 32, CONTENT_BYTES = 32 };
static const int64_t UTC_MAX_S = 253402300799; /* 9999-12-31T23:59:59Z */

static void name_of(uint32_t generation, char ret_name[static NAME_BYTES])
{
    (void)snprintf(ret_name, NAME_BYTES, "disabled.v%" PRIu32, generation);
}

static enum kms_code open_dir(const char *state_dir, int *ret_fd, struct kms_error *err)
{
    int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "state_dir %s", state_dir);
    *ret_fd = fd;
    return KMS_OK;
}

enum kms_code kms_disabled_record(const char *state_dir, uint32_t generation, int64_t utc_s,
                                  struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = -1;
    char name[NAME_BYTES], text[CONTENT_BYTES];
    name_of(generation, name);
    (void)snprintf(text, sizeof(text), "%" PRId64, utc_s);
    enum kms_code rc = open_dir(state_dir, &dir_fd, err);
    return rc == KMS_OK ? kms_durable_replace(dir_fd, name, text, err) : rc;
}

enum kms_code kms_disabled_forget(const char *state_dir, uint32_t generation, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = -1;
    char name[NAME_BYTES];
    name_of(generation, name);
    enum kms_code rc = open_dir(state_dir, &dir_fd, err);
    if (rc != KMS_OK)
        return access(state_dir, F_OK) != 0 && errno == ENOENT ? KMS_OK : rc;
    if (unlinkat(dir_fd, name, 0) != 0)
        return errno == ENOENT ? KMS_OK
                               : kms_fail_errno(err, KMS_E_PRECONDITION, "unlink", errno, "%s/%s",
                                                state_dir, name);
    if (fsync(dir_fd) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fsync", errno, "state_dir %s", state_dir);
    return KMS_OK;
}

/* @text, of @len bytes and a NUL, is one number of seconds and a line end. */
static bool parse(const char *text, size_t len, int64_t *ret_utc_s)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (text[0] < '1' || text[0] > '9' || errno != 0 || number > UTC_MAX_S || end[0] != '\n' ||
        end + 1 != text + len)
        return false;
    *ret_utc_s = number;
    return true;
}

enum kms_code kms_disabled_since(const char *state_dir, uint32_t generation, int64_t *ret_utc_s,
                                 struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int dir_fd = -1;
    char name[NAME_BYTES], text[CONTENT_BYTES] = "";
    name_of(generation, name);
    enum kms_code rc = open_dir(state_dir, &dir_fd, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_fd_done)
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        *ret_utc_s = 0;
        return KMS_OK;
    }
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (len < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "%s/%s", state_dir, name);
    if (!parse(text, (size_t)len, ret_utc_s))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%s/%s is damaged: delete it, and run key disable %" PRIu32 " again",
                        state_dir, name, generation);
    return KMS_OK;
}
