/* SPDX-License-Identifier: Apache-2.0 */
/* Writes files as etcd does, through bbolt: for tests, which ask for pages that etcd makes only
 * when it is full or unlucky.  Ends the program when it can't. */
#ifndef FAKE_ETCD_FILE_H
#define FAKE_ETCD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"

struct etcd_file;

/* A new file at @path; @page_size is a power of two, 512 or more. */
struct etcd_file *etcd_file_open(const char *path, size_t page_size);

/* Next in the bucket "key", which is written as it comes: callers sort.  A revision is @main and
 * @sub. */
void etcd_file_put(struct etcd_file *file, int64_t main, int64_t sub, const char *key,
                   struct kms_bytes value);
void etcd_file_delete(struct etcd_file *file, int64_t main, int64_t sub, const char *key);
void etcd_file_item(struct etcd_file *file, struct kms_bytes key, struct kms_bytes value);

struct etcd_file_end {
    bool digest;   /* the SHA-256 of `etcdctl snapshot save` */
    bool freelist; /* etcd writes none */
    bool no_keys;  /* no bucket "key" */
};
/* The inner pages, the buckets "cluster" and "meta" (inline), root and meta pages; frees @file. */
void etcd_file_close(struct etcd_file *file, const struct etcd_file_end *end);

/* Puts the right checksum into a meta page that was tampered with; @page has at least 80 bytes. */
void etcd_file_mend_meta(uint8_t *page);

#endif
