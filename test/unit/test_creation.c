/* SPDX-License-Identifier: Apache-2.0 */
/* A new key on the first of two tokens. */
#include "check.h"

#include "creation.h"

enum { FIRST = 1, BOTH = 3, SECOND = 2 };

static struct kms_creation made(bool second_is_listed, uint32_t required)
{
    return (struct kms_creation){
        .tokens = { { .name = "a", .listed = true }, { .name = "b", .listed = second_is_listed } },
        .token_count = 2,
        .required = required,
        .holders = FIRST,
    };
}

static void a_listed_token_that_lacks_the_key_is_outstanding(void **state)
{
    (void)state;
    struct kms_creation creation = made(true, 0);
    assert_true(kms_creation_is_outstanding(&creation));
    creation.holders = BOTH;
    assert_false(kms_creation_is_outstanding(&creation));
}

static void a_token_that_is_away_is_outstanding_only_if_it_is_required(void **state)
{
    (void)state;
    struct kms_creation creation = made(false, FIRST);
    assert_false(kms_creation_is_outstanding(&creation));
    creation.required = SECOND;
    assert_true(kms_creation_is_outstanding(&creation));
}

static void the_only_token_is_never_outstanding(void **state)
{
    (void)state;
    struct kms_creation creation = { .name = "created" };
    assert_false(kms_creation_is_outstanding(&creation));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listed_token_that_lacks_the_key_is_outstanding),
        cmocka_unit_test(a_token_that_is_away_is_outstanding_only_if_it_is_required),
        cmocka_unit_test(the_only_token_is_never_outstanding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
