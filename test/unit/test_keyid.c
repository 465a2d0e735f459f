/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "keyid.h"

static void ring_names(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "0", "prod", "a-b", "abcdefghijklmnopqrstuvwx" };
    static const char *const bad[] = { "",    "-a",  "a-",  "Prod",
                                       "a.b", "a_b", "a b", "abcdefghijklmnopqrstuvwxy" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(kms_ring_name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kms_ring_name_is_valid(bad[i]));
}

static void token_names_are_as_ring_names_but_longer(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "token-1", "abcdefghijklmnopqrstuvwxyz012345" };
    static const char *const bad[] = { "",    "-a",  "a-",  "Main",
                                       "a.b", "a/b", "a b", "abcdefghijklmnopqrstuvwxyz0123456" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(kms_token_name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kms_token_name_is_valid(bad[i]));
}

static void resource_names_are_as_in_an_encryption_configuration(void **state)
{
    (void)state;
    static const char *const good[] = { "secrets", "leases.coordination.k8s.io", "*.apps", "*.",
                                        "*.*" };
    static const char *const bad[] = { "", "*", ".apps", "Secrets", "a/b", "*secrets", "a.*" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(kms_resource_name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kms_resource_name_is_valid(bad[i]));
    char longest[KMS_RESOURCE_NAME_MAX + 2];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_false(kms_resource_name_is_valid(longest));
    longest[sizeof longest - 2] = '\0';
    assert_true(kms_resource_name_is_valid(longest));
}

static void label_round_trip(void **state)
{
    (void)state;
    char label[KMS_KEK_LABEL_LEN + 1];
    kms_label_format("prod", 2, 1796126400, label);
    assert_string_equal(label, "prod.v2@20261201T120000Z");
    uint32_t generation;
    int64_t activation;
    assert_true(kms_label_parse("prod", label, &generation, &activation));
    assert_int_equal(generation, 2);
    assert_int_equal(activation, 1796126400);
}

static void the_longest_label_and_key_id_fit(void **state)
{
    (void)state;
    const char *ring = "abcdefghijklmnopqrstuvwx";
    uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0xab };
    char label[KMS_KEK_LABEL_LEN + 1], key_id[KMS_KEY_ID_LEN + 1];
    kms_label_format(ring, KMS_GENERATION_MAX, 1796126400, label);
    kms_key_id_format(ring, KMS_GENERATION_MAX, fingerprint, key_id);
    uint32_t generation;
    int64_t activation;
    struct kms_key_id parsed;
    assert_true(kms_label_parse(ring, label, &generation, &activation));
    assert_int_equal(generation, KMS_GENERATION_MAX);
    assert_true(kms_key_id_parse(ring, kms_bytes_of(key_id), &parsed));
    assert_int_equal(parsed.generation, KMS_GENERATION_MAX);
}

static void label_refuses_other_spellings(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "prod",
        "prod.v1",
        "prod.v01@20261201T120000Z",
        "prod.v0@20261201T120000Z",
        "prod.v1000000000@20261201T120000Z",
        "prod.v1@20261201T120000",
        "prod.v1@20261301T120000Z",
        "prod.v1@20261201T120000Z ",
        "prod.v-1@20261201T120000Z",
        "prod.pending.17",
        "prod2.v1@20261201T120000Z",
        "pro.v1@20261201T120000Z",
    };
    uint32_t generation;
    int64_t activation;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kms_label_parse("prod", bad[i], &generation, &activation));
}

static void key_id_round_trip(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    for (size_t i = 0; i < sizeof fingerprint; i++)
        fingerprint[i] = (uint8_t)(0xf0 + i);
    char key_id[KMS_KEY_ID_LEN + 1];
    kms_key_id_format("prod", 7, fingerprint, key_id);
    assert_string_equal(key_id, "prod.v7.f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
    struct kms_key_id parsed;
    assert_true(kms_key_id_parse("prod", kms_bytes_of(key_id), &parsed));
    assert_int_equal(parsed.generation, 7);
    assert_memory_equal(parsed.fingerprint_head, fingerprint, KMS_KEY_ID_FINGERPRINT_LEN);
}

static void key_id_refuses_other_spellings(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "prod.v7",
        "prod.v7.f0f1f2f3f4f5f6f7f8f9fafbfcfdfef",
        "prod.v7.f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff0",
        "prod.v7.F0F1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "prod.v07.f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "test.v7.f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "prod.v7@f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
    };
    struct kms_key_id parsed;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(kms_key_id_parse("prod", kms_bytes_of(bad[i]), &parsed));
    const char with_nul[] = "prod.v7.f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff\0";
    assert_false(kms_key_id_parse(
        "prod", (struct kms_bytes){ (const uint8_t *)with_nul, sizeof with_nul - 1 }, &parsed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_names),
        cmocka_unit_test(token_names_are_as_ring_names_but_longer),
        cmocka_unit_test(resource_names_are_as_in_an_encryption_configuration),
        cmocka_unit_test(label_round_trip),
        cmocka_unit_test(the_longest_label_and_key_id_fit),
        cmocka_unit_test(label_refuses_other_spellings),
        cmocka_unit_test(key_id_round_trip),
        cmocka_unit_test(key_id_refuses_other_spellings),
    };
    return cmocka_run_group_tests_name("keyid", tests, NULL, NULL);
}
