/* SPDX-License-Identifier: Apache-2.0 */
/* The schema of the configuration: one row a field.  Private to config.c and schema.c. */
#ifndef KMS_SCHEMA_H
#define KMS_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"

enum {
    KMS_SCHEMA_FIELDS_MAX = 64,
    KMS_SCHEMA_PATH_MAX = 128, /* bytes of a path, as written in a message */
    KMS_SCHEMA_QUOTE_MAX = 160 /* bytes of a quoted value, the final NUL included */
};

enum kms_schema_type {
    KMS_SCHEMA_SECTION,     /* a mapping; the rows below its path are its fields */
    KMS_SCHEMA_LIST,        /* of mappings, or of the scalar whose row is "<path>[]" */
    KMS_SCHEMA_TEXT,        /* char *, owned */
    KMS_SCHEMA_NUMBER,      /* uint32_t */
    KMS_SCHEMA_DURATION,    /* int64_t, milliseconds */
    KMS_SCHEMA_BOOL,        /* bool */
    KMS_SCHEMA_MODE,        /* mode_t */
    KMS_SCHEMA_FINGERPRINT, /* uint8_t[KMS_FINGERPRINT_LEN] */
    KMS_SCHEMA_CKA_ID,      /* struct kms_config_cka_id */
    KMS_SCHEMA_TIME,        /* int64_t, UTC seconds */
    KMS_SCHEMA_CHOICE,      /* an enum whose members count from 0 */
    KMS_SCHEMA_LOG_FORMAT,
    KMS_SCHEMA_LOG_LEVEL,
};

struct kms_schema_field {
    const char *path; /* "tokens[].sessions" */
    enum kms_schema_type type;
    size_t offset;        /* in the innermost list item, else in struct kms_config */
    int64_t min, max;     /* of the number, milliseconds, bytes of text or entries */
    bool required;        /* else @fallback, or nothing */
    const char *fallback; /* as one would write it in the file */
    const char *form;     /* of a text or choice: what it looks like */
    const char *meaning;
    const char *(*check)(const char *text); /* of a text: NULL, or what is wrong (a constant) */
    const char *const *choices;     /* of a choice: the words for its members; ends with NULL */
    size_t item_size, count_offset; /* of a list */
    const char *(*check_items)(const void *items, size_t count); /* of a list; may be NULL */
};

extern const struct kms_schema_field kms_schema_fields[];
extern const size_t kms_schema_field_count;

/* Row number of the field @key directly below @parent ("" is the root); the count if none. */
size_t kms_schema_find(const char *parent, const char *key);
/* The name of row @index below @parent, NULL if it isn't directly below. */
const char *kms_schema_name_below(size_t index, const char *parent);
/* The row of the scalars that list @path holds; NULL if it holds mappings. */
const struct kms_schema_field *kms_schema_item(const char *path);

/* "a duration": what the field takes, for messages. */
const char *kms_schema_type_text(enum kms_schema_type type);

struct kms_schema_value {
    const char *text; /* @len bytes and a NUL */
    size_t len;
    bool quoted;
};
/* Checks @value and stores it at @base + the field's offset.  KMS_E_INVALID says what is wrong,
 * without the place; KMS_E_BUSY without memory. */
KMS_MUST_CHECK enum kms_code kms_schema_set(const struct kms_schema_field *field,
                                            const struct kms_schema_value *value, void *base,
                                            struct kms_error *err);

/* @text in quotes, escaped and cut, fit for a message. Returns @ret_text. */
const char *kms_schema_quote(const char *text, size_t len,
                             char ret_text[static KMS_SCHEMA_QUOTE_MAX]);

struct kms_config_token;
/* The name of @tokens[@index]: its own, or by its place, written to @ret_default. */
const char *kms_schema_token_name(const struct kms_config_token *tokens, size_t index,
                                  char ret_default[static KMS_TOKEN_NAME_MAX + 1]);

/* NULL, or why @path can't be a socket's. */
const char *kms_schema_check_socket_path(const char *path);

#endif
