/* SPDX-License-Identifier: Apache-2.0 */
/* Files that operators name on the command line: public ones, a raw key, and what is written. */
#ifndef KMS_KEY_FILE_H
#define KMS_KEY_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/secret.h"

enum {
    KMS_KEY_FILE_MAX = 16 * 1024, /* bytes of a public file */
    KMS_RAW_KEY_LEN = 32,
};

/* Owned; kms_file_done(). */
struct kms_file {
    uint8_t *data;
    size_t len; /* bytes */
};
void kms_file_done(struct kms_file *file);

/* A regular file of at most KMS_KEY_FILE_MAX bytes.  KMS_E_INVALID: it isn't there,
 * can't be read, or is larger. */
KMS_MUST_CHECK enum kms_code kms_file_read(const char *path, struct kms_file *ret_file,
                                           struct kms_error *err);

/* A raw key: a regular file of exactly KMS_RAW_KEY_LEN bytes, of root or the effective user, with
 * nothing for group and others.  KMS_E_PRECONDITION says which rule was broken. */
KMS_MUST_CHECK enum kms_code kms_file_read_key(const char *path, struct kms_secret *ret_key,
                                               struct kms_error *err);

/* Puts @bytes into @path whole and durably, or leaves what was there: new file, fsync, rename,
 * fsync of the directory.  Mode 0600.  KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_file_write(const char *path, struct kms_bytes bytes,
                                            struct kms_error *err);

/* Locks the folder of @path against other commands that do the same; close() *ret_fd ends it.
 * KMS_E_BUSY: one is at work; KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_file_lock_folder(const char *path, int *ret_fd,
                                                  struct kms_error *err);

#endif
