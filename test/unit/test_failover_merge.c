/* SPDX-License-Identifier: Apache-2.0 */
/* One inventory of several. */
#include "check.h"

#include <stdio.h>

#include "failover_state.h"

enum { KEKS_MAX = 4, TOKENS = 3 };

/* What each token holds, as a test fills it, and the outcome. */
struct bench {
    struct kms_kek_info keks[TOKENS][KEKS_MAX];
    struct kms_kek_name others[TOKENS][KMS_OTHERS_MAX];
    struct kms_inventory inventories[TOKENS];
    struct kms_failover_part parts[TOKENS];
    struct kms_inventory merged;
};

static int set_up(void **state)
{
    static const char *const names[TOKENS] = { "a", "b", "c" };
    static struct bench bench;
    bench = (struct bench){ 0 };
    for (size_t i = 0; i < TOKENS; i++) {
        bench.inventories[i].keks = bench.keks[i];
        bench.inventories[i].others = bench.others[i];
        bench.parts[i] = (struct kms_failover_part){ names[i], &bench.inventories[i] };
    }
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    kms_inventory_done(&bench->merged);
    return 0;
}

/* A key with one byte of CKA_ID and a fingerprint of @fill; 0: none. */
static struct kms_kek_info *add(struct bench *bench, size_t token, const char *label, uint8_t id,
                                uint8_t fill)
{
    struct kms_inventory *inventory = &bench->inventories[token];
    struct kms_kek_info *kek = &inventory->keks[inventory->count++];
    (void)snprintf(kek->label, sizeof(kek->label), "%s", label);
    kek->cka_id[0] = id;
    kek->cka_id_len = 1;
    kek->fingerprinted = fill != 0;
    memset(kek->fingerprint, fill, sizeof(kek->fingerprint));
    return kek;
}

static void merge(struct bench *bench)
{
    struct kms_error err;
    assert_ok(kms_failover_merge(bench->parts, TOKENS, &bench->merged, &err), &err);
}

static void equal_keys_are_one_entry_with_the_first_ones_id(void **state)
{
    struct bench *bench = *state;
    add(bench, 0, "prod.v1", 9, 1);
    add(bench, 1, "prod.v1", 2, 1);
    add(bench, 2, "prod.v1", 3, 1);
    merge(bench);
    assert_int_equal(bench->merged.count, 1);
    assert_int_equal(bench->merged.keks[0].holders, 7);
    assert_int_equal(bench->merged.keks[0].cka_id[0], 9);
}

static void a_token_that_was_not_listed_holds_nothing(void **state)
{
    struct bench *bench = *state;
    add(bench, 0, "prod.v1", 1, 1);
    add(bench, 1, "prod.v1", 1, 1);
    bench->parts[0].inventory = NULL;
    merge(bench);
    assert_int_equal(bench->merged.keks[0].holders, 2);
}

static void different_keys_of_one_label_are_two_entries(void **state)
{
    struct bench *bench = *state;
    add(bench, 0, "prod.v1", 1, 1);
    add(bench, 1, "prod.v1", 1, 2);
    merge(bench);
    assert_int_equal(bench->merged.count, 2);
    assert_int_equal(bench->merged.keks[0].holders, 1);
    assert_int_equal(bench->merged.keks[1].holders, 2);
}

static void equal_keys_of_different_labels_are_two_entries(void **state)
{
    struct bench *bench = *state;
    add(bench, 0, "prod.v1", 1, 1);
    add(bench, 1, "prod.v2", 1, 1);
    merge(bench);
    assert_int_equal(bench->merged.count, 2);
}

static void duplicates_match_in_their_order(void **state)
{
    struct bench *bench = *state;
    add(bench, 0, "prod.v1", 1, 1);
    add(bench, 0, "prod.v1", 2, 1);
    add(bench, 1, "prod.v1", 8, 1);
    add(bench, 2, "prod.v1", 5, 1);
    add(bench, 2, "prod.v1", 6, 1);
    merge(bench);
    assert_int_equal(bench->merged.count, 2);
    assert_int_equal(bench->merged.keks[0].cka_id[0], 1);
    assert_int_equal(bench->merged.keks[0].holders, 7);
    assert_int_equal(bench->merged.keks[1].cka_id[0], 2);
    assert_int_equal(bench->merged.keks[1].holders, 5);
}

static void a_key_without_fingerprint_stays_alone_and_names_its_token(void **state)
{
    struct bench *bench = *state;
    for (size_t i = 0; i < 2; i++) {
        struct kms_kek_info *kek = add(bench, i, "prod.v1", 1, 0);
        (void)snprintf(kek->problem, sizeof(kek->problem), "disabled");
    }
    merge(bench);
    assert_int_equal(bench->merged.count, 2);
    assert_string_equal(bench->merged.keks[0].problem, "token 'a': disabled");
    assert_string_equal(bench->merged.keks[1].problem, "token 'b': disabled");
}

static void entries_are_sorted_by_label_and_id(void **state)
{
    struct bench *bench = *state;
    add(bench, 0, "prod.v3", 1, 3);
    add(bench, 1, "prod.v1", 2, 1);
    add(bench, 2, "prod.v1", 1, 2);
    merge(bench);
    assert_int_equal(bench->merged.count, 3);
    assert_int_equal(bench->merged.keks[0].holders, 4);
    assert_int_equal(bench->merged.keks[1].holders, 2);
    assert_int_equal(bench->merged.keks[2].holders, 1);
}

static void a_size_that_one_token_tells_is_known(void **state)
{
    struct bench *bench = *state;
    add(bench, 0, "prod.v1", 1, 1);
    add(bench, 1, "prod.v1", 1, 1)->value_len = 32;
    merge(bench);
    assert_int_equal(bench->merged.keks[0].value_len, 32);
}

static void nothing_on_any_token_is_an_empty_inventory(void **state)
{
    struct bench *bench = *state;
    merge(bench);
    assert_int_equal(bench->merged.count, 0);
    assert_int_equal(bench->merged.other_count, 0);
}

/* --- attributes: what two tokens say, and what comes of it --- */

enum word { UNTOLD, NO, YES };

struct attribute_row {
    enum word on_a, on_b, merged;
};

static void say(struct kms_kek_info *kek, uint32_t attribute, enum word word)
{
    kek->known = word != UNTOLD ? attribute : 0;
    kek->attributes = word == YES ? attribute : 0;
}

static enum word said(const struct kms_kek_info *kek, uint32_t attribute)
{
    if ((kek->known & attribute) == 0)
        return UNTOLD;
    return (kek->attributes & attribute) != 0 ? YES : NO;
}

static void assert_rows(void **state, uint32_t attribute, const struct attribute_row *rows,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)set_up(state);
        struct bench *bench = *state;
        say(add(bench, 0, "prod.v1", 1, 1), attribute, rows[i].on_a);
        say(add(bench, 1, "prod.v1", 1, 1), attribute, rows[i].on_b);
        merge(bench);
        if (said(&bench->merged.keks[0], attribute) != rows[i].merged)
            fail_msg("attribute 0x%x, row %zu", (unsigned)attribute, i);
        kms_inventory_done(&bench->merged);
    }
}

static void strength_is_strength_on_every_token(void **state)
{
    static const struct attribute_row rows[] = {
        { YES, YES, YES },  { YES, NO, NO },         { NO, YES, NO },
        { NO, NO, NO },     { YES, UNTOLD, UNTOLD }, { UNTOLD, YES, UNTOLD },
        { NO, UNTOLD, NO }, { UNTOLD, NO, NO },      { UNTOLD, UNTOLD, UNTOLD },
    };
    static const uint32_t attributes[] = { KMS_KEK_SENSITIVE, KMS_KEK_ALWAYS_SENSITIVE,
                                           KMS_KEK_NEVER_EXTRACTABLE, KMS_KEK_PRIVATE };
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
        assert_rows(state, attributes[i], rows, sizeof(rows) / sizeof(rows[0]));
}

static void use_weakness_and_origin_count_from_any_token(void **state)
{
    static const struct attribute_row rows[] = {
        { YES, YES, YES },      { YES, NO, YES },       { NO, YES, YES },
        { NO, NO, NO },         { YES, UNTOLD, YES },   { UNTOLD, YES, YES },
        { NO, UNTOLD, UNTOLD }, { UNTOLD, NO, UNTOLD }, { UNTOLD, UNTOLD, UNTOLD },
    };
    static const uint32_t attributes[] = { KMS_KEK_EXTRACTABLE, KMS_KEK_LOCAL,   KMS_KEK_WRAP,
                                           KMS_KEK_UNWRAP,      KMS_KEK_ENCRYPT, KMS_KEK_DECRYPT };
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
        assert_rows(state, attributes[i], rows, sizeof(rows) / sizeof(rows[0]));
}

/* --- keys of others --- */

static void add_other(struct bench *bench, size_t token, const char *label, uint8_t id)
{
    struct kms_inventory *inventory = &bench->inventories[token];
    struct kms_kek_name *other = &inventory->others[inventory->other_count++];
    (void)snprintf(other->label, sizeof(other->label), "%s", label);
    other->cka_id[0] = id;
    other->cka_id_len = 1;
}

static void others_are_named_once(void **state)
{
    struct bench *bench = *state;
    add_other(bench, 0, "etcd", 1);
    add_other(bench, 1, "etcd", 1);
    add_other(bench, 1, "etcd", 2);
    merge(bench);
    assert_int_equal(bench->merged.other_count, 2);
}

static void others_beyond_the_limit_are_left_out(void **state)
{
    struct bench *bench = *state;
    for (int i = 0; i < KMS_OTHERS_MAX; i++) {
        add_other(bench, 0, "x", (uint8_t)i);
        add_other(bench, 1, "y", (uint8_t)i);
    }
    merge(bench);
    assert_int_equal(bench->merged.other_count, KMS_OTHERS_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_keys_are_one_entry_with_the_first_ones_id),
        TEST(a_token_that_was_not_listed_holds_nothing),
        TEST(different_keys_of_one_label_are_two_entries),
        TEST(equal_keys_of_different_labels_are_two_entries),
        TEST(duplicates_match_in_their_order),
        TEST(a_key_without_fingerprint_stays_alone_and_names_its_token),
        TEST(entries_are_sorted_by_label_and_id),
        TEST(a_size_that_one_token_tells_is_known),
        TEST(nothing_on_any_token_is_an_empty_inventory),
        TEST(strength_is_strength_on_every_token),
        TEST(use_weakness_and_origin_count_from_any_token),
        TEST(others_are_named_once),
        TEST(others_beyond_the_limit_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
