/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *kms_must_alloc(void *data)
{
    if (data == NULL) {
        (void)fputs("hsm-kms: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return data;
}

static size_t sequence_len(uint8_t lead)
{
    if (lead < 0x80)
        return 1;
    if (lead < 0xe0)
        return 2;
    return lead < 0xf0 ? 3 : 4;
}

/* U+200B..200F, U+202A..202E, U+2060..206F, U+FEFF: they turn, join or hide what stands around. */
static bool is_invisible(const uint8_t *at, size_t len)
{
    if (len != 3)
        return false;
    if (at[0] == 0xe2 && at[1] == 0x80)
        return (at[2] >= 0x8b && at[2] <= 0x8f) || (at[2] >= 0xa8 && at[2] <= 0xae);
    if (at[0] == 0xe2 && at[1] == 0x81)
        return at[2] >= 0xa0 && at[2] <= 0xaf;
    return at[0] == 0xef && at[1] == 0xbb && at[2] == 0xbf;
}

/* Length of the printable character at the head of @rest; 0 if there is none. */
static size_t printable_len(struct kms_bytes rest)
{
    size_t len = sequence_len(rest.data[0]);
    if (len > rest.len || is_invisible(rest.data, len))
        return 0;
    return kms_text_is_clean((struct kms_bytes){ rest.data, len }) ? len : 0;
}

char *kms_text_escape(struct kms_bytes bytes)
{
    enum { ESCAPED_LEN = 4 };
    size_t cap = bytes.len * ESCAPED_LEN + 1;
    char *text = kms_must_alloc(malloc(cap));
    size_t at = 0;
    for (size_t i = 0; i < bytes.len;) {
        size_t len = printable_len((struct kms_bytes){ bytes.data + i, bytes.len - i });
        if (len > 0) {
            memcpy(text + at, bytes.data + i, len);
            at += len;
            i += len;
        } else {
            at += (size_t)snprintf(text + at, cap - at, "\\x%02x", bytes.data[i]);
            i++;
        }
    }
    text[at] = '\0';
    return text;
}

void kms_text_put(FILE *out, const char *text)
{
    char *safe = kms_text_escape(kms_bytes_of(text));
    (void)fputs(safe, out);
    free(safe);
}

struct note {
    size_t row;
    char *text;
};

struct kms_table {
    size_t columns;
    char **cells;
    size_t count, cap;
    struct note *notes; /* ascending by row */
    size_t note_count;
};

struct kms_table *kms_table_open(size_t columns)
{
    struct kms_table *table = kms_must_alloc(calloc(1, sizeof(*table)));
    table->columns = columns;
    return table;
}

void kms_table_add(struct kms_table *table, const char *text)
{
    enum { GROWTH = 64 };
    if (table->count == table->cap) {
        table->cap += GROWTH;
        table->cells = kms_must_alloc(
            reallocarray(table->cells, table->cap, sizeof(table->cells[0])));
    }
    bool is_empty = text == NULL || text[0] == '\0';
    table->cells[table->count++] = kms_text_escape(kms_bytes_of(is_empty ? "-" : text));
}

void kms_table_note(struct kms_table *table, const char *text)
{
    size_t size = sizeof(table->notes[0]);
    table->notes = kms_must_alloc(reallocarray(table->notes, table->note_count + 1, size));
    table->notes[table->note_count++] = (struct note){
        .row = (table->count - 1) / table->columns,
        .text = kms_text_escape(kms_bytes_of(text)),
    };
}

/* Characters, not bytes: continuation bytes take no column. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((uint8_t)*text & 0xc0) != 0x80 ? 1 : 0;
    return width;
}

static size_t column_width(const struct kms_table *table, size_t column)
{
    size_t widest = 0;
    for (size_t i = column; i < table->count; i += table->columns) {
        size_t width = width_of(table->cells[i]);
        if (width > widest)
            widest = width;
    }
    return widest;
}

static void print_notes(const struct kms_table *table, size_t row, FILE *out)
{
    int indent = (int)column_width(table, 0) + 2;
    for (size_t i = 0; i < table->note_count; i++)
        if (table->notes[i].row == row)
            (void)fprintf(out, "%*s%s\n", indent, "", table->notes[i].text);
}

void kms_table_print(const struct kms_table *table, FILE *out)
{
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns;
        (void)fputs(table->cells[i], out);
        if (column + 1 == table->columns || i + 1 == table->count) {
            (void)fputc('\n', out);
            print_notes(table, i / table->columns, out);
            continue;
        }
        size_t gap = column_width(table, column) - width_of(table->cells[i]) + 2;
        (void)fprintf(out, "%*s", (int)gap, "");
    }
}

void kms_table_close(struct kms_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    for (size_t i = 0; i < table->note_count; i++)
        free(table->notes[i].text);
    free(table->notes);
    free(table->cells);
    free(table);
}

size_t kms_text_distance(const char *a, const char *b)
{
    enum { COMPARED_MAX = 32 };
    size_t a_len = strnlen(a, COMPARED_MAX), b_len = strnlen(b, COMPARED_MAX);
    size_t row[COMPARED_MAX + 1];
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_len];
}
