/* SPDX-License-Identifier: Apache-2.0 */
#include "stride.h"

enum { PAGES = 2, WIDER = 256 };

/* As if NUL bytes followed. */
static uint8_t byte_at(struct kms_bytes key, size_t at)
{
    return at < key.len ? key.data[at] : 0;
}

static uint64_t number_at(struct kms_bytes key, size_t at)
{
    uint64_t number = 0;
    for (size_t i = 0; i < KMS_ETCD_STRIDE_BYTES; i++)
        number = number << 8 | byte_at(key, at + i);
    return number;
}

/* One byte to the left, a number means 256 times as much. */
static void multiply(struct kms_etcd_stride *stride, uint64_t factor)
{
    while (stride->step > UINT64_MAX / factor && stride->at > 0) {
        stride->step >>= 8;
        stride->at--;
    }
    if (__builtin_mul_overflow(stride->step, factor, &stride->step))
        stride->step = UINT64_MAX;
}

void kms_etcd_stride_measure(struct kms_etcd_stride *stride, struct kms_bytes first,
                             struct kms_bytes last)
{
    size_t common = 0;
    while (common < first.len && common < last.len && first.data[common] == last.data[common])
        common++;
    uint64_t way = number_at(last, common) - number_at(first, common);
    *stride = (struct kms_etcd_stride){ .at = common, .step = way > 0 ? way : 1 };
    multiply(stride, PAGES);
}

void kms_etcd_stride_widen(struct kms_etcd_stride *stride)
{
    multiply(stride, WIDER);
}

bool kms_etcd_stride_from(const struct kms_etcd_stride *stride, struct kms_bytes key,
                          uint8_t *ret_key)
{
    for (size_t i = 0; i < stride->at; i++)
        ret_key[i] = byte_at(key, i);
    uint64_t number = 0;
    bool carry = __builtin_add_overflow(number_at(key, stride->at), stride->step, &number);
    for (size_t i = KMS_ETCD_STRIDE_BYTES; i-- > 0; number >>= 8)
        ret_key[stride->at + i] = (uint8_t)number;
    for (size_t i = stride->at; carry && i-- > 0;)
        carry = ++ret_key[i] == 0;
    return !carry;
}
