/* SPDX-License-Identifier: Apache-2.0 */
/* One token of the configuration as a keystore: in a child process, or in this one. */
#ifndef KMS_TOKEN_OPEN_H
#define KMS_TOKEN_OPEN_H

#include "config.h"
#include "kms/error.h"
#include "kms/keystore.h"

/* The keystore of tokens[0] of @config, isolated as it says.  KMS_E_INVALID: the token's
 * options can't be used. */
KMS_MUST_CHECK enum kms_code kms_token_open(const struct kms_config *config,
                                            struct kms_keystore **ret_keystore,
                                            struct kms_error *err);

#endif
