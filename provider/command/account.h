/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KMS_ACCOUNT_H
#define KMS_ACCOUNT_H

#include <stdbool.h>
#include <sys/types.h>

#include "kms/error.h"

/* The account that owns @state_dir, if this process is root and that is another user's. */
struct kms_account {
    bool other; /* false: stay what we are */
    uid_t uid;
    gid_t gid;
};
struct kms_account kms_account_of(const char *state_dir);

/* Becomes @account for good: supplementary groups, gid, uid.  A no-op unless @account->other.  Call
 * before threads. KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_account_become(const struct kms_account *account,
                                                struct kms_error *err);

#endif
