/* SPDX-License-Identifier: Apache-2.0 */
/* One page of a bbolt file (go.etcd.io/bbolt: page.go, bucket.go, db.go), little-endian as on each
 * platform that etcd supports.  Bytes are hostile: a page is checked whole before it is used. */
#ifndef KMS_ETCD_BOLT_PAGE_H
#define KMS_ETCD_BOLT_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"

enum {
    KMS_BOLT_HEADER_LEN = 16,  /* bytes: id u64, flags u16, count u16, overflow u32 */
    KMS_BOLT_ITEM_LEN = 16,    /* bytes: an entry of a branch's or a leaf's table */
    KMS_BOLT_META_LEN = 64,    /* bytes behind the header of a meta page, with the checksum */
    KMS_BOLT_BUCKET_LEN = 16,  /* bytes: root page u64, sequence u64; then the page if root is 0 */
    KMS_BOLT_PAGE_MIN = 512,   /* bytes a page; etcd has its kernel's, 4,096 or more */
    KMS_BOLT_PAGE_MAX = 65536, /* bytes */
};
#define KMS_BOLT_NO_FREELIST UINT64_MAX

/* enum of the file format: page flags, and the flag of a leaf's item. */
enum {
    KMS_BOLT_BRANCH = 0x01,
    KMS_BOLT_LEAF = 0x02,
    KMS_BOLT_META = 0x04,
    KMS_BOLT_FREELIST = 0x10,
    KMS_BOLT_ITEM_BUCKET = 0x01,
};

uint64_t kms_bolt_u64(const uint8_t *data);
uint32_t kms_bolt_u32(const uint8_t *data);
uint16_t kms_bolt_u16(const uint8_t *data);

struct kms_bolt_header {
    uint64_t id;
    uint16_t flags, count;
    uint32_t overflow; /* pages that follow this one and belong to it */
};
struct kms_bolt_header kms_bolt_header_read(const uint8_t header[static KMS_BOLT_HEADER_LEN]);

struct kms_bolt_meta {
    uint32_t page_size; /* bytes */
    uint8_t root[KMS_BOLT_BUCKET_LEN];
    uint64_t freelist;   /* page, or KMS_BOLT_NO_FREELIST */
    uint64_t high_water; /* pages: one more than the last that is in use */
    uint64_t txid;
};
/* False: not a meta page, by its magic, version, page size or checksum (FNV-64a).  @page has at
 * least KMS_BOLT_HEADER_LEN + KMS_BOLT_META_LEN bytes. */
KMS_MUST_CHECK bool kms_bolt_meta_parse(const uint8_t *page, struct kms_bolt_meta *ret_meta);
uint64_t kms_bolt_fnv64a(struct kms_bytes bytes);

/* A branch or a leaf.  Borrows its bytes. */
struct kms_bolt_page {
    uint64_t id;            /* of an inline page: of the page that it lies in */
    struct kms_bytes bytes; /* with header and overflow */
    size_t count;
    bool leaf;
};
struct kms_bolt_item {
    struct kms_bytes key, value; /* a branch has no values */
    uint64_t child;              /* page; of a branch only */
    bool bucket;                 /* of a leaf only: the value is a bucket, not a value */
};

/* Checks that @bytes are a branch or a leaf whose items lie inside, sorted.  KMS_E_CORRUPT with the
 * page's number. */
KMS_MUST_CHECK enum kms_code kms_bolt_page_parse(uint64_t id, struct kms_bytes bytes,
                                                 struct kms_bolt_page *ret_page,
                                                 struct kms_error *err);
/* @at < @page->count. */
struct kms_bolt_item kms_bolt_page_item(const struct kms_bolt_page *page, size_t at);

/* As bbolt sorts: less than, equal to, or greater than 0. */
int kms_bolt_compare(struct kms_bytes a, struct kms_bytes b);

#endif
