/* SPDX-License-Identifier: Apache-2.0 */
/* Three tokens, 'a', 'b' and 'c', as a plugin describes them: all in use, all with generations 1 and 2. */
#include "check.h"

#include "token_cover.h"

enum { A, B, C, TOKENS, KEKS = 2, NOW_S = 1796126400, MS = 1000 };

struct rig {
    Hsmkms__Node__V1__DescribeResponse description;
    Hsmkms__Node__V1__Health health;
    Hsmkms__Node__V1__Token tokens[TOKENS], *token_list[TOKENS];
    Hsmkms__Node__V1__Kek keks[KEKS], *kek_list[KEKS];
    char *holders[KEKS][TOKENS];
    struct kms_state state;
    char why[KMS_TOKEN_WHY_MAX];
};

static char *text(const char *literal)
{
    union {
        const char *in;
        char *out;
    } same = { .in = literal };
    return same.out;
}

static int set_up(void **state)
{
    static struct rig rig;
    static const char *const names[TOKENS] = { "a", "b", "c" };
    static uint8_t fingerprints[KEKS][1] = { { 1 }, { 2 } };
    rig = (struct rig){ .description = HSMKMS__NODE__V1__DESCRIBE_RESPONSE__INIT,
                        .health = HSMKMS__NODE__V1__HEALTH__INIT };
    rig.health.ok = true;
    for (size_t i = 0; i < TOKENS; i++) {
        rig.tokens[i] = (Hsmkms__Node__V1__Token)HSMKMS__NODE__V1__TOKEN__INIT;
        rig.tokens[i].name = text(names[i]);
        rig.tokens[i].in_use = rig.tokens[i].connected = true;
        rig.token_list[i] = &rig.tokens[i];
    }
    for (size_t i = 0; i < KEKS; i++) {
        rig.keks[i] = (Hsmkms__Node__V1__Kek)HSMKMS__NODE__V1__KEK__INIT;
        rig.keks[i].generation = (uint32_t)i + 1;
        rig.keks[i].state = text(i == 0 ? "decrypt-only" : "active");
        rig.keks[i].label = text(i == 0 ? "prod.v1" : "prod.v2");
        rig.keks[i].fingerprint.data = fingerprints[i];
        rig.keks[i].fingerprint.len = 1;
        for (size_t k = 0; k < TOKENS; k++)
            rig.holders[i][k] = rig.tokens[k].name;
        rig.keks[i].holders = rig.holders[i];
        rig.keks[i].n_holders = TOKENS;
        rig.kek_list[i] = &rig.keks[i];
    }
    rig.description.health = &rig.health;
    rig.description.tokens = rig.token_list;
    rig.description.n_tokens = TOKENS;
    rig.description.keks = rig.kek_list;
    rig.description.n_keks = KEKS;
    rig.description.refresh = rig.description.canary = 30 * MS;
    rig.description.now = (int64_t)NOW_S * MS;
    rig.description.listed = NOW_S - 10;
    *state = &rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    kms_state_done(&rig->state);
    return 0;
}

static bool can_stop(struct rig *rig, const char *name)
{
    return kms_token_can_stop(&rig->description, &rig->state, name, rig->why);
}

/* Only these tokens have the generation. */
static void set_holders(struct rig *rig, size_t kek, size_t count)
{
    rig->keks[kek].n_holders = count; /* the first ones */
}

static void a_token_can_stop_whose_keys_are_elsewhere(void **state)
{
    struct rig *rig = *state;
    assert_true(can_stop(rig, "a"));
    assert_true(can_stop(rig, "c"));
}

static void a_generation_that_is_nowhere_else_forbids_it(void **state)
{
    struct rig *rig = *state;
    set_holders(rig, 0, 1);
    assert_false(can_stop(rig, "a"));
    assert_contains(rig->why, "generation 1 (decrypt-only)");
    assert_true(can_stop(rig, "b"));
}

static void what_a_token_does_not_have_it_need_not_leave(void **state)
{
    struct rig *rig = *state;
    set_holders(rig, 0, 1);
    set_holders(rig, 1, 2);
    assert_true(can_stop(rig, "c"));
}

static void only_tokens_that_serve_step_in(void **state)
{
    struct rig *rig = *state;
    set_holders(rig, 0, 2); /* 'b' is all that is left for 'a' */
    rig->tokens[B].in_use = false;
    assert_false(can_stop(rig, "a"));
    rig->tokens[B].in_use = true;
    rig->tokens[B].resting = true;
    assert_false(can_stop(rig, "a"));
    rig->tokens[B].resting = false;
    rig->tokens[B].connected = false;
    assert_false(can_stop(rig, "a"));
    rig->tokens[B].connected = true;
    assert_true(can_stop(rig, "a"));
}

static void a_token_that_is_about_to_be_drained_does_not_step_in(void **state)
{
    struct rig *rig = *state;
    struct kms_error err;
    set_holders(rig, 0, 2);
    assert_ok(kms_state_drain(&rig->state, "b", NOW_S + 60, &err), &err);
    assert_false(can_stop(rig, "a"));
    assert_ok(kms_state_drain(&rig->state, "b", NOW_S - 60, &err), &err);
    assert_true(can_stop(rig, "a"));
}

static void a_generation_that_is_on_no_token_that_was_reached_forbids_it(void **state)
{
    struct rig *rig = *state;
    set_holders(rig, 0, 0);
    rig->keks[0].state = text("missing");
    rig->tokens[A].connected = rig->tokens[A].in_use = false;
    assert_false(can_stop(rig, "a"));
    assert_contains(rig->why, "generation 1 (missing)");
    assert_false(can_stop(rig, "b"));
}

static void a_token_without_keys_cannot_stop_where_no_other_serves(void **state)
{
    struct rig *rig = *state;
    set_holders(rig, 0, 2);
    set_holders(rig, 1, 2);
    rig->tokens[A].in_use = rig->tokens[B].in_use = false;
    assert_false(can_stop(rig, "c"));
    assert_contains(rig->why, "no other token is in use");
    rig->tokens[B].in_use = true;
    assert_true(can_stop(rig, "c"));
}

static void refused_keys_count_while_they_may_decrypt(void **state)
{
    struct rig *rig = *state;
    set_holders(rig, 0, 1);
    rig->keks[0].state = text("refused");
    rig->keks[0].may_unwrap = true;
    assert_false(can_stop(rig, "a"));
    assert_contains(rig->why, "generation 1 (refused)");
    rig->keks[0].may_unwrap = false;
    assert_true(can_stop(rig, "a"));
}

static void a_disabled_copy_does_not_cover_a_key_that_decrypts(void **state)
{
    struct rig *rig = *state;
    rig->keks[1].generation = 1;
    rig->keks[1].label = text("prod.v1");
    rig->keks[1].state = text("disabled");
    rig->keks[1].fingerprint.len = 0;
    rig->keks[0].n_holders = rig->keks[1].n_holders = 1;
    rig->holders[1][0] = rig->tokens[B].name;
    assert_false(can_stop(rig, "a"));
    assert_contains(rig->why, "generation 1 (decrypt-only)");
}

/* Without fingerprints it is an entry for each token. */
static void a_disabled_key_is_covered_by_its_entry_on_another_token(void **state)
{
    struct rig *rig = *state;
    for (size_t i = 0; i < KEKS; i++) {
        rig->keks[i].generation = 1;
        rig->keks[i].label = text("prod.v1");
        rig->keks[i].state = text("disabled");
        rig->keks[i].fingerprint.len = 0;
        rig->keks[i].n_holders = 1;
    }
    rig->holders[1][0] = rig->tokens[B].name;
    assert_true(can_stop(rig, "a"));
    rig->keks[1].label = text("prod.v9");
    rig->keks[1].generation = 9;
    assert_false(can_stop(rig, "a"));
}

static void an_unhealthy_plugin_forbids_it(void **state)
{
    struct rig *rig = *state;
    rig->health.ok = false;
    rig->health.message = text("no canary");
    assert_false(can_stop(rig, "a"));
    assert_contains(rig->why, "no canary");
}

static void what_was_listed_long_ago_forbids_it(void **state)
{
    struct rig *rig = *state;
    rig->description.listed = NOW_S - 61;
    assert_true(can_stop(rig, "a"));
    rig->description.listed = NOW_S - 62;
    assert_false(can_stop(rig, "a"));
    rig->description.listed = 0;
    assert_false(can_stop(rig, "a"));
}

static void a_name_that_the_plugin_does_not_know_forbids_it(void **state)
{
    struct rig *rig = *state;
    assert_false(can_stop(rig, "d"));
    assert_contains(rig->why, "no token of that name");
}

static void the_only_token_cannot_stop(void **state)
{
    struct rig *rig = *state;
    rig->description.n_tokens = 1;
    rig->tokens[A].name = text("");
    set_holders(rig, 0, 0);
    set_holders(rig, 1, 0);
    assert_false(can_stop(rig, "token-1"));
    assert_contains(rig->why, "no other token");
    assert_true(kms_token_has(&rig->description, &rig->tokens[A], &rig->keks[0]));
    rig->keks[0].state = text("missing");
    assert_false(kms_token_has(&rig->description, &rig->tokens[A], &rig->keks[0]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_can_stop_whose_keys_are_elsewhere),
        TEST(a_generation_that_is_nowhere_else_forbids_it),
        TEST(what_a_token_does_not_have_it_need_not_leave),
        TEST(only_tokens_that_serve_step_in),
        TEST(a_token_that_is_about_to_be_drained_does_not_step_in),
        TEST(a_generation_that_is_on_no_token_that_was_reached_forbids_it),
        TEST(a_token_without_keys_cannot_stop_where_no_other_serves),
        TEST(refused_keys_count_while_they_may_decrypt),
        TEST(a_disabled_copy_does_not_cover_a_key_that_decrypts),
        TEST(a_disabled_key_is_covered_by_its_entry_on_another_token),
        TEST(an_unhealthy_plugin_forbids_it),
        TEST(what_was_listed_long_ago_forbids_it),
        TEST(a_name_that_the_plugin_does_not_know_forbids_it),
        TEST(the_only_token_cannot_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
