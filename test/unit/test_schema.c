/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config.h"
#include "schema.h"

static char *print_reference(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    kms_config_print_reference(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void the_reference_has_a_row_for_each_field(void **state)
{
    (void)state;
    char *text = print_reference();
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        char row[KMS_SCHEMA_PATH_MAX];
        (void)snprintf(row, sizeof(row), "\n| `%s` | ", kms_schema_fields[i].path);
        bool expected = kms_schema_fields[i].meaning[0] != '\0';
        assert_int_equal(strstr(text, row) != NULL, expected);
    }
    free(text);
}

static void the_reference_tells_range_and_default(void **state)
{
    (void)state;
    char *text = print_reference();
    assert_non_null(strstr(text, "| `tokens[].sessions` | whole number 1..64 | `4` | "));
    assert_non_null(strstr(text, "| `refresh` | duration 1s..10m | `30s` | "));
    assert_non_null(strstr(text, "| `ring` | 1 to 24 of `a-z`, `0-9`, `-` | required | "));
    assert_non_null(strstr(text, "| `socket.mode` | octal mode in quotes, `\"0600\"`..`\"0666\"` | "
                                 "`\"0660\"` | "));
    assert_non_null(strstr(text, "| `tokens[].user` | text | none | "));
    assert_non_null(strstr(text, "| `rotation.two_step` | true or false | `false` | "));
    assert_non_null(strstr(text,
                           "| `socket.allow_uids` | list of 0..64 entries, each a whole number "
                           "0..4294967294 | none | "));
    free(text);
}

static void every_row_of_the_reference_has_four_columns(void **state)
{
    (void)state;
    char *text = print_reference();
    size_t bars = 0;
    for (const char *at = text; *at != '\0'; at++) {
        bars += *at == '|' ? 1 : 0;
        if (*at == '\n') {
            assert_int_equal(bars, 5);
            bars = 0;
        }
    }
    free(text);
}

static void each_default_passes_its_own_check(void **state)
{
    (void)state;
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        const struct kms_schema_field *field = &kms_schema_fields[i];
        if (field->fallback == NULL)
            continue;
        struct kms_config config = { 0 };
        struct kms_config_token token = { 0 };
        struct kms_schema_value value = { field->fallback, strlen(field->fallback),
                                          field->type == KMS_SCHEMA_MODE };
        struct kms_error err = { 0 };
        bool is_token = strncmp(field->path, "tokens[]", 8) == 0;
        void *base = is_token ? (void *)&token : (void *)&config;
        assert_int_equal(kms_schema_set(field, &value, base, &err), KMS_OK);
        kms_config_done(&config);
    }
}

static void a_quoted_value_fits_whatever_its_bytes(void **state)
{
    (void)state;
    char hostile[200], quoted[KMS_SCHEMA_QUOTE_MAX];
    memset(hostile, 0x9b, sizeof(hostile));
    (void)kms_schema_quote(hostile, sizeof(hostile), quoted);
    assert_int_equal(strlen(quoted), 1 + 32 * 4 + 3 + 1);
    assert_string_equal(quoted + strlen(quoted) - 8, "\\x9b...\"");
}

static void a_field_is_found_only_below_its_parent(void **state)
{
    (void)state;
    assert_int_not_equal(kms_schema_find("tokens[]", "uri"), kms_schema_field_count);
    assert_int_equal(kms_schema_find("", "uri"), kms_schema_field_count);
    assert_int_equal(kms_schema_find("", "tokens[]"), kms_schema_field_count);
    assert_int_equal(kms_schema_find("socket", "allow_uids[]"), kms_schema_field_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_has_a_row_for_each_field),
        cmocka_unit_test(the_reference_tells_range_and_default),
        cmocka_unit_test(every_row_of_the_reference_has_four_columns),
        cmocka_unit_test(each_default_passes_its_own_check),
        cmocka_unit_test(a_quoted_value_fits_whatever_its_bytes),
        cmocka_unit_test(a_field_is_found_only_below_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
