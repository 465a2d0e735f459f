/* SPDX-License-Identifier: Apache-2.0 */
/* A POSIX tar archive: plain files, owner 0:0, mode 0600 (it names objects and hosts, and so isn't for
 * everybody where it is unpacked), all of one time, in the order in which they are added. */
#ifndef KMS_EVIDENCE_TAR_H
#define KMS_EVIDENCE_TAR_H

#include <stdint.h>

#include "kms/compiler.h"
#include "kms/error.h"

struct kms_tar;
/* Writes to @fd, which the caller closes after kms_tar_close(). */
KMS_MUST_CHECK enum kms_code kms_tar_open(int fd, int64_t utc_s, struct kms_tar **ret_tar,
                                          struct kms_error *err);
/* Adds what @from_fd has from its beginning on.  KMS_E_PRECONDITION: a read or write failed. */
KMS_MUST_CHECK enum kms_code kms_tar_add(struct kms_tar *tar, const char *name, int from_fd,
                                         struct kms_error *err);
/* Writes its end; nothing may be added then. */
KMS_MUST_CHECK enum kms_code kms_tar_finish(struct kms_tar *tar, struct kms_error *err);
void kms_tar_close(struct kms_tar *tar);
KMS_DEFINE_CLOSE_PTR(struct kms_tar *, kms_tar_close)

#endif
