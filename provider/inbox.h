/* SPDX-License-Identifier: Apache-2.0 */
/* Where a daemon finds what commands ask of it: applies request files (request.h) to ring.json and to
 * the ring.  Used by the refresher's thread alone. */
#ifndef KMS_INBOX_H
#define KMS_INBOX_H

#include "kms/error.h"
#include "ring.h"
#include "state.h"

struct kms_inbox;

/* Both are borrowed and outlive the inbox. */
KMS_MUST_CHECK enum kms_code kms_inbox_open(struct kms_state_dir *state_dir, struct kms_ring *keks,
                                            struct kms_inbox **ret_inbox, struct kms_error *err);
void kms_inbox_close(struct kms_inbox *inbox);
KMS_DEFINE_CLOSE_PTR(struct kms_inbox *, kms_inbox_close)

/* Applies what is there: ring.json first, then one log line, then the file goes; ended at any point,
 * the next call finishes it.  What can't be applied is logged once, stays, and disturbs nothing. */
void kms_inbox_process(struct kms_inbox *inbox);

#endif
