/* SPDX-License-Identifier: Apache-2.0 */
#include "credentials.h"

#include <string.h>

#include <openssl/crypto.h>

#include "kms/clock.h"
#include "kms/log.h"
#include "latch.h"
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

/* A login from the first look at the token to the end. */
struct login {
    CK_FUNCTION_LIST *fn;
    CK_SESSION_HANDLE session;
    CK_SLOT_ID slot;
    struct kms_secret pin; /* owned */
    struct pkcs11_attempts attempts;
    struct pkcs11_latch latch;
    bool kept; /* the latch can be used */
    uint8_t digest[PKCS11_PIN_DIGEST_LEN];
};

static void login_done(struct login *login)
{
    kms_secret_done(&login->pin);
    pkcs11_latch_close(&login->latch);
    OPENSSL_cleanse(login->digest, sizeof(login->digest));
}

/* From here on this login is remembered in this process alone.  A directory that isn't there yet is
 * nothing to warn of. */
static void lose_latch(struct pkcs11_credentials *credentials, struct login *login,
                       const struct kms_error *why)
{
    login->kept = false;
    if (why->code == KMS_E_UNAVAILABLE || credentials->warned)
        return;
    credentials->warned = true;
    kms_log_error(KMS_LOG_WARN, "pin latch not kept; a restart may spend one more attempt", why,
                  NULL, 0);
}

static void open_latch(struct pkcs11_credentials *credentials, struct login *login)
{
    struct kms_error why = { 0 };
    if (credentials->latch_dir == NULL)
        return;
    enum kms_code rc = pkcs11_latch_open(credentials->latch_dir, login->attempts.identity,
                                         &login->latch, &why);
    if (rc == KMS_OK)
        rc = pkcs11_pin_record_digest(&login->latch.record, login->attempts.identity, &login->pin,
                                      login->digest, &why);
    login->kept = rc == KMS_OK;
    if (rc != KMS_OK)
        lose_latch(credentials, login, &why);
}

/* Fills @login but for what the caller has set. */
static enum kms_code prepare(struct pkcs11_credentials *credentials, struct login *login,
                             struct kms_error *err)
{
    enum kms_code rc = read_pin(credentials, &login->pin, err);
    if (rc == KMS_OK && credentials->user != NULL)
        rc = prefix_user(credentials->user, &login->pin, err);
    if (rc == KMS_OK)
        rc = pkcs11_token_attempts(login->fn, login->slot, &login->attempts, err);
    if (rc == KMS_OK)
        open_latch(credentials, login);
    return rc;
}

static enum kms_code judge(const struct pkcs11_credentials *credentials, const struct login *login,
                           struct kms_error *err)
{
    if (credentials->refused.data != NULL && kms_secret_equal(&credentials->refused, &login->pin))
        return pkcs11_pin_fail_refused(err);
    if (!login->kept)
        return KMS_OK;
    if (login->latch.fault.code != KMS_OK) {
        *err = login->latch.fault;
        return err->code;
    }
    return pkcs11_pin_record_judge(&login->latch.record, login->digest, &login->attempts.flags,
                                   login->attempts.label, err);
}

static void keep(struct pkcs11_credentials *credentials, struct login *login)
{
    struct kms_error why = { 0 };
    if (!login->kept)
        return;
    if (pkcs11_latch_write(&login->latch, &why) == KMS_OK)
        credentials->warned = false;
    else
        lose_latch(credentials, login, &why);
}

/* What is said of a PIN is on disk or, failing that, in locked memory. */
static void keep_refused(struct pkcs11_credentials *credentials, struct login *login)
{
    kms_secret_done(&credentials->refused);
    keep(credentials, login);
    if (!login->kept)
        credentials->refused = kms_secret_take(&login->pin);
}

static void settle(struct pkcs11_credentials *credentials, struct login *login,
                   const struct pkcs11_pin_record *before, enum kms_code rc, bool proved,
                   const struct kms_error *err)
{
    struct pkcs11_pin_record *record = &login->latch.record;
    if (rc != KMS_OK && counts_as_refused(err)) {
        pkcs11_pin_record_refuse(record, login->digest, pkcs11_rv_name(err->ckr), kms_utc_s());
        keep_refused(credentials, login);
        return;
    }
    if (rc == KMS_OK)
        kms_secret_done(&credentials->refused);
    *record = *before;
    if (proved)
        pkcs11_pin_record_good(record, login->digest, !credentials->administrator, kms_utc_s());
    keep(credentials, login);
}

/* The mark stands on disk before the token hears the PIN: whoever finds it there knows that an
 * attempt may have been spent, even if this process dies in C_Login. */
static enum kms_code spend(struct pkcs11_credentials *credentials, struct login *login,
                           bool *ret_proved, struct kms_error *err)
{
    struct pkcs11_pin_record before = login->latch.record;
    pkcs11_pin_record_begin(&login->latch.record, login->digest, login->attempts.flags.count_low,
                            kms_utc_s());
    keep(credentials, login);
    bool proved = false;
    enum kms_code rc = pkcs11_token_login(login->fn, login->session, credentials->user_type,
                                          &login->attempts, &login->pin, &proved, err);
    kms_secret_wipe_stack();
    settle(credentials, login, &before, rc, proved, err);
    OPENSSL_cleanse(&before, sizeof(before));
    *ret_proved = proved;
    return rc;
}

static enum kms_code log_in(struct pkcs11_credentials *credentials, struct login *login,
                            struct kms_error *err)
{
    bool asked = atomic_exchange(&credentials->forget_refused, false);
    if (asked)
        kms_secret_done(&credentials->refused);
    enum kms_code rc = pkcs11_token_check_attempts(&login->attempts, err);
    if (rc == KMS_OK && !asked)
        rc = judge(credentials, login, err);
    if (rc != KMS_OK)
        return rc;
    if (login->attempts.flags.count_low)
        kms_log(KMS_LOG_WARN, "token counts failed PIN attempts",
                KMS_F_TEXT("token", login->attempts.label));
    bool proved = false;
    return spend(credentials, login, &proved, err);
}

enum kms_code pkcs11_credentials_login(struct pkcs11_credentials *credentials, CK_FUNCTION_LIST *fn,
                                       CK_SESSION_HANDLE session, CK_SLOT_ID slot,
                                       struct kms_error *err)
{
    KMS_CLEANUP(login_done)
    struct login login = { .fn = fn, .session = session, .slot = slot, .latch.dir_fd = -1 };
    enum kms_code rc = prepare(credentials, &login, err);
    if (rc == KMS_OK)
        rc = log_in(credentials, &login, err);
    atomic_store(&credentials->withheld, rc == KMS_E_PRECONDITION);
    return rc;
}

/* A login that was good, or will be, needs no leave: one that lingers would be taken for consent
 * long after. */
void pkcs11_credentials_forget(struct pkcs11_credentials *credentials)
{
    if (atomic_load(&credentials->withheld))
        atomic_store(&credentials->forget_refused, true);
}

/* --- by hand --- */

static enum pkcs11_pin_memory memory_of(const struct login *login)
{
    const struct pkcs11_pin_record *record = &login->latch.record;
    if (!login->kept)
        return PKCS11_PIN_MEMORY_UNKEPT;
    if (login->latch.fault.code != KMS_OK)
        return PKCS11_PIN_MEMORY_DAMAGED;
    if (pkcs11_pin_record_refusal(record, login->digest) != NULL)
        return PKCS11_PIN_MEMORY_REFUSED;
    if (pkcs11_pin_record_is_trying(record, login->digest))
        return PKCS11_PIN_MEMORY_UNFINISHED;
    if (pkcs11_pin_record_is_good(record, login->digest))
        return PKCS11_PIN_MEMORY_GOOD;
    return PKCS11_PIN_MEMORY_NONE;
}

static void look(const struct login *login, struct pkcs11_pin_trial *trial)
{
    const struct pkcs11_attempts *attempts = &login->attempts;
    trial->memory = memory_of(login);
    trial->before = trial->after = attempts->flags;
    memcpy(trial->token_label, attempts->label, sizeof(trial->token_label));
    memcpy(trial->token_serial, attempts->serial, sizeof(trial->token_serial));
}

/* Whether there is anything to spend, and leave to spend it. */
static bool may_spend(const struct login *login, struct pkcs11_pin_trial *trial)
{
    enum kms_code rc = pkcs11_token_check_attempts(&login->attempts, &trial->why);
    if (trial->before.locked)
        trial->outcome = PKCS11_PIN_LOCKED;
    else if (rc != KMS_OK && !trial->last_attempt)
        trial->outcome = PKCS11_PIN_WITHHELD;
    else
        return true;
    return false;
}

/* What came of a login.  An error that says nothing of the PIN stays one. */
static enum kms_code conclude(const struct login *login, struct pkcs11_pin_trial *trial,
                              enum kms_code rc, bool proved, struct kms_error *err)
{
    struct pkcs11_attempts after = login->attempts;
    struct kms_error why = { 0 };
    if (rc != KMS_OK && !counts_as_refused(err))
        return rc;
    if (rc == KMS_OK && !proved)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "token '%s' was logged in already, so this says nothing of the PIN",
                        login->attempts.label);
    if (pkcs11_token_attempts(login->fn, login->slot, &after, &why) == KMS_OK)
        trial->after = after.flags;
    trial->spent = true;
    trial->kept = login->kept;
    trial->why = rc == KMS_OK ? (struct kms_error){ .code = KMS_OK } : *err;
    bool locked = rc != KMS_OK && (err->ckr == CKR_PIN_LOCKED || trial->after.locked);
    trial->outcome = locked ? PKCS11_PIN_LOCKED
                            : (rc == KMS_OK ? PKCS11_PIN_GOOD : PKCS11_PIN_REFUSED);
    return KMS_OK;
}

enum kms_code pkcs11_credentials_try(struct pkcs11_credentials *credentials, CK_FUNCTION_LIST *fn,
                                     CK_SESSION_HANDLE session, CK_SLOT_ID slot,
                                     struct pkcs11_pin_trial *trial, struct kms_error *err)
{
    KMS_CLEANUP(login_done)
    struct login login = { .fn = fn, .session = session, .slot = slot, .latch.dir_fd = -1 };
    enum kms_code rc = prepare(credentials, &login, err);
    if (rc != KMS_OK)
        return rc;
    look(&login, trial);
    if (!may_spend(&login, trial) || !trial->spend)
        return KMS_OK;
    struct kms_error own = { 0 };
    bool proved = false;
    rc = spend(credentials, &login, &proved, &own);
    rc = conclude(&login, trial, rc, proved, &own);
    if (rc != KMS_OK && err != NULL)
        *err = own;
    return rc;
}
