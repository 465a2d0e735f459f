/* SPDX-License-Identifier: Apache-2.0 */
/* A bounded queue between the poller and the workers.  Items are links inside the caller's objects,
 * so a waiting one can be taken out when its caller gave up, and pushing never allocates. */
#ifndef KMS_QUEUE_H
#define KMS_QUEUE_H

#include <pthread.h>
#include <stdbool.h>

#include "kms/compiler.h"

struct kms_queue_item {
    struct kms_queue_item *before, *after;
    bool waiting; /* guarded by the queue's mutex, as are the links */
};

struct kms_queue {
    pthread_mutex_t mutex; /* guards everything below and the items' links */
    pthread_cond_t changed;
    struct kms_queue_item *first, *last;
    unsigned len, cap; /* items */
    bool stopped;
};

void kms_queue_init(struct kms_queue *queue, unsigned cap);
/* The queue is empty and nobody waits in it any more. */
void kms_queue_done(struct kms_queue *queue);

/* False if the queue is full or stopped.  Never blocks.  Thread-safe, as are all below. */
KMS_MUST_CHECK bool kms_queue_push(struct kms_queue *queue, struct kms_queue_item *item);

/* The oldest item; waits for one.  NULL: stopped, and nothing is left. */
KMS_MUST_CHECK struct kms_queue_item *kms_queue_pop(struct kms_queue *queue);

/* True if @item was waiting and no longer is; false if a worker has it. */
KMS_MUST_CHECK bool kms_queue_remove(struct kms_queue *queue, struct kms_queue_item *item);

/* Refuses further items and wakes whoever waits; items still in the queue come out first. */
void kms_queue_stop(struct kms_queue *queue);

#endif
