/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence_tar.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "kms/fd.h"

enum { MODE = 0600, CHUNK = 64 * 1024 };

struct kms_tar {
    struct archive *archive;
    int64_t utc_s;
};

static enum kms_code fail(struct kms_tar *tar, const char *name, struct kms_error *err)
{
    const char *why = archive_error_string(tar->archive);
    return kms_fail(err, KMS_E_PRECONDITION, "can't write %s into the archive: %s", name,
                    why != NULL ? why : "unknown");
}

enum kms_code kms_tar_open(int fd, int64_t utc_s, struct kms_tar **ret_tar, struct kms_error *err)
{
    struct kms_tar *tar = calloc(1, sizeof(*tar));
    if (tar == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    tar->utc_s = utc_s;
    tar->archive = archive_write_new();
    if (tar->archive == NULL) {
        kms_tar_close(tar);
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    }
    if (archive_write_set_format_pax_restricted(tar->archive) != ARCHIVE_OK ||
        archive_write_add_filter_none(tar->archive) != ARCHIVE_OK ||
        archive_write_open_fd(tar->archive, fd) != ARCHIVE_OK) {
        enum kms_code rc = fail(tar, "anything", err);
        kms_tar_close(tar);
        return rc;
    }
    *ret_tar = tar;
    return KMS_OK;
}

static enum kms_code add_header(struct kms_tar *tar, const char *name, off_t size,
                                struct kms_error *err)
{
    struct archive_entry *entry = archive_entry_new();
    if (entry == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, MODE);
    archive_entry_set_size(entry, size);
    archive_entry_set_mtime(entry, tar->utc_s, 0);
    archive_entry_set_uid(entry, 0);
    archive_entry_set_gid(entry, 0);
    int rc = archive_write_header(tar->archive, entry);
    archive_entry_free(entry);
    return rc == ARCHIVE_OK ? KMS_OK : fail(tar, name, err);
}

enum kms_code kms_tar_add(struct kms_tar *tar, const char *name, int from_fd, struct kms_error *err)
{
    char chunk[CHUNK];
    struct stat st;
    if (fstat(from_fd, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "%s", name);
    enum kms_code rc = add_header(tar, name, st.st_size, err);
    for (off_t done = 0; rc == KMS_OK && done < st.st_size;) {
        size_t len = st.st_size - done < CHUNK ? (size_t)(st.st_size - done) : (size_t)CHUNK;
        if (!kms_fd_read_at(from_fd, chunk, len, (uint64_t)done))
            rc = kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "%s", name);
        else if (archive_write_data(tar->archive, chunk, len) != (la_ssize_t)len)
            rc = fail(tar, name, err);
        done += (off_t)len;
    }
    return rc;
}

enum kms_code kms_tar_finish(struct kms_tar *tar, struct kms_error *err)
{
    return archive_write_close(tar->archive) == ARCHIVE_OK ? KMS_OK : fail(tar, "the end", err);
}

void kms_tar_close(struct kms_tar *tar)
{
    if (tar == NULL)
        return;
    (void)archive_write_free(tar->archive);
    free(tar);
}
