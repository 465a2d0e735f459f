/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "kms/fd.h"
#include "kms/log.h"

enum { NUMBER_DIGITS = 12 };

/* --- the end of a file --- */

/* The bytes of [@from, @from + @len) of @fd. */
static bool read_range(int fd, uint64_t from, char *buffer, size_t len)
{
    if (kms_fd_read_at(fd, buffer, len, from))
        return true;
    if (errno == 0)
        errno = EIO; /* it has become shorter meanwhile */
    return false;
}

/* The last line of @text that is whole, looking back from its end.  @ret_end: behind it. */
static bool find_line(const char *text, size_t len, struct kms_audit_chain *ret_chain,
                      size_t *ret_end)
{
    const char *end = memrchr(text, '\n', len);
    while (end != NULL) {
        const char *before = memrchr(text, '\n', (size_t)(end - text));
        const char *start = before != NULL ? before + 1 : text;
        const struct kms_bytes bytes = { (const uint8_t *)start, (size_t)(end - start) };
        struct kms_audit_line line = { .json = NULL };
        if (kms_audit_line_parse(bytes, &line, NULL) == KMS_OK) {
            *ret_chain = line.at;
            *ret_end = (size_t)(end - text) + 1;
            kms_audit_line_done(&line);
            return true;
        }
        end = before;
    }
    return false;
}

enum kms_code kms_audit_tail_read(int fd, size_t window, struct kms_audit_tail *ret_tail,
                                  struct kms_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "the audit log's end");
    struct kms_audit_tail tail = { .size = (uint64_t)st.st_size };
    size_t len = tail.size < window ? (size_t)tail.size : window;
    uint64_t from = tail.size - len;
    char *buffer = malloc(len + 1);
    if (buffer == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    size_t end = 0;
    bool read = read_range(fd, from, buffer, len);
    int failed = errno;
    bool found = read && find_line(buffer, len, &tail.chain, &end);
    free(buffer);
    if (!read)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", failed, "the audit log's end");
    if (!found && from > 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "none of the audit log's last %zu bytes is a line; move the file away",
                        window);
    tail.good = found ? from + end : 0;
    *ret_tail = tail;
    return KMS_OK;
}

/* --- rotated files --- */

bool kms_audit_keep_is_rotated(const char *file, const char *name)
{
    size_t len = strlen(name);
    if (strncmp(file, name, len) != 0 || file[len] != '.')
        return false;
    const char *digits = file + len + 1;
    return strlen(digits) == NUMBER_DIGITS && strspn(digits, "0123456789") == NUMBER_DIGITS;
}

/* Calls @each for the rotated files; the names of one log sort by number. */
static void for_each_rotated(int dir_fd, const char *name,
                             void (*each)(const char *file, void *context), void *context)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (kms_audit_keep_is_rotated(entry->d_name, name))
            each(entry->d_name, context);
    (void)closedir(dir);
}

static void note_newest(const char *file, void *context)
{
    char *newest = context;
    if (strcmp(file, newest) > 0)
        (void)stpncpy(newest, file, NAME_MAX);
}

bool kms_audit_keep_newest(int dir_fd, const char *name, char ret_file[static NAME_MAX + 1])
{
    memset(ret_file, 0, NAME_MAX + 1);
    for_each_rotated(dir_fd, name, note_newest, ret_file);
    return ret_file[0] != '\0';
}

struct oldest {
    char file[NAME_MAX + 1];
    uint32_t count;
};

static void note_oldest(const char *file, void *context)
{
    struct oldest *oldest = context;
    if (oldest->count == 0 || strcmp(file, oldest->file) < 0)
        (void)stpncpy(oldest->file, file, NAME_MAX);
    oldest->count++;
}

void kms_audit_keep_newest_of(int dir_fd, const char *name, uint32_t keep)
{
    for (;;) {
        struct oldest oldest = { .count = 0 };
        for_each_rotated(dir_fd, name, note_oldest, &oldest);
        if (oldest.count <= keep)
            return;
        if (unlinkat(dir_fd, oldest.file, 0) == 0)
            continue;
        struct kms_error err;
        kms_fail_errno(&err, KMS_E_PRECONDITION, "unlink", errno, "%s", oldest.file);
        kms_log_error(KMS_LOG_WARN, "old audit log not deleted", &err, NULL, 0);
        return;
    }
}

bool kms_audit_keep_digest(int dir_fd, const char *name, uint8_t ret_digest[static KMS_SHA256_LEN],
                           uint64_t *ret_bytes)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    uint8_t buffer[4096];
    uint64_t bytes = 0;
    ssize_t n = 0;
    bool good = hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
    while (good && (n = read(fd, buffer, sizeof(buffer))) > 0) {
        good = EVP_DigestUpdate(hash, buffer, (size_t)n) == 1;
        bytes += (uint64_t)n;
    }
    good = good && n == 0 && EVP_DigestFinal_ex(hash, ret_digest, NULL) == 1;
    EVP_MD_CTX_free(hash);
    (void)close(fd);
    if (good)
        *ret_bytes = bytes;
    return good;
}
