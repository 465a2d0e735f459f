/* SPDX-License-Identifier: Apache-2.0 */
/* What Describe tells of several tokens; of one, and all else: test_rpc.c. */
#include "check.h"

#include <stdio.h>

#include "describe.h"
#include "proto/node.pb-c.h"

enum { TOKENS = 2, UNTIL = 1796126400 };

/* Two tokens, of which the second is drained; a KEK on both and one on the first. */
struct bench {
    struct kms_snapshot snapshot;
    struct kms_ring_entry entries[2];
    struct kms_description description;
    Hsmkms__Node__V1__DescribeResponse *told;
};

static void name_token(struct bench *bench, size_t i, const char *name)
{
    struct kms_token_info *info = &bench->description.tokens[i];
    struct kms_ring_token *token = &bench->snapshot.tokens[i];
    (void)snprintf(info->name, sizeof(info->name), "%s", name);
    (void)snprintf(token->name, sizeof(token->name), "%s", name);
}

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .entries = { { .kek = { .holders = 3 } },
                                         { .kek = { .holders = 1 } } } };
    bench.snapshot.entries = bench.entries;
    bench.snapshot.count = 2;
    bench.snapshot.token_count = TOKENS;
    bench.description = (struct kms_description){
        .node = "n", .version = "v", .ring = "r", .snapshot = &bench.snapshot, .token_count = TOKENS
    };
    name_token(&bench, 0, "a");
    name_token(&bench, 1, "b");
    bench.snapshot.tokens[0].in_use = bench.snapshot.tokens[0].required = true;
    bench.snapshot.tokens[1].drained_until_utc_s = UNTIL;
    (void)snprintf(bench.snapshot.tokens[1].problem, sizeof(bench.snapshot.tokens[1].problem),
                   "drained by an operator");
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    hsmkms__node__v1__describe_response__free_unpacked(bench->told, NULL);
    return 0;
}

static void describe(struct bench *bench)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    struct kms_error err;
    assert_ok(kms_describe_pack(&bench->description, &reply, &err), &err);
    bench->told = hsmkms__node__v1__describe_response__unpack(NULL, reply.len, reply.data);
    assert_non_null(bench->told);
    assert_int_equal(bench->told->n_tokens, bench->description.token_count);
}

static void each_token_is_told_with_what_it_is_to_the_ring(void **state)
{
    struct bench *bench = *state;
    describe(bench);
    const Hsmkms__Node__V1__Token *a = bench->told->tokens[0], *b = bench->told->tokens[1];
    assert_string_equal(a->name, "a");
    assert_true(a->in_use);
    assert_true(a->required);
    assert_int_equal(a->drained_until, 0);
    assert_string_equal(a->problem, "");
    assert_string_equal(b->name, "b");
    assert_false(b->in_use);
    assert_false(b->required);
    assert_int_equal(b->drained_until, UNTIL);
    assert_string_equal(b->problem, "drained by an operator");
}

static void a_resting_token_that_is_in_use_tells_why_it_rests(void **state)
{
    struct bench *bench = *state;
    struct kms_token_info *info = &bench->description.tokens[0];
    info->resting = true;
    (void)snprintf(info->problem, sizeof(info->problem), "it hangs");
    describe(bench);
    assert_true(bench->told->tokens[0]->resting);
    assert_true(bench->told->tokens[0]->in_use);
    assert_string_equal(bench->told->tokens[0]->problem, "it hangs");
}

static void keks_name_their_holders(void **state)
{
    struct bench *bench = *state;
    describe(bench);
    assert_int_equal(bench->told->keks[0]->n_holders, 2);
    assert_string_equal(bench->told->keks[0]->holders[0], "a");
    assert_string_equal(bench->told->keks[0]->holders[1], "b");
    assert_int_equal(bench->told->keks[1]->n_holders, 1);
    assert_string_equal(bench->told->keks[1]->holders[0], "a");
}

static void keks_tell_whether_they_may_unwrap(void **state)
{
    struct bench *bench = *state;
    bench->entries[1].may_unwrap = true;
    describe(bench);
    assert_false(bench->told->keks[0]->may_unwrap);
    assert_true(bench->told->keks[1]->may_unwrap);
}

static void the_only_token_is_in_use_while_it_is_connected(void **state)
{
    struct bench *bench = *state;
    bench->snapshot.token_count = 0;
    bench->description.token_count = 1;
    bench->description.tokens[0] = (struct kms_token_info){ .connected = true };
    describe(bench);
    assert_true(bench->told->tokens[0]->in_use);
    assert_string_equal(bench->told->tokens[0]->name, "");
    assert_int_equal(bench->told->keks[0]->n_holders, 0);
}

static void before_any_listing_none_of_several_is_in_use(void **state)
{
    struct bench *bench = *state;
    bench->snapshot.token_count = 0;
    bench->description.tokens[0].connected = true;
    describe(bench);
    assert_false(bench->told->tokens[0]->in_use);
    assert_string_equal(bench->told->tokens[0]->name, "a");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_token_is_told_with_what_it_is_to_the_ring),
        TEST(a_resting_token_that_is_in_use_tells_why_it_rests),
        TEST(keks_name_their_holders),
        TEST(keks_tell_whether_they_may_unwrap),
        TEST(the_only_token_is_in_use_while_it_is_connected),
        TEST(before_any_listing_none_of_several_is_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
