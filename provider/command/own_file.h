/* SPDX-License-Identifier: Apache-2.0 */
/* A new file with what nobody else may read. */
#ifndef KMS_OWN_FILE_H
#define KMS_OWN_FILE_H

#include <stdio.h>

#include "kms/compiler.h"
#include "kms/error.h"

/* Makes @path, mode 0600; what is there already is left alone.  fclose() is the caller's.
 * KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_own_file_open(const char *path, FILE **ret_file,
                                               struct kms_error *err);

/* Writes out @file durably and closes it.  KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_own_file_finish(FILE *file, const char *path,
                                                 struct kms_error *err);

#endif
