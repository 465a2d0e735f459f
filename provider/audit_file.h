/* SPDX-License-Identifier: Apache-2.0 */
/* The file of one writer, "<path>.<writer>", and its chain.  Beside it: "….lock" (flock, held while
 * it is open), "….<number>" (rotated away; its last line has this number, of 12 digits) and
 * "….cut.<number>" (an incomplete end, cut aside before the line of this number).
 *
 * One thread at a time.  Whatever fails leaves the file closed; opening it again goes on from what
 * the disk says.  Only whole batches of lines are ever part of the chain. */
#ifndef KMS_AUDIT_FILE_H
#define KMS_AUDIT_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "audit_copier.h"
#include "audit_line.h"
#include "kms/error.h"

struct kms_audit_file {
    struct kms_audit_origin origin; /* borrowed */
    char *path;                     /* owned: "<path>.<writer>" */
    const char *name;               /* in @path: without the directory */
    uint64_t rotate_bytes;
    uint32_t rotate_keep;
    bool syncs;
    int create;                      /* O_CREAT, or 0: where there is no file, none is made */
    int64_t wait_ms;                 /* how long an open waits for another process that has it */
    struct kms_audit_seal *seal;     /* borrowed; NULL: lines aren't sealed */
    struct kms_audit_copier *copier; /* borrowed: gets what is durable */

    int dir_fd, lock_fd, fd; /* -1: closed */
    uint64_t size;           /* bytes of the file that are whole lines */
    uint64_t rotations;      /* since init */
    struct kms_audit_chain chain;
};

/* Copies what it needs of @options but borrows @origin and @copier.  Opens nothing yet; afterwards
 * kms_audit_file_done().  KMS_E_BUSY, KMS_E_INVALID: the path is too long. */
KMS_MUST_CHECK enum kms_code kms_audit_file_init(struct kms_audit_file *file,
                                                 const struct kms_audit_options *options,
                                                 const struct kms_audit_origin *origin,
                                                 struct kms_audit_copier *copier,
                                                 struct kms_error *err);
void kms_audit_file_done(struct kms_audit_file *file);

/* Locks and opens the file, cuts an incomplete end aside and records that, and begins a chain if
 * there is none.  KMS_E_PRECONDITION: another process has it for longer than we wait, or what the
 * system said. */
KMS_MUST_CHECK enum kms_code kms_audit_file_open(struct kms_audit_file *file,
                                                 struct kms_error *err);
bool kms_audit_file_is_open(const struct kms_audit_file *file);

/* Appends a line for each of @bodies, all or none, in a new file if this one would grow too large,
 * and syncs.  KMS_E_PRECONDITION, KMS_E_BUSY: none, and the file is closed now. */
KMS_MUST_CHECK enum kms_code kms_audit_file_append(struct kms_audit_file *file,
                                                   const char *const *bodies, size_t count,
                                                   struct kms_error *err);

#endif
