/* SPDX-License-Identifier: Apache-2.0 */
/* What an audit log finds on the disk: the end of a file, and the files beside it. */
#ifndef KMS_AUDIT_KEEP_H
#define KMS_AUDIT_KEEP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "audit_line.h"
#include "kms/error.h"

/* The end of a file. */
struct kms_audit_tail {
    struct kms_audit_chain chain; /* at the last whole line; id "": there is none */
    uint64_t size;                /* bytes of the file */
    uint64_t good;                /* the same up to the end of the last whole line */
};
/* Looks for the last whole line in the last @window bytes of @fd.  KMS_E_PRECONDITION: it can't be
 * read, or there is none in the window although the file is longer; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_audit_tail_read(int fd, size_t window,
                                                 struct kms_audit_tail *ret_tail,
                                                 struct kms_error *err);

/* Whether @file is a rotated one of @name: "<name>.<12 digits>". */
bool kms_audit_keep_is_rotated(const char *file, const char *name);

/* The rotated file of @name ("<name>.<12 digits>") with the highest number; false: there is none. */
KMS_MUST_CHECK bool kms_audit_keep_newest(int dir_fd, const char *name,
                                          char ret_file[static NAME_MAX + 1]);

/* Deletes all rotated files of @name but the @keep with the highest numbers; one that can't be
 * deleted is logged. */
void kms_audit_keep_newest_of(int dir_fd, const char *name, uint32_t keep);

/* SHA-256 and length of the file @name; false: there is none that can be read. */
KMS_MUST_CHECK bool kms_audit_keep_digest(int dir_fd, const char *name,
                                          uint8_t ret_digest[static KMS_SHA256_LEN],
                                          uint64_t *ret_bytes);

#endif
