/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of one protobuf message, where they lie: no copy, no allocation.  Stricter than the
 * encoding asks for: what Go's proto.Marshal never writes is refused, since two readers could take
 * such bytes for different things. */
#ifndef KMS_ETCD_FIELDS_H
#define KMS_ETCD_FIELDS_H

#include <stdint.h>

#include "kms/bytes.h"
#include "kms/compiler.h"

enum kms_wire_type { KMS_WIRE_VARINT = 0, KMS_WIRE_I64 = 1, KMS_WIRE_LEN = 2, KMS_WIRE_I32 = 5 };

struct kms_field {
    uint32_t number;
    enum kms_wire_type type;
    uint64_t varint;        /* KMS_WIRE_VARINT only */
    struct kms_bytes bytes; /* the others; borrowed from the message */
};

/* Reads the first field of *@rest, which must not be empty, and moves *@rest behind it.  NULL, or
 * what is wrong with the bytes (static text); *@rest and *ret_field are then untouched. */
KMS_MUST_CHECK const char *kms_field_next(struct kms_bytes *rest, struct kms_field *ret_field);

#endif
