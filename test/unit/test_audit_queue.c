/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_queue.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

static void put(struct kms_audit_queue *queue, const char *body)
{
    assert_true(kms_audit_queue_put(queue, kms_audit_entry_open(strdup(body))));
}

/* Takes @count, which are @bodies and no more. */
static void assert_taken(struct kms_audit_queue *queue, size_t max, const char *bodies)
{
    struct kms_audit_entry *batch[8];
    size_t count = kms_audit_queue_take(queue, max, batch);
    assert_int_equal(count, strlen(bodies));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(batch[i]->body[0], bodies[i]);
        kms_audit_entry_close(batch[i]);
    }
}

static void entries_come_out_in_their_order(void **state)
{
    (void)state;
    struct kms_audit_queue queue;
    kms_audit_queue_init(&queue);
    put(&queue, "a");
    put(&queue, "b");
    put(&queue, "c");
    assert_taken(&queue, 2, "ab");
    put(&queue, "d");
    assert_taken(&queue, 8, "cd");
    assert_taken(&queue, 8, "");
    put(&queue, "e");
    assert_taken(&queue, 8, "e");
    assert_int_equal(queue.bytes, 0);
}

static struct kms_audit_entry *large(void)
{
    enum { LEN = KMS_AUDIT_QUEUE_MAX / 2 };
    char *body = malloc(LEN + 1);
    assert_non_null(body);
    memset(body, 'x', LEN);
    body[LEN] = '\0';
    return kms_audit_entry_open(body);
}

static void what_finds_no_room_stays_the_callers(void **state)
{
    (void)state;
    struct kms_audit_queue queue;
    kms_audit_queue_init(&queue);
    assert_true(kms_audit_queue_put(&queue, large()));
    assert_true(kms_audit_queue_put(&queue, large()));
    struct kms_audit_entry *entry = kms_audit_entry_open(strdup("y"));
    assert_false(kms_audit_queue_put(&queue, entry));
    assert_taken(&queue, 1, "x");
    assert_true(kms_audit_queue_put(&queue, entry));
    assert_taken(&queue, 8, "xy");
}

static void no_body_is_no_entry(void **state)
{
    (void)state;
    assert_null(kms_audit_entry_open(NULL));
    kms_audit_entry_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_out_in_their_order),
        cmocka_unit_test(what_finds_no_room_stays_the_callers),
        cmocka_unit_test(no_body_is_no_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
