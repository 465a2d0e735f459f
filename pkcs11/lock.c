/* SPDX-License-Identifier: Apache-2.0 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kms/bytes.h"
#include "kms/clock.h"
#include "kms/log.h"

enum {
    NAME_DIGEST_LEN = 8, /* bytes of the digest in the name */
    POLL_MS = 20,        /* flock has no time limit of its own */
};

static bool lock_path(const char *lock_dir, const char *module_path, char *ret_path, size_t size)
{
    uint8_t digest[KMS_SHA256_LEN];
    char name[2 * NAME_DIGEST_LEN + 1];
    kms_sha256(kms_bytes_of(module_path), digest);
    kms_hex_encode((struct kms_bytes){ digest, NAME_DIGEST_LEN }, name);
    int len = snprintf(ret_path, size, "%s/hsm-kms-%s.lock", lock_dir, name);
    return len > 0 && (size_t)len < size;
}

/* Read-only, so that any user may lock it.  O_CREAT on a file of another user fails in a sticky
 * directory (fs.protected_regular), so creating is a step of its own. */
static int open_lock_file(const char *path)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    int fd = open(path, flags);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    fd = open(path, flags | O_CREAT | O_EXCL, 0444);
    if (fd < 0 && errno == EEXIST)
        return open(path, flags);
    if (fd >= 0)
        (void)fchmod(fd, 0444); /* whatever the umask says */
    return fd;
}

static bool is_regular(int fd)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return true;
    errno = EINVAL;
    return false;
}

static bool lock_until(int fd, int64_t deadline_ms)
{
    const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return false;
        if (kms_monotonic_ms() >= deadline_ms) {
            errno = ETIMEDOUT;
            return false;
        }
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return true;
}

struct pkcs11_lock pkcs11_lock_acquire(const char *lock_dir, const char *module_path,
                                       int64_t wait_ms)
{
    char path[PATH_MAX] = "";
    errno = ENAMETOOLONG;
    int fd = -1;
    if (lock_path(lock_dir, module_path, path, sizeof(path)))
        fd = open_lock_file(path);
    if (fd >= 0 && is_regular(fd) && lock_until(fd, kms_monotonic_ms() + wait_ms))
        return (struct pkcs11_lock){ fd };

    char reason[128];
    kms_log(KMS_LOG_WARN, "login lock not taken; going on without it", KMS_F_TEXT("file", path),
            KMS_F_TEXT("reason", strerror_r(errno, reason, sizeof(reason))));
    if (fd >= 0)
        (void)close(fd);
    return (struct pkcs11_lock){ -1 };
}

void pkcs11_lock_release(struct pkcs11_lock *lock)
{
    if (lock->fd >= 0)
        (void)close(lock->fd);
    lock->fd = -1;
}
