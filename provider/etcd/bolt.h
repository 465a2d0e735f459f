/* SPDX-License-Identifier: Apache-2.0 */
/* A bbolt file, read without bbolt: its B+ tree is walked backwards by pread(2) into a few
 * buffers, so that a file of any size takes little memory and one that shrinks meanwhile is an
 * error, not SIGBUS. */
#ifndef KMS_ETCD_BOLT_H
#define KMS_ETCD_BOLT_H

#include <stdint.h>

#include "etcd/bolt_page.h"
#include "kms/bytes.h"
#include "kms/error.h"

/* One reading at a time. */
struct kms_bolt;

/* Chooses the newer of the two meta pages that are valid.  Borrows @fd; the first @size bytes
 * are the database.  KMS_E_CORRUPT: it has no meta page, or is shorter than that says;
 * KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_bolt_open(int fd, uint64_t size, struct kms_bolt **ret_bolt,
                                           struct kms_error *err);
void kms_bolt_close(struct kms_bolt *bolt);
KMS_DEFINE_CLOSE_PTR(struct kms_bolt *, kms_bolt_close)

/* Called for each item of a bucket, the last key first; the item lies in page @page and is gone
 * when it returns.  @fraction, 0 to 1, tells about how much has been walked.  Not KMS_OK: ends
 * the walk. May walk another bucket. */
struct kms_bolt_visitor {
    enum kms_code (*visit)(void *context, const struct kms_bolt_item *item, uint64_t page,
                           double fraction, struct kms_error *err);
    void *context;
};

/* Walks the bucket @name of the root bucket.  KMS_E_CORRUPT with the page's number; or there is no
 * such bucket. */
KMS_MUST_CHECK enum kms_code kms_bolt_walk(struct kms_bolt *bolt, const char *name,
                                           const struct kms_bolt_visitor *visitor,
                                           struct kms_error *err);

#endif
