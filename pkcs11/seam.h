/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 2: a keystore over a CK_FUNCTION_LIST that is here already, and its pace. */
#ifndef PKCS11_SEAM_H
#define PKCS11_SEAM_H

#include <stdint.h>

#include "cryptoki.h"
#include "keystore.h"

enum {
    PKCS11_RECONNECT_PAUSE_MS = 2000, /* between two attempts to connect */
    PKCS11_FIND_RETRY_MS = 2000,      /* how long a token may take to show after C_Initialize */
    PKCS11_BUSY_PAUSE_MS = 10,        /* before a busy token is asked again; then doubling */
};

struct pkcs11_seam {
    CK_FUNCTION_LIST *fn; /* borrowed; takes the place of options.module */
    int64_t reconnect_pause_ms;
    int64_t find_retry_ms;
    int64_t busy_pause_ms;
};

/* As pkcs11_keystore_open(). */
KMS_MUST_CHECK enum kms_code pkcs11_keystore_open_at(const struct pkcs11_keystore_options *options,
                                                     const struct pkcs11_seam *seam,
                                                     struct kms_keystore **ret_keystore,
                                                     struct kms_error *err);

#endif
