/* SPDX-License-Identifier: Apache-2.0 */
/* What `serve` does for the memory that isn't ours to wipe: gRPC core's and the vendor library's.
 * Both are for main() alone, before any thread; a failure is worth a warning, no reason to end. */
#ifndef KMS_HARDEN_H
#define KMS_HARDEN_H

#include "kms/error.h"

/* Has malloc overwrite whatever is freed, by anybody in the process.  glibc takes that from
 * GLIBC_TUNABLES and reads it before main(), so unless both tunables are named there already the
 * program executes itself anew, once: same process, arguments, descriptors and signal mask, and the
 * operator's own tunables in front of ours.  @argv is the subcommand's; "serve" is put before
 * argv[1].  Returns in the new image, or where that can't be had: KMS_E_PRECONDITION says why, and
 * serving without it is only less safe. */
enum kms_code kms_harden_freed_memory(char **argv, struct kms_error *err);

/* Keeps the whole process, present and to come, out of swap.  KMS_E_PRECONDITION where the kernel
 * limits locking: nothing is locked then, since the limit would make later allocations fail. */
enum kms_code kms_harden_swap(struct kms_error *err);

#endif
