/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "check.h"
#include "fake/module.h"
#include "kms/clock.h"
#include "session.h"

struct bench {
    struct fake_module *module;
    struct pkcs11_pool *pool;
    struct kms_error err;
};

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    *state = bench;
    bench->module = fake_module_new();
    CK_FUNCTION_LIST *fn = fake_module_functions(bench->module);
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    CK_SLOT_ID slot = 0;
    CK_ULONG count = 1;
    assert_int_equal(fn->C_Initialize(&args), CKR_OK);
    assert_int_equal(fn->C_GetSlotList(CK_TRUE, &slot, &count), CKR_OK);
    assert_ok(pkcs11_pool_open(fn, slot, 2, PKCS11_SHRUNK_MS, &bench->pool, &bench->err),
              &bench->err);
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;
    pkcs11_pool_close(bench->pool);
    unsigned left = fake_module_sessions(bench->module);
    fake_module_free(bench->module);
    free(bench);
    return left == 0 ? 0 : -1;
}

static int64_t in_ms(int64_t ms)
{
    return kms_monotonic_ms() + ms;
}

static struct pkcs11_session *acquire(struct bench *bench)
{
    struct pkcs11_session *session = NULL;
    assert_ok(pkcs11_pool_acquire(bench->pool, in_ms(20000), &session, &bench->err), &bench->err);
    return session;
}

static void a_released_session_is_used_again(void **state)
{
    struct bench *bench = *state;
    pkcs11_pool_release(bench->pool, acquire(bench));
    pkcs11_pool_release(bench->pool, acquire(bench));
    assert_int_equal(fake_module_calls(bench->module, "C_OpenSession"), 1);
}

static void no_more_are_opened_than_allowed(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *first = acquire(bench);
    struct pkcs11_session *second = acquire(bench);
    struct pkcs11_session *third = NULL;
    assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(20), &third, &bench->err), KMS_E_BUSY);
    assert_int_equal(fake_module_sessions(bench->module), 2);
    pkcs11_pool_release(bench->pool, first);
    pkcs11_pool_release(bench->pool, second);
}

static void a_deadline_in_the_past_opens_nothing(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *session = NULL;
    assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(-1), &session, &bench->err),
                     KMS_E_DEADLINE);
    assert_int_equal(fake_module_calls(bench->module, "C_OpenSession"), 0);
}

static void a_broken_session_is_closed_and_replaced(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *session = acquire(bench);
    session->broken = true;
    pkcs11_pool_release(bench->pool, session);
    assert_int_equal(fake_module_sessions(bench->module), 0);
    session = acquire(bench);
    assert_false(session->broken);
    assert_int_equal(fake_module_calls(bench->module, "C_OpenSession"), 2);
    pkcs11_pool_release(bench->pool, session);
}

static void a_token_short_of_sessions_shrinks_the_pool(void **state)
{
    struct bench *bench = *state;
    fake_module_behaviour(bench->module)->session_limit = 1;
    struct pkcs11_session *first = acquire(bench);
    struct pkcs11_session *second = NULL;
    assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(20), &second, &bench->err), KMS_E_BUSY);
    unsigned opened = fake_module_calls(bench->module, "C_OpenSession");
    assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(20), &second, &bench->err), KMS_E_BUSY);
    assert_int_equal(fake_module_calls(bench->module, "C_OpenSession"), opened);
    pkcs11_pool_release(bench->pool, first);
    pkcs11_pool_release(bench->pool, acquire(bench));
}

static void a_token_without_any_session_is_busy_at_once(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *session = NULL;
    fake_module_fail_next(bench->module, "C_OpenSession", CKR_SESSION_COUNT);
    assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(20000), &session, &bench->err),
                     KMS_E_BUSY);
    assert_int_equal(bench->err.ckr, CKR_SESSION_COUNT);
    pkcs11_pool_release(bench->pool, acquire(bench));
}

static void a_failed_open_gives_its_place_back(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *session = NULL;
    for (int i = 0; i < 3; i++) {
        fake_module_fail_next(bench->module, "C_OpenSession", CKR_DEVICE_REMOVED);
        assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(20000), &session, &bench->err),
                         KMS_E_UNAVAILABLE);
    }
    pkcs11_pool_release(bench->pool, acquire(bench));
}

struct waiter {
    struct bench *bench;
    enum kms_code rc;
    struct pkcs11_session *session;
    struct kms_error err;
};

static void *wait_for_session(void *arg)
{
    struct waiter *waiter = arg;
    waiter->rc = pkcs11_pool_acquire(waiter->bench->pool, in_ms(20000), &waiter->session,
                                     &waiter->err);
    return NULL;
}

static void a_waiter_gets_the_session_that_is_released(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *first = acquire(bench);
    struct pkcs11_session *second = acquire(bench);
    struct waiter waiter = { .bench = bench };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_session, &waiter), 0);
    pkcs11_pool_release(bench->pool, first);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.rc, KMS_OK);
    assert_ptr_equal(waiter.session, first);
    pkcs11_pool_release(bench->pool, first);
    pkcs11_pool_release(bench->pool, second);
}

static void a_stopped_pool_sends_waiters_away(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *first = acquire(bench);
    struct pkcs11_session *second = acquire(bench);
    struct waiter waiter = { .bench = bench };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_session, &waiter), 0);
    pkcs11_pool_stop(bench->pool);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.rc, KMS_E_UNAVAILABLE);
    pkcs11_pool_release(bench->pool, first);
    pkcs11_pool_release(bench->pool, second);
}

static void a_pool_that_shrank_grows_again(void **state)
{
    struct bench *bench = *state;
    pkcs11_pool_close(bench->pool);
    CK_SLOT_ID slot = 0;
    CK_ULONG count = 1;
    CK_FUNCTION_LIST *fn = fake_module_functions(bench->module);
    assert_int_equal(fn->C_GetSlotList(CK_TRUE, &slot, &count), CKR_OK);
    assert_ok(pkcs11_pool_open(fn, slot, 2, 50, &bench->pool, &bench->err), &bench->err);
    struct pkcs11_session *first = acquire(bench);
    struct pkcs11_session *second = NULL;
    fake_module_behaviour(bench->module)->session_limit = 1;
    assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(1), &second, &bench->err), KMS_E_BUSY);
    fake_module_behaviour(bench->module)->session_limit = 0;
    second = acquire(bench); /* in time, though nobody gives one back */
    assert_int_equal(fake_module_sessions(bench->module), 2);
    pkcs11_pool_release(bench->pool, first);
    pkcs11_pool_release(bench->pool, second);
}

static void a_pool_of_a_token_without_memory_lends_fewer(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *first = acquire(bench);
    struct pkcs11_session *second = acquire(bench);
    struct pkcs11_session *third = NULL;
    pkcs11_pool_release(bench->pool, second);
    pkcs11_pool_shrink(bench->pool);
    assert_int_equal(pkcs11_pool_acquire(bench->pool, in_ms(20), &third, &bench->err), KMS_E_BUSY);
    pkcs11_pool_release(bench->pool, first);
    pkcs11_pool_shrink(bench->pool);
    pkcs11_pool_release(bench->pool, acquire(bench)); /* never none */
}

static void a_session_that_would_not_close_is_closed_before_the_next(void **state)
{
    struct bench *bench = *state;
    struct pkcs11_session *session = acquire(bench);
    session->broken = true;
    fake_module_fail_always(bench->module, "C_CloseSession", CKR_FUNCTION_FAILED);
    pkcs11_pool_release(bench->pool, session);
    assert_int_equal(fake_module_sessions(bench->module), 1);
    fake_module_fail_always(bench->module, "C_CloseSession", CKR_OK);
    session = acquire(bench);
    assert_int_equal(fake_module_sessions(bench->module), 1);
    pkcs11_pool_release(bench->pool, session);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_released_session_is_used_again),
        TEST(no_more_are_opened_than_allowed),
        TEST(a_deadline_in_the_past_opens_nothing),
        TEST(a_broken_session_is_closed_and_replaced),
        TEST(a_token_short_of_sessions_shrinks_the_pool),
        TEST(a_token_without_any_session_is_busy_at_once),
        TEST(a_failed_open_gives_its_place_back),
        TEST(a_waiter_gets_the_session_that_is_released),
        TEST(a_stopped_pool_sends_waiters_away),
        TEST(a_pool_that_shrank_grows_again),
        TEST(a_pool_of_a_token_without_memory_lends_fewer),
        TEST(a_session_that_would_not_close_is_closed_before_the_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
