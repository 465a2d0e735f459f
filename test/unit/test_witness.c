/* SPDX-License-Identifier: Apache-2.0 */
/* Histories that obey the rule of a promotion, and one for each way to break it. */
#include "check.h"
#include "witness.h"

static struct witness witness;

/* Status told 1, then 2; an Encrypt before and one after. */
static int obey(void **unused)
{
    (void)unused;
    witness_init(&witness);
    witness_status(&witness, 1, 10, 20);
    witness_encrypt(&witness, 1, 30, 40);
    witness_status(&witness, 2, 50, 60);
    witness_encrypt(&witness, 2, 70, 80);
    return 0;
}

static void assert_fault(const char *text, uint32_t generation)
{
    uint32_t found;
    const char *fault = witness_fault(&witness, &found);
    assert_non_null(fault);
    assert_contains(fault, text);
    assert_int_equal(found, generation);
}

static void assert_obeyed(void)
{
    uint32_t found;
    const char *fault = witness_fault(&witness, &found);
    if (fault != NULL)
        fail_msg("generation %u: %s", (unsigned)found, fault);
}

static void one_rotation_in_order_is_obeyed(void **unused)
{
    (void)unused;
    assert_obeyed();
}

static void calls_that_overlap_the_first_status_may_use_either_key(void **unused)
{
    (void)unused;
    witness_encrypt(&witness, 1, 59, 90); /* sent before the Status was received */
    witness_encrypt(&witness, 2, 45, 51); /* received after the Status was sent */
    witness_status(&witness, 1, 59, 91);
    assert_obeyed();
}

static void equal_times_prove_no_order(void **unused)
{
    (void)unused;
    witness_encrypt(&witness, 1, 60, 61);
    witness_encrypt(&witness, 2, 49, 50);
    witness_status(&witness, 1, 60, 61);
    assert_obeyed();
}

static void an_older_key_after_a_status_is_a_fault(void **unused)
{
    (void)unused;
    witness_encrypt(&witness, 1, 61, 90);
    assert_fault("Encrypt used an older key", 1);
}

static void an_older_key_after_a_much_newer_status_is_a_fault(void **unused)
{
    (void)unused;
    witness_status(&witness, 200, 62, 63);
    witness_encrypt(&witness, 2, 64, 90);
    assert_fault("Encrypt used an older key", 2);
}

static void a_key_that_no_status_told_yet_is_a_fault(void **unused)
{
    (void)unused;
    witness_encrypt(&witness, 2, 45, 49);
    assert_fault("before a Status told it", 2);
}

static void a_key_that_no_status_ever_told_is_a_fault(void **unused)
{
    (void)unused;
    witness_encrypt(&witness, 3, 90, 100);
    assert_fault("before a Status told it", 3);
}

static void a_status_that_goes_back_is_a_fault(void **unused)
{
    (void)unused;
    witness_status(&witness, 1, 61, 90);
    assert_fault("Status told an older key", 1);
}

static void a_second_drop_by_one_client_is_a_fault(void **unused)
{
    (void)unused;
    witness_drop(&witness, 2);
    assert_obeyed();
    witness_drop(&witness, 2);
    assert_fault("second answer", 2);
}

static void an_answer_without_a_generation_is_a_fault(void **unused)
{
    (void)unused;
    witness_encrypt(&witness, 0, 61, 90);
    assert_fault("no generation", 0);
    obey(NULL);
    witness_status(&witness, WITNESS_GENERATIONS, 61, 90);
    assert_fault("no generation", 0);
}

static void what_two_saw_is_judged_together(void **unused)
{
    (void)unused;
    struct witness other;
    witness_init(&other);
    witness_encrypt(&other, 1, 61, 90); /* fine as far as @other knows, but for its first Status */
    witness_status(&other, 1, 10, 20);
    uint32_t ignored;
    assert_null(witness_fault(&other, &ignored));
    witness_join(&witness, &other);
    assert_fault("Encrypt used an older key", 1);
}

static void one_drop_each_by_two_clients_is_obeyed(void **unused)
{
    (void)unused;
    struct witness other;
    witness_init(&other);
    witness_drop(&witness, 2);
    witness_drop(&other, 2);
    witness_join(&witness, &other);
    assert_obeyed();
    assert_int_equal(witness.drops, 2);
}

static void what_was_told_is_known(void **unused)
{
    (void)unused;
    witness_encrypt(&witness, 3, 90, 100);
    assert_true(witness_was_told(&witness, 2));
    assert_false(witness_was_told(&witness, 3));
}

#define WITNESS_TEST(test) cmocka_unit_test_setup(test, obey)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITNESS_TEST(one_rotation_in_order_is_obeyed),
        WITNESS_TEST(calls_that_overlap_the_first_status_may_use_either_key),
        WITNESS_TEST(equal_times_prove_no_order),
        WITNESS_TEST(an_older_key_after_a_status_is_a_fault),
        WITNESS_TEST(an_older_key_after_a_much_newer_status_is_a_fault),
        WITNESS_TEST(a_key_that_no_status_told_yet_is_a_fault),
        WITNESS_TEST(a_key_that_no_status_ever_told_is_a_fault),
        WITNESS_TEST(a_status_that_goes_back_is_a_fault),
        WITNESS_TEST(a_second_drop_by_one_client_is_a_fault),
        WITNESS_TEST(an_answer_without_a_generation_is_a_fault),
        WITNESS_TEST(what_two_saw_is_judged_together),
        WITNESS_TEST(one_drop_each_by_two_clients_is_obeyed),
        WITNESS_TEST(what_was_told_is_known),
    };
    return cmocka_run_group_tests_name("witness", tests, NULL, NULL);
}
