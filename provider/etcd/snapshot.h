/* SPDX-License-Identifier: Apache-2.0 */
/* etcd's own file as a source: what `etcdctl snapshot save` wrote, or a member's `member/snap/db`.
 *
 * Read backwards, from the newest revision to the oldest, in one pass: the first entry of a key
 * is its newest.  Takes a few pages and 16 to 24 bytes a key of memory, whatever the values are. */
#ifndef KMS_ETCD_SNAPSHOT_H
#define KMS_ETCD_SNAPSHOT_H

#include "etcd/source.h"
#include "kms/error.h"

/* Opens @path, and holds a shared flock on it until it is closed, so that no etcd starts on it
 * meanwhile.  *ret_source->kind tells what the file is; kms_etcd_read() checks its SHA-256
 * first. Texts about pages don't repeat the path.  KMS_E_PRECONDITION: it can't be opened, or an
 * etcd holds it; KMS_E_CORRUPT: it is no database. */
KMS_MUST_CHECK enum kms_code kms_etcd_snapshot_open(const char *path,
                                                    struct kms_etcd_source **ret_source,
                                                    struct kms_error *err);

#endif
