/* SPDX-License-Identifier: Apache-2.0 */
/* What a line of the audit log is: a JSON object and a line end,
 *   {"chain":"16 digits","seq":12,"prev":"64 digits","ts":"…","type":"use",…}
 * @prev is the SHA-256 of the line before without its line end, zeros for the first of a chain; @seq
 * counts without a hole.  The rest is the line's body, which doesn't depend on its place. */
#ifndef KMS_AUDIT_LINE_H
#define KMS_AUDIT_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "audit.h"
#include "kms/bytes.h"
#include "kms/error.h"
#include "kms/keystore.h"

enum {
    KMS_AUDIT_LINE_MAX = 24 * 1024, /* bytes, with the line end */
    KMS_AUDIT_CHAIN_LEN = 16,       /* hexadecimal digits */
    KMS_AUDIT_HEAD_MAX = 160,       /* bytes of what stands before the body */
};

/* The highest number of a line: 12 digits, as the names of rotated files have. */
#define KMS_AUDIT_SEQ_MAX INT64_C(999999999999)

/* Where a chain is. */
struct kms_audit_chain {
    char id[KMS_AUDIT_CHAIN_LEN + 1]; /* "": not begun */
    uint64_t seq;                     /* of the newest line; 0: none */
    uint8_t head[KMS_SHA256_LEN];     /* its SHA-256 */
};
/* A new one, with an ID by chance. */
void kms_audit_chain_begin(struct kms_audit_chain *chain);

/* What all lines of a writer have in common.  Borrowed. */
struct kms_audit_origin {
    const char *cluster, *node, *writer;
};

/* A body as text without its opening brace: free().  NULL: out of memory. */
char *kms_audit_body_use(const struct kms_audit_origin *origin, const struct kms_audit_use *use);
char *kms_audit_body_command(const struct kms_audit_origin *origin,
                             const struct kms_audit_command *command);
char *kms_audit_body_event(const struct kms_audit_origin *origin,
                           const struct kms_audit_event *event);
/* The first line of a file; @previous is the name of the file before, NULL if there is none. */
char *kms_audit_body_open(const struct kms_audit_origin *origin, const char *previous);
/* An incomplete end of @bytes, with this SHA-256, was moved to @file. */
char *kms_audit_body_cut(const struct kms_audit_origin *origin, const char *file, uint64_t bytes,
                         const uint8_t sha256[static KMS_SHA256_LEN]);
/* @lost lines between two times (UTC, ms) couldn't be written, because of @reason. */
char *kms_audit_body_gap(const struct kms_audit_origin *origin, uint64_t lost, int64_t from_ms,
                         int64_t to_ms, const char *reason);
/* @count lines since the first one's time (UTC, ms) were written only after their callers had gone on. */
char *kms_audit_body_late(const struct kms_audit_origin *origin, uint64_t count, int64_t from_ms,
                          int64_t to_ms);

/* The data key @id for the recipient, as CMS in base64; and a sealed line (audit_seal.h). */
char *kms_audit_body_key(const struct kms_audit_origin *origin, const char *id,
                         const char *sealed_key);
char *kms_audit_body_sealed(const struct kms_audit_origin *origin, const char *id, uint64_t number,
                            const char *data);
/* @signature is of the line at @at. */
char *kms_audit_body_checkpoint(const struct kms_audit_origin *origin,
                                const struct kms_audit_chain *at,
                                const struct kms_signature *signature);

/* Appends the line that @body makes at the end of @chain to @text, which has room for @room bytes,
 * and moves @chain there.  Returns its length; 0: no room, or no
 * number is left. */
KMS_MUST_CHECK size_t kms_audit_line_put(struct kms_audit_chain *chain, const char *body,
                                         char *text, size_t room);

/* A line as read. */
struct kms_audit_line {
    struct kms_audit_chain at; /* @at.head is the line's own SHA-256 */
    uint8_t prev[KMS_SHA256_LEN];
    const char *type, *time; /* in @json */
    json_t *json;            /* owned */
};
/* Reads @text, hostile, without its line end.  KMS_E_INVALID says what is wrong with it.
 * On success the caller owns *ret_line: kms_audit_line_done(). */
KMS_MUST_CHECK enum kms_code kms_audit_line_parse(struct kms_bytes text,
                                                  struct kms_audit_line *ret_line,
                                                  struct kms_error *err);
void kms_audit_line_done(struct kms_audit_line *line);

/* A text member of @line; "" if there is none. */
const char *kms_audit_line_text(const struct kms_audit_line *line, const char *key);
/* A number of @line; -1 if there is none. */
int64_t kms_audit_line_number(const struct kms_audit_line *line, const char *key);

#endif
