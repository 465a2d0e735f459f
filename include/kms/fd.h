/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes of a descriptor, whatever signals come meanwhile.  They block as long as the
 * file does; false leaves errno.  Thread-safe. */
#ifndef KMS_FD_H
#define KMS_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/compiler.h"

/* For KMS_CLEANUP: closes *fd unless it is negative. */
void kms_fd_done(const int *fd);

/* Reads until @cap bytes are there or the file ends. */
KMS_MUST_CHECK bool kms_fd_read(int fd, void *ret_data, size_t cap, size_t *ret_len);

/* Reads @len bytes from @offset on; false with errno 0: the file ends before. */
KMS_MUST_CHECK bool kms_fd_read_at(int fd, void *ret_data, size_t len, uint64_t offset);

KMS_MUST_CHECK bool kms_fd_write(int fd, struct kms_bytes bytes);

#endif
