/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 1 for several tokens that hold the same KEKs (clones, an HA pair behind different modules, a
 * token elsewhere).  Calls go to the first token, in order of priority, that has the KEK by its last
 * listing, and within their deadline to the next one where it fails.  A token that failed rests: it is
 * left out until its canary is good again.  Knows no generation and no promotion. */
#ifndef KMS_FAILOVER_H
#define KMS_FAILOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "kms/error.h"
#include "kms/keystore.h"

struct kms_failover_token {
    const char *name;              /* 1 … KMS_TOKEN_NAME_MAX bytes, no two alike; copied */
    struct kms_keystore *keystore; /* taken over, also by a failure */
    bool copies_itself;            /* keys appear there without our doing (sync: native) */
};

/* @count is 1 … KMS_TOKENS_MAX.  An inventory asks all tokens at once, is complete for those that
 * kms_inventory.tokens says were listed, and fails with the most telling error if none was.  A canary
 * is tried on every token that has the KEK and isn't drained, and is good if one is.  Neither waits
 * for a token that hangs much longer than for the others, once that is known to rest; what it answers
 * later counts then.  Failures name the token, but INVALID and CORRUPT.  A keystore of tokens that all
 * can be managed can be managed; failover_manage.c says what is done where.  KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_failover_open(const struct kms_failover_token *tokens,
                                               size_t count, struct kms_keystore **ret_keystore,
                                               struct kms_error *err);

#endif
