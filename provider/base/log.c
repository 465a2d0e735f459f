/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/log.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kms/clock.h"
#include "kms/log_writer.h"

enum { BYTES_FIELD_MAX = 128 };

static _Atomic int log_level = KMS_LOG_INFO;
static _Atomic int log_format = KMS_LOG_TEXT;
static _Atomic int log_fd = STDERR_FILENO;

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void kms_log_open(enum kms_log_format format, enum kms_log_level level, int fd)
{
    atomic_store(&log_format, (int)format);
    atomic_store(&log_level, (int)level);
    atomic_store(&log_fd, fd);
}

void kms_log_set_level(enum kms_log_level level)
{
    atomic_store(&log_level, (int)level);
}

bool kms_log_enabled(enum kms_log_level level)
{
    return (int)level >= atomic_load(&log_level);
}

bool kms_log_level_parse(const char *text, enum kms_log_level *ret_level)
{
    for (int i = KMS_LOG_DEBUG; i <= KMS_LOG_ERROR; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum kms_log_level)i;
            return true;
        }
    }
    return false;
}

bool kms_log_format_parse(const char *text, enum kms_log_format *ret_format)
{
    bool json = strcmp(text, "json") == 0;
    if (!json && strcmp(text, "text") != 0)
        return false;
    *ret_format = json ? KMS_LOG_JSON : KMS_LOG_TEXT;
    return true;
}

/* One line under construction; the line end always fits. */
struct line {
    char text[KMS_LOG_LINE_MAX];
    size_t len;
    bool full; /* something didn't fit */
};

static void put(struct line *line, const char *text, size_t len)
{
    size_t room = sizeof line->text - 8 - line->len; /* 8: what closes the line */
    if (len > room) {
        line->full = true;
        return;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

/* Printable ASCII as it is, all else escaped: \u00XX is right for control characters in JSON; bytes
 * from 0x80 on pass only as part of clean UTF-8 (@clean). */
static void put_escaped(struct line *line, struct kms_bytes bytes, bool clean)
{
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.data[i];
        if (c == '"' || c == '\\') {
            put(line, (const char[]){ '\\', (char)c }, 2);
        } else if ((c >= 0x20 && c < 0x7f) || (c >= 0x80 && clean)) {
            put(line, (const char *)&bytes.data[i], 1);
        } else {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put_text(line, escape);
        }
    }
}

static void put_quoted(struct line *line, struct kms_bytes bytes)
{
    put(line, "\"", 1);
    put_escaped(line, bytes, kms_text_is_clean(bytes));
    put(line, "\"", 1);
}

/* In text lines a value without blanks, quotes and the like stands bare. */
static void put_value(struct line *line, struct kms_bytes bytes, bool json)
{
    bool bare = !json && bytes.len > 0;
    for (size_t i = 0; i < bytes.len && bare; i++)
        bare = bytes.data[i] > ' ' && bytes.data[i] < 0x7f &&
               strchr("\"\\=", (int)bytes.data[i]) == NULL;
    if (bare)
        put(line, (const char *)bytes.data, bytes.len);
    else
        put_quoted(line, bytes);
}

static void put_number(struct line *line, int64_t number)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, number);
    put_text(line, digits);
}

static void put_field_value(struct line *line, const struct kms_log_field *field, bool json)
{
    struct kms_bytes bytes = field->bytes;
    switch (field->kind) {
    case KMS_LOG_FIELD_TEXT:
        put_value(line, kms_bytes_of(field->text), json);
        return;
    case KMS_LOG_FIELD_BYTES:
        if (bytes.len > BYTES_FIELD_MAX)
            bytes.len = BYTES_FIELD_MAX;
        put_value(line, bytes, json);
        return;
    case KMS_LOG_FIELD_INT:
        put_number(line, field->number);
        return;
    case KMS_LOG_FIELD_BOOL:
        put_text(line, field->number != 0 ? "true" : "false");
        return;
    }
}

/* A field is there whole or not at all, so that a line of JSON always parses. */
static void put_field(struct line *line, const struct kms_log_field *field, bool json)
{
    if (field->kind == KMS_LOG_FIELD_TEXT && field->text == NULL)
        return;
    size_t before = line->len;
    put_text(line, json ? ",\"" : " ");
    put_text(line, field->key);
    put_text(line, json ? "\":" : "=");
    put_field_value(line, field, json);
    if (line->full)
        line->len = before;
    line->full = false;
}

static void put_head(struct line *line, enum kms_log_level level, const char *msg, bool json)
{
    char stamp[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format_ms(kms_utc_ms(), stamp);
    put_text(line, json ? "{\"ts\":\"" : "");
    put_text(line, stamp);
    put_text(line, json ? "\",\"level\":\"" : " ");
    put_text(line, level_names[level]);
    put_text(line, json ? "\",\"msg\":" : " ");
    if (json)
        put_quoted(line, kms_bytes_of(msg));
    else
        put_text(line, msg);
}

static void make_line(struct line *ret_line, enum kms_log_level level, const char *msg,
                      const struct kms_log_field *fields, size_t count)
{
    bool json = atomic_load(&log_format) == (int)KMS_LOG_JSON;
    ret_line->len = 0;
    ret_line->full = false;
    put_head(ret_line, level, msg, json);
    for (size_t i = 0; i < count; i++)
        put_field(ret_line, &fields[i], json);

    const char *end = json ? "}\n" : "\n";
    memcpy(ret_line->text + ret_line->len, end, strlen(end));
    ret_line->len += strlen(end);
}

void kms_log_fields(enum kms_log_level level, const char *msg, const struct kms_log_field *fields,
                    size_t count)
{
    if (!kms_log_enabled(level))
        return;
    struct line line;
    make_line(&line, level, msg, fields, count);
    if (!kms_log_writer_put(line.text, line.len))
        kms_log_write(atomic_load(&log_fd), line.text, line.len);
}

static size_t format_lost(uint64_t lost, char ret_text[static KMS_LOG_LINE_MAX])
{
    struct line line;
    const struct kms_log_field field = KMS_F_INT("lines", lost);
    make_line(&line, KMS_LOG_ERROR, "log lines are lost here, nobody took them", &field, 1);
    memcpy(ret_text, line.text, line.len);
    return line.len;
}

enum kms_code kms_log_start(struct kms_error *err)
{
    return kms_log_writer_start(atomic_load(&log_fd), format_lost, err);
}

void kms_log_stop(int64_t wait_ms)
{
    kms_log_writer_stop(wait_ms);
}

void kms_log_error(enum kms_log_level level, const char *msg, const struct kms_error *err,
                   const struct kms_log_field *more, size_t more_count)
{
    struct kms_log_field fields[16];
    size_t count = 0;
    for (size_t i = 0; i < more_count && count < 12; i++)
        fields[count++] = more[i];
    fields[count++] = KMS_F_TEXT("code", kms_code_name(err->code));
    fields[count++] = KMS_F_TEXT("op", err->op);
    if (err->ckr != 0)
        fields[count++] = KMS_F_INT("ckr", (int64_t)err->ckr);
    fields[count++] = KMS_F_TEXT("error", err->msg);
    kms_log_fields(level, msg, fields, count);
}
