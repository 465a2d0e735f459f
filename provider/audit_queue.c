/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_queue.h"

#include <stdlib.h>
#include <string.h>

#include "kms/clock.h"

struct kms_audit_entry *kms_audit_entry_open(char *body)
{
    struct kms_audit_entry *entry = body != NULL ? calloc(1, sizeof(*entry)) : NULL;
    if (entry == NULL) {
        free(body);
        return NULL;
    }
    entry->body = body;
    entry->len = strlen(body);
    entry->utc_ms = kms_utc_ms();
    return entry;
}

void kms_audit_entry_close(struct kms_audit_entry *entry)
{
    if (entry == NULL)
        return;
    free(entry->body);
    free(entry);
}

void kms_audit_queue_init(struct kms_audit_queue *queue)
{
    *queue = (struct kms_audit_queue){ .last = &queue->first };
}

bool kms_audit_queue_put(struct kms_audit_queue *queue, struct kms_audit_entry *entry)
{
    if (entry->len > KMS_AUDIT_QUEUE_MAX - queue->bytes)
        return false;
    *queue->last = entry;
    queue->last = &entry->next;
    queue->bytes += entry->len;
    return true;
}

size_t kms_audit_queue_take(struct kms_audit_queue *queue, size_t max,
                            struct kms_audit_entry **ret_batch)
{
    size_t count = 0;
    for (; queue->first != NULL && count < max; count++) {
        struct kms_audit_entry *entry = queue->first;
        queue->first = entry->next;
        entry->next = NULL;
        queue->bytes -= entry->len;
        ret_batch[count] = entry;
    }
    if (queue->first == NULL)
        queue->last = &queue->first;
    return count;
}
