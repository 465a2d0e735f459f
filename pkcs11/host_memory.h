/* SPDX-License-Identifier: Apache-2.0 */
/* What was asked for last: what a new host must be able to do before it serves. */
#ifndef KMS_HOST_MEMORY_H
#define KMS_HOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "kms/keystore.h"

/* Zeroed before; kms_host_memory_done(). */
struct kms_host_memory {
    char *label_prefix; /* NULL: nothing was listed yet */
    struct kms_kek_name *names;
    size_t name_count;
    bool has_kek;
    char label[KMS_LABEL_MAX + 1];
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
};
void kms_host_memory_done(struct kms_host_memory *memory);

/* Out of memory: the old filter stays. */
void kms_host_memory_filter(struct kms_host_memory *memory, const struct kms_kek_filter *filter);
void kms_host_memory_kek(struct kms_host_memory *memory, const struct kms_kek_ref *kek);

#endif
