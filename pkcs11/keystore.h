/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 1 for one token in this process. */
#ifndef PKCS11_KEYSTORE_H
#define PKCS11_KEYSTORE_H

#include <stdbool.h>

#include "kms/keystore.h"

struct pkcs11_keystore_options {
    const char *module;           /* absolute path, or the name of a configured p11-kit module */
    const char *uri;              /* RFC 7512; exactly one token must match */
    const char *pin_file;         /* read at each login; NULL if @pin is given */
    const struct kms_secret *pin; /* borrowed for the keystore's life; NULL: use @pin_file */
    const char *user;             /* for vendors whose PIN is "user:password"; NULL: none */
    enum kms_user_type user_type; /* as whom to log in */
    enum kms_profile profile;     /* what seeds shall be wrapped by */
    unsigned sessions;            /* 1..64 */
    const char *lock_dir;         /* where the per-module login lock lives; NULL: /run/lock */
    const char *latch_dir;        /* where refused PINs are kept (latch.h); NULL: nowhere */
    bool administrator;           /* the PIN is not the service's own: never kept as a good one */
};

/* Checks and copies @options; touches neither module nor token (kms_keystore_inventory() connects),
 * so it succeeds while the HSM is away.  KMS_E_INVALID names the option: an unusable URI (syntax,
 * unrecognised or no attributes, a PIN inside), a relative module path. */
KMS_MUST_CHECK enum kms_code pkcs11_keystore_open(const struct pkcs11_keystore_options *options,
                                                  struct kms_keystore **ret_keystore,
                                                  struct kms_error *err);

#endif
