/* SPDX-License-Identifier: Apache-2.0 */
/* What `key create` does about several tokens, before and after a key is made. */
#ifndef KMS_KEY_TOKENS_H
#define KMS_KEY_TOKENS_H

#include <stdbool.h>
#include <stdint.h>

#include "creation.h"
#include "key_spread.h"
#include "keyring.h"
#include "kms/error.h"

/* The tokens of a new key; of several configured ones, worked on or not, what an interrupted run left is
 * finished or withdrawn first, unless @dry_run; too near to its activation it is finished only by @force.
 * Borrows from @keyring.  Returns an exit code. */
int kms_key_tokens_ready(struct kms_keyring *keyring, const char *command, bool dry_run, bool force,
                         struct kms_spread *ret_spread, bool *ret_changed);

/* Which tokens have the key of @creation.  Looks until it is outstanding on none, or @give_up_ms, through
 * outages, too: the vendors' own means bring it to some, and it is never made there.  0: looks once. */
KMS_MUST_CHECK enum kms_code kms_key_tokens_see(struct kms_keyring *keyring, int64_t give_up_ms,
                                                struct kms_creation *creation,
                                                struct kms_error *err);

#endif
