/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: hostile bytes never reach a terminal, columns are aligned. */
#ifndef KMS_TEXT_H
#define KMS_TEXT_H

#include <stddef.h>
#include <stdio.h>

#include "kms/bytes.h"

/* A copy of @bytes in which everything but printable UTF-8 is written as \xNN: control characters,
 * malformed sequences, marks that turn or hide text.  Owned: free(); ends the program when out of
 * memory. */
char *kms_text_escape(struct kms_bytes bytes);

/* Writes @text, escaped. */
void kms_text_put(FILE *out, const char *text);

/* A table of @columns columns; the first row is its header. */
struct kms_table;
struct kms_table *kms_table_open(size_t columns);
/* Adds the next cell, a copy of @text, escaped; "" and NULL show as "-". */
void kms_table_add(struct kms_table *table, const char *text);
/* A line under the row that was added last, past its first column; escaped. */
void kms_table_note(struct kms_table *table, const char *text);
/* Two spaces between columns, none at a line's end. */
void kms_table_print(const struct kms_table *table, FILE *out);
void kms_table_close(struct kms_table *table);
KMS_DEFINE_CLOSE_PTR(struct kms_table *, kms_table_close)

/* How many edits turn @a into @b (Levenshtein), for suggestions; at most 32 bytes are compared. */
size_t kms_text_distance(const char *a, const char *b);

/* malloc() and the like, for commands: end the program with a message when out of memory. */
void *kms_must_alloc(void *data);

#endif
