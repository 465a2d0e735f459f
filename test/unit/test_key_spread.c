/* SPDX-License-Identifier: Apache-2.0 */
/* Keys on three tokens: 'a' makes them, 'b' copies them by itself (the test does), they are brought to
 * 'c'. */
#include "check.h"

#include <stdio.h>

#include "fake/keystore.h"
#include "key_spread.h"
#include "kms/clock.h"

enum { A, B, C, TOKENS, NO_PATIENCE_MS = 0, ACTIVATION_S = 1796126400 };

#define LABEL "prod.v3@20261201T120000Z"
#define PENDING "prod.pending.v3@20261201T120000Z"

struct rig {
    struct fake_keystore *fakes[TOKENS];
    struct kms_spread spread;
    struct kms_kek_info made;
    struct kms_spread_mended mended;
    struct kms_error err;
};

static int set_up(void **state)
{
    static struct rig rig;
    static const char *const names[TOKENS] = { "a", "b", "c" };
    rig = (struct rig){ .spread = { .ring = "prod", .count = TOKENS } };
    for (size_t i = 0; i < TOKENS; i++) {
        rig.fakes[i] = fake_keystore_new();
        rig.spread.tokens[i] = (struct kms_spread_token){
            .name = names[i], .keystore = fake_keystore_seam(rig.fakes[i]), .escrow = i == C
        };
    }
    *state = &rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    for (size_t i = 0; i < TOKENS; i++)
        kms_keystore_close(fake_keystore_seam(rig->fakes[i]));
    return 0;
}

static size_t count_on(struct rig *rig, size_t token, const char *prefix)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(fake_keystore_seam(rig->fakes[token]), prefix,
                                     KMS_DEADLINE_NEVER, &inventory, &rig->err),
              &rig->err);
    return inventory.count;
}

static void assert_nothing_left(struct rig *rig)
{
    for (size_t i = 0; i < TOKENS; i++)
        assert_int_equal(count_on(rig, i, "prod."), 0);
}

static void assert_spread(struct rig *rig)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory on_a = { 0 };
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory on_c = { 0 };
    assert_int_equal(count_on(rig, A, "prod.pending."), 0);
    assert_int_equal(count_on(rig, C, "prod.pending."), 0);
    assert_ok(kms_keystore_inventory(fake_keystore_seam(rig->fakes[A]), LABEL, KMS_DEADLINE_NEVER,
                                     &on_a, &rig->err),
              &rig->err);
    assert_ok(kms_keystore_inventory(fake_keystore_seam(rig->fakes[C]), LABEL, KMS_DEADLINE_NEVER,
                                     &on_c, &rig->err),
              &rig->err);
    assert_int_equal(on_a.count, 1);
    assert_int_equal(on_c.count, 1);
    assert_memory_equal(on_a.keks[0].fingerprint, on_c.keks[0].fingerprint, KMS_FINGERPRINT_LEN);
    assert_int_equal(on_a.keks[0].attributes & KMS_KEK_EXTRACTABLE, 0);
}

static enum kms_code make(struct rig *rig)
{
    return kms_spread_make(&rig->spread, LABEL, INT64_MAX, &rig->made, &rig->err);
}

static enum kms_code mend(struct rig *rig)
{
    return kms_spread_mend(&rig->spread, NO_PATIENCE_MS, &rig->mended, &rig->err);
}

/* --- making --- */

static void a_key_is_on_all_tokens_under_its_label_and_can_leave_none(void **state)
{
    struct rig *rig = *state;
    assert_ok(make(rig), &rig->err);
    assert_spread(rig);
    assert_string_equal(rig->made.label, LABEL);
    assert_int_equal(rig->made.attributes & KMS_KEK_EXTRACTABLE, 0);
}

static void a_token_that_copies_by_itself_gets_no_key_from_us(void **state)
{
    struct rig *rig = *state;
    assert_ok(make(rig), &rig->err);
    assert_int_equal(count_on(rig, B, ""), 0);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_IMPORT), 0);
}

static void only_tokens_of_sync_escrow_need_it(void **state)
{
    struct rig *rig = *state;
    assert_true(kms_spread_is_needed(&rig->spread));
    rig->spread.tokens[C].escrow = false;
    rig->spread.tokens[A].escrow = true; /* the first: ignored */
    assert_false(kms_spread_is_needed(&rig->spread));
}

static void any_failure_before_the_label_leaves_nothing_anywhere(void **state)
{
    static const struct {
        size_t token;
        enum fake_op op;
        const char *name;
    } failures[] = {
        { C, FAKE_TRANSPORT_KEY, "token 'c'" }, { A, FAKE_GENERATE_FOR_ESCROW, "token 'a'" },
        { A, FAKE_EXPORT, "token 'a'" },        { C, FAKE_IMPORT, "token 'c'" },
        { A, FAKE_SEAL, "token 'a'" },
    };
    struct rig *rig = *state;
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        fake_keystore_fail(rig->fakes[failures[i].token], failures[i].op, KMS_E_UNAVAILABLE, 1);
        assert_int_equal(make(rig), KMS_E_UNAVAILABLE);
        assert_contains(rig->err.msg, failures[i].name);
        assert_nothing_left(rig);
    }
}

static void what_cannot_be_taken_away_is_said(void **state)
{
    struct rig *rig = *state;
    fake_keystore_fail(rig->fakes[C], FAKE_IMPORT, KMS_E_UNAVAILABLE, 1);
    fake_keystore_fail(rig->fakes[A], FAKE_DESTROY, KMS_E_BUSY, 1);
    assert_int_equal(make(rig), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "can't be taken away");
    assert_int_equal(count_on(rig, A, PENDING), 1);
}

static void a_key_that_took_too_long_is_given_up(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(kms_spread_make(&rig->spread, LABEL, kms_utc_s() - 1, &rig->made, &rig->err),
                     KMS_E_BUSY);
    assert_contains(rig->err.msg, "half of the time");
    assert_nothing_left(rig);
}

static void no_key_is_made_before_every_recipient_is_known(void **state)
{
    struct rig *rig = *state;
    fake_keystore_fail(rig->fakes[C], FAKE_TRANSPORT_KEY, KMS_E_PRECONDITION, 1);
    assert_int_equal(make(rig), KMS_E_PRECONDITION);
    assert_int_equal(fake_keystore_calls(rig->fakes[A], FAKE_GENERATE_FOR_ESCROW), 0);
}

static void after_the_first_label_the_key_stays_and_a_rerun_finishes(void **state)
{
    struct rig *rig = *state;
    fake_keystore_fail(rig->fakes[A], FAKE_RELABEL, KMS_E_UNAVAILABLE, 1);
    assert_int_equal(make(rig), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "run it again to finish");
    assert_int_equal(count_on(rig, C, LABEL), 1);
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.finished, 1);
    assert_int_equal(rig->mended.withdrawn, 0);
    assert_spread(rig);
}

static void a_copy_that_kept_its_pending_label_gets_its_own(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[B], PENDING, 77);
    fake_keystore_set(rig->fakes[B], PENDING, KMS_KEK_EXTRACTABLE, 0);
    assert_ok(make(rig), &rig->err);
    assert_int_equal(count_on(rig, B, LABEL), 1);
    assert_int_equal(count_on(rig, B, PENDING), 0);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_SEAL), 1);
}

static void a_copy_that_can_not_be_sealed_is_said(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[B], PENDING, 77);
    fake_keystore_set(rig->fakes[B], PENDING, KMS_KEK_EXTRACTABLE, 0);
    fake_keystore_fail(rig->fakes[B], FAKE_SEAL, KMS_E_PRECONDITION, 1);
    assert_int_equal(make(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "token 'b'");
    assert_contains(rig->err.msg, "outstanding");
    assert_contains(rig->err.msg, "run it again");
    assert_int_equal(count_on(rig, A, LABEL), 1);
}

/* --- mending --- */

static void what_never_had_its_label_is_withdrawn(void **state)
{
    struct rig *rig = *state;
    size_t count = 0;
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    fake_keystore_add(rig->fakes[C], PENDING, 5);
    assert_ok(kms_spread_count(&rig->spread, &count, &rig->err), &rig->err);
    assert_int_equal(count, 2);
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.withdrawn, 2);
    assert_nothing_left(rig);
}

static void another_key_under_the_label_does_not_finish_it(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    fake_keystore_add(rig->fakes[C], LABEL, 6);
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.withdrawn, 1);
    assert_int_equal(count_on(rig, C, LABEL), 1);
}

static void keys_that_others_prepared_are_left_alone(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[A], "prod.pending.0123456789abcdef", 5);
    fake_keystore_add(rig->fakes[A], "prod.pending.v3", 5);
    fake_keystore_add(rig->fakes[A], "prod.pending.v3@20261201T120000Z.x", 5);
    fake_keystore_add(rig->fakes[A], "production.pending.v3@20261201T120000Z", 5);
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.withdrawn + rig->mended.finished, 0);
    assert_int_equal(count_on(rig, A, "prod"), 4);
}

static void without_all_tokens_nothing_is_mended(void **state)
{
    struct rig *rig = *state;
    rig->spread.partial = true;
    assert_ok(mend(rig), &rig->err);
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    assert_int_equal(mend(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "key cancel");
    assert_int_equal(count_on(rig, A, PENDING), 1);
}

static void a_key_without_fingerprint_is_not_taken_for_another(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    fake_keystore_add(rig->fakes[C], LABEL, 5);
    fake_keystore_set(rig->fakes[C], LABEL, 0, KMS_KEK_WRAP);
    assert_int_equal(mend(rig), KMS_E_PRECONDITION);
    assert_int_equal(count_on(rig, A, PENDING), 1);
}

static void a_rerun_that_comes_too_late_withdraws_what_has_its_label(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    fake_keystore_add(rig->fakes[B], PENDING, 5);
    fake_keystore_add(rig->fakes[C], LABEL, 5);
    rig->spread.finish_from_utc_s = ACTIVATION_S + 1;
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.finished, 0);
    assert_int_equal(rig->mended.withdrawn, 3);
    assert_nothing_left(rig);
}

static void a_rerun_that_comes_in_time_finishes(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    fake_keystore_add(rig->fakes[C], LABEL, 5);
    rig->spread.finish_from_utc_s = ACTIVATION_S;
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.finished, 1);
    assert_spread(rig);
}

static void what_this_node_pinned_is_not_withdrawn(void **state)
{
    struct rig *rig = *state;
    struct kms_pin pin = { .generation = 3 };
    const struct kms_state memory = { .pins = &pin, .pin_count = 1 };
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    fake_keystore_add(rig->fakes[C], LABEL, 5);
    rig->spread.finish_from_utc_s = ACTIVATION_S + 1;
    rig->spread.state = &memory;
    assert_int_equal(mend(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "--force");
    assert_int_equal(count_on(rig, A, PENDING), 1);
    assert_int_equal(count_on(rig, C, LABEL), 1);
}

static void a_key_that_the_first_token_has_is_finished_however_late(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[A], LABEL, 5);
    fake_keystore_add(rig->fakes[B], PENDING, 5);
    rig->spread.finish_from_utc_s = ACTIVATION_S + 1;
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.finished, 1);
    assert_int_equal(count_on(rig, A, LABEL), 1);
    assert_int_equal(count_on(rig, B, LABEL), 1);
}

static void a_labelled_copy_that_could_leave_is_sealed(void **state)
{
    struct rig *rig = *state;
    size_t count = 0;
    fake_keystore_add(rig->fakes[A], LABEL, 5);
    fake_keystore_add(rig->fakes[B], LABEL, 5);
    fake_keystore_set(rig->fakes[B], LABEL, KMS_KEK_EXTRACTABLE, 0);
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.finished, 1);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_SEAL), 1);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_RELABEL), 0);
    assert_ok(kms_spread_count(&rig->spread, &count, &rig->err), &rig->err);
    assert_int_equal(count, 0);
}

static void another_key_that_could_leave_is_not_sealed(void **state)
{
    struct rig *rig = *state;
    fake_keystore_add(rig->fakes[A], LABEL, 5);
    fake_keystore_add(rig->fakes[B], LABEL, 6);
    fake_keystore_set(rig->fakes[B], LABEL, KMS_KEK_EXTRACTABLE, 0);
    assert_ok(mend(rig), &rig->err);
    assert_int_equal(rig->mended.finished, 0);
    assert_int_equal(fake_keystore_calls(rig->fakes[B], FAKE_SEAL), 0);
}

static void cancelling_discards_that_generation_alone(void **state)
{
    struct rig *rig = *state;
    size_t count = 0;
    fake_keystore_add(rig->fakes[A], PENDING, 5);
    fake_keystore_add(rig->fakes[C], "prod.pending.v4@20261201T120000Z", 6);
    assert_ok(kms_spread_discard(&rig->spread, 3, true, &count, &rig->err), &rig->err);
    assert_int_equal(count, 1);
    assert_int_equal(count_on(rig, A, PENDING), 1);
    assert_ok(kms_spread_discard(&rig->spread, 3, false, &count, &rig->err), &rig->err);
    assert_int_equal(count, 1);
    assert_int_equal(count_on(rig, A, "prod."), 0);
    assert_int_equal(count_on(rig, C, "prod."), 1);
}

/* --- a process that ends anywhere --- */

static const struct kms_keystore_ops *plain;
static int life; /* steps until it ends; each call has one before and one after */

static enum kms_code end(struct kms_error *err)
{
    return life-- <= 0 ? kms_fail(err, KMS_E_INTERNAL, "killed") : KMS_OK;
}

#define MORTAL(call)                                                                               \
    do {                                                                                           \
        enum kms_code rc_ = end(err);                                                              \
        if (rc_ != KMS_OK)                                                                         \
            return rc_;                                                                            \
        rc_ = plain->call;                                                                         \
        return rc_ == KMS_OK ? end(err) : rc_;                                                     \
    } while (0)

static enum kms_code mortal_destroy(struct kms_keystore *ks, const char *label,
                                    struct kms_bytes cka_id, int64_t deadline_ms,
                                    struct kms_error *err)
{
    MORTAL(manage->destroy(ks, label, cka_id, deadline_ms, err));
}

static enum kms_code mortal_relabel(struct kms_keystore *ks, const struct kms_object *kek,
                                    const char *label, int64_t deadline_ms, struct kms_error *err)
{
    MORTAL(manage->relabel(ks, kek, label, deadline_ms, err));
}

static enum kms_code mortal_transport_key(struct kms_keystore *ks, const char *label, bool make_it,
                                          int64_t deadline_ms, struct kms_transport_key *ret_key,
                                          struct kms_error *err)
{
    MORTAL(manage->transport_key(ks, label, make_it, deadline_ms, ret_key, err));
}

static enum kms_code mortal_import(struct kms_keystore *ks,
                                   const struct kms_transport_import *import, int64_t deadline_ms,
                                   struct kms_kek_info *ret_kek, struct kms_error *err)
{
    MORTAL(manage->import(ks, import, deadline_ms, ret_kek, err));
}

static enum kms_code mortal_generate(struct kms_keystore *ks, const char *label,
                                     int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                     struct kms_error *err)
{
    MORTAL(manage->generate_for_escrow(ks, label, deadline_ms, ret_kek, err));
}

static enum kms_code mortal_export(struct kms_keystore *ks, const struct kms_object *kek,
                                   const struct kms_spki *recipient, enum kms_oaep_hash hash,
                                   int64_t deadline_ms, struct kms_transport_blob *ret_blob,
                                   struct kms_error *err)
{
    MORTAL(manage->export_to(ks, kek, recipient, hash, deadline_ms, ret_blob, err));
}

static enum kms_code mortal_seal(struct kms_keystore *ks, const struct kms_object *kek,
                                 int64_t deadline_ms, struct kms_error *err)
{
    MORTAL(manage->seal(ks, kek, deadline_ms, err));
}

/* Makes a key until its process ends after @steps; true: it came through before. */
static bool make_for(struct rig *rig, int steps)
{
    plain = rig->spread.tokens[A].keystore->ops;
    struct kms_manage_ops manage = *plain->manage;
    struct kms_keystore_ops ops = *plain;
    manage.destroy = mortal_destroy;
    manage.relabel = mortal_relabel;
    manage.transport_key = mortal_transport_key;
    manage.import = mortal_import;
    manage.generate_for_escrow = mortal_generate;
    manage.export_to = mortal_export;
    manage.seal = mortal_seal;
    ops.manage = &manage;
    for (size_t i = 0; i < TOKENS; i++)
        rig->spread.tokens[i].keystore->ops = &ops;
    life = steps;
    bool through = make(rig) == KMS_OK;
    for (size_t i = 0; i < TOKENS; i++)
        rig->spread.tokens[i].keystore->ops = plain;
    return through;
}

static void wherever_it_ends_a_rerun_leaves_one_key_or_none(void **state)
{
    struct rig *rig = *state;
    int steps = 0;
    size_t finished = 0, withdrawn = 0, none = 0;
    while (!make_for(rig, steps)) {
        steps++;
        assert_ok(mend(rig), &rig->err);
        finished += rig->mended.finished > 0 ? 1 : 0;
        withdrawn += rig->mended.withdrawn > 0 ? 1 : 0;
        none += rig->mended.finished + rig->mended.withdrawn == 0 ? 1 : 0;
        if (count_on(rig, C, LABEL) == 0) {
            assert_nothing_left(rig);
            continue;
        }
        assert_spread(rig);
        fake_keystore_remove(rig->fakes[A], LABEL);
        fake_keystore_remove(rig->fakes[C], LABEL);
    }
    assert_spread(rig);
    assert_true(finished > 0 && withdrawn > 0 && none > 0);
    print_message("ended at each of %d steps\n", steps);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_on_all_tokens_under_its_label_and_can_leave_none),
        TEST(a_token_that_copies_by_itself_gets_no_key_from_us),
        TEST(only_tokens_of_sync_escrow_need_it),
        TEST(any_failure_before_the_label_leaves_nothing_anywhere),
        TEST(what_cannot_be_taken_away_is_said),
        TEST(a_key_that_took_too_long_is_given_up),
        TEST(no_key_is_made_before_every_recipient_is_known),
        TEST(after_the_first_label_the_key_stays_and_a_rerun_finishes),
        TEST(a_copy_that_kept_its_pending_label_gets_its_own),
        TEST(what_never_had_its_label_is_withdrawn),
        TEST(another_key_under_the_label_does_not_finish_it),
        TEST(keys_that_others_prepared_are_left_alone),
        TEST(without_all_tokens_nothing_is_mended),
        TEST(a_key_without_fingerprint_is_not_taken_for_another),
        TEST(a_copy_that_can_not_be_sealed_is_said),
        TEST(a_rerun_that_comes_too_late_withdraws_what_has_its_label),
        TEST(a_rerun_that_comes_in_time_finishes),
        TEST(what_this_node_pinned_is_not_withdrawn),
        TEST(a_key_that_the_first_token_has_is_finished_however_late),
        TEST(a_labelled_copy_that_could_leave_is_sealed),
        TEST(another_key_that_could_leave_is_not_sealed),
        TEST(cancelling_discards_that_generation_alone),
        TEST(wherever_it_ends_a_rerun_leaves_one_key_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
