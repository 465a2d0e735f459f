/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "kms/clock.h"
#include "rv.h"

enum { CLOSE_TRIES = 2 };

struct pkcs11_pool {
    CK_FUNCTION_LIST *fn;
    CK_SLOT_ID slot;
    unsigned max;
    int64_t shrunk_ms;
    pthread_mutex_t mutex; /* guards what follows; never held across a Cryptoki call */
    pthread_cond_t changed;
    unsigned open_count;     /* open, or being opened */
    unsigned in_use;         /* busy */
    unsigned shrunk_to;      /* sessions that the token can do with */
    int64_t shrunk_until_ms; /* 0: not shrunk */
    bool stopped;
    struct pkcs11_session sessions[PKCS11_SESSIONS_MAX];
};

enum kms_code pkcs11_pool_open(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, unsigned max,
                               int64_t shrunk_ms, struct pkcs11_pool **ret_pool,
                               struct kms_error *err)
{
    assert(max >= 1 && max <= PKCS11_SESSIONS_MAX);
    struct pkcs11_pool *pool = calloc(1, sizeof(*pool));
    if (pool == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a session pool");
    pool->fn = fn;
    pool->slot = slot;
    pool->max = max;
    pool->shrunk_ms = shrunk_ms;
    (void)pthread_mutex_init(&pool->mutex, NULL);
    kms_cond_init(&pool->changed);
    *ret_pool = pool;
    return KMS_OK;
}

/* --- sessions closed --- */

static bool try_close(struct pkcs11_pool *pool, CK_SESSION_HANDLE handle)
{
    for (int tries = 0; tries < CLOSE_TRIES; tries++) {
        CK_RV rv = pool->fn->C_CloseSession(handle);
        if (rv == CKR_OK || rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED)
            return true;
    }
    return false;
}

/* What can't be closed now is closed before another session takes this place: so no more are lost
 * than there are places, until C_Finalize ends them all. */
static void close_session(struct pkcs11_pool *pool, struct pkcs11_session *session)
{
    if (try_close(pool, session->handle))
        return;
    session->lingers = true;
    session->remains = session->handle;
}

static bool has_place(struct pkcs11_pool *pool, struct pkcs11_session *session)
{
    if (session->lingers)
        session->lingers = !try_close(pool, session->remains);
    return !session->lingers;
}

void pkcs11_pool_close(struct pkcs11_pool *pool)
{
    if (pool == NULL)
        return;
    for (unsigned i = 0; i < pool->max; i++) {
        assert(!pool->sessions[i].busy);
        if (pool->sessions[i].open)
            (void)try_close(pool, pool->sessions[i].handle);
        (void)has_place(pool, &pool->sessions[i]);
    }
    (void)pthread_cond_destroy(&pool->changed);
    (void)pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

/* --- sessions lent --- */

static unsigned limit_now(struct pkcs11_pool *pool)
{
    if (pool->shrunk_until_ms != 0 && kms_monotonic_ms() >= pool->shrunk_until_ms)
        pool->shrunk_until_ms = 0;
    return pool->shrunk_until_ms != 0 ? pool->shrunk_to : pool->max;
}

/* An idle open session, else a free place for a new one, else NULL. Marks it busy. */
static struct pkcs11_session *claim(struct pkcs11_pool *pool)
{
    struct pkcs11_session *place = NULL;
    unsigned limit = limit_now(pool);
    if (pool->in_use >= limit)
        return NULL;
    for (unsigned i = 0; i < pool->max; i++) {
        struct pkcs11_session *session = &pool->sessions[i];
        if (session->busy)
            continue;
        if (session->open) {
            place = session;
            break;
        }
        if (place == NULL && pool->open_count < limit)
            place = session;
    }
    if (place == NULL)
        return NULL;
    if (!place->open)
        pool->open_count++;
    place->busy = true;
    pool->in_use++;
    return place;
}

/* When to look again though nobody gave anything back: a shrunk pool grows by itself. */
static int64_t next_chance_ms(const struct pkcs11_pool *pool, int64_t deadline_ms)
{
    bool grows_first = pool->shrunk_until_ms != 0 && pool->shrunk_until_ms < deadline_ms;
    return grows_first ? pool->shrunk_until_ms : deadline_ms;
}

static enum kms_code claim_until(struct pkcs11_pool *pool, int64_t deadline_ms,
                                 struct pkcs11_session **ret_session, struct kms_error *err)
{
    struct pkcs11_session *session = NULL;
    (void)pthread_mutex_lock(&pool->mutex);
    bool in_time = true;
    while (!pool->stopped && (session = claim(pool)) == NULL && in_time) {
        in_time = kms_monotonic_ms() < deadline_ms;
        (void)kms_cond_wait_until(&pool->changed, &pool->mutex, next_chance_ms(pool, deadline_ms));
    }
    bool stopped = pool->stopped;
    (void)pthread_mutex_unlock(&pool->mutex);

    if (stopped)
        return kms_fail(err, KMS_E_UNAVAILABLE, "the token is being reconnected: retry");
    if (session == NULL)
        return kms_fail(err, KMS_E_BUSY, "all sessions were in use until the deadline: retry");
    *ret_session = session;
    return KMS_OK;
}

static void give_back(struct pkcs11_pool *pool, struct pkcs11_session *session, bool open)
{
    (void)pthread_mutex_lock(&pool->mutex);
    session->open = open;
    session->busy = false;
    pool->in_use--;
    if (!open)
        pool->open_count--;
    (void)pthread_cond_signal(&pool->changed);
    (void)pthread_mutex_unlock(&pool->mutex);
}

/* The token gives no more: make do with what is open.  True if that is anything. */
static bool make_do(struct pkcs11_pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    pool->shrunk_to = pool->open_count;
    pool->shrunk_until_ms = kms_monotonic_ms() + pool->shrunk_ms;
    bool any = pool->open_count > 0;
    if (!any)
        pool->shrunk_until_ms = 0;
    (void)pthread_mutex_unlock(&pool->mutex);
    return any;
}

static CK_RV open_session(struct pkcs11_pool *pool, struct pkcs11_session *session)
{
    if (!has_place(pool, session))
        return CKR_SESSION_COUNT;
    return pool->fn->C_OpenSession(pool->slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                   &session->handle);
}

enum kms_code pkcs11_pool_acquire(struct pkcs11_pool *pool, int64_t deadline_ms,
                                  struct pkcs11_session **ret_session, struct kms_error *err)
{
    if (kms_monotonic_ms() >= deadline_ms)
        return kms_fail(err, KMS_E_DEADLINE, "the deadline passed before a session was free");
    for (;;) {
        struct pkcs11_session *session = NULL;
        enum kms_code rc = claim_until(pool, deadline_ms, &session, err);
        if (rc != KMS_OK)
            return rc;
        if (session->open) {
            *ret_session = session;
            return KMS_OK;
        }
        CK_RV rv = open_session(pool, session);
        if (rv == CKR_OK) {
            session->broken = false;
            session->open = true;
            *ret_session = session;
            return KMS_OK;
        }
        give_back(pool, session, false);
        if (pkcs11_rv_class("C_OpenSession", rv) != PKCS11_CLASS_CAPACITY || !make_do(pool))
            return pkcs11_fail(err, "C_OpenSession", rv, "opening a session");
    }
}

void pkcs11_pool_release(struct pkcs11_pool *pool, struct pkcs11_session *session)
{
    bool keep = !session->broken;
    if (!keep)
        close_session(pool, session);
    give_back(pool, session, keep);
}

void pkcs11_pool_shrink(struct pkcs11_pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    unsigned limit = limit_now(pool);
    unsigned fewer = pool->in_use > 0 ? pool->in_use : 1;
    pool->shrunk_to = fewer < limit ? fewer : limit;
    pool->shrunk_until_ms = kms_monotonic_ms() + pool->shrunk_ms;
    (void)pthread_mutex_unlock(&pool->mutex);
}

void pkcs11_pool_stop(struct pkcs11_pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    pool->stopped = true;
    (void)pthread_cond_broadcast(&pool->changed);
    (void)pthread_mutex_unlock(&pool->mutex);
}
