/* SPDX-License-Identifier: Apache-2.0 */
/* Which keys have been met: 16 bytes and a little more for each, however long it is.
 *
 * A key is remembered as 96 bits of SHA-256 over a random prefix, new in each set, and the key.
 * Two keys that collide are taken for one, so that a current value would be counted as history:
 * a chance of 2^-57 among 2^20 keys, and nobody can prepare one without the prefix. */
#ifndef KMS_ETCD_SEEN_H
#define KMS_ETCD_SEEN_H

#include <stdbool.h>
#include <stddef.h>

#include "kms/bytes.h"
#include "kms/error.h"

/* Not thread-safe.  KMS_E_BUSY: no memory; KMS_E_INTERNAL: OpenSSL doesn't give random bytes. */
struct kms_etcd_seen;
KMS_MUST_CHECK enum kms_code kms_etcd_seen_open(struct kms_etcd_seen **ret_seen,
                                                struct kms_error *err);
void kms_etcd_seen_close(struct kms_etcd_seen *seen);
KMS_DEFINE_CLOSE_PTR(struct kms_etcd_seen *, kms_etcd_seen_close)

/* *ret_new: @key wasn't met before.  It has been from now on.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_etcd_seen_add(struct kms_etcd_seen *seen, struct kms_bytes key,
                                               bool *ret_new, struct kms_error *err);

#endif
