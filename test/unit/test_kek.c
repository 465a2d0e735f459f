/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11_rig.h"

static const struct kms_kek_filter prod = { .label_prefix = "prod." };

static struct pkcs11_kek_list list(struct rig_session *rig, const struct pkcs11_kek_list *known)
{
    const struct pkcs11_kek_list none = { 0 };
    struct pkcs11_kek_list found = { 0 };
    assert_ok(
        pkcs11_kek_list_read(&rig->place, &prod, known != NULL ? known : &none, &found, &rig->err),
        &rig->err);
    return found;
}

/* The fingerprint of KEK 00..1F from KW(C) as measured on three real modules. */
static void the_fingerprint_is_the_published_vector(void **state)
{
    struct rig_session *rig = *state;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    uint8_t input[128];
    size_t len = strlen(KMS_FINGERPRINT_DOMAIN);
    memcpy(input, KMS_FINGERPRINT_DOMAIN, len);
    assert_true(kms_hex_decode("9d59a37da8b916b979bea2207b35f02e3f9f5ac48a3780c5ed52904c6a81f444"
                               "25fa6bd74614cd42",
                               input + len, 40));
    uint8_t expected[KMS_FINGERPRINT_LEN];
    kms_sha256((struct kms_bytes){ input, len + 40 }, expected);

    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_int_equal(keks.count, 1);
    assert_true(keks.keks[0].info.fingerprinted);
    assert_memory_equal(keks.keks[0].info.fingerprint, expected, sizeof(expected));
}

static void attributes_are_read_and_unknown_ones_are_not_false(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_drop_attribute(rig->module, place, CKA_LOCAL);
    fake_module_drop_attribute(rig->module, place, CKA_VALUE_LEN);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    const struct kms_kek_info *info = &keks.keks[0].info;
    assert_string_equal(info->label, "prod.v1");
    assert_int_equal(info->cka_id_len, 2);
    assert_int_equal(info->value_len, 0);
    assert_int_equal(info->known, 0x3FF & ~(unsigned)KMS_KEK_LOCAL);
    assert_int_equal(info->attributes, KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE |
                                           KMS_KEK_NEVER_EXTRACTABLE | KMS_KEK_PRIVATE |
                                           KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_string_equal(info->problem, "");
}

static void a_cipher_gives_the_same_fingerprint(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_set_bool(rig->module, place, CKA_ENCRYPT, true);
    fake_module_set_bool(rig->module, place, CKA_DECRYPT, true);
    rig_use_cipher(rig);
    uint8_t expected[KMS_FINGERPRINT_LEN];
    rig_fingerprint(rig_key, expected);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_true(keks.keks[0].info.fingerprinted);
    assert_memory_equal(keks.keks[0].info.fingerprint, expected, sizeof(expected));
}

/* Policy knows WRAP and UNWRAP alone: what a cipher needs beside them is judged here. */
static void a_cipher_uses_no_key_that_may_not_encrypt_and_decrypt(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    rig_use_cipher(rig);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list neither = list(rig, NULL);
    assert_false(neither.keks[0].info.fingerprinted);
    assert_contains(neither.keks[0].info.problem, "CKA_ENCRYPT is false");
    fake_module_set_bool(rig->module, place, CKA_ENCRYPT, true);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list half = list(rig, &neither);
    assert_false(half.keks[0].info.fingerprinted);
    assert_contains(half.keks[0].info.problem, "CKA_DECRYPT is false");
    fake_module_set_bool(rig->module, place, CKA_DECRYPT, true);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list both = list(rig, &half);
    assert_true(both.keks[0].info.fingerprinted);
    fake_module_set_bool(rig->module, place, CKA_DECRYPT, false);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list lost = list(rig, &both);
    assert_false(lost.keks[0].info.fingerprinted);
}

static void only_the_prefix_is_listed_and_sorted(void **state)
{
    struct rig_session *rig = *state;
    (void)fake_module_add_kek(rig->module, "prod.v2", rig_key);
    (void)fake_module_add_kek(rig->module, "test.v1", rig_key);
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    (void)fake_module_add_kek(rig->module, "prod", rig_key);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_int_equal(keks.count, 2);
    assert_string_equal(keks.keks[0].info.label, "prod.v1");
    assert_string_equal(keks.keks[1].info.label, "prod.v2");
}

static void more_than_one_batch_of_handles_is_listed(void **state)
{
    struct rig_session *rig = *state;
    for (int i = 0; i < 130; i++)
        (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_int_equal(keks.count, 130);
}

static void labels_that_cant_be_ours_are_passed_over(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.x", rig_key);
    fake_module_set_bytes(rig->module, place, CKA_LABEL, "prod.\0v1", 8);
    place = fake_module_add_kek(rig->module, "prod.y", rig_key);
    uint8_t longest[256];
    memset(longest, 'p', sizeof(longest));
    fake_module_set_bytes(rig->module, place, CKA_LABEL, longest, sizeof(longest));
    place = fake_module_add_kek(rig->module, "prod.z", rig_key);
    fake_module_drop_attribute(rig->module, place, CKA_LABEL);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_int_equal(keks.count, 0);
}

static void a_disabled_key_is_listed_without_a_fingerprint(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_set_bool(rig->module, place, CKA_WRAP, false);
    fake_module_set_bool(rig->module, place, CKA_UNWRAP, false);
    unsigned wraps = fake_module_calls(rig->module, "C_WrapKey");
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_false(keks.keks[0].info.fingerprinted);
    assert_contains(keks.keks[0].info.problem, "disabled");
    assert_int_equal(fake_module_calls(rig->module, "C_WrapKey"), wraps);
}

static void a_key_that_may_only_unwrap_is_said_to_be_of_no_use(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_set_bool(rig->module, place, CKA_WRAP, false);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_false(keks.keks[0].info.fingerprinted);
    assert_contains(keks.keks[0].info.problem, "not used, not even to decrypt: CKA_WRAP is false");
}

static void a_problem_is_told_anew_when_its_cause_changed(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_set_bool(rig->module, place, CKA_WRAP, false);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list first = list(rig, NULL);
    fake_module_set_bool(rig->module, place, CKA_UNWRAP, false);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list second = list(rig, &first);
    assert_contains(second.keks[0].info.problem, "disabled");
}

static void an_extractable_key_is_listed_as_it_is(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_set_bool(rig->module, place, CKA_EXTRACTABLE, true);
    fake_module_set_bool(rig->module, place, CKA_SENSITIVE, false);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_true((keks.keks[0].info.attributes & KMS_KEK_EXTRACTABLE) != 0);
    assert_true((keks.keks[0].info.attributes & KMS_KEK_SENSITIVE) == 0);
    assert_true(keks.keks[0].info.fingerprinted);
}

static void a_key_that_wont_wrap_is_listed_with_its_problem(void **state)
{
    struct rig_session *rig = *state;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    (void)fake_module_add_kek(rig->module, "prod.v2", rig_key);
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_MECHANISM_INVALID);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_false(keks.keks[0].info.fingerprinted);
    assert_contains(keks.keks[0].info.problem, "CKR_MECHANISM_INVALID");
    assert_true(keks.keks[1].info.fingerprinted);
}

static void a_key_destroyed_meanwhile_is_passed_over(void **state)
{
    struct rig_session *rig = *state;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    (void)fake_module_add_kek(rig->module, "prod.v2", rig_key);
    fake_module_fail_next(rig->module, "C_GetAttributeValue", CKR_OBJECT_HANDLE_INVALID);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_int_equal(keks.count, 1);
}

static struct pkcs11_kek_list list_named(struct rig_session *rig, const struct kms_kek_name *name)
{
    const struct pkcs11_kek_list none = { 0 };
    const struct kms_kek_filter filter = { "prod.", name, 1, 0 };
    struct pkcs11_kek_list found = { 0 };
    assert_ok(pkcs11_kek_list_read(&rig->place, &filter, &none, &found, &rig->err), &rig->err);
    return found;
}

static void a_key_named_by_label_is_listed_beside_the_prefix(void **state)
{
    struct rig_session *rig = *state;
    const struct kms_kek_name name = { .label = "etcd" };
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    (void)fake_module_add_kek(rig->module, "etcd", rig_key);
    (void)fake_module_add_kek(rig->module, "etcd 2", rig_key);
    unsigned wraps = fake_module_calls(rig->module, "C_WrapKey");
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list_named(rig, &name);
    assert_int_equal(keks.count, 2);
    assert_string_equal(keks.keks[0].info.label, "etcd");
    assert_true(keks.keks[0].info.fingerprinted);
    assert_int_equal(keks.other_count, 1);
    assert_string_equal(keks.others[0].label, "etcd 2");
    assert_int_equal(fake_module_calls(rig->module, "C_WrapKey"), wraps + 2); /* not the other */
}

static void a_key_named_by_its_id_needs_no_label(void **state)
{
    struct rig_session *rig = *state;
    const struct kms_kek_name name = { .cka_id = { 0xAB, 0xCD }, .cka_id_len = 2 };
    size_t place = fake_module_add_kek(rig->module, "", rig_key);
    fake_module_set_bytes(rig->module, place, CKA_ID, name.cka_id, name.cka_id_len);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list_named(rig, &name);
    assert_int_equal(keks.count, 1);
    assert_string_equal(keks.keks[0].info.label, "");
    assert_true(keks.keks[0].info.fingerprinted);
    const struct kms_kek_ref ref = { "", keks.keks[0].info.fingerprint, NULL };
    struct pkcs11_kek found;
    bool absent = false;
    assert_ok(pkcs11_kek_find(&rig->place, &ref, &found, &absent, &rig->err), &rig->err);
}

static void without_names_other_keys_are_not_even_looked_at(void **state)
{
    struct rig_session *rig = *state;
    (void)fake_module_add_kek(rig->module, "etcd", rig_key);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list keks = list(rig, NULL);
    assert_int_equal(keks.count, 0);
    assert_int_equal(keks.other_count, 0);
}

static void an_outage_fails_the_whole_list(void **state)
{
    struct rig_session *rig = *state;
    const struct pkcs11_kek_list none = { 0 };
    struct pkcs11_kek_list keks = { 0 };
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_REMOVED);
    assert_int_equal(pkcs11_kek_list_read(&rig->place, &prod, &none, &keks, &rig->err),
                     KMS_E_UNAVAILABLE);
    fake_module_fail_next(rig->module, "C_FindObjects", CKR_DEVICE_REMOVED);
    assert_int_equal(pkcs11_kek_list_read(&rig->place, &prod, &none, &keks, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_null(keks.keks);
}

static void a_search_that_failed_is_ended(void **state)
{
    struct rig_session *rig = *state;
    const struct pkcs11_kek_list none = { 0 };
    struct pkcs11_kek_list keks = { 0 };
    fake_module_fail_next(rig->module, "C_FindObjects", CKR_GENERAL_ERROR);
    assert_int_equal(pkcs11_kek_list_read(&rig->place, &prod, &none, &keks, &rig->err),
                     KMS_E_UNAVAILABLE);
    keks = list(rig, NULL);
    pkcs11_kek_list_done(&keks);
}

static void a_known_key_costs_one_call(void **state)
{
    struct rig_session *rig = *state;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list first = list(rig, NULL);
    unsigned reads = fake_module_calls(rig->module, "C_GetAttributeValue");
    unsigned wraps = fake_module_calls(rig->module, "C_WrapKey");
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list second = list(rig, &first);
    assert_int_equal(fake_module_calls(rig->module, "C_GetAttributeValue"), reads + 1);
    assert_int_equal(fake_module_calls(rig->module, "C_WrapKey"), wraps);
    assert_memory_equal(&second.keks[0].info, &first.keks[0].info, sizeof(first.keks[0].info));
}

static void a_known_key_that_changed_is_seen(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list first = list(rig, NULL);
    fake_module_set_bool(rig->module, place, CKA_EXTRACTABLE, true);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list second = list(rig, &first);
    assert_true((second.keks[0].info.attributes & KMS_KEK_EXTRACTABLE) != 0);
    fake_module_set_bool(rig->module, place, CKA_WRAP, false);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list third = list(rig, &second);
    assert_false(third.keks[0].info.fingerprinted);
    fake_module_set_bool(rig->module, place, CKA_WRAP, true);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list fourth = list(rig, &third);
    assert_true(fourth.keks[0].info.fingerprinted);
    assert_string_equal(fourth.keks[0].info.problem, "");
}

static void a_relabelled_key_is_read_anew(void **state)
{
    struct rig_session *rig = *state;
    size_t place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list first = list(rig, NULL);
    fake_module_set_bytes(rig->module, place, CKA_LABEL, "prod.v9", 7);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list second = list(rig, &first);
    assert_string_equal(second.keks[0].info.label, "prod.v9");
    fake_module_set_bytes(rig->module, place, CKA_LABEL, "gone", 4);
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list third = list(rig, &second);
    assert_int_equal(third.count, 0);
}

static enum kms_code find(struct rig_session *rig, const uint8_t *key, bool *ret_absent)
{
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    rig_fingerprint(key, fingerprint);
    struct kms_kek_ref ref = { "prod.v1", fingerprint, NULL };
    struct pkcs11_kek kek;
    enum kms_code rc = pkcs11_kek_find(&rig->place, &ref, &kek, ret_absent, &rig->err);
    if (rc == KMS_OK)
        assert_memory_equal(kek.info.fingerprint, fingerprint, sizeof(fingerprint));
    return rc;
}

static void the_right_one_of_two_with_one_label_is_found(void **state)
{
    struct rig_session *rig = *state;
    bool absent = true;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_other_key);
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    assert_ok(find(rig, rig_key, &absent), &rig->err);
    assert_false(absent);
}

static void a_missing_key_must_not_make_anyone_delete_objects(void **state)
{
    struct rig_session *rig = *state;
    bool absent = false;
    assert_int_equal(find(rig, rig_key, &absent), KMS_E_PRECONDITION);
    assert_true(absent);
    assert_contains(rig->err.msg, "do not delete objects");
}

static void another_key_under_the_label_is_a_substitution(void **state)
{
    struct rig_session *rig = *state;
    bool absent = true;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_other_key);
    assert_int_equal(find(rig, rig_key, &absent), KMS_E_PRECONDITION);
    assert_false(absent);
    assert_contains(rig->err.msg, "substituted");
}

static void a_key_that_fails_is_no_substitution(void **state)
{
    struct rig_session *rig = *state;
    bool absent = true;
    (void)fake_module_add_kek(rig->module, "prod.v1", rig_key);
    fake_module_fail_always(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(find(rig, rig_key, &absent), KMS_E_UNAVAILABLE);
    assert_int_equal(rig->err.ckr, CKR_DEVICE_ERROR);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_session_setup, rig_session_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_fingerprint_is_the_published_vector),
        TEST(attributes_are_read_and_unknown_ones_are_not_false),
        TEST(a_cipher_gives_the_same_fingerprint),
        TEST(a_cipher_uses_no_key_that_may_not_encrypt_and_decrypt),
        TEST(only_the_prefix_is_listed_and_sorted),
        TEST(more_than_one_batch_of_handles_is_listed),
        TEST(labels_that_cant_be_ours_are_passed_over),
        TEST(a_disabled_key_is_listed_without_a_fingerprint),
        TEST(a_key_that_may_only_unwrap_is_said_to_be_of_no_use),
        TEST(a_problem_is_told_anew_when_its_cause_changed),
        TEST(an_extractable_key_is_listed_as_it_is),
        TEST(a_key_that_wont_wrap_is_listed_with_its_problem),
        TEST(a_key_destroyed_meanwhile_is_passed_over),
        TEST(a_key_named_by_label_is_listed_beside_the_prefix),
        TEST(a_key_named_by_its_id_needs_no_label),
        TEST(without_names_other_keys_are_not_even_looked_at),
        TEST(an_outage_fails_the_whole_list),
        TEST(a_search_that_failed_is_ended),
        TEST(a_known_key_costs_one_call),
        TEST(a_known_key_that_changed_is_seen),
        TEST(a_relabelled_key_is_read_anew),
        TEST(the_right_one_of_two_with_one_label_is_found),
        TEST(a_missing_key_must_not_make_anyone_delete_objects),
        TEST(another_key_under_the_label_is_a_substitution),
        TEST(a_key_that_fails_is_no_substitution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
