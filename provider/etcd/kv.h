/* SPDX-License-Identifier: Apache-2.0 */
/* mvccpb.KeyValue (etcd: api/mvccpb/kv.proto), as etcd stores it and as it sends it. */
#ifndef KMS_ETCD_KV_H
#define KMS_ETCD_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "kms/bytes.h"

struct kms_etcd_kv {
    struct kms_bytes key, value; /* borrowed from the message */
    int64_t create_revision, mod_revision, version;
};

/* False: @message isn't one, or has no key.  Unknown fields are passed over; nothing is copied. */
KMS_MUST_CHECK bool kms_etcd_kv_parse(struct kms_bytes message, struct kms_etcd_kv *ret_kv);

#endif
