/* SPDX-License-Identifier: Apache-2.0 */
#include "latch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "kms/clock.h"
#include "kms/fd.h"

enum {
    NAME_DIGEST_LEN = 16, /* bytes of the identity in the name */
    LOCK_WAIT_MS = 2000,
    LOCK_POLL_MS = 10, /* flock has no time limit of its own */
};

static enum kms_code open_dir(const char *dir, int *ret_fd, struct kms_error *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return kms_fail_errno(err, errno == ENOENT ? KMS_E_UNAVAILABLE : KMS_E_PRECONDITION, "open",
                              errno, "can't open the directory of PIN latches");
    *ret_fd = fd;
    return KMS_OK;
}

/* The directory itself is the lock: a file for it would have to be made first. */
static bool lock_dir(int dir_fd)
{
    const struct timespec pause = { .tv_nsec = LOCK_POLL_MS * 1000000L };
    int64_t deadline_ms = kms_monotonic_ms() + LOCK_WAIT_MS;
    while (flock(dir_fd, LOCK_EX | LOCK_NB) != 0) {
        bool held = errno == EWOULDBLOCK || errno == EINTR;
        if (!held || kms_monotonic_ms() >= deadline_ms)
            return false;
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
    }
    return true;
}

static enum kms_code read_file(int fd, char *ret_text, size_t size, size_t *ret_len,
                               struct kms_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "it is not a regular file");
    if (!kms_fd_read(fd, ret_text, size, ret_len))
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "it can't be read");
    return KMS_OK;
}

/* KMS_OK also if there is none. */
static enum kms_code read_record(struct pkcs11_latch *latch, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done)
    int fd = openat(latch->dir_fd, latch->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return KMS_OK;
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "it can't be opened");
    char text[PKCS11_PIN_RECORD_MAX];
    size_t len = 0;
    enum kms_code rc = read_file(fd, text, sizeof(text), &len, err);
    if (rc == KMS_OK)
        rc = pkcs11_pin_record_parse((struct kms_bytes){ (const uint8_t *)text, len },
                                     &latch->record, err);
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

/* A file that can't be used may hold a refusal: that is a fault, and not the same as no file. */
static enum kms_code load(struct pkcs11_latch *latch, struct kms_error *err)
{
    struct kms_error why = { 0 };
    enum kms_code rc = pkcs11_pin_record_new(&latch->record, err);
    if (rc == KMS_OK && read_record(latch, &why) != KMS_OK)
        (void)kms_fail(&latch->fault, KMS_E_PRECONDITION,
                       "%s in state_dir can't be used, %s: hsm-kms pin check writes it anew, so "
                       "does a reload (SIGHUP)",
                       latch->name, why.msg);
    return rc;
}

enum kms_code pkcs11_latch_open(const char *dir, const uint8_t identity[static KMS_SHA256_LEN],
                                struct pkcs11_latch *ret_latch, struct kms_error *err)
{
    struct pkcs11_latch latch = { .dir_fd = -1 };
    char token[2 * NAME_DIGEST_LEN + 1];
    kms_hex_encode((struct kms_bytes){ identity, NAME_DIGEST_LEN }, token);
    (void)snprintf(latch.name, sizeof(latch.name), "pin-latch.%s", token);
    enum kms_code rc = open_dir(dir, &latch.dir_fd, err);
    if (rc != KMS_OK)
        return rc;
    latch.locked = lock_dir(latch.dir_fd);
    rc = load(&latch, err);
    if (rc == KMS_OK)
        *ret_latch = latch;
    else
        pkcs11_latch_close(&latch);
    return rc;
}

void pkcs11_latch_close(struct pkcs11_latch *latch)
{
    if (latch->dir_fd >= 0)
        (void)close(latch->dir_fd);
    OPENSSL_cleanse(&latch->record, sizeof(latch->record));
    latch->dir_fd = -1;
}

/* 0, or the errno. */
static int write_durably(int dir_fd, const char *name, const char *text, size_t len)
{
    int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return errno;
    int errnum = kms_fd_write(fd, (struct kms_bytes){ (const uint8_t *)text, len }) &&
                         fsync(fd) == 0
                     ? 0
                     : errno;
    if (close(fd) != 0 && errnum == 0)
        errnum = errno;
    return errnum;
}

enum kms_code pkcs11_latch_write(const struct pkcs11_latch *latch, struct kms_error *err)
{
    if (!latch->locked)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "can't write %s: another hsm-kms holds state_dir: is it stuck in a login?",
                        latch->name);
    char text[PKCS11_PIN_RECORD_MAX];
    char temporary[PKCS11_LATCH_NAME_MAX + sizeof(".new")];
    (void)snprintf(temporary, sizeof(temporary), "%s.new", latch->name);
    size_t len = pkcs11_pin_record_print(&latch->record, text);
    int errnum = write_durably(latch->dir_fd, temporary, text, len);
    OPENSSL_cleanse(text, sizeof(text));
    if (errnum == 0 && (renameat(latch->dir_fd, temporary, latch->dir_fd, latch->name) != 0 ||
                        fsync(latch->dir_fd) != 0))
        errnum = errno;
    if (errnum != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errnum, "can't write %s",
                              latch->name);
    return KMS_OK;
}
