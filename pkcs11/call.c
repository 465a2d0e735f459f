/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include <string.h>
#include <time.h>

#include <openssl/rand.h>

#include "kms/clock.h"
#include "rv.h"

/* Doubling from 10 ms: 1.3 s at most, of the 3 s that kube-apiserver waits. */
enum { PAUSES_MAX = 7 };

/* One look for the KEK.  *ret_absent: it isn't there, and the session is logged in now. */
static enum kms_code look_for(struct pkcs11_call *call, struct pkcs11_place *place,
                              bool *ret_absent, CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    struct pkcs11_kek kek;
    enum kms_code rc = pkcs11_kek_find(place, call->ref, &kek, ret_absent, err);
    if (rc == KMS_OK) {
        pkcs11_cache_remember(call->cache, call->link.epoch, call->ref, &kek);
        *ret_handle = kek.handle;
        place->rung = kek.rung;
        return KMS_OK;
    }
    if (!*ret_absent)
        return rc;
    struct kms_error lost;
    enum kms_code login_rc = pkcs11_token_check_login(place->wrap->fn, place->session->handle,
                                                      call->link.token, &lost);
    if (login_rc != KMS_OK) {
        *err = lost;
        *ret_absent = false;
        return login_rc;
    }
    return rc;
}

/* SoftHSM hides private keys from a session that lost its login: that must not look as if the KEK
 * were gone, even if another call logged in again between our look and our check. */
static enum kms_code find_again(struct pkcs11_call *call, struct pkcs11_place *place,
                                CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    uint64_t logins = pkcs11_connection_logins(call->connection);
    bool absent = false;
    enum kms_code rc = look_for(call, place, &absent, ret_handle, err);
    if (!absent)
        return rc;
    if (logins % 2 != 0 || pkcs11_connection_logins(call->connection) != logins)
        return pkcs11_fail(err, "C_FindObjects", CKR_USER_NOT_LOGGED_IN, "looking for KEK '%s'",
                           call->ref->label);
    pkcs11_connection_doubt(call->connection);
    return rc;
}

/* The rung goes with the handle, into @place. */
static enum kms_code locate(struct pkcs11_call *call, struct pkcs11_place *place,
                            CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    if (call->ref == NULL ||
        pkcs11_cache_find(call->cache, call->link.epoch, call->ref, ret_handle, &place->rung))
        return KMS_OK;
    return find_again(call, place, ret_handle, err);
}

/* Sessions die together: once one was found dead, the next is looked at before it is used. */
static enum kms_code acquire_session(struct pkcs11_call *call, struct pkcs11_session **ret_session,
                                     struct kms_error *err)
{
    for (unsigned tries = 0;; tries++) {
        enum kms_code rc = pkcs11_pool_acquire(call->link.pool, call->deadline_ms, ret_session,
                                               err);
        if (rc != KMS_OK || !call->session_retried || tries == PKCS11_SESSIONS_MAX)
            return rc;
        CK_SESSION_INFO info;
        CK_RV rv = call->link.wrap.fn->C_GetSessionInfo((*ret_session)->handle, &info);
        if (rv != CKR_SESSION_HANDLE_INVALID && rv != CKR_SESSION_CLOSED)
            return KMS_OK;
        (*ret_session)->broken = true;
        pkcs11_pool_release(call->link.pool, *ret_session);
    }
}

/* Who says CKR_FUNCTION_FAILED when busy did nothing; new sessions and logins would
 * make it busier. */
bool pkcs11_call_may_have_made_an_object(const struct kms_error *err)
{
    return err->code != KMS_E_CORRUPT && err->ckr != CKR_FUNCTION_FAILED &&
           pkcs11_error_class(err) == PKCS11_CLASS_AMBIGUOUS &&
           (strcmp(err->op, "C_CreateObject") == 0 || strcmp(err->op, "C_UnwrapKey") == 0);
}

static enum kms_code attempt(struct pkcs11_call *call, struct kms_error *err)
{
    call->substituted = false;
    struct pkcs11_session *session = NULL;
    enum kms_code rc = acquire_session(call, &session, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_place place = { &call->link.wrap, session, call->deadline_ms,
                                  PKCS11_RUNG_UNKNOWN };
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    rc = locate(call, &place, &kek, err);
    if (rc == KMS_OK)
        rc = pkcs11_check_deadline(call->deadline_ms, err);
    if (rc == KMS_OK)
        rc = call->run(call, &place, kek, err);
    if (rc != KMS_OK) {
        enum pkcs11_class class = pkcs11_error_class(err);
        if (class == PKCS11_CLASS_SESSION || class == PKCS11_CLASS_MODULE ||
            pkcs11_call_may_have_made_an_object(err))
            session->broken = true;
    }
    pkcs11_pool_release(call->link.pool, session);
    return rc;
}

static bool retry_handle(struct pkcs11_call *call)
{
    if (call->ref == NULL || call->handle_retried) {
        pkcs11_connection_doubt(call->connection);
        return false;
    }
    call->handle_retried = true;
    pkcs11_cache_forget_handles(call->cache, call->ref);
    return true;
}

static int64_t longest_pause_ms(const struct pkcs11_call *call)
{
    return call->link.busy_pause_ms << call->pauses;
}

/* Half of the longest pause at least, the rest by chance: calls that failed together don't come back
 * together. */
static void wait_a_moment(const struct pkcs11_call *call)
{
    uint8_t chance = UINT8_MAX;
    int64_t longest_ms = longest_pause_ms(call);
    (void)RAND_bytes(&chance, sizeof(chance));
    int64_t ms = longest_ms / 2 + longest_ms * chance / (2 * UINT8_MAX);
    const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

bool pkcs11_call_may_pause(const struct pkcs11_call *call, const struct kms_error *err)
{
    return call->patient && pkcs11_error_may_pass(err) && call->pauses < PAUSES_MAX &&
           kms_monotonic_ms() + longest_pause_ms(call) < call->deadline_ms;
}

static bool retry_later(struct pkcs11_call *call, const struct kms_error *err)
{
    if (!pkcs11_call_may_pause(call, err)) {
        pkcs11_connection_doubt(call->connection);
        return false;
    }
    if (pkcs11_error_class(err) == PKCS11_CLASS_CAPACITY)
        pkcs11_pool_shrink(call->link.pool);
    wait_a_moment(call);
    call->pauses++;
    return true;
}

static bool retry_session(struct pkcs11_call *call, struct kms_error *err)
{
    if (call->session_retried) {
        pkcs11_connection_doubt(call->connection);
        return false;
    }
    call->session_retried = true;
    struct kms_error login_err;
    enum kms_code rc = pkcs11_connection_restore_login(call->connection, &call->link,
                                                       call->deadline_ms, &login_err);
    if (rc == KMS_OK)
        return true;
    *err = login_err;
    if (pkcs11_error_class(&login_err) == PKCS11_CLASS_MODULE)
        pkcs11_connection_break(call->connection, &login_err);
    if (!pkcs11_error_may_pass(&login_err) || strcmp(login_err.op, "C_Login") == 0)
        return false;              /* each C_Login may cost a PIN attempt */
    call->session_retried = false; /* it wasn't */
    return retry_later(call, &login_err);
}

/* True: what the failure was about is mended; try again. */
static bool recover(struct pkcs11_call *call, struct kms_error *err)
{
    if (call->substituted)
        return retry_handle(call);
    if (pkcs11_error_may_pass(err))
        return retry_later(call, err);
    switch (pkcs11_error_class(err)) {
    case PKCS11_CLASS_HANDLE:
        return retry_handle(call);
    case PKCS11_CLASS_SESSION:
        return retry_session(call, err);
    case PKCS11_CLASS_MODULE:
        pkcs11_connection_break(call->connection, err);
        return false;
    case PKCS11_CLASS_AMBIGUOUS:
    case PKCS11_CLASS_REQUEST:
    case PKCS11_CLASS_CONFIG:
        if (err->code != KMS_E_CORRUPT && err->code != KMS_E_INVALID)
            pkcs11_connection_doubt(call->connection);
        return false;
    case PKCS11_CLASS_NONE:
    case PKCS11_CLASS_CAPACITY:
    case PKCS11_CLASS_CREDENTIALS:
        return false;
    }
    return false;
}

enum kms_code pkcs11_call_run(struct pkcs11_call *call, struct kms_error *err)
{
    enum kms_code rc = pkcs11_check_deadline(call->deadline_ms, err);
    if (rc == KMS_OK)
        rc = pkcs11_connection_enter(call->connection, &call->link, err);
    if (rc != KMS_OK)
        return rc;
    do
        rc = attempt(call, err);
    while (rc != KMS_OK && recover(call, err));
    pkcs11_connection_leave(call->connection);
    return rc != KMS_OK ? err->code : KMS_OK;
}
