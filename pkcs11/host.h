/* SPDX-License-Identifier: Apache-2.0 */
/* The child's side of a token host: one thread a lane, one call at a time on each. */
#ifndef KMS_HOST_H
#define KMS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"

/* Serves @keystore on @lanes (sockets, which stay the caller's) until the other side of one is closed,
 * then waits for calls in flight, for @grace_ms at most.  *ret_quiet: nobody is in the keystore any
 * more; else it must not be closed.  KMS_E_BUSY: no thread, nothing was served. */
KMS_MUST_CHECK enum kms_code kms_host_serve(struct kms_keystore *keystore, const int *lanes,
                                            size_t lane_count, int64_t grace_ms, bool *ret_quiet,
                                            struct kms_error *err);

#endif
