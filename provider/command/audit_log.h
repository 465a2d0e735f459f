/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log as configured, and what key commands write to it. */
#ifndef KMS_AUDIT_LOG_H
#define KMS_AUDIT_LOG_H

#include "audit.h"
#include "config.h"
#include "keyid.h"
#include "kms/error.h"

/* Borrows from @config and its arguments.  Its path is NULL where no log is configured. */
struct kms_audit_options kms_audit_log_options(const struct kms_config *config, const char *writer,
                                               const char *node);

/* What the key pair is called that signs the checkpoints. */
enum { KMS_AUDIT_KEY_LABEL_LEN = KMS_RING_MAX + sizeof(".audit") - 1 };
void kms_audit_key_label(const char *ring, char ret_label[static KMS_AUDIT_KEY_LABEL_LEN + 1]);

/* A line that @op is about to act on @generation (0: not known yet), in "<path>.admin".  Waits for
 * another command's line, for 10 s at most.  Fails if it can't be written: then the command must not act. */
KMS_MUST_CHECK enum kms_code kms_audit_log_begin(const struct kms_config *config, const char *op,
                                                 uint32_t generation, struct kms_error *err);
/* The same for what is about one token. */
KMS_MUST_CHECK enum kms_code kms_audit_log_begin_on(const struct kms_config *config, const char *op,
                                                    const char *token, struct kms_error *err);

/* The same, with all that @command says; its peer is this process, its login who is behind it. */
KMS_MUST_CHECK enum kms_code kms_audit_log_line(const struct kms_config *config,
                                                const struct kms_audit_command *command,
                                                struct kms_error *err);

/* Says that a line couldn't be written, which is why nothing was done.  Returns KMS_EXIT_REFUSED. */
int kms_audit_log_refuse(const struct kms_error *err);

/* What came of it; only op, outcome, generation, key_id, token and code of @command are read.  It can't be
 * undone, so a line that can't be written is a note on stderr. */
void kms_audit_log_done(const struct kms_config *config, const struct kms_audit_command *command);

#endif
