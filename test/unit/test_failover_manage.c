/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of keys on three tokens: 'a' is the first, 'b' copies it by itself, 'c' doesn't. */
#include "check.h"

#include "failover.h"
#include "fake/keystore.h"
#include "kms/clock.h"

enum { A, B, C, TOKENS, FILL = 7, OTHER_FILL = 8 };

struct rig {
    struct fake_keystore *fakes[TOKENS]; /* owned by @keystore */
    struct kms_keystore *keystore;
    struct kms_error err;
};

/* Lists as commands do before they act. */
static struct kms_inventory list(struct rig *rig)
{
    struct kms_inventory inventory = { 0 };
    assert_ok(
        kms_keystore_inventory(rig->keystore, "prod.", KMS_DEADLINE_NEVER, &inventory, &rig->err),
        &rig->err);
    return inventory;
}

static void look(struct rig *rig)
{
    struct kms_inventory inventory = list(rig);
    kms_inventory_done(&inventory);
}

static int set_up(void **state)
{
    static struct rig rig;
    static const char *const names[TOKENS] = { "a", "b", "c" };
    struct kms_failover_token tokens[TOKENS];
    rig = (struct rig){ .keystore = NULL };
    for (size_t i = 0; i < TOKENS; i++) {
        rig.fakes[i] = fake_keystore_new();
        for (size_t k = 0; k < i; k++) /* so that no token has the others' CKA_IDs */
            fake_keystore_add(rig.fakes[i], "else", FILL);
        fake_keystore_add(rig.fakes[i], "prod.v1", FILL);
        tokens[i] = (struct kms_failover_token){ names[i], fake_keystore_seam(rig.fakes[i]),
                                                 i == B };
    }
    assert_ok(kms_failover_open(tokens, TOKENS, &rig.keystore, &rig.err), &rig.err);
    look(&rig);
    *state = &rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    kms_keystore_close(rig->keystore);
    return 0;
}

static size_t count_on(struct rig *rig, size_t token, const char *label)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    struct kms_keystore *keystore = fake_keystore_seam(rig->fakes[token]);
    size_t count = 0;
    assert_ok(kms_keystore_inventory(keystore, label, KMS_DEADLINE_NEVER, &inventory, &rig->err),
              &rig->err);
    for (size_t i = 0; i < inventory.count; i++)
        count += strcmp(inventory.keks[i].label, label) == 0 ? 1 : 0;
    return count;
}

static bool is_usable_on(struct rig *rig, size_t token)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    struct kms_keystore *keystore = fake_keystore_seam(rig->fakes[token]);
    assert_ok(
        kms_keystore_inventory(keystore, "prod.v1", KMS_DEADLINE_NEVER, &inventory, &rig->err),
        &rig->err);
    assert_int_equal(inventory.count, 1);
    return (inventory.keks[0].attributes & KMS_KEK_WRAP) != 0;
}

/* The CKA_ID that the merged listing has for @label. */
static struct kms_kek_info merged(struct rig *rig, const char *label)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = list(rig);
    for (size_t i = 0; i < inventory.count; i++)
        if (strcmp(inventory.keks[i].label, label) == 0)
            return inventory.keks[i];
    fail_msg("no '%s' is listed", label);
    return (struct kms_kek_info){ .label = "" };
}

static enum kms_code destroy(struct rig *rig, const char *label)
{
    struct kms_kek_info kek = merged(rig, label);
    return kms_keystore_destroy(rig->keystore, label,
                                (struct kms_bytes){ kek.cka_id, kek.cka_id_len },
                                KMS_DEADLINE_NEVER, &rig->err);
}

static enum kms_code relabel(struct rig *rig, const char *from, const char *to)
{
    struct kms_kek_info kek = merged(rig, from);
    const struct kms_object object = { from, { kek.cka_id, kek.cka_id_len } };
    return kms_keystore_relabel(rig->keystore, &object, to, KMS_DEADLINE_NEVER, &rig->err);
}

static enum kms_code set_usage(struct rig *rig, bool usable)
{
    struct kms_kek_info kek = merged(rig, "prod.v1");
    const struct kms_object object = { "prod.v1", { kek.cka_id, kek.cka_id_len } };
    return kms_keystore_set_usage(rig->keystore, &object, usable, KMS_DEADLINE_NEVER, &rig->err);
}

/* --- on all --- */

static void a_key_is_destroyed_on_every_token_under_its_own_id(void **state)
{
    struct rig *rig = *state;
    assert_ok(destroy(rig, "prod.v1"), &rig->err);
    for (size_t i = 0; i < TOKENS; i++)
        assert_int_equal(count_on(rig, i, "prod.v1"), 0);
    assert_int_equal(count_on(rig, C, "else"), 2);
}

static void another_key_under_the_label_is_spared(void **state)
{
    struct rig *rig = *state;
    fake_keystore_remove(rig->fakes[C], "prod.v1");
    fake_keystore_add(rig->fakes[C], "prod.v1", OTHER_FILL);
    assert_ok(destroy(rig, "prod.v1"), &rig->err);
    assert_int_equal(count_on(rig, A, "prod.v1"), 0);
    assert_int_equal(count_on(rig, C, "prod.v1"), 1);
}

static void a_token_where_the_key_is_gone_is_skipped(void **state)
{
    struct rig *rig = *state;
    fake_keystore_remove(rig->fakes[C], "prod.v1");
    assert_ok(destroy(rig, "prod.v1"), &rig->err);
    assert_int_equal(fake_keystore_calls(rig->fakes[C], FAKE_DESTROY), 0);
}

static void of_equal_keys_on_each_token_one_goes(void **state)
{
    struct rig *rig = *state;
    for (size_t i = 0; i < TOKENS; i++)
        fake_keystore_add(rig->fakes[i], "prod.v1", FILL);
    assert_ok(destroy(rig, "prod.v1"), &rig->err);
    for (size_t i = 0; i < TOKENS; i++)
        assert_int_equal(count_on(rig, i, "prod.v1"), 1);
}

static void a_failure_names_the_token_and_a_rerun_finishes(void **state)
{
    struct rig *rig = *state;
    fake_keystore_fail(rig->fakes[A], FAKE_DESTROY, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(destroy(rig, "prod.v1"), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "token 'a'");
    assert_int_equal(count_on(rig, C, "prod.v1"), 0);
    assert_ok(destroy(rig, "prod.v1"), &rig->err);
    for (size_t i = 0; i < TOKENS; i++)
        assert_int_equal(count_on(rig, i, "prod.v1"), 0);
}

static void a_key_on_a_later_token_alone_is_found_there(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[C], "prod.v2", OTHER_FILL);
    assert_ok(destroy(rig, "prod.v2"), &rig->err);
    assert_int_equal(count_on(rig, C, "prod.v2"), 0);
}

static void a_key_on_no_token_is_a_precondition(void **state)
{
    struct rig *rig = *state;
    const uint8_t id[] = { 99 };
    assert_int_equal(kms_keystore_destroy(rig->keystore, "prod.v9",
                                          (struct kms_bytes){ id, sizeof(id) }, KMS_DEADLINE_NEVER,
                                          &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "nothing was changed");
}

static void a_token_that_fails_to_list_stops_the_change_before_it_begins(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = merged(rig, "prod.v1");
    fake_keystore_fail(rig->fakes[C], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(kms_keystore_destroy(rig->keystore, "prod.v1",
                                          (struct kms_bytes){ kek.cka_id, kek.cka_id_len },
                                          KMS_DEADLINE_NEVER, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "token 'c'");
    assert_int_equal(count_on(rig, A, "prod.v1"), 1);
}

static void a_token_that_was_not_listed_is_left_out(void **state)
{
    struct rig *rig = *state;
    fake_keystore_fail(rig->fakes[C], FAKE_INVENTORY, KMS_E_UNAVAILABLE, 1);
    assert_ok(destroy(rig, "prod.v1"), &rig->err);
    assert_int_equal(count_on(rig, A, "prod.v1"), 0);
    assert_int_equal(count_on(rig, C, "prod.v1"), 1);
}

static void a_label_changes_on_every_token_and_on_the_first_last(void **state)
{
    struct rig *rig = *state;
    fake_keystore_fail(rig->fakes[A], FAKE_RELABEL, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(relabel(rig, "prod.v1", "prod.v2"), KMS_E_UNAVAILABLE);
    assert_int_equal(count_on(rig, C, "prod.v2"), 1);
    assert_int_equal(count_on(rig, B, "prod.v2"), 0);
    assert_ok(relabel(rig, "prod.v1", "prod.v2"), &rig->err);
    for (size_t i = 0; i < TOKENS; i++)
        assert_int_equal(count_on(rig, i, "prod.v2"), 1);
}

static void a_key_is_disabled_on_every_token(void **state)
{
    struct rig *rig = *state;
    assert_ok(set_usage(rig, false), &rig->err);
    for (size_t i = 0; i < TOKENS; i++)
        assert_false(is_usable_on(rig, i));
}

static void a_key_is_sealed_on_every_token(void **state)
{
    struct rig *rig = *state;
    for (size_t i = 0; i < TOKENS; i++)
        fake_keystore_set(rig->fakes[i], "prod.v1", KMS_KEK_EXTRACTABLE, 0);
    struct kms_kek_info kek = merged(rig, "prod.v1");
    const struct kms_object object = { "prod.v1", { kek.cka_id, kek.cka_id_len } };
    assert_ok(kms_keystore_seal(rig->keystore, &object, KMS_DEADLINE_NEVER, &rig->err), &rig->err);
    assert_int_equal(merged(rig, "prod.v1").attributes & KMS_KEK_EXTRACTABLE, 0);
}

/* --- tokens that copy by themselves --- */

static const struct kms_manage_ops *plain;
static struct fake_keystore *mirror;

static enum kms_code destroy_both(struct kms_keystore *ks, const char *label,
                                  struct kms_bytes cka_id, int64_t deadline_ms,
                                  struct kms_error *err)
{
    fake_keystore_remove(mirror, label);
    return plain->destroy(ks, label, cka_id, deadline_ms, err);
}

static void what_a_token_copied_by_itself_is_not_done_again(void **state)
{
    struct rig *rig = *state;
    struct kms_keystore *a = fake_keystore_seam(rig->fakes[A]);
    plain = a->ops->manage;
    mirror = rig->fakes[B];
    struct kms_manage_ops manage = *plain;
    manage.destroy = destroy_both;
    struct kms_keystore_ops ops = *a->ops;
    ops.manage = &manage;
    const struct kms_keystore_ops *real = a->ops;
    a->ops = &ops;
    enum kms_code rc = destroy(rig, "prod.v1");
    a->ops = real;
    assert_ok(rc, &rig->err);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_DESTROY), 0);
    assert_int_equal(count_on(rig, B, "prod.v1"), 0);
}

static void keys_are_made_on_the_first_token_alone(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info made;
    assert_ok(kms_keystore_generate(rig->keystore, "prod.v2", KMS_DEADLINE_NEVER, &made, &rig->err),
              &rig->err);
    assert_int_equal(count_on(rig, A, "prod.v2"), 1);
    assert_int_equal(count_on(rig, B, "prod.v2"), 0);
    assert_int_equal(count_on(rig, C, "prod.v2"), 0);
}

static enum kms_code copy(struct rig *rig, struct kms_kek_info *ret_made)
{
    struct kms_kek_info kek = merged(rig, "prod.v1");
    const struct kms_object from = { "prod.v1", { kek.cka_id, kek.cka_id_len } };
    return kms_keystore_copy(rig->keystore, &from, "prod.v2", KMS_DEADLINE_NEVER, ret_made,
                             &rig->err);
}

static void a_key_is_copied_where_no_copy_comes_by_itself(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info made;
    assert_ok(copy(rig, &made), &rig->err);
    assert_string_equal(made.label, "prod.v2");
    assert_int_equal(count_on(rig, A, "prod.v2"), 1);
    assert_int_equal(count_on(rig, B, "prod.v2"), 0);
    assert_int_equal(count_on(rig, C, "prod.v2"), 1);
}

static void a_copy_that_was_interrupted_is_finished_without_twins(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info made;
    fake_keystore_fail(rig->fakes[A], FAKE_COPY, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(copy(rig, &made), KMS_E_UNAVAILABLE);
    assert_ok(copy(rig, &made), &rig->err);
    assert_int_equal(count_on(rig, A, "prod.v2"), 1);
    assert_int_equal(count_on(rig, C, "prod.v2"), 1);
}

static void the_first_holder_is_inspected(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_details details;
    fake_keystore_remove(rig->fakes[A], "prod.v1");
    struct kms_kek_info kek = merged(rig, "prod.v1");
    const struct kms_object object = { "prod.v1", { kek.cka_id, kek.cka_id_len } };
    assert_ok(kms_keystore_inspect(rig->keystore, &object, KMS_DEADLINE_NEVER, &details, &rig->err),
              &rig->err);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_INSPECT), 1);
    assert_int_equal(fake_keystore_calls(rig->fakes[C], FAKE_INSPECT), 0);
}

static void a_transport_key_is_the_first_tokens(void **state)
{
    struct rig *rig = *state;
    struct kms_transport_key key;
    fake_keystore_fail(rig->fakes[A], FAKE_TRANSPORT_KEY, KMS_E_PRECONDITION, 1);
    assert_int_equal(kms_keystore_transport_key(rig->keystore, "prod.transport", true,
                                                KMS_DEADLINE_NEVER, &key, &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "token 'a'");
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_TRANSPORT_KEY), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_destroyed_on_every_token_under_its_own_id),
        TEST(another_key_under_the_label_is_spared),
        TEST(a_token_where_the_key_is_gone_is_skipped),
        TEST(of_equal_keys_on_each_token_one_goes),
        TEST(a_failure_names_the_token_and_a_rerun_finishes),
        TEST(a_key_on_a_later_token_alone_is_found_there),
        TEST(a_key_on_no_token_is_a_precondition),
        TEST(a_token_that_fails_to_list_stops_the_change_before_it_begins),
        TEST(a_token_that_was_not_listed_is_left_out),
        TEST(a_label_changes_on_every_token_and_on_the_first_last),
        TEST(a_key_is_disabled_on_every_token),
        TEST(a_key_is_sealed_on_every_token),
        TEST(what_a_token_copied_by_itself_is_not_done_again),
        TEST(keys_are_made_on_the_first_token_alone),
        TEST(a_key_is_copied_where_no_copy_comes_by_itself),
        TEST(a_copy_that_was_interrupted_is_finished_without_twins),
        TEST(the_first_holder_is_inspected),
        TEST(a_transport_key_is_the_first_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
