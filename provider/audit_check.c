/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_check.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "audit_checkpoint.h"

enum kms_code kms_audit_reader_next(struct kms_audit_reader *reader,
                                    struct kms_audit_line *ret_line, bool *ret_end,
                                    struct kms_error *err)
{
    size_t len = 0;
    int c = getc_unlocked(reader->in);
    if (c != EOF)
        reader->number++;
    for (; c != EOF && c != '\n' && len < sizeof(reader->text); c = getc_unlocked(reader->in))
        reader->text[len++] = (char)c;
    if (c == EOF && ferror(reader->in) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "line %" PRIu64,
                              reader->number);
    *ret_end = c == EOF && len == 0;
    if (*ret_end)
        return KMS_OK;
    if (c == EOF)
        return kms_fail(err, KMS_E_INVALID,
                        "has no end: a writer was killed or has no room, and none has mended it");
    return kms_audit_line_parse((struct kms_bytes){ (const uint8_t *)reader->text, len }, ret_line,
                                err);
}

/* The first line of a file: it begins a chain, or says what it goes on from. */
static enum kms_code check_first(struct kms_audit_check *check, const struct kms_audit_line *line,
                                 struct kms_error *err)
{
    static const uint8_t zeros[KMS_SHA256_LEN] = { 0 };
    const char *previous = kms_audit_line_text(line, "previous_file");
    bool begins = line->at.seq == 1 && memcmp(line->prev, zeros, sizeof(zeros)) == 0;
    if (strcmp(line->type, "open") != 0)
        return kms_fail(err, KMS_E_INVALID,
                        "is not the first line of a file: lines before it are missing");
    if (begins != (previous[0] == '\0') || strlen(previous) > NAME_MAX)
        return kms_fail(err, KMS_E_INVALID, "neither begins a chain nor names the file before");
    check->first_seq = line->at.seq;
    memcpy(check->first_prev, line->prev, sizeof(check->first_prev));
    (void)snprintf(check->previous, sizeof(check->previous), "%s", previous);
    (void)snprintf(check->writer, sizeof(check->writer), "%.*s", (int)KMS_AUDIT_WRITER_MAX - 1,
                   kms_audit_line_text(line, "writer"));
    (void)snprintf(check->from, sizeof(check->from), "%s", line->time);
    return KMS_OK;
}

static enum kms_code check_next(const struct kms_audit_check *check,
                                const struct kms_audit_line *line, struct kms_error *err)
{
    if (strcmp(line->at.id, check->end.id) != 0)
        return kms_fail(err, KMS_E_INVALID, "belongs to another chain");
    if (line->at.seq != check->end.seq + 1)
        return kms_fail(err, KMS_E_INVALID, "has number %" PRIu64 ", not %" PRIu64, line->at.seq,
                        check->end.seq + 1);
    if (memcmp(line->prev, check->end.head, sizeof(line->prev)) != 0)
        return kms_fail(err, KMS_E_INVALID,
                        "doesn't follow: it or the line before was changed after it was written");
    return KMS_OK;
}

/* Whoever wrote the lines: what they say may add up to more than a number holds. */
static void add_lines(uint64_t *total, int64_t lines)
{
    if (lines > 0 && __builtin_add_overflow(*total, (uint64_t)lines, total))
        *total = UINT64_MAX;
}

static void count(struct kms_audit_check *check, const struct kms_audit_line *line)
{
    check->end = line->at;
    check->lines++;
    (void)snprintf(check->to, sizeof(check->to), "%s", line->time);
    if (strcmp(line->type, "cut") == 0)
        check->cuts++;
    if (strcmp(line->type, "checkpoint") == 0)
        check->checkpoints++;
    if (strcmp(line->type, "late") == 0)
        add_lines(&check->late, kms_audit_line_number(line, "late"));
    if (strcmp(line->type, "gap") != 0)
        return;
    check->gaps++;
    add_lines(&check->lost, kms_audit_line_number(line, "lost"));
}

static enum kms_code check_vouched(struct kms_audit_check *check,
                                   const struct kms_audit_vouchers *vouchers,
                                   const struct kms_audit_line *line, struct kms_error *err)
{
    switch (kms_audit_vouchers_ask(vouchers, &line->at)) {
    case KMS_AUDIT_UNVOUCHED:
        return KMS_OK;
    case KMS_AUDIT_VOUCHED:
        check->vouched_seq = line->at.seq;
        return KMS_OK;
    case KMS_AUDIT_BELIED:
        break;
    }
    return kms_fail(err, KMS_E_INVALID,
                    "isn't the line that was signed: it or one before was changed afterwards");
}

static enum kms_code check_line(struct kms_audit_check *check,
                                const struct kms_audit_vouchers *vouchers,
                                const struct kms_audit_line *line, struct kms_error *err)
{
    enum kms_code rc = check->lines == 0 ? check_first(check, line, err)
                                         : check_next(check, line, err);
    if (rc == KMS_OK && vouchers != NULL)
        rc = check_vouched(check, vouchers, line, err);
    if (rc == KMS_OK)
        count(check, line);
    return rc;
}

enum kms_code kms_audit_check_file(FILE *in, const struct kms_audit_vouchers *vouchers,
                                   struct kms_audit_check *ret_check, struct kms_error *err)
{
    struct kms_audit_reader reader = { .in = in };
    struct kms_audit_check check = { .lines = 0 };
    for (;;) {
        KMS_CLEANUP(kms_audit_line_done) struct kms_audit_line line = { .json = NULL };
        struct kms_error why = { .code = KMS_OK };
        bool end = false;
        enum kms_code rc = kms_audit_reader_next(&reader, &line, &end, &why);
        if (end)
            break;
        if (rc == KMS_OK)
            rc = check_line(&check, vouchers, &line, &why);
        if (rc == KMS_E_PRECONDITION)
            return kms_fail(err, rc, "%s", why.msg);
        if (rc == KMS_OK)
            continue;
        check.fault_line = reader.number;
        (void)snprintf(check.fault, sizeof(check.fault), "%.*s", (int)KMS_AUDIT_FAULT_MAX - 1,
                       why.msg);
        break;
    }
    *ret_check = check;
    return KMS_OK;
}

enum kms_audit_join kms_audit_check_join(const struct kms_audit_check *before,
                                         const struct kms_audit_check *after)
{
    if (strcmp(before->end.id, after->end.id) != 0)
        return KMS_AUDIT_UNRELATED;
    if (after->first_seq > before->end.seq + 1)
        return KMS_AUDIT_MISSING;
    bool follows = after->first_seq == before->end.seq + 1 &&
                   memcmp(after->first_prev, before->end.head, sizeof(after->first_prev)) == 0;
    return follows ? KMS_AUDIT_JOINED : KMS_AUDIT_FORKED;
}
