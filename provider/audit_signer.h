/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that has a token sign the logs' checkpoints, so that no call waits for it: once a minute if
 * there are new lines, soon after a file was filled, and at the end.  Without a key pair on the token
 * there are no checkpoints, and one line of the service's log says so. */
#ifndef KMS_AUDIT_SIGNER_H
#define KMS_AUDIT_SIGNER_H

#include <stdint.h>

#include "audit.h"
#include "kms/error.h"
#include "kms/keystore.h"

/* All borrowed. */
struct kms_audit_signer_options {
    struct kms_audit *audit;
    const struct kms_audit_options *admin; /* the log of commands, which nobody has open */
    struct kms_keystore *keystore;
    const char *label; /* of the key pair */
    int64_t every_ms;  /* 0: less than a minute */
};

struct kms_audit_signer;

/* Starts the thread.  KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_audit_signer_open(const struct kms_audit_signer_options *options,
                                                   struct kms_audit_signer **ret_signer,
                                                   struct kms_error *err);
/* Signs what isn't yet, if the token does it within seconds, and ends the thread. */
void kms_audit_signer_close(struct kms_audit_signer *signer);

/* To be called about once a second: wakes the thread if a file was filled.  Never blocks. */
void kms_audit_signer_tick(struct kms_audit_signer *signer);

#endif
