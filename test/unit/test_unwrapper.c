/* SPDX-License-Identifier: Apache-2.0 */
#include "unwrapper.h"

#include "check.h"
#include "etcd_rig.h"
#include "fake/keystore.h"
#include "kms/clock.h"
#include "service.h"

enum { ENTRIES = 3 };

/* Generation 1 decrypts only, 2 is active, 3 is disabled; 4 is pinned and missing. */
struct rig {
    struct fake_keystore *fake;
    struct kms_ring_entry entries[ENTRIES + 1];
    struct kms_snapshot snapshot;
    struct kms_unwrapper unwrapper;
    struct etcd_bytes stored;
    struct kms_proof proof;
    struct kms_error err;
};

static const uint8_t seed[32] = { 1, 2, 3 };

static void set_entry(struct kms_ring_entry *entry, uint32_t generation, enum kms_kek_state state)
{
    *entry = (struct kms_ring_entry){
        .generation = generation,
        .state = state,
        .may_unwrap = state == KMS_KEK_ACTIVE || state == KMS_KEK_DECRYPT_ONLY,
    };
    kms_label_format("prod", generation, 0, entry->kek.label);
    entry->kek.fingerprinted = true;
    fake_keystore_fingerprint((uint8_t)generation, entry->kek.fingerprint);
    kms_key_id_format("prod", generation, entry->kek.fingerprint, entry->key_id);
}

static int set_up(void **state)
{
    static struct rig rig;
    static const enum kms_kek_state states[] = { KMS_KEK_DECRYPT_ONLY, KMS_KEK_ACTIVE,
                                                 KMS_KEK_DISABLED, KMS_KEK_MISSING };
    rig = (struct rig){ .fake = fake_keystore_new() };
    for (uint32_t i = 0; i <= ENTRIES; i++) {
        set_entry(&rig.entries[i], i + 1, states[i]);
        if (states[i] != KMS_KEK_MISSING)
            fake_keystore_add(rig.fake, rig.entries[i].kek.label, (uint8_t)(i + 1));
    }
    rig.snapshot = (struct kms_snapshot){ .complete = true,
                                          .entries = rig.entries,
                                          .count = ENTRIES + 1 };
    rig.unwrapper = (struct kms_unwrapper){ .ring = "prod",
                                            .keystore = fake_keystore_seam(rig.fake),
                                            .snapshot = &rig.snapshot };
    *state = &rig;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *rig = *state;
    kms_proof_done(&rig->proof);
    etcd_bytes_done(&rig->stored);
    kms_keystore_close(rig->unwrapper.keystore);
    return 0;
}

static struct kms_wrapped wrap(struct rig *rig, uint32_t generation)
{
    const struct kms_ring_entry *entry = &rig->entries[generation - 1];
    const struct kms_kek_ref kek = { entry->kek.label, entry->kek.fingerprint, entry->key_id };
    struct kms_wrapped wrapped;
    assert_ok(kms_keystore_wrap(rig->unwrapper.keystore, &kek,
                                (struct kms_bytes){ seed, sizeof seed }, KMS_DEADLINE_NEVER,
                                &wrapped, &rig->err),
              &rig->err);
    return wrapped;
}

/* A value under @key_id around @wrapped, with an annotation if one is named. */
static enum kms_code prove(struct rig *rig, const char *key_id, const struct kms_wrapped *wrapped,
                           const char *annotation)
{
    static const uint8_t data[60];
    etcd_put_text(&rig->stored, "k8s:enc:kms:v2:hsm:");
    etcd_put_field(&rig->stored, 1, (struct kms_bytes){ data, sizeof data });
    etcd_put_field(&rig->stored, 2, kms_bytes_of(key_id));
    etcd_put_field(&rig->stored, 3, (struct kms_bytes){ wrapped->data, wrapped->len });
    if (annotation != NULL)
        etcd_put_annotation(&rig->stored, annotation);
    etcd_put_number(&rig->stored, 5, KMS_DEK_SEED);
    struct kms_value value = kms_value_classify(etcd_bytes_view(&rig->stored));
    assert_int_equal(value.class, KMS_VALUE_KMS_V2);
    return kms_unwrapper_prove(&rig->unwrapper, &value, &rig->proof, &rig->err);
}

static void assert_proof(struct rig *rig, const char *key_id, uint32_t wrapped_under,
                         enum kms_proof_result result)
{
    struct kms_wrapped wrapped = wrap(rig, wrapped_under);
    assert_ok(prove(rig, key_id, &wrapped, NULL), &rig->err);
    assert_int_equal(rig->proof.result, result);
}

static void a_seed_under_the_key_that_is_named_is_good(void **state)
{
    struct rig *rig = *state;
    assert_proof(rig, rig->entries[0].key_id, 1, KMS_PROOF_GOOD);
    assert_int_equal(rig->proof.generation, 1);
    assert_int_equal(rig->proof.seed.len, sizeof seed);
    assert_memory_equal(rig->proof.seed.data, seed, sizeof seed);
}

static void a_seed_under_another_key_is_swapped_and_not_given(void **state)
{
    struct rig *rig = *state;
    assert_proof(rig, rig->entries[1].key_id, 1, KMS_PROOF_SWAPPED);
    assert_int_equal(rig->proof.generation, 1);
    assert_contains(rig->proof.why, rig->entries[0].key_id);
    assert_null(rig->proof.seed.data);
}

static void a_seed_of_ours_under_a_foreign_label_is_swapped(void **state)
{
    assert_proof(*state, "arn:aws:kms", 2, KMS_PROOF_SWAPPED);
}

static void a_changed_seed_is_corrupt(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = wrap(rig, 1);
    wrapped.data[5] ^= 1;
    assert_ok(prove(rig, rig->entries[0].key_id, &wrapped, NULL), &rig->err);
    assert_int_equal(rig->proof.result, KMS_PROOF_CORRUPT);
}

static void a_foreign_seed_is_foreign(void **state)
{
    const struct kms_wrapped wrapped = { .data = { 1 }, .len = 40 };
    assert_ok(prove(*state, "arn:aws:kms", &wrapped, NULL), &((struct rig *)*state)->err);
    assert_int_equal(((struct rig *)*state)->proof.result, KMS_PROOF_FOREIGN);
}

/* It may be under the disabled generation 3; 4 is gone, and 1 was tried. */
static void a_foreign_seed_tells_whether_the_wanted_key_was_tried(void **state)
{
    static const bool untried[] = { true, false, false, true, false };
    const struct kms_wrapped wrapped = { .data = { 1 }, .len = 40 };
    for (uint32_t wanted = 0; wanted <= ENTRIES + 1; wanted++) {
        struct rig *rig = *state;
        rig->unwrapper.wanted = wanted;
        assert_ok(prove(rig, "arn:aws:kms", &wrapped, NULL), &rig->err);
        assert_int_equal(rig->proof.result, KMS_PROOF_FOREIGN);
        assert_int_equal(rig->proof.untried, untried[wanted]);
        tear_down(state);
        set_up(state);
    }
}

static void a_key_that_is_missing_or_unknown_is_lost(void **state)
{
    struct rig *rig = *state;
    assert_proof(rig, rig->entries[3].key_id, 1, KMS_PROOF_LOST);
    tear_down(state);
    set_up(state);
    assert_proof(rig, "prod.v9.00112233445566778899aabbccddeeff", 1, KMS_PROOF_LOST);
}

static void a_disabled_key_bars_the_proof(void **state)
{
    struct rig *rig = *state;
    assert_proof(rig, rig->entries[2].key_id, 1, KMS_PROOF_BARRED);
    assert_contains(rig->proof.why, "disabled");
}

static void an_algorithm_that_the_token_lacks_bars_the_proof(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = wrap(rig, 1);
    fake_keystore_fail(rig->fake, FAKE_UNWRAP, KMS_E_INVALID, -1);
    assert_ok(prove(rig, rig->entries[0].key_id, &wrapped, NULL), &rig->err);
    assert_int_equal(rig->proof.result, KMS_PROOF_BARRED);
}

static void a_foreign_seed_is_foreign_by_an_algorithm_that_the_token_lacks(void **state)
{
    struct rig *rig = *state;
    const struct kms_wrapped wrapped = { .data = { 1 }, .len = 40 };
    fake_keystore_fail(rig->fake, FAKE_UNWRAP, KMS_E_INVALID, -1);
    assert_ok(prove(rig, "arn:aws:kms", &wrapped, NULL), &rig->err);
    assert_int_equal(rig->proof.result, KMS_PROOF_FOREIGN);
    assert_true(rig->proof.untried);
}

static void annotations_that_are_not_ours_are_corrupt_under_our_label(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = wrap(rig, 1);
    assert_ok(prove(rig, rig->entries[0].key_id, &wrapped, "other.example.com"), &rig->err);
    assert_int_equal(rig->proof.result, KMS_PROOF_CORRUPT);
    assert_contains(rig->proof.why, "annotation");
}

static void a_length_that_is_not_ours_asks_no_token(void **state)
{
    struct rig *rig = *state;
    const struct kms_wrapped wrapped = { .len = 41 };
    assert_ok(prove(rig, rig->entries[0].key_id, &wrapped, NULL), &rig->err);
    assert_int_equal(rig->proof.result, KMS_PROOF_CORRUPT);
    assert_int_equal(fake_keystore_calls(rig->fake, FAKE_UNWRAP), 0);
}

static void a_token_that_fails_ends_the_reading(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = wrap(rig, 1);
    fake_keystore_fail(rig->fake, FAKE_UNWRAP, KMS_E_UNAVAILABLE, -1);
    assert_int_equal(prove(rig, rig->entries[0].key_id, &wrapped, NULL), KMS_E_UNAVAILABLE);
}

static void a_token_that_fails_among_the_others_ends_it_too(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = wrap(rig, 1);
    fake_keystore_fail(rig->fake, FAKE_UNWRAP, KMS_E_UNAVAILABLE, -1);
    assert_int_equal(prove(rig, "arn:aws:kms", &wrapped, NULL), KMS_E_UNAVAILABLE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_seed_under_the_key_that_is_named_is_good),
        TEST(a_seed_under_another_key_is_swapped_and_not_given),
        TEST(a_seed_of_ours_under_a_foreign_label_is_swapped),
        TEST(a_changed_seed_is_corrupt),
        TEST(a_foreign_seed_is_foreign),
        TEST(a_foreign_seed_tells_whether_the_wanted_key_was_tried),
        TEST(a_key_that_is_missing_or_unknown_is_lost),
        TEST(a_disabled_key_bars_the_proof),
        TEST(an_algorithm_that_the_token_lacks_bars_the_proof),
        TEST(a_foreign_seed_is_foreign_by_an_algorithm_that_the_token_lacks),
        TEST(annotations_that_are_not_ours_are_corrupt_under_our_label),
        TEST(a_length_that_is_not_ours_asks_no_token),
        TEST(a_token_that_fails_ends_the_reading),
        TEST(a_token_that_fails_among_the_others_ends_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
