/* SPDX-License-Identifier: Apache-2.0 */
#include "call.h"

#include "rv.h"

/* One look for the KEK.  *ret_absent: it isn't there, and the session is logged in now. */
static enum kms_code look_for(struct pkcs11_call *call, const struct pkcs11_place *place,
                              bool *ret_absent, CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    struct pkcs11_kek kek;
    enum kms_code rc = pkcs11_kek_find(place, call->ref, &kek, ret_absent, err);
    if (rc == KMS_OK) {
        pkcs11_cache_remember(call->cache, call->link.epoch, call->ref, &kek);
        *ret_handle = kek.handle;
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
static enum kms_code find_again(struct pkcs11_call *call, const struct pkcs11_place *place,
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

static enum kms_code locate(struct pkcs11_call *call, const struct pkcs11_place *place,
                            CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    if (call->ref == NULL ||
        pkcs11_cache_find(call->cache, call->link.epoch, call->ref, ret_handle))
        return KMS_OK;
    return find_again(call, place, ret_handle, err);
}

static enum kms_code attempt(struct pkcs11_call *call, struct kms_error *err)
{
    call->substituted = false;
    struct pkcs11_session *session = NULL;
    enum kms_code rc = pkcs11_pool_acquire(call->link.pool, call->deadline_ms, &session, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_place place = { &call->link.wrap, session, call->deadline_ms };
    CK_OBJECT_HANDLE kek = CK_INVALID_HANDLE;
    rc = locate(call, &place, &kek, err);
    if (rc == KMS_OK)
        rc = pkcs11_check_deadline(call->deadline_ms, err);
    if (rc == KMS_OK)
        rc = call->run(call, &place, kek, err);
    if (rc != KMS_OK) {
        enum pkcs11_class class = pkcs11_error_class(err);
        if (class == PKCS11_CLASS_SESSION || class == PKCS11_CLASS_MODULE)
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
    if (rc != KMS_OK)
        *err = login_err;
    if (rc != KMS_OK && pkcs11_error_class(&login_err) == PKCS11_CLASS_MODULE)
        pkcs11_connection_break(call->connection, &login_err);
    return rc == KMS_OK;
}

/* True: what the failure was about is mended; try again. */
static bool recover(struct pkcs11_call *call, struct kms_error *err)
{
    if (call->substituted)
        return retry_handle(call);
    switch (pkcs11_error_class(err)) {
    case PKCS11_CLASS_HANDLE:
        return retry_handle(call);
    case PKCS11_CLASS_SESSION:
        return retry_session(call, err);
    case PKCS11_CLASS_MODULE:
        pkcs11_connection_break(call->connection, err);
        return false;
    case PKCS11_CLASS_AMBIGUOUS:
        if (err->code != KMS_E_CORRUPT)
            pkcs11_connection_doubt(call->connection);
        return false;
    case PKCS11_CLASS_NONE:
    case PKCS11_CLASS_REQUEST:
    case PKCS11_CLASS_CAPACITY:
    case PKCS11_CLASS_CREDENTIALS:
    case PKCS11_CLASS_CONFIG:
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
