/* SPDX-License-Identifier: Apache-2.0 */
/* The tokens of the configuration as one keystore: each in a child process, or in this one. */
#ifndef KMS_TOKEN_OPEN_H
#define KMS_TOKEN_OPEN_H

#include "config.h"
#include "kms/error.h"
#include "kms/keystore.h"

/* The keystore of all tokens of @config, isolated as each says; with one token that token's own.
 * KMS_E_INVALID: a token's options can't be used; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_token_open(const struct kms_config *config,
                                            struct kms_keystore **ret_keystore,
                                            struct kms_error *err);

#endif
