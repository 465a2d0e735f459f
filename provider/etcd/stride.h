/* SPDX-License-Identifier: Apache-2.0 */
/* How far on in the space of keys the next few pages end, guessed from the last one.
 *
 * etcd counts all keys of a range for each page of it, so that pages of one range cost the
 * square of its keys: minutes for a million.  Ranges that end a few pages on don't. */
#ifndef KMS_ETCD_STRIDE_H
#define KMS_ETCD_STRIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"

enum { KMS_ETCD_STRIDE_BYTES = 8 };

/* A number of that many bytes, big-endian, that is added to a key's bytes at @at.  A zeroed one is
 * unknown. */
struct kms_etcd_stride {
    size_t at;
    uint64_t step;
};

/* Twice the way from @first to @last, keys of one page. */
void kms_etcd_stride_measure(struct kms_etcd_stride *stride, struct kms_bytes first,
                             struct kms_bytes last);
/* 256 times as far: past the gap in which there were no keys, or few. */
void kms_etcd_stride_widen(struct kms_etcd_stride *stride);

/* Fills the first @stride->at + KMS_ETCD_STRIDE_BYTES bytes of @ret_key: greater than @key.
 * False: there is no such key. */
KMS_MUST_CHECK bool kms_etcd_stride_from(const struct kms_etcd_stride *stride, struct kms_bytes key,
                                         uint8_t *ret_key);

#endif
