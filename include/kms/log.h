/* SPDX-License-Identifier: Apache-2.0 */
/* One line per event to stderr, as text or JSON.  The only global mutable state of the program.
 * Never pass a secret: nothing here could tell. */
#ifndef KMS_LOG_H
#define KMS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"

enum kms_log_level { KMS_LOG_DEBUG, KMS_LOG_INFO, KMS_LOG_WARN, KMS_LOG_ERROR };
enum kms_log_format { KMS_LOG_TEXT, KMS_LOG_JSON };

enum kms_log_kind {
    KMS_LOG_FIELD_TEXT,
    KMS_LOG_FIELD_INT,
    KMS_LOG_FIELD_BOOL,
    KMS_LOG_FIELD_BYTES
};
struct kms_log_field {
    const char *key;
    enum kms_log_kind kind;
    int64_t number;
    const char *text;       /* may be NULL: the field is left out */
    struct kms_bytes bytes; /* hostile text (a uid): escaped, cut at 128 bytes */
};

#define KMS_F_TEXT(key_, value_)                                                                   \
    ((struct kms_log_field){ .key = (key_), .kind = KMS_LOG_FIELD_TEXT, .text = (value_) })
#define KMS_F_INT(key_, value_)                                                                    \
    ((struct kms_log_field){                                                                       \
        .key = (key_), .kind = KMS_LOG_FIELD_INT, .number = (int64_t)(value_) })
#define KMS_F_BOOL(key_, value_)                                                                   \
    ((struct kms_log_field){                                                                       \
        .key = (key_), .kind = KMS_LOG_FIELD_BOOL, .number = (value_) ? 1 : 0 })
#define KMS_F_BYTES(key_, value_)                                                                  \
    ((struct kms_log_field){ .key = (key_), .kind = KMS_LOG_FIELD_BYTES, .bytes = (value_) })

/* Set once at start, before threads.  @fd is 2 but in tests. */
void kms_log_open(enum kms_log_format format, enum kms_log_level level, int fd);
void kms_log_set_level(enum kms_log_level level);
bool kms_log_enabled(enum kms_log_level level);

/* For a service: from now on a thread writes the lines, and a caller waits for its own 100 ms at most,
 * once; then nobody waits until they flow again.  What finds no room in its queue of 256 KiB is
 * counted, and said when it flows.  KMS_E_BUSY.  Without it, a full pipe is waited for. */
KMS_MUST_CHECK enum kms_code kms_log_start(struct kms_error *err);
/* Ends that; waits for the last lines, for @wait_ms at most.  To be called before an exit. */
void kms_log_stop(int64_t wait_ms);

KMS_MUST_CHECK bool kms_log_level_parse(const char *text, enum kms_log_level *ret_level);
KMS_MUST_CHECK bool kms_log_format_parse(const char *text, enum kms_log_format *ret_format);

/* Writes one line: time, level, @msg (a constant phrase), then the fields.  One write(2) a line, so
 * lines of several threads never mix.  Thread-safe; blocks as kms_log_start() says.  Not for signal
 * handlers. */
void kms_log_fields(enum kms_log_level level, const char *msg, const struct kms_log_field *fields,
                    size_t count);

/* kms_log(KMS_LOG_INFO, "kek promoted", KMS_F_TEXT("key_id", id), KMS_F_INT("generation", 2)); */
#define kms_log(level, msg, ...)                                                                   \
    kms_log_fields((level), (msg), (const struct kms_log_field[]){ __VA_ARGS__ },                  \
                   sizeof((const struct kms_log_field[]){ __VA_ARGS__ }) /                         \
                       sizeof(struct kms_log_field))

/* @msg with code, op, ckr and text of @err, and @more fields before them (may be NULL, 0). */
void kms_log_error(enum kms_log_level level, const char *msg, const struct kms_error *err,
                   const struct kms_log_field *more, size_t more_count);

#endif
