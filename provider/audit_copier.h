/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that copies audit lines to journald and syslog, so that nobody waits for these.  Lines
 * that don't fit into its queue are counted as uncopied: the file is what is relied on. */
#ifndef KMS_AUDIT_COPIER_H
#define KMS_AUDIT_COPIER_H

#include <stdint.h>

#include "audit.h"
#include "kms/bytes.h"
#include "kms/error.h"

struct kms_audit_copier;

/* Starts the thread, unless no copies are asked for.  KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_audit_copier_open(const struct kms_audit_options *options,
                                                   struct kms_audit_copier **ret_copier,
                                                   struct kms_error *err);
/* Sends what is queued, if that works within seconds.  A thread that still hangs then is left behind:
 * it ends by itself. */
void kms_audit_copier_close(struct kms_audit_copier *copier);

/* Queues copies of each line of @text; they end with '\n', the last need not.  Thread-safe; never
 * blocks. */
void kms_audit_copier_send(struct kms_audit_copier *copier, struct kms_bytes text);

/* How many copies nobody took since it was opened.  Thread-safe; never blocks. */
uint64_t kms_audit_copier_uncopied(struct kms_audit_copier *copier);

#endif
