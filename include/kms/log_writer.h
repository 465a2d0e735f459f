/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that writes the log's lines, so that nobody waits for whoever doesn't read them.  It
 * belongs to the logger (kms/log.h), which is the only one to call it. */
#ifndef KMS_LOG_WRITER_H
#define KMS_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/error.h"

enum { KMS_LOG_LINE_MAX = 8192 }; /* bytes, with the line end */

/* Makes the line that says that @lost lines are missing in its place; returns its length. */
typedef size_t kms_log_format_lost(uint64_t lost, char ret_text[static KMS_LOG_LINE_MAX]);

/* Starts the thread; it takes no signals.  KMS_E_BUSY.  Not while one runs. */
KMS_MUST_CHECK enum kms_code kms_log_writer_start(int fd, kms_log_format_lost *format_lost,
                                                  struct kms_error *err);
/* Waits until all lines are written, for @wait_ms at most.  A thread that hangs then is left behind;
 * it ends by itself. */
void kms_log_writer_stop(int64_t wait_ms);

/* Hands over the line @text, which ends with '\n', and waits a moment for it to be written: once that
 * was in vain nobody waits until all is written again.  A line that finds no room is counted.
 * False: there is no thread, so write it yourself.  Thread-safe. */
KMS_MUST_CHECK bool kms_log_writer_put(const char *text, size_t len);

/* One line by one write(2); blocks while nobody reads.  A closed @fd loses it. */
void kms_log_write(int fd, const char *text, size_t len);

#endif
