/* SPDX-License-Identifier: Apache-2.0 */
#include "report/intern.h"

#include <stdio.h>

#include "check.h"

enum { MAX = 100, LONGEST = 8 };

static uint32_t number_of(struct kms_intern *intern, const char *text)
{
    uint32_t number = 12345;
    struct kms_error err = { 0 };
    assert_ok(kms_intern_number(intern, kms_bytes_of(text), LONGEST, &number, &err), &err);
    return number;
}

static void the_same_bytes_have_the_same_number(void **state)
{
    struct kms_intern *intern = *state;
    uint32_t a = number_of(intern, "a"), b = number_of(intern, "b"), none = number_of(intern, "");
    assert_true(a != 0 && b != 0 && none != 0 && a != b && a != none && b != none);
    assert_int_equal(number_of(intern, "a"), a);
    assert_int_equal(number_of(intern, ""), none);
    assert_true(kms_bytes_equal(intern->items[b], kms_bytes_of("b")));
}

static void what_finds_no_room_is_number_0(void **state)
{
    struct kms_intern *intern = *state;
    char text[16];
    for (int i = 1; i < MAX; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(number_of(intern, text), i);
    }
    assert_int_equal(number_of(intern, "new"), 0);
    assert_int_equal(number_of(intern, "99"), 99);
    assert_int_equal(intern->count, MAX);
}

static void what_is_too_long_is_number_0(void **state)
{
    assert_int_equal(number_of(*state, "123456789"), 0);
    assert_int_equal(number_of(*state, "12345678"), 1);
}

static int set_up(void **state)
{
    static struct kms_intern intern;
    struct kms_error err = { 0 };
    *state = &intern;
    return kms_intern_init(&intern, MAX, &err) == KMS_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    kms_intern_done(*state);
    kms_intern_done(*state); /* twice is safe */
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_bytes_have_the_same_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_finds_no_room_is_number_0, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_long_is_number_0, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
