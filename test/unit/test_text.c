/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text.h"

static void assert_escaped(const char *text, const char *expected)
{
    char *escaped = kms_text_escape(kms_bytes_of(text));
    assert_string_equal(escaped, expected);
    free(escaped);
}

static void plain_text_stays_as_it_is(void **state)
{
    (void)state;
    assert_escaped("prod.v1@20261201T120000Z ~", "prod.v1@20261201T120000Z ~");
    assert_escaped("gr\xc3\xbc\xc3\x9f \xe2\x80\xa6", "gr\xc3\xbc\xc3\x9f \xe2\x80\xa6");
}

static void control_characters_are_escaped(void **state)
{
    (void)state;
    assert_escaped("a\x1b[2Jb\n\r\t\x7f", "a\\x1b[2Jb\\x0a\\x0d\\x09\\x7f");
    assert_escaped("\xc2\x9b", "\\xc2\\x9b");
}

static void a_nul_is_escaped(void **state)
{
    (void)state;
    char *escaped = kms_text_escape((struct kms_bytes){ (const uint8_t *)"a\0b", 3 });
    assert_string_equal(escaped, "a\\x00b");
    free(escaped);
}

static void malformed_utf8_is_escaped_byte_by_byte(void **state)
{
    (void)state;
    assert_escaped("\xff", "\\xff");
    assert_escaped("\xe2\x80", "\\xe2\\x80");
    assert_escaped("\xc0\xaf", "\\xc0\\xaf");
    assert_escaped("\xf0\x9f\x98", "\\xf0\\x9f\\x98");
}

static void marks_that_turn_or_hide_text_are_escaped(void **state)
{
    (void)state;
    static const char override[] = { 'a', '\xe2', '\x80', '\xae', 'b', '\0' };
    static const char isolate[] = { '\xe2', '\x81', '\xa6', '\0' };
    assert_escaped(override, "a\\xe2\\x80\\xaeb");
    assert_escaped(isolate, "\\xe2\\x81\\xa6");
    assert_escaped("\xe2\x80\x8b", "\\xe2\\x80\\x8b");
    assert_escaped("\xef\xbb\xbf", "\\xef\\xbb\\xbf");
}

static void columns_are_aligned_and_lines_end_without_blanks(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct kms_table *table = kms_table_open(3);
    static const char *const cells[] = { "A", "B", "C", "long", "\xc3\xbc", NULL, "x", "yy", "" };
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
        kms_table_add(table, cells[i]);
    kms_table_print(table, out);
    kms_table_close(table);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "A     B   C\n"
                              "long  \xc3\xbc   -\n"
                              "x     yy  -\n");
    free(text);
}

static void a_cell_cannot_break_its_line(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct kms_table *table = kms_table_open(1);
    kms_table_add(table, "a\nb");
    kms_table_print(table, out);
    kms_table_close(table);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "a\\x0ab\n");
    free(text);
}

static void notes_stand_under_their_rows(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    struct kms_table *table = kms_table_open(2);
    static const char *const cells[] = { "GEN", "B", "1", "x", "2", "yy" };
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
        kms_table_add(table, cells[i]);
        if (i == 3) {
            kms_table_note(table, "why\x1b");
            kms_table_note(table, "and more");
        }
    }
    kms_table_print(table, out);
    kms_table_close(table);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "GEN  B\n"
                              "1    x\n"
                              "     why\\x1b\n"
                              "     and more\n"
                              "2    yy\n");
    free(text);
}

static void distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(kms_text_distance("key", "key"), 0);
    assert_int_equal(kms_text_distance("key", "kye"), 2);
    assert_int_equal(kms_text_distance("probe", "prob"), 1);
    assert_int_equal(kms_text_distance("", "serve"), 5);
    assert_int_equal(kms_text_distance("kitten", "sitting"), 3);
}

static void distance_copes_with_long_names(void **state)
{
    (void)state;
    char long_name[500];
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(kms_text_distance("key", long_name), 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_stays_as_it_is),
        cmocka_unit_test(control_characters_are_escaped),
        cmocka_unit_test(a_nul_is_escaped),
        cmocka_unit_test(malformed_utf8_is_escaped_byte_by_byte),
        cmocka_unit_test(marks_that_turn_or_hide_text_are_escaped),
        cmocka_unit_test(columns_are_aligned_and_lines_end_without_blanks),
        cmocka_unit_test(a_cell_cannot_break_its_line),
        cmocka_unit_test(notes_stand_under_their_rows),
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(distance_copes_with_long_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
