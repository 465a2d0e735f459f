/* SPDX-License-Identifier: Apache-2.0 */
/* What `key destroy` waits for, however well it is proven that nothing needs the key. */
#ifndef KMS_KEY_WAIT_H
#define KMS_KEY_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "key_act.h"

/* Borrowed. */
struct kms_key_wait {
    const char *state_dir, *ring;
    uint32_t generation;
    int64_t now_utc_s;
    int64_t destroy_wait_ms;     /* since it was disabled; 0: none */
    int64_t backup_retention_ms; /* since a recorded snapshot needed it; 0: none */
};

/* False: @outcome is refused, since the time isn't up or can't be told.  Reads state_dir. */
KMS_MUST_CHECK bool kms_key_wait_is_over(const struct kms_key_wait *wait,
                                         struct kms_key_outcome *outcome);

#endif
