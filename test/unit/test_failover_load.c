/* SPDX-License-Identifier: Apache-2.0 */
/* Many callers while tokens come and go: no call fails as long as one token is there. */
#include "failover_rig.h"

#include <pthread.h>
#include <stdatomic.h>

#include "kms/clock.h"

enum { CALLERS = 8, ROUNDS = 15, PATIENCE_MS = 20000 };

struct caller {
    const struct load *load;
    atomic_uint calls, failures;
    pthread_t thread;
};

struct load {
    struct kms_keystore *keystore;
    struct kms_kek_ref kek;
    atomic_bool stop;
    struct caller callers[CALLERS];
};

static void *call_on(void *argument)
{
    static const uint8_t seed[32] = { 1 };
    struct caller *caller = argument;
    const struct load *load = caller->load;
    while (!atomic_load(&load->stop)) {
        struct kms_wrapped wrapped;
        KMS_CLEANUP(kms_secret_done) struct kms_secret out = { 0 };
        int64_t deadline_ms = kms_monotonic_ms() + PATIENCE_MS;
        enum kms_code rc = kms_keystore_wrap(load->keystore, &load->kek,
                                             (struct kms_bytes){ seed, sizeof(seed) }, deadline_ms,
                                             &wrapped, NULL);
        if (rc == KMS_OK)
            rc = kms_keystore_unwrap(load->keystore, &load->kek, KMS_ALGORITHM_AES_KW,
                                     (struct kms_bytes){ wrapped.data, wrapped.len }, deadline_ms,
                                     &out, NULL);
        bool good = rc == KMS_OK && out.len == sizeof(seed) &&
                    memcmp(out.data, seed, sizeof(seed)) == 0;
        if (!good)
            atomic_fetch_add(&caller->failures, 1);
        atomic_fetch_add(&caller->calls, 1);
    }
    return NULL;
}

static void start(struct load *load, const struct failover_rig *rig)
{
    *load = (struct load){ .keystore = rig->keystore, .kek = rig->kek };
    for (size_t i = 0; i < CALLERS; i++) {
        struct caller *caller = &load->callers[i];
        caller->load = load;
        assert_int_equal(pthread_create(&caller->thread, NULL, call_on, caller), 0);
    }
}

/* Until each caller has made a call that began after this did. */
static void let_them_call(struct load *load)
{
    unsigned until[CALLERS];
    for (size_t i = 0; i < CALLERS; i++)
        until[i] = atomic_load(&load->callers[i].calls) + 2;
    for (size_t i = 0; i < CALLERS; i++)
        while (atomic_load(&load->callers[i].calls) < until[i])
            (void)sched_yield();
}

/* Returns how many calls failed. */
static unsigned stop(struct load *load)
{
    unsigned failures = 0;
    atomic_store(&load->stop, true);
    for (size_t i = 0; i < CALLERS; i++) {
        (void)pthread_join(load->callers[i].thread, NULL);
        failures += atomic_load(&load->callers[i].failures);
    }
    return failures;
}

static void a_token_that_fails_under_load_fails_no_call(void **state)
{
    (void)state;
    struct failover_rig rig;
    struct load load;
    failover_rig_open(&rig, 2);
    start(&load, &rig);
    for (int round = 0; round < ROUNDS; round++) {
        failover_rig_fail(&rig, 0, KMS_E_UNAVAILABLE);
        let_them_call(&load);
        failover_rig_fail(&rig, 0, KMS_OK);
        assert_ok(failover_rig_canary(&rig, PATIENCE_MS), &rig.err);
        let_them_call(&load);
    }
    assert_int_equal(stop(&load), 0);
    assert_true(failover_rig_wraps(&rig, 0) > 0 && failover_rig_wraps(&rig, 1) > 0);
    failover_rig_close(&rig);
}

/* The one that is left may be known as resting still: nothing waits for a canary. */
static void any_two_of_three_may_go_under_load(void **state)
{
    (void)state;
    struct failover_rig rig;
    struct load load;
    failover_rig_open(&rig, 3);
    start(&load, &rig);
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t left = round % 3;
        failover_rig_fail(&rig, left, KMS_OK);
        let_them_call(&load); /* a call under way may have given it up already */
        failover_rig_fail(&rig, (left + 1) % 3, KMS_E_UNAVAILABLE);
        failover_rig_fail(&rig, (left + 2) % 3, KMS_E_INTERNAL);
        let_them_call(&load);
    }
    assert_int_equal(stop(&load), 0);
    failover_rig_close(&rig);
}

static void listings_and_canaries_go_on_under_load(void **state)
{
    (void)state;
    struct failover_rig rig;
    struct load load;
    failover_rig_open(&rig, 3);
    start(&load, &rig);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        fake_keystore_fail(rig.fakes[round % 3], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
        (void)failover_rig_list(&rig, UINT32_C(1) << (round + 1) % 3, NULL);
        assert_ok(failover_rig_canary(&rig, PATIENCE_MS), &rig.err);
        struct kms_token_info info = failover_rig_info(&rig, round % 3);
        assert_string_equal(info.label, "fake");
    }
    assert_int_equal(stop(&load), 0);
    failover_rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_fails_under_load_fails_no_call),
        cmocka_unit_test(any_two_of_three_may_go_under_load),
        cmocka_unit_test(listings_and_canaries_go_on_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
