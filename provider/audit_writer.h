/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that has an audit log's file to itself, so that nobody waits for a disk without an end.
 * Callers queue lines and wait for them; what comes during one sync shares the next. */
#ifndef KMS_AUDIT_WRITER_H
#define KMS_AUDIT_WRITER_H

#include "audit.h"
#include "audit_checkpoint.h"
#include "audit_line.h"
#include "audit_seal.h"
#include "kms/error.h"

struct kms_audit_writer;

/* Starts the thread and waits for its first try to open the file, but no longer than for a line.  A
 * file that can't be used is tried again, once a second.  KMS_E_BUSY, KMS_E_INVALID as
 * kms_audit_open() has it. */
KMS_MUST_CHECK enum kms_code kms_audit_writer_open(const struct kms_audit_options *options,
                                                   struct kms_audit_writer **ret_writer,
                                                   struct kms_error *err);
/* Writes what is queued and the record of a gap, if that works within seconds.  A thread that hangs
 * then is left behind: it ends by itself. */
void kms_audit_writer_close(struct kms_audit_writer *writer);

/* What bodies are made and sealed with, as long as it is open.  @seal may be NULL. */
const struct kms_audit_origin *kms_audit_writer_origin(const struct kms_audit_writer *writer);
struct kms_audit_seal *kms_audit_writer_seal(struct kms_audit_writer *writer);

/* Writes @body, which is taken (NULL: there was no memory for it), and waits until it is as durable as
 * configured: for two seconds, or for three quarters of the time to @deadline_ms (CLOCK_MONOTONIC) if
 * that is less.  When the two seconds were in vain once, nobody waits until the disk has answered.
 * KMS_E_UNAVAILABLE: it isn't in the file, or not yet; the text says which.  Thread-safe. */
KMS_MUST_CHECK enum kms_code kms_audit_writer_put(struct kms_audit_writer *writer, char *body,
                                                  int64_t deadline_ms, struct kms_error *err);

/* Why nothing can be written now; KMS_OK: it can.  Thread-safe; never blocks. */
enum kms_code kms_audit_writer_failure(struct kms_audit_writer *writer, struct kms_error *ret_why);
struct kms_audit_counts kms_audit_writer_count(struct kms_audit_writer *writer);
struct kms_audit_where kms_audit_writer_where(struct kms_audit_writer *writer);

#endif
