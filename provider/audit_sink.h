/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of audit lines for journald and syslog (RFC 5424).  A copy that isn't taken is counted, and
 * logged once until one is taken again: the file is what is relied on. */
#ifndef KMS_AUDIT_SINK_H
#define KMS_AUDIT_SINK_H

#include <stdint.h>

#include "audit.h"
#include "kms/bytes.h"
#include "kms/error.h"

struct kms_audit_sinks;

/* KMS_E_BUSY.  Connects to nothing yet. */
KMS_MUST_CHECK enum kms_code kms_audit_sinks_open(const struct kms_audit_options *options,
                                                  struct kms_audit_sinks **ret_sinks,
                                                  struct kms_error *err);
void kms_audit_sinks_close(struct kms_audit_sinks *sinks);

/* Sends each line of @text (they end with '\n', the last need not); returns how many copies nobody
 * took.  One thread at a time: audit_copier.h has one.  syslog is never waited for; journald is, for
 * as long as its socket is full. */
uint64_t kms_audit_sinks_send(struct kms_audit_sinks *sinks, struct kms_bytes text);

#endif
