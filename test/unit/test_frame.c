/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "frame.h"
#include "kms/clock.h"

enum { NOW = 0 /* a deadline that has passed */, LONG_LEN = 1 << 20 };

struct bench {
    int ours, theirs;
    struct kms_frame_reader reader;
    struct kms_secret message;
    struct kms_error err;
};

static int setup(void **state)
{
    static struct bench bench;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    bench = (struct bench){ .ours = pair[0], .theirs = pair[1] };
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    kms_frame_reader_done(&bench->reader);
    kms_secret_done(&bench->message);
    (void)close(bench->ours);
    if (bench->theirs >= 0)
        (void)close(bench->theirs);
    return 0;
}

static void put(const struct bench *bench, const void *data, size_t len)
{
    assert_int_equal(write(bench->theirs, data, len), len);
}

static void hang_up(struct bench *bench)
{
    (void)close(bench->theirs);
    bench->theirs = -1;
}

static enum kms_code receive(struct bench *bench, int64_t deadline_ms)
{
    kms_secret_done(&bench->message);
    return kms_frame_receive(&bench->reader, bench->ours, deadline_ms, &bench->message,
                             &bench->err);
}

static void assert_message(const struct bench *bench, const char *text)
{
    assert_int_equal(bench->message.len, strlen(text));
    assert_memory_equal(bench->message.data, text, strlen(text));
}

static void what_is_sent_is_received(void **state)
{
    struct bench *bench = *state;
    assert_ok(kms_frame_send(bench->theirs, kms_bytes_of("seed"), NOW, &bench->err), &bench->err);
    assert_ok(receive(bench, NOW), &bench->err);
    assert_message(bench, "seed");
}

static void the_length_stands_in_front_little_endian(void **state)
{
    struct bench *bench = *state;
    uint8_t got[16];
    assert_ok(kms_frame_send(bench->theirs, kms_bytes_of("seed"), NOW, &bench->err), &bench->err);
    assert_int_equal(read(bench->ours, got, sizeof(got)), 8);
    assert_memory_equal(got, "\4\0\0\0seed", 8);
}

static void a_message_may_be_empty(void **state)
{
    struct bench *bench = *state;
    put(bench, "\0\0\0\0\1\0\0\0x", 9);
    assert_ok(receive(bench, NOW), &bench->err);
    assert_int_equal(bench->message.len, 0);
    assert_ok(receive(bench, NOW), &bench->err);
    assert_message(bench, "x");
}

static void messages_that_come_together_are_received_one_by_one(void **state)
{
    struct bench *bench = *state;
    put(bench, "\1\0\0\0a\2\0\0\0bc", 11);
    assert_ok(receive(bench, NOW), &bench->err);
    assert_message(bench, "a");
    assert_ok(receive(bench, NOW), &bench->err);
    assert_message(bench, "bc");
    assert_int_equal(receive(bench, NOW), KMS_E_DEADLINE);
}

static void a_message_that_comes_byte_by_byte_goes_on_after_each_deadline(void **state)
{
    static const char bytes[] = "\5\0\0\0hello";
    struct bench *bench = *state;
    for (size_t i = 0; i < sizeof(bytes) - 2; i++) {
        put(bench, &bytes[i], 1);
        assert_int_equal(receive(bench, NOW), KMS_E_DEADLINE);
    }
    put(bench, &bytes[sizeof(bytes) - 2], 1);
    assert_ok(receive(bench, NOW), &bench->err);
    assert_message(bench, "hello");
}

static void an_end_is_told_from_a_deadline(void **state)
{
    struct bench *bench = *state;
    hang_up(bench);
    assert_int_equal(receive(bench, NOW), KMS_E_UNAVAILABLE);
}

static void an_end_within_the_length_is_no_message(void **state)
{
    struct bench *bench = *state;
    put(bench, "\5\0", 2);
    hang_up(bench);
    assert_int_equal(receive(bench, NOW), KMS_E_UNAVAILABLE);
}

static void an_end_within_the_message_is_no_message(void **state)
{
    struct bench *bench = *state;
    put(bench, "\5\0\0\0hell", 8);
    assert_int_equal(receive(bench, NOW), KMS_E_DEADLINE);
    hang_up(bench);
    assert_int_equal(receive(bench, NOW), KMS_E_UNAVAILABLE);
}

static void what_came_before_the_end_is_received(void **state)
{
    struct bench *bench = *state;
    put(bench, "\1\0\0\0a", 5);
    hang_up(bench);
    assert_ok(receive(bench, NOW), &bench->err);
    assert_message(bench, "a");
}

static void a_length_out_of_range_is_no_message(void **state)
{
    struct bench *bench = *state;
    put(bench, "\1\0\0\1", 4); /* KMS_FRAME_MAX + 1 */
    assert_int_equal(receive(bench, NOW), KMS_E_INVALID);
    kms_frame_reader_done(&bench->reader);
    put(bench, "\xFF\xFF\xFF\xFF", 4);
    assert_int_equal(receive(bench, NOW), KMS_E_INVALID);
}

static void the_longest_length_is_one(void **state)
{
    struct bench *bench = *state;
    put(bench, "\0\0\0\1", 4); /* KMS_FRAME_MAX */
    assert_int_equal(receive(bench, NOW), KMS_E_DEADLINE);
}

static void a_message_out_of_range_is_not_sent(void **state)
{
    struct bench *bench = *state;
    const struct kms_bytes much = { (const uint8_t *)"", KMS_FRAME_MAX + 1 };
    assert_int_equal(kms_frame_send(bench->theirs, much, NOW, &bench->err), KMS_E_INVALID);
    assert_int_equal(receive(bench, NOW), KMS_E_DEADLINE);
}

static void sending_to_nobody_fails_without_a_signal(void **state)
{
    struct bench *bench = *state;
    int theirs = bench->theirs;
    bench->theirs = bench->ours;
    bench->ours = theirs;
    (void)close(bench->ours);
    assert_int_equal(kms_frame_send(bench->theirs, kms_bytes_of("a"), NOW, &bench->err),
                     KMS_E_UNAVAILABLE);
    bench->ours = -1;
}

static void sending_to_one_who_does_not_read_ends_at_the_deadline(void **state)
{
    static uint8_t data[LONG_LEN];
    struct bench *bench = *state;
    const struct kms_bytes message = { data, sizeof(data) };
    assert_int_equal(kms_frame_send(bench->theirs, message, kms_monotonic_ms() + 20, &bench->err),
                     KMS_E_DEADLINE);
}

static void *send_long(void *argument)
{
    static uint8_t data[LONG_LEN];
    const struct bench *bench = argument;
    struct kms_error err;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    enum kms_code rc = kms_frame_send(bench->theirs, (struct kms_bytes){ data, sizeof(data) },
                                      KMS_DEADLINE_NEVER, &err);
    return rc == KMS_OK ? argument : NULL;
}

static void a_message_longer_than_the_socket_holds_arrives_whole(void **state)
{
    struct bench *bench = *state;
    pthread_t thread;
    void *sent = NULL;
    assert_int_equal(pthread_create(&thread, NULL, send_long, bench), 0);
    assert_ok(receive(bench, KMS_DEADLINE_NEVER), &bench->err);
    assert_int_equal(pthread_join(thread, &sent), 0);
    assert_non_null(sent);
    assert_int_equal(bench->message.len, LONG_LEN);
    for (size_t i = 0; i < LONG_LEN; i++)
        assert_int_equal(bench->message.data[i], (uint8_t)(i * 7));
}

#define frame_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        frame_test(what_is_sent_is_received),
        frame_test(the_length_stands_in_front_little_endian),
        frame_test(a_message_may_be_empty),
        frame_test(messages_that_come_together_are_received_one_by_one),
        frame_test(a_message_that_comes_byte_by_byte_goes_on_after_each_deadline),
        frame_test(an_end_is_told_from_a_deadline),
        frame_test(an_end_within_the_length_is_no_message),
        frame_test(an_end_within_the_message_is_no_message),
        frame_test(what_came_before_the_end_is_received),
        frame_test(a_length_out_of_range_is_no_message),
        frame_test(the_longest_length_is_one),
        frame_test(a_message_out_of_range_is_not_sent),
        frame_test(sending_to_nobody_fails_without_a_signal),
        frame_test(sending_to_one_who_does_not_read_ends_at_the_deadline),
        frame_test(a_message_longer_than_the_socket_holds_arrives_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
