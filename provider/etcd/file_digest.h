/* SPDX-License-Identifier: Apache-2.0 */
/* The SHA-256 that `etcdctl snapshot save` puts behind a database. */
#ifndef KMS_ETCD_FILE_DIGEST_H
#define KMS_ETCD_FILE_DIGEST_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "kms/error.h"

/* Compares the SHA-256 of the first @size bytes with the 32 bytes behind them; by pread(2), in
 * small pieces.  *ret_stopped: @stop (may be NULL) became set first, and nothing is known; the
 * result is KMS_OK then.  KMS_E_CORRUPT: they differ; KMS_E_PRECONDITION: the file can't be
 * read; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_file_digest_check(int fd, uint64_t size,
                                                   const volatile sig_atomic_t *stop,
                                                   bool *ret_stopped, struct kms_error *err);

#endif
