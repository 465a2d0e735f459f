/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_copier.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-journal.h>

#include "audit_rig.h"
#include "check.h"
#include "kms/clock.h"

enum { CHUNK_LINES = 1024, LINE_LEN = 1024, CHUNKS_MAX = 100, PATIENCE_MS = 20 * 1000 };

/* journald, behind a function in place of libsystemd's: it takes nothing while it is stalled. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stalled;
    unsigned begun, taken;
} journal = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

int sd_journal_sendv_with_location(const char *file, const char *line, const char *func,
                                   const struct iovec *iov, int n)
{
    (void)file, (void)line, (void)func;
    (void)iov;
    (void)n;
    pthread_mutex_lock(&journal.lock);
    journal.begun++;
    pthread_cond_broadcast(&journal.changed);
    while (journal.stalled)
        pthread_cond_wait(&journal.changed, &journal.lock);
    journal.taken++;
    pthread_cond_broadcast(&journal.changed);
    pthread_mutex_unlock(&journal.lock);
    return 0;
}

static void stall(bool stalled)
{
    pthread_mutex_lock(&journal.lock);
    journal.stalled = stalled;
    pthread_cond_broadcast(&journal.changed);
    pthread_mutex_unlock(&journal.lock);
}

static void wait_for(const unsigned *number, unsigned least)
{
    pthread_mutex_lock(&journal.lock);
    while (*number < least)
        pthread_cond_wait(&journal.changed, &journal.lock);
    pthread_mutex_unlock(&journal.lock);
}

static int set_up(void **state)
{
    journal.begun = journal.taken = 0;
    return audit_rig_setup(state);
}

static int tear_down(void **state)
{
    stall(false);
    return audit_rig_teardown(state);
}

static struct kms_audit_options journald(void)
{
    struct kms_audit_options options = audit_rig_options();
    options.sinks = KMS_AUDIT_JOURNALD;
    return options;
}

static struct kms_audit_copier *open_copier(void)
{
    struct kms_error err;
    struct kms_audit_copier *copier = NULL;
    const struct kms_audit_options options = journald();
    assert_ok(kms_audit_copier_open(&options, &copier, &err), &err);
    return copier;
}

static void send_chunk(struct kms_audit_copier *copier)
{
    static uint8_t text[CHUNK_LINES * LINE_LEN];
    memset(text, ' ', sizeof text);
    for (size_t i = 1; i <= CHUNK_LINES; i++)
        text[i * LINE_LEN - 1] = '\n';
    kms_audit_copier_send(copier, (struct kms_bytes){ text, sizeof text });
}

/* Returns how many of the chunks that were sent are queued. */
static unsigned fill(struct kms_audit_copier *copier)
{
    for (unsigned sent = 0; sent < CHUNKS_MAX; sent++) {
        if (kms_audit_copier_uncopied(copier) > 0)
            return sent - 1;
        send_chunk(copier);
    }
    fail_msg("the queue takes everything");
    return 0;
}

static void no_call_waits_for_a_stalled_journald(void **state)
{
    (void)state;
    struct kms_error err;
    stall(true);
    const struct kms_audit_options options = journald();
    struct kms_audit *audit = audit_rig_open(&options);
    wait_for(&journal.begun, 1);
    for (unsigned i = 0; i < 10; i++)
        assert_ok(audit_rig_put(audit, "meanwhile", &err), &err);
    assert_int_equal(kms_audit_count(audit).written, 10);
    stall(false);
    kms_audit_close(audit);
    assert_int_equal(journal.taken, 1 + 10);
}

static void what_the_queue_has_no_room_for_is_counted(void **state)
{
    (void)state;
    stall(true);
    struct kms_audit_copier *copier = open_copier();
    unsigned queued = fill(copier);
    assert_in_range(queued, 1, CHUNKS_MAX);
    assert_int_equal(kms_audit_copier_uncopied(copier), CHUNK_LINES);
    stall(false);
    kms_audit_copier_close(copier);
    assert_int_equal(journal.taken, queued * CHUNK_LINES);
}

static void a_queue_that_was_full_takes_lines_again(void **state)
{
    (void)state;
    stall(true);
    struct kms_audit_copier *copier = open_copier();
    unsigned queued = fill(copier);
    stall(false);
    wait_for(&journal.taken, queued * CHUNK_LINES);
    send_chunk(copier);
    kms_audit_copier_close(copier);
    assert_int_equal(journal.taken, (queued + 1) * CHUNK_LINES);
}

static void a_close_waits_only_so_long(void **state)
{
    (void)state;
    stall(true);
    int64_t began_ms = kms_monotonic_ms();
    struct kms_audit_copier *copier = open_copier();
    send_chunk(copier);
    wait_for(&journal.begun, 1);
    kms_audit_copier_close(copier);
    assert_true(kms_monotonic_ms() - began_ms < PATIENCE_MS);
    assert_int_equal(journal.taken, 0);
}

static void without_sinks_nothing_is_sent(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_copier *copier = NULL;
    const struct kms_audit_options options = audit_rig_options();
    assert_ok(kms_audit_copier_open(&options, &copier, &err), &err);
    send_chunk(copier);
    kms_audit_copier_close(copier);
    assert_int_equal(journal.begun, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_call_waits_for_a_stalled_journald),
        TEST(what_the_queue_has_no_room_for_is_counted),
        TEST(a_queue_that_was_full_takes_lines_again),
        TEST(without_sinks_nothing_is_sent),
        TEST(a_close_waits_only_so_long), /* last: its thread is left behind */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
