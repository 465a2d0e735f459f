/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for byte strings, as many as fit: whoever writes etcd chooses what is counted, and must not
 * choose how much memory that takes. */
#ifndef KMS_REPORT_INTERN_H
#define KMS_REPORT_INTERN_H

#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"

/* Caller owns the struct. */
struct kms_intern {
    struct kms_bytes *items; /* owned, and each's bytes; item 0 is empty: all that found no room */
    uint32_t count;          /* item 0 included */
    uint32_t max;
    uint32_t *slots; /* owned */
    uint32_t slot_count;
};

/* At most @max numbers, that of what found no room included.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_intern_init(struct kms_intern *intern, uint32_t max,
                                             struct kms_error *err);
void kms_intern_done(struct kms_intern *intern);

/* *ret_number: of @bytes, the same each time; 0 once there is no room for new ones, and always for
 * more than @longest bytes.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_intern_number(struct kms_intern *intern, struct kms_bytes bytes,
                                               size_t longest, uint32_t *ret_number,
                                               struct kms_error *err);

#endif
