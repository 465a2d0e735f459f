/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "policy_rig.h"

#define PAST "20260101T000000Z"
enum { HOUR_MS = 3600000, PATIENCE_MS = 30000 };

static struct rig rig;

static int set_up(void **unused)
{
    (void)unused;
    return rig_open(&rig, HOUR_MS, HOUR_MS);
}

static int set_up_with_short_canary(void **unused)
{
    (void)unused;
    return rig_open(&rig, HOUR_MS, 20);
}

static int tear_down(void **unused)
{
    (void)unused;
    return rig_close(&rig);
}

static enum kms_code health(struct kms_error *err)
{
    int64_t since;
    return kms_refresher_health(rig.refresher, &since, err);
}

static void it_is_unhealthy_before_the_first_listing(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_int_equal(health(&err), KMS_E_UNAVAILABLE);
}

static void it_becomes_healthy_by_itself(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
}

static void it_recovers_from_a_token_that_was_away(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    fake_keystore_fail(rig.token, FAKE_INVENTORY, KMS_E_UNAVAILABLE, 3);
    rig_start(&rig);
    assert_true(fake_keystore_calls(rig.token, FAKE_INVENTORY) >= 4);
}

static void a_key_made_later_is_found(void **unused)
{
    (void)unused;
    struct kms_error err;
    assert_ok(kms_refresher_start(rig.refresher, &err), &err);
    rig_await_status(&rig, KMS_E_PRECONDITION, NULL);
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_await_status(&rig, KMS_OK, NULL);
}

static void a_failed_listing_makes_it_unhealthy_at_once(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    fake_keystore_fail(rig.token, FAKE_INVENTORY, KMS_E_UNAVAILABLE, -1);
    assert_int_equal(kms_refresher_wait(rig.refresher, kms_monotonic_ms() + PATIENCE_MS, &err),
                     KMS_E_UNAVAILABLE);
    assert_int_equal(health(&err), KMS_E_UNAVAILABLE);
    fake_keystore_fail(rig.token, FAKE_INVENTORY, KMS_OK, 0);
    rig_await_status(&rig, KMS_OK, NULL);
}

static void doubt_lasts_until_a_later_canary_is_good(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    fake_keystore_block(rig.token, FAKE_CANARY);
    kms_fail(&err, KMS_E_UNAVAILABLE, "doubtful");
    kms_refresher_doubt(rig.refresher, &err);
    fake_keystore_wait_blocked(rig.token, FAKE_CANARY, 1);
    assert_int_equal(health(&err), KMS_E_UNAVAILABLE);
    assert_string_equal(err.msg, "doubtful");
    fake_keystore_unblock(rig.token, FAKE_CANARY);
    rig_await_status(&rig, KMS_OK, NULL);
}

static void a_failure_during_the_canary_is_not_cleared_by_it(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    fake_keystore_block(rig.token, FAKE_CANARY);
    kms_fail(&err, KMS_E_UNAVAILABLE, "first");
    kms_refresher_doubt(rig.refresher, &err);
    fake_keystore_wait_blocked(rig.token, FAKE_CANARY, 1);
    kms_fail(&err, KMS_E_UNAVAILABLE, "second");
    kms_refresher_doubt(rig.refresher, &err);
    unsigned before = fake_keystore_calls(rig.token, FAKE_CANARY);
    fake_keystore_unblock(rig.token, FAKE_CANARY);
    rig_await_status(&rig, KMS_OK, NULL);
    assert_true(fake_keystore_calls(rig.token, FAKE_CANARY) > before);
}

static void a_hanging_token_turns_unhealthy_by_age(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    fake_keystore_block(rig.token, FAKE_INVENTORY);
    rig_await_status(&rig, KMS_E_UNAVAILABLE, NULL);
    fake_keystore_unblock(rig.token, FAKE_INVENTORY);
    rig_await_status(&rig, KMS_OK, NULL);
}

static void a_failing_canary_makes_it_unhealthy(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    fake_keystore_fail(rig.token, FAKE_CANARY, KMS_E_UNAVAILABLE, -1);
    rig_await_status(&rig, KMS_E_UNAVAILABLE, NULL);
    fake_keystore_fail(rig.token, FAKE_CANARY, KMS_OK, 0);
    rig_await_status(&rig, KMS_OK, NULL);
}

static void a_bad_canary_keeps_a_new_generation_from_being_promoted(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    fake_keystore_add(rig.token, "prod.v2@" PAST, 2);
    rig_refresh(&rig);
    fake_keystore_fail(rig.token, FAKE_CANARY, KMS_E_PRECONDITION, 1);
    rig_refresh(&rig);
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = kms_ring_acquire_newest(rig.ring);
    assert_int_equal(snapshot->promoted, 1);
    rig_await_status(&rig, KMS_OK, rig_key_id(2, 2)); /* the next one is good */
}

static void a_waiter_gets_a_listing_that_began_after_it_asked(void **unused)
{
    (void)unused;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    for (int i = 0; i < 5; i++) {
        unsigned before = fake_keystore_calls(rig.token, FAKE_INVENTORY);
        rig_refresh(&rig);
        assert_true(fake_keystore_calls(rig.token, FAKE_INVENTORY) > before);
    }
}

static void a_waiter_gives_up_at_its_deadline(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    fake_keystore_block(rig.token, FAKE_INVENTORY);
    assert_int_equal(kms_refresher_wait(rig.refresher, kms_monotonic_ms() + 20, &err),
                     KMS_E_DEADLINE);
    fake_keystore_unblock(rig.token, FAKE_INVENTORY);
}

static void *wait_for_refresh(void *arg)
{
    struct kms_error *err = arg;
    (void)!kms_refresher_wait(rig.refresher, kms_monotonic_ms() + PATIENCE_MS, err);
    return NULL;
}

static void many_waiters_share_listings(void **unused)
{
    (void)unused;
    enum { WAITERS = 32 };
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    unsigned before = fake_keystore_calls(rig.token, FAKE_INVENTORY);
    fake_keystore_block(rig.token, FAKE_INVENTORY);
    pthread_t threads[WAITERS];
    struct kms_error errs[WAITERS] = { 0 };
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for_refresh, &errs[i]), 0);
    fake_keystore_wait_blocked(rig.token, FAKE_INVENTORY, 1);
    fake_keystore_unblock(rig.token, FAKE_INVENTORY);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(errs[i].code, KMS_OK);
    }
    assert_true(fake_keystore_calls(rig.token, FAKE_INVENTORY) - before < WAITERS);
}

static void nothing_is_promoted_that_could_not_be_written_down(void **unused)
{
    (void)unused;
    struct kms_error err;
    char path[128];
    snprintf(path, sizeof path, "%s/ring.json.new", rig.dir_path);
    assert_int_equal(mkdir(path, 0700), 0);
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    assert_ok(kms_refresher_start(rig.refresher, &err), &err);
    rig_refresh(&rig);
    assert_int_equal(health(&err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "ring.json.new");
    assert_int_equal(rmdir(path), 0);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
}

/* The reason that Describe gives for @generation, "" if there is none. */
static void get_reason(uint32_t generation, char *ret_reason, size_t size)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = kms_ring_acquire(rig.ring);
    for (size_t i = 0; i < snapshot->count; i++) {
        if (snapshot->entries[i].generation == generation)
            snprintf(ret_reason, size, "%s", snapshot->entries[i].reason);
    }
}

static void a_promotion_that_cannot_be_written_down_waits_and_says_so(void **unused)
{
    (void)unused;
    char path[128], reason[400] = "";
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    rig_start(&rig);
    snprintf(path, sizeof path, "%s/ring.json.new", rig.dir_path);
    assert_int_equal(mkdir(path, 0700), 0);
    fake_keystore_add(rig.token, "prod.v2@" PAST, 2);
    for (int i = 0; i < 3; i++)
        rig_refresh(&rig);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1)); /* what is promoted goes on */
    get_reason(2, reason, sizeof reason);
    assert_contains(reason, "ring.json");
    assert_int_equal(rmdir(path), 0);
    rig_await_status(&rig, KMS_OK, rig_key_id(2, 2));
    get_reason(2, reason, sizeof reason);
    assert_string_equal(reason, "");
}

static void pins_of_a_changed_configuration_are_trusted_without_a_restart(void **unused)
{
    (void)unused;
    struct kms_error err;
    fake_keystore_add(rig.token, "prod.v1@" PAST, 1);
    fake_keystore_add(rig.token, "prod.v2@" PAST, 2);
    fake_keystore_set(rig.token, "prod.v2@" PAST, 0, KMS_KEK_LOCAL);
    rig_start(&rig);
    rig_refresh(&rig);
    rig_await_status(&rig, KMS_OK, rig_key_id(1, 1));
    struct kms_pin trusted = { .generation = 2 };
    fake_keystore_fingerprint(2, trusted.fingerprint);
    const struct kms_vouched vouched = { .pins = &trusted, .pin_count = 1 };
    assert_ok(kms_ring_offer(rig.ring, &vouched, &err), &err);
    rig_await_status(&rig, KMS_OK, rig_key_id(2, 2));
}

#define REFRESHER_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define CANARY_TEST(test) cmocka_unit_test_setup_teardown(test, set_up_with_short_canary, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REFRESHER_TEST(it_is_unhealthy_before_the_first_listing),
        REFRESHER_TEST(it_becomes_healthy_by_itself),
        REFRESHER_TEST(it_recovers_from_a_token_that_was_away),
        REFRESHER_TEST(a_key_made_later_is_found),
        REFRESHER_TEST(a_failed_listing_makes_it_unhealthy_at_once),
        REFRESHER_TEST(doubt_lasts_until_a_later_canary_is_good),
        REFRESHER_TEST(a_failure_during_the_canary_is_not_cleared_by_it),
        CANARY_TEST(a_hanging_token_turns_unhealthy_by_age),
        CANARY_TEST(a_failing_canary_makes_it_unhealthy),
        REFRESHER_TEST(a_bad_canary_keeps_a_new_generation_from_being_promoted),
        REFRESHER_TEST(a_waiter_gets_a_listing_that_began_after_it_asked),
        REFRESHER_TEST(a_waiter_gives_up_at_its_deadline),
        REFRESHER_TEST(many_waiters_share_listings),
        REFRESHER_TEST(nothing_is_promoted_that_could_not_be_written_down),
        REFRESHER_TEST(a_promotion_that_cannot_be_written_down_waits_and_says_so),
        REFRESHER_TEST(pins_of_a_changed_configuration_are_trusted_without_a_restart),
    };
    return cmocka_run_group_tests_name("refresher", tests, NULL, NULL);
}
