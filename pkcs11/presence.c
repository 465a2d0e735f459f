/* SPDX-License-Identifier: Apache-2.0 */
#include "presence.h"

#include <stdio.h>
#include <time.h>

#include "kms/clock.h"
#include "lock.h"
#include "module.h"
#include "seam.h"
#include "token.h"

enum { PAUSE_MS = 100 };

static void describe(const struct pkcs11_token *token, struct pkcs11_presence *presence)
{
    struct kms_token_info info = { .connected = false };
    CK_FLAGS flags = token->info.flags;
    pkcs11_token_describe(token, &info);
    (void)snprintf(presence->label, sizeof(presence->label), "%s", info.label);
    (void)snprintf(presence->serial, sizeof(presence->serial), "%s", info.serial);
    presence->login_required = (flags & CKF_LOGIN_REQUIRED) != 0;
    presence->pin_initialized = (flags & CKF_USER_PIN_INITIALIZED) != 0;
    presence->write_protected = (flags & CKF_WRITE_PROTECTED) != 0;
    presence->pin.count_low = (flags & CKF_USER_PIN_COUNT_LOW) != 0;
    presence->pin.final_try = (flags & CKF_USER_PIN_FINAL_TRY) != 0;
    presence->pin.locked = (flags & CKF_USER_PIN_LOCKED) != 0;
}

/* Anew after each C_Initialize: see initialize_and_find() of connection.c. */
static enum kms_code find(struct pkcs11_module *module, const char *uri_text, int64_t retry_ms,
                          struct pkcs11_presence *presence)
{
    KMS_CLEANUP(pkcs11_uri_close_ptr) struct pkcs11_uri *uri = NULL;
    struct pkcs11_token token;
    int64_t give_up_ms = kms_monotonic_ms() + retry_ms;
    enum kms_code rc = pkcs11_uri_open(uri_text, &uri, &presence->token_fault);
    if (rc != KMS_OK)
        return rc;
    while ((rc = pkcs11_token_find(pkcs11_module_functions(module), uri, &token,
                                   &presence->token_fault)) == KMS_E_UNAVAILABLE &&
           kms_monotonic_ms() < give_up_ms) {
        const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
        pkcs11_module_finalize(module);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        rc = pkcs11_module_initialize(module, &presence->module_fault);
        if (rc != KMS_OK)
            return rc;
    }
    if (rc != KMS_OK)
        return rc;
    presence->token_fault = (struct kms_error){ .code = KMS_OK };
    describe(&token, presence);
    return KMS_OK;
}

void pkcs11_presence_look(const char *module_name, const char *uri, const char *lock_dir,
                          const struct pkcs11_seam *seam, struct pkcs11_presence *ret_presence)
{
    KMS_CLEANUP(pkcs11_module_close_ptr) struct pkcs11_module *module = NULL;
    struct pkcs11_presence presence = { .token_fault = { .code = KMS_E_UNAVAILABLE } };
    enum kms_code rc = seam != NULL
                           ? pkcs11_module_open_functions(seam->fn, &module, &presence.module_fault)
                           : pkcs11_module_open(module_name, &module, &presence.module_fault);
    if (rc == KMS_OK) {
        KMS_CLEANUP(pkcs11_lock_release)
        struct pkcs11_lock lock = pkcs11_lock_acquire(lock_dir != NULL ? lock_dir : PKCS11_LOCK_DIR,
                                                      pkcs11_module_path(module),
                                                      PKCS11_LOCK_WAIT_MS);
        rc = pkcs11_module_initialize(module, &presence.module_fault);
        if (rc == KMS_OK)
            (void)find(module, uri, seam != NULL ? seam->find_retry_ms : PKCS11_FIND_RETRY_MS,
                       &presence);
    }
    *ret_presence = presence;
}
