/* SPDX-License-Identifier: Apache-2.0 */
/* Small files that survive kill -9 and power cuts whole. */
#ifndef KMS_DURABLE_H
#define KMS_DURABLE_H

#include "kms/error.h"

/* Puts @text and a line end under @name in @dir_fd: `<name>.new`, fsync, rename, fsync of the
 * directory.  Mode 0600.  On failure the old file stands.  One writer a name at a time.
 * KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_durable_replace(int dir_fd, const char *name, const char *text,
                                                 struct kms_error *err);

#endif
