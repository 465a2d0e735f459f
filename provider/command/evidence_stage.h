/* SPDX-License-Identifier: Apache-2.0 */
/* Where an archive comes to be: a directory beside it, "<out>.stage", whose contents nobody takes for the
 * archive.  What a run that was killed left there is removed by the next one. */
#ifndef KMS_EVIDENCE_STAGE_H
#define KMS_EVIDENCE_STAGE_H

#include <limits.h>
#include <stdio.h>

#include "kms/bytes.h"
#include "kms/compiler.h"
#include "kms/error.h"

struct kms_stage {
    const char *out;         /* borrowed */
    char name[NAME_MAX + 1]; /* of the archive, in @dir_fd */
    char own[NAME_MAX + 1];  /* of the stage */
    int dir_fd, fd;          /* -1: closed; @fd is locked as long as it is open */
    int files_fd;            /* the directory in it that has the archive's files */
};

/* Makes the stage of @out, which must not be there, 0700.  KMS_E_INVALID: it is, or its name won't do.
 * KMS_E_PRECONDITION: another run has the stage, or there is something that isn't one. */
KMS_MUST_CHECK enum kms_code kms_stage_open(const char *out, struct kms_stage *ret_stage,
                                            struct kms_error *err);
/* Removes it. */
void kms_stage_close(struct kms_stage *stage);

/* A new file "dir/file" or "file" of the archive, 0600.  close() is the caller's. */
KMS_MUST_CHECK enum kms_code kms_stage_create(const struct kms_stage *stage, const char *name,
                                              int *ret_fd, struct kms_error *err);
/* Takes it away again, if it is there. */
void kms_stage_remove(const struct kms_stage *stage, const char *name);
/* The SHA-256 and the size of a file that is there. */
KMS_MUST_CHECK enum kms_code kms_stage_measure(const struct kms_stage *stage, const char *name,
                                               char ret_digest[static 2 * KMS_SHA256_LEN + 1],
                                               uint64_t *ret_size, struct kms_error *err);

/* A file in the stage that is no part of the archive: emptied, or made. */
KMS_MUST_CHECK enum kms_code kms_stage_scratch(const struct kms_stage *stage, const char *name,
                                               int *ret_fd, struct kms_error *err);
/* Makes the scratch file @name the archive, durably, unless something is there by now: KMS_E_INVALID. */
KMS_MUST_CHECK enum kms_code kms_stage_publish(const struct kms_stage *stage, const char *name,
                                               struct kms_error *err);

/* The SHA-256 of all of @fd, in digits.  False leaves errno. */
KMS_MUST_CHECK bool kms_digest_fd(int fd, char ret_digest[static 2 * KMS_SHA256_LEN + 1],
                                  uint64_t *ret_size);

#endif
