/* SPDX-License-Identifier: Apache-2.0 */
#include "host_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kms_host_memory_done(struct kms_host_memory *memory)
{
    free(memory->label_prefix);
    free(memory->names);
    memory->label_prefix = NULL;
    memory->names = NULL;
    memory->name_count = 0;
}

static bool is_remembered(const struct kms_host_memory *memory, const struct kms_kek_filter *filter)
{
    return memory->label_prefix != NULL &&
           strcmp(memory->label_prefix, filter->label_prefix) == 0 &&
           memory->name_count == filter->name_count &&
           (filter->name_count == 0 ||
            memcmp(memory->names, filter->names, filter->name_count * sizeof(*filter->names)) == 0);
}

void kms_host_memory_filter(struct kms_host_memory *memory, const struct kms_kek_filter *filter)
{
    if (is_remembered(memory, filter))
        return;
    char *label_prefix = strdup(filter->label_prefix);
    struct kms_kek_name *names = calloc(filter->name_count + 1, sizeof(*names));
    if (label_prefix == NULL || names == NULL) {
        free(label_prefix);
        free(names);
        return;
    }
    if (filter->name_count > 0)
        memcpy(names, filter->names, filter->name_count * sizeof(*names));
    kms_host_memory_done(memory);
    memory->label_prefix = label_prefix;
    memory->names = names;
    memory->name_count = filter->name_count;
}

void kms_host_memory_kek(struct kms_host_memory *memory, const struct kms_kek_ref *kek)
{
    memory->has_kek = true;
    (void)snprintf(memory->label, sizeof(memory->label), "%s", kek->label);
    memcpy(memory->fingerprint, kek->fingerprint, KMS_FINGERPRINT_LEN);
}
