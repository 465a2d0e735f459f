/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdatomic.h>

#include "check.h"
#include "queue.h"

static void items_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    struct kms_queue queue;
    struct kms_queue_item items[3] = { 0 };
    kms_queue_init(&queue, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(kms_queue_push(&queue, &items[i]));
    for (size_t i = 0; i < 3; i++)
        assert_ptr_equal(kms_queue_pop(&queue), &items[i]);
    kms_queue_done(&queue);
}

static void a_full_queue_takes_no_more(void **state)
{
    (void)state;
    struct kms_queue queue;
    struct kms_queue_item items[3] = { 0 };
    kms_queue_init(&queue, 2);
    assert_true(kms_queue_push(&queue, &items[0]));
    assert_true(kms_queue_push(&queue, &items[1]));
    assert_false(kms_queue_push(&queue, &items[2]));
    assert_ptr_equal(kms_queue_pop(&queue), &items[0]);
    assert_true(kms_queue_push(&queue, &items[2]));
    assert_ptr_equal(kms_queue_pop(&queue), &items[1]);
    assert_ptr_equal(kms_queue_pop(&queue), &items[2]);
    kms_queue_done(&queue);
}

/* Takes out the item at @at of three and says what is left. */
static void remove_one_of_three(size_t at, const size_t left[2])
{
    struct kms_queue queue;
    struct kms_queue_item items[3] = { 0 };
    kms_queue_init(&queue, 3);
    for (size_t i = 0; i < 3; i++)
        assert_true(kms_queue_push(&queue, &items[i]));
    assert_true(kms_queue_remove(&queue, &items[at]));
    assert_ptr_equal(kms_queue_pop(&queue), &items[left[0]]);
    assert_ptr_equal(kms_queue_pop(&queue), &items[left[1]]);
    kms_queue_done(&queue);
}

static void any_waiting_item_can_be_taken_out(void **state)
{
    (void)state;
    remove_one_of_three(0, (const size_t[]){ 1, 2 });
    remove_one_of_three(1, (const size_t[]){ 0, 2 });
    remove_one_of_three(2, (const size_t[]){ 0, 1 });
}

static void an_item_that_is_out_cannot_be_taken_out(void **state)
{
    (void)state;
    struct kms_queue queue;
    struct kms_queue_item popped = { 0 }, removed = { 0 }, never = { 0 };
    kms_queue_init(&queue, 2);
    assert_true(kms_queue_push(&queue, &popped));
    assert_true(kms_queue_push(&queue, &removed));
    assert_ptr_equal(kms_queue_pop(&queue), &popped);
    assert_true(kms_queue_remove(&queue, &removed));
    assert_false(kms_queue_remove(&queue, &popped));
    assert_false(kms_queue_remove(&queue, &removed));
    assert_false(kms_queue_remove(&queue, &never));
    kms_queue_done(&queue);
}

static void an_item_taken_out_gives_its_place_back(void **state)
{
    (void)state;
    struct kms_queue queue;
    struct kms_queue_item first = { 0 }, second = { 0 };
    kms_queue_init(&queue, 1);
    assert_true(kms_queue_push(&queue, &first));
    assert_true(kms_queue_remove(&queue, &first));
    assert_true(kms_queue_push(&queue, &second));
    assert_ptr_equal(kms_queue_pop(&queue), &second);
    kms_queue_done(&queue);
}

static void a_stopped_queue_gives_what_is_left_and_then_nothing(void **state)
{
    (void)state;
    struct kms_queue queue;
    struct kms_queue_item item = { 0 }, late = { 0 };
    kms_queue_init(&queue, 2);
    assert_true(kms_queue_push(&queue, &item));
    kms_queue_stop(&queue);
    assert_false(kms_queue_push(&queue, &late));
    assert_ptr_equal(kms_queue_pop(&queue), &item);
    assert_null(kms_queue_pop(&queue));
    kms_queue_done(&queue);
}

enum { ITEMS = 2000, WORKERS = 4 };

struct crowd {
    struct kms_queue queue;
    _Atomic unsigned popped;
};

static void *pop_all(void *arg)
{
    struct crowd *crowd = arg;
    while (kms_queue_pop(&crowd->queue) != NULL)
        atomic_fetch_add(&crowd->popped, 1);
    return NULL;
}

/* Half of the items are taken out again by the one who pushed them, if it is quick enough. */
static void every_item_is_popped_or_taken_out_exactly_once(void **state)
{
    (void)state;
    static struct kms_queue_item items[ITEMS];
    struct crowd crowd = { .popped = 0 };
    kms_queue_init(&crowd.queue, ITEMS);
    pthread_t threads[WORKERS];
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pop_all, &crowd), 0);
    unsigned removed = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        assert_true(kms_queue_push(&crowd.queue, &items[i]));
        if (i % 2 == 0 && kms_queue_remove(&crowd.queue, &items[i]))
            removed++;
    }
    kms_queue_stop(&crowd.queue);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&crowd.popped) + removed, ITEMS);
    kms_queue_done(&crowd.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_went_in),
        cmocka_unit_test(a_full_queue_takes_no_more),
        cmocka_unit_test(any_waiting_item_can_be_taken_out),
        cmocka_unit_test(an_item_that_is_out_cannot_be_taken_out),
        cmocka_unit_test(an_item_taken_out_gives_its_place_back),
        cmocka_unit_test(a_stopped_queue_gives_what_is_left_and_then_nothing),
        cmocka_unit_test(every_item_is_popped_or_taken_out_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
