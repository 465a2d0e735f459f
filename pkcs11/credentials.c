/* SPDX-License-Identifier: Apache-2.0 */
#include "credentials.h"

#include <string.h>

#include "pin.h"
#include "rv.h"
#include "token.h"

void pkcs11_credentials_done(struct pkcs11_credentials *credentials)
{
    kms_secret_done(&credentials->refused);
}

static enum kms_code read_pin(const struct pkcs11_credentials *credentials,
                              struct kms_secret *ret_pin, struct kms_error *err)
{
    if (credentials->pin != NULL)
        return kms_secret_copy(ret_pin, kms_secret_bytes(credentials->pin), err);
    return pkcs11_pin_read(credentials->pin_file, ret_pin, err);
}

/* "user:password", for vendors that want it so. */
static enum kms_code prefix_user(const char *user, struct kms_secret *pin, struct kms_error *err)
{
    size_t user_len = strlen(user);
    KMS_CLEANUP(kms_secret_done) struct kms_secret both = { 0 };
    enum kms_code rc = kms_secret_init(&both, user_len + 1 + pin->len, err);
    if (rc != KMS_OK)
        return rc;
    memcpy(both.data, user, user_len);
    both.data[user_len] = ':';
    memcpy(both.data + user_len + 1, pin->data, pin->len);
    kms_secret_done(pin);
    *pin = kms_secret_take(&both);
    return KMS_OK;
}

static bool counts_as_refused(const struct kms_error *err)
{
    return err->ckr == CKR_PIN_INCORRECT || err->ckr == CKR_PIN_INVALID ||
           err->ckr == CKR_PIN_LEN_RANGE || err->ckr == CKR_PIN_EXPIRED ||
           err->ckr == CKR_PIN_LOCKED;
}

enum kms_code pkcs11_credentials_login(struct pkcs11_credentials *credentials, CK_FUNCTION_LIST *fn,
                                       CK_SESSION_HANDLE session, CK_SLOT_ID slot,
                                       struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    enum kms_code rc = read_pin(credentials, &pin, err);
    if (rc == KMS_OK && credentials->user != NULL)
        rc = prefix_user(credentials->user, &pin, err);
    if (rc != KMS_OK)
        return rc;
    if (atomic_exchange(&credentials->forget_refused, false))
        kms_secret_done(&credentials->refused);
    if (credentials->refused.data != NULL && kms_secret_equal(&credentials->refused, &pin))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the token refused this PIN; to spare the attempts it is tried again only "
                        "when the PIN file changes or on reload (SIGHUP)");

    rc = pkcs11_token_login(fn, session, slot, &pin, err);
    kms_secret_wipe_stack();
    if (rc != KMS_OK && !counts_as_refused(err))
        return rc;
    kms_secret_done(&credentials->refused);
    if (rc != KMS_OK)
        credentials->refused = kms_secret_take(&pin);
    return rc;
}

void pkcs11_credentials_forget(struct pkcs11_credentials *credentials)
{
    atomic_store(&credentials->forget_refused, true);
}
