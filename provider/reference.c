/* SPDX-License-Identifier: Apache-2.0 */
/* The schema as a table for people. */
#include <inttypes.h>
#include <stdio.h>

#include "config.h"
#include "kms/clock.h"
#include "schema.h"

static void print_type(FILE *out, const struct kms_schema_field *field)
{
    char min[KMS_DURATION_LEN + 1], max[KMS_DURATION_LEN + 1];
    switch (field->type) {
    case KMS_SCHEMA_TEXT:
    case KMS_SCHEMA_CHOICE:
        (void)fputs(field->form, out);
        return;
    case KMS_SCHEMA_NUMBER:
        (void)fprintf(out, "whole number %" PRId64 "..%" PRId64, field->min, field->max);
        return;
    case KMS_SCHEMA_DURATION:
        kms_duration_format(field->min, min);
        kms_duration_format(field->max, max);
        (void)fprintf(out, "duration %s..%s", min, max);
        return;
    case KMS_SCHEMA_MODE:
        (void)fputs("octal mode in quotes, `\"0600\"`..`\"0666\"`", out);
        return;
    case KMS_SCHEMA_BOOL:
    case KMS_SCHEMA_FINGERPRINT:
    case KMS_SCHEMA_CKA_ID:
    case KMS_SCHEMA_TIME:
    case KMS_SCHEMA_LOG_FORMAT:
    case KMS_SCHEMA_LOG_LEVEL:
    case KMS_SCHEMA_SECTION:
    case KMS_SCHEMA_LIST:
        (void)fputs(kms_schema_type_text(field->type), out);
        return;
    }
}

static void print_row(FILE *out, const struct kms_schema_field *field)
{
    const struct kms_schema_field *item = kms_schema_item(field->path);
    (void)fprintf(out, "| `%s` | ", field->path);
    if (field->type == KMS_SCHEMA_LIST) {
        (void)fprintf(out, "list of %" PRId64 "..%" PRId64 " entries", field->min, field->max);
        if (item != NULL) {
            (void)fputs(", each a ", out);
            print_type(out, item);
        }
    } else {
        print_type(out, field);
    }
    if (field->required)
        (void)fputs(" | required", out);
    else if (field->fallback == NULL)
        (void)fputs(" | none", out);
    else
        (void)fprintf(out, field->type == KMS_SCHEMA_MODE ? " | `\"%s\"`" : " | `%s`",
                      field->fallback);
    (void)fprintf(out, " | %s |\n", field->meaning);
}

void kms_config_print_reference(FILE *out)
{
    (void)fputs("| Field | Type and range | Default | Meaning |\n|---|---|---|---|\n", out);
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        const struct kms_schema_field *field = &kms_schema_fields[i];
        if (field->meaning[0] != '\0')
            print_row(out, field);
    }
}
