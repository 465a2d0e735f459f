/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <assert.h>
#include <stddef.h>

void kms_queue_init(struct kms_queue *queue, unsigned cap)
{
    *queue = (struct kms_queue){ .cap = cap };
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_cond_init(&queue->changed, NULL);
}

void kms_queue_done(struct kms_queue *queue)
{
    assert(queue->len == 0);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->mutex);
}

bool kms_queue_push(struct kms_queue *queue, struct kms_queue_item *item)
{
    pthread_mutex_lock(&queue->mutex);
    bool fits = !queue->stopped && queue->len < queue->cap;
    if (fits) {
        *item = (struct kms_queue_item){ .before = queue->last, .waiting = true };
        if (queue->last != NULL)
            queue->last->after = item;
        else
            queue->first = item;
        queue->last = item;
        queue->len++;
        pthread_cond_signal(&queue->changed);
    }
    pthread_mutex_unlock(&queue->mutex);
    return fits;
}

/* With the mutex held. */
static void take_out(struct kms_queue *queue, struct kms_queue_item *item)
{
    if (item->before != NULL)
        item->before->after = item->after;
    else
        queue->first = item->after;
    if (item->after != NULL)
        item->after->before = item->before;
    else
        queue->last = item->before;
    *item = (struct kms_queue_item){ 0 };
    queue->len--;
}

struct kms_queue_item *kms_queue_pop(struct kms_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    /* No deadline: an idle worker waits for work or for kms_queue_stop(), on nothing that can hang. */
    while (queue->first == NULL && !queue->stopped)
        pthread_cond_wait(&queue->changed, &queue->mutex);
    struct kms_queue_item *item = queue->first;
    if (item != NULL)
        take_out(queue, item);
    pthread_mutex_unlock(&queue->mutex);
    return item;
}

bool kms_queue_remove(struct kms_queue *queue, struct kms_queue_item *item)
{
    pthread_mutex_lock(&queue->mutex);
    bool waiting = item->waiting;
    if (waiting)
        take_out(queue, item);
    pthread_mutex_unlock(&queue->mutex);
    return waiting;
}

void kms_queue_stop(struct kms_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    queue->stopped = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}
