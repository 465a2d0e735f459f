/* SPDX-License-Identifier: Apache-2.0 */
/* A whole file of somebody else's in memory: regular, and of bounded size. */
#ifndef KMS_SMALL_FILE_H
#define KMS_SMALL_FILE_H

#include <stddef.h>
#include <sys/types.h>

#include "kms/error.h"

enum { KMS_SMALL_FILE_MAX = 256 * 1024 }; /* bytes */

struct kms_small_file {
    char *text; /* owned; a NUL follows the last byte */
    size_t len; /* bytes */
    uid_t uid;
    gid_t gid;
};

/* Reads @path; release with kms_small_file_done().  KMS_E_PRECONDITION: it can't be read or isn't a
 * regular file; KMS_E_INVALID: it is too large.  Texts name @path. */
KMS_MUST_CHECK enum kms_code kms_small_file_read(const char *path, struct kms_small_file *ret_file,
                                                 struct kms_error *err);
void kms_small_file_done(struct kms_small_file *file);

#endif
