/* SPDX-License-Identifier: Apache-2.0 */
/* Which Range comes next: pages of all keys under a prefix, at one revision as long as it stands.
 * Pure: knows neither gRPC nor a clock. */
#ifndef KMS_ETCD_PAGER_H
#define KMS_ETCD_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "etcd/source.h"
#include "etcd/stride.h"
#include "kms/bytes.h"
#include "kms/error.h"
#include "proto/etcd.pb-c.h"

enum {
    KMS_ETCD_PAGE_MIN = 2 * 1024 *
                        1024, /* bytes of an answer below which the next may have more keys */
    KMS_ETCD_PAGE_MAX = 4 * 1024 * 1024, /* bytes: what we let gRPC receive */
};

/* A key that changes.  A zeroed one is empty. */
struct kms_etcd_key {
    uint8_t *data; /* owned */
    size_t len, cap;
};

/* Caller owns the struct. */
struct kms_etcd_pager {
    struct kms_bytes prefix;   /* borrowed */
    struct kms_etcd_key end;   /* the first key behind the prefix; one NUL: there is none */
    struct kms_etcd_key until; /* the end of the range whose pages are read now, not behind @end */
    struct kms_etcd_key next;  /* where the next page begins */
    struct kms_etcd_key first; /* of the page */
    struct kms_etcd_stride stride;
    int64_t page_keys, range_keys; /* taken so far of the page, and from the range up to @until */
    int64_t total;                 /* keys, as the first page told; for progress */
    int64_t limit;                 /* keys */
    int64_t revision;              /* 0: the next page decides */
    bool begun, done;
    uint64_t cluster_id;
};

/* KMS_E_BUSY: no memory.  @prefix must outlive the pager. */
KMS_MUST_CHECK enum kms_code kms_etcd_pager_init(struct kms_etcd_pager *pager,
                                                 struct kms_bytes prefix, struct kms_error *err);
void kms_etcd_pager_done(struct kms_etcd_pager *pager);

/* The request of the next page; it borrows from @pager. */
Etcd__RangeRequest kms_etcd_pager_request(const struct kms_etcd_pager *pager);

/* Before the keys of an answer are visited: checks that it belongs to the request, and
 * adds a span to @summary where the revision is a new one.  KMS_E_UNAVAILABLE: another cluster's;
 * KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_etcd_pager_begin(struct kms_etcd_pager *pager,
                                                  const Etcd__RangeResponse *page,
                                                  struct kms_etcd_summary *summary,
                                                  struct kms_error *err);
/* For each of its keys, in turn.  KMS_E_UNAVAILABLE: out of order, or not asked for; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_etcd_pager_take(struct kms_etcd_pager *pager, struct kms_bytes key,
                                                 struct kms_error *err);
/* After its keys; @len: bytes of the answer.  KMS_E_UNAVAILABLE: it has no key and says that
 * there are more. */
KMS_MUST_CHECK enum kms_code kms_etcd_pager_end(struct kms_etcd_pager *pager,
                                                const Etcd__RangeResponse *page, size_t len,
                                                struct kms_error *err);

/* The answer was too large: ask for half as many keys.  False: it was one key. */
KMS_MUST_CHECK bool kms_etcd_pager_shrink(struct kms_etcd_pager *pager);
/* The revision was compacted: go on at a new one.  False: there was none. */
KMS_MUST_CHECK bool kms_etcd_pager_restart(struct kms_etcd_pager *pager);

#endif
