/* SPDX-License-Identifier: Apache-2.0 */
#include "pin_check.h"

#include "connection.h"

enum kms_code pkcs11_pin_check(const struct pkcs11_keystore_options *options,
                               const struct pkcs11_seam *seam, int64_t deadline_ms,
                               struct pkcs11_pin_trial *trial, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_connection_close_ptr) struct pkcs11_connection *connection = NULL;
    enum kms_code rc = pkcs11_connection_open(options, seam, &connection, err);
    if (rc == KMS_OK)
        rc = pkcs11_connection_try_pin(connection, deadline_ms, trial, err);
    return rc;
}
