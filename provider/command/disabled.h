/* SPDX-License-Identifier: Apache-2.0 */
/* state_dir/disabled.vN: since when this node's operator has had generation N disabled, in UTC seconds.
 * Written by `key disable`, for `key destroy`; no daemon reads it. */
#ifndef KMS_DISABLED_H
#define KMS_DISABLED_H

#include <stdint.h>

#include "kms/error.h"

/* Each fails with KMS_E_PRECONDITION, naming the file, if state_dir or the file can't be used. */

/* Durably records that @generation is disabled since @utc_s. */
KMS_MUST_CHECK enum kms_code kms_disabled_record(const char *state_dir, uint32_t generation,
                                                 int64_t utc_s, struct kms_error *err);

/* Durably forgets it; nothing to forget is no failure. */
KMS_MUST_CHECK enum kms_code kms_disabled_forget(const char *state_dir, uint32_t generation,
                                                 struct kms_error *err);

/* *ret_utc_s is 0 if it isn't recorded. */
KMS_MUST_CHECK enum kms_code kms_disabled_since(const char *state_dir, uint32_t generation,
                                                int64_t *ret_utc_s, struct kms_error *err);

#endif
