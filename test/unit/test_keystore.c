/* SPDX-License-Identifier: Apache-2.0 */
/* How KEKs are compared, on whatever token they are. */
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "kms/keystore.h"

static struct kms_kek_info kek_of(const char *label, const char *cka_id, uint8_t fingerprint)
{
    struct kms_kek_info kek = { .cka_id_len = strlen(cka_id), .fingerprinted = fingerprint != 0 };
    snprintf(kek.label, sizeof kek.label, "%s", label);
    memcpy(kek.cka_id, cka_id, kek.cka_id_len);
    memset(kek.fingerprint, fingerprint, sizeof kek.fingerprint);
    return kek;
}

static void one_label_and_one_fingerprint_are_one_key(void **state)
{
    (void)state;
    const struct kms_kek_info a = kek_of("v1", "a", 1), b = kek_of("v1", "b", 1);
    const struct kms_kek_info other = kek_of("v1", "a", 2), renamed = kek_of("v2", "a", 1);
    assert_true(kms_kek_is_same(&a, &b));
    assert_false(kms_kek_is_same(&a, &other));
    assert_false(kms_kek_is_same(&a, &renamed));
}

static void a_key_without_fingerprint_is_the_same_as_none(void **state)
{
    (void)state;
    const struct kms_kek_info a = kek_of("v1", "a", 0), b = kek_of("v1", "a", 0);
    struct kms_kek_info zeros = kek_of("v1", "a", 0);
    zeros.fingerprinted = true;
    assert_false(kms_kek_is_same(&a, &b));
    assert_false(kms_kek_is_same(&a, &zeros));
    assert_false(kms_kek_is_same(&zeros, &a));
    const struct kms_kek_ref ref = { .label = "v1", .fingerprint = zeros.fingerprint };
    assert_true(kms_kek_is(&zeros, &ref));
    assert_false(kms_kek_is(&a, &ref));
}

static void inventories_are_sorted_by_label_and_then_by_cka_id(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "a", "z" }, { "b", "" }, { "b", "a" }, { "b", "ab" }, { "b", "b" }
    };
    enum { ROWS = sizeof rows / sizeof rows[0] };
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t k = 0; k < ROWS; k++) {
            const struct kms_kek_info a = kek_of(rows[i][0], rows[i][1], 0);
            const struct kms_kek_info b = kek_of(rows[k][0], rows[k][1], 0);
            int order = kms_kek_order(&a, &b);
            assert_int_equal((order > 0) - (order < 0), (i > k) - (i < k));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_label_and_one_fingerprint_are_one_key),
        cmocka_unit_test(a_key_without_fingerprint_is_the_same_as_none),
        cmocka_unit_test(inventories_are_sorted_by_label_and_then_by_cka_id),
    };
    return cmocka_run_group_tests_name("keystore", tests, NULL, NULL);
}
