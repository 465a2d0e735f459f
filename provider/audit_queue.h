/* SPDX-License-Identifier: Apache-2.0 */
/* Lines that aren't in the audit log's file yet, in their order.  Not thread-safe: the writer's lock
 * guards it (audit_writer.c). */
#ifndef KMS_AUDIT_QUEUE_H
#define KMS_AUDIT_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/compiler.h"

enum { KMS_AUDIT_QUEUE_MAX = 4 * 1024 * 1024 }; /* bytes of bodies: some thousand lines */

struct kms_audit_entry {
    struct kms_audit_entry *next;
    char *body; /* owned */
    size_t len;
    int64_t utc_ms; /* when it was made */
    bool awaited;   /* its caller frees it, else the writer does */
    bool done, written;
};
/* Takes @body, which may be NULL.  NULL: no memory, or there was none for the body. */
struct kms_audit_entry *kms_audit_entry_open(char *body);
void kms_audit_entry_close(struct kms_audit_entry *entry);

struct kms_audit_queue {
    struct kms_audit_entry *first, **last;
    size_t bytes;
};
void kms_audit_queue_init(struct kms_audit_queue *queue);

/* Takes @entry.  False: it finds no room, and stays the caller's. */
KMS_MUST_CHECK bool kms_audit_queue_put(struct kms_audit_queue *queue,
                                        struct kms_audit_entry *entry);
/* Moves the first @max entries to @ret_batch; returns how many there were. */
size_t kms_audit_queue_take(struct kms_audit_queue *queue, size_t max,
                            struct kms_audit_entry **ret_batch);

#endif
