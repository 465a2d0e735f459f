/* SPDX-License-Identifier: Apache-2.0 */
/* Node/Describe's answer as bytes. */
#ifndef KMS_DESCRIBE_H
#define KMS_DESCRIBE_H

#include "kms/error.h"
#include "kms/secret.h"
#include "service.h"

/* *ret_reply owns a packed DescribeResponse. KMS_E_BUSY: no memory. Thread-safe. */
KMS_MUST_CHECK enum kms_code kms_describe_pack(const struct kms_description *description,
                                               struct kms_secret *ret_reply, struct kms_error *err);

#endif
