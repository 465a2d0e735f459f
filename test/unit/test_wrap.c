/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11_rig.h"
#include "wrap.h"

static const uint8_t data[KMS_SEED_MAX + 8] = { 1, 2, 3 };

/* A handle in the fake for a KEK of the given bytes. */
static CK_OBJECT_HANDLE kek(struct rig_session *rig)
{
    (void)fake_module_add_kek(rig->module, "kek", rig_key);
    CK_FUNCTION_LIST *fn = rig->wrap.fn;
    CK_ATTRIBUTE label = { CKA_LABEL, (char[]){ "kek" }, 3 };
    CK_OBJECT_HANDLE handle = 0;
    CK_ULONG count = 0;
    assert_int_equal(fn->C_FindObjectsInit(rig->session.handle, &label, 1), CKR_OK);
    assert_int_equal(fn->C_FindObjects(rig->session.handle, &handle, 1, &count), CKR_OK);
    assert_int_equal(fn->C_FindObjectsFinal(rig->session.handle), CKR_OK);
    assert_int_equal(count, 1);
    return handle;
}

static enum kms_code wrap(struct rig_session *rig, CK_OBJECT_HANDLE handle, size_t len,
                          struct kms_wrapped *ret_wrapped)
{
    return pkcs11_wrap_seed(&rig->wrap, &rig->session, handle, (struct kms_bytes){ data, len },
                            ret_wrapped, &rig->err);
}

static enum kms_code unwrap(struct rig_session *rig, CK_OBJECT_HANDLE handle,
                            const struct kms_wrapped *wrapped)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    enum kms_code rc = pkcs11_unwrap_seed(&rig->wrap, &rig->session, handle,
                                          (struct kms_bytes){ wrapped->data, wrapped->len }, &seed,
                                          &rig->err);
    if (rc == KMS_OK)
        assert_memory_equal(seed.data, data, seed.len);
    else
        assert_null(seed.data);
    return rc;
}

static void all_lengths_go_round(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = kek(rig);
    for (size_t len = KMS_SEED_MIN; len <= KMS_SEED_MAX; len += 8) {
        struct kms_wrapped wrapped = { 0 };
        uint8_t expected[KMS_WRAPPED_MAX];
        assert_ok(wrap(rig, handle, len, &wrapped), &rig->err);
        assert_int_equal(wrapped.len, rig_wrap(rig_key, (struct kms_bytes){ data, len }, expected));
        assert_memory_equal(wrapped.data, expected, wrapped.len);
        assert_ok(unwrap(rig, handle, &wrapped), &rig->err);
    }
}

static void wrong_lengths_never_reach_the_module(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = kek(rig);
    unsigned calls = fake_module_all_calls(rig->module);
    static const size_t seeds[] = { 0, 1, 8, 15, 17, 20, 31, 33, 255, 264 };
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++) {
        struct kms_wrapped wrapped = { 0 };
        assert_int_equal(wrap(rig, handle, seeds[i], &wrapped), KMS_E_INVALID);
        assert_contains(rig->err.msg, "multiple of 8");
    }
    static const size_t ciphertexts[] = { 0, 7, 8, 16, 23, 39, 41, 265, 272 };
    for (size_t i = 0; i < sizeof(ciphertexts) / sizeof(ciphertexts[0]); i++) {
        struct kms_error err;
        assert_int_equal(
            pkcs11_wrap_check_wrapped((struct kms_bytes){ data, ciphertexts[i] }, &err),
            KMS_E_INVALID);
    }
    assert_int_equal(fake_module_all_calls(rig->module), calls);
}

static void a_wrong_length_from_wrap_is_refused(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = kek(rig);
    struct kms_wrapped wrapped = { 0 };
    fake_module_behaviour(rig->module)->wrap_len_error = 8;
    assert_int_equal(wrap(rig, handle, 32, &wrapped), KMS_E_PRECONDITION);
    fake_module_behaviour(rig->module)->wrap_len_error = -8;
    assert_int_equal(wrap(rig, handle, 32, &wrapped), KMS_E_PRECONDITION);
    assert_int_equal(wrapped.len, 0);
}

static void a_wrong_length_from_unwrap_is_refused(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = kek(rig);
    struct kms_wrapped wrapped = { 0 };
    assert_ok(wrap(rig, handle, 32, &wrapped), &rig->err);
    fake_module_behaviour(rig->module)->value_len_error = 8;
    assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_PRECONDITION);
    fake_module_behaviour(rig->module)->value_len_error = -1;
    assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_PRECONDITION);
}

static void objects_are_destroyed_when_a_call_fails(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = kek(rig);
    struct kms_wrapped wrapped = { 0 };
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_REMOVED);
    assert_int_equal(wrap(rig, handle, 32, &wrapped), KMS_E_UNAVAILABLE);
    assert_int_equal(fake_module_session_objects(rig->module), 0);
    assert_ok(wrap(rig, handle, 32, &wrapped), &rig->err);
    fake_module_fail_next(rig->module, "C_GetAttributeValue", CKR_GENERAL_ERROR);
    assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_UNAVAILABLE);
    assert_int_equal(fake_module_session_objects(rig->module), 0);
}

static void an_object_that_stays_breaks_the_session(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = kek(rig);
    struct kms_wrapped wrapped = { 0 };
    fake_module_fail_next(rig->module, "C_DestroyObject", CKR_GENERAL_ERROR);
    assert_ok(wrap(rig, handle, 32, &wrapped), &rig->err);
    assert_true(rig->session.broken);
}

static void failures_carry_the_call_and_the_ckr(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    assert_int_equal(wrap(rig, 1, 32, &wrapped), KMS_E_PRECONDITION);
    assert_string_equal(rig->err.op, "C_WrapKey");
    assert_int_equal(rig->err.ckr, CKR_WRAPPING_KEY_HANDLE_INVALID);
    fake_module_fail_next(rig->module, "C_CreateObject", CKR_DEVICE_MEMORY);
    assert_int_equal(wrap(rig, 1, 32, &wrapped), KMS_E_BUSY);
    assert_string_equal(rig->err.op, "C_CreateObject");
}

/* --- the known-answer test --- */

static enum kms_code select_again(struct rig_session *rig, struct pkcs11_wrap *ret_wrap)
{
    return pkcs11_wrap_select(rig->wrap.fn, &rig->session, ret_wrap, &rig->err);
}

static void the_profile_is_aes_kw_without_a_value_len(void **state)
{
    struct rig_session *rig = *state;
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kw");
    assert_false(rig->wrap.tell_value_len);
    assert_int_equal(fake_module_session_objects(rig->module), 0);
}

static void a_module_that_wants_a_value_len_gets_one(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_behaviour(rig->module)->demand_value_len = true;
    fake_module_behaviour(rig->module)->value_len_rv = CKR_OK;
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_true(chosen.tell_value_len);
}

static void a_module_that_answers_wrongly_is_refused(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_behaviour(rig->module)->wraps_wrongly = true;
    assert_int_equal(select_again(rig, &chosen), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "isn't RFC 3394");
    assert_int_equal(fake_module_session_objects(rig->module), 0);
}

static void a_module_without_the_mechanism_is_refused(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_fail_always(rig->module, "C_WrapKey", CKR_MECHANISM_INVALID);
    assert_int_equal(select_again(rig, &chosen), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "CKM_AES_KEY_WRAP");
}

static void a_refused_import_is_tested_with_a_generated_key(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_behaviour(rig->module)->import_aes_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    fake_module_behaviour(rig->module)->demand_value_len = true;
    fake_module_behaviour(rig->module)->value_len_rv = CKR_OK;
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_int_equal(fake_module_calls(rig->module, "C_GenerateKey"), 1);
    assert_true(chosen.tell_value_len);
}

static void a_module_that_makes_no_session_keys_goes_untested(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_behaviour(rig->module)->import_aes_rv = CKR_TEMPLATE_INCONSISTENT;
    fake_module_fail_always(rig->module, "C_GenerateKey", CKR_FUNCTION_NOT_SUPPORTED);
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&chosen), "aes-kw");
}

static void an_outage_in_the_test_is_an_outage(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_fail_next(rig->module, "C_CreateObject", CKR_DEVICE_REMOVED);
    assert_int_equal(select_again(rig, &chosen), KMS_E_UNAVAILABLE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_session_setup, rig_session_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_lengths_go_round),
        TEST(wrong_lengths_never_reach_the_module),
        TEST(a_wrong_length_from_wrap_is_refused),
        TEST(a_wrong_length_from_unwrap_is_refused),
        TEST(objects_are_destroyed_when_a_call_fails),
        TEST(an_object_that_stays_breaks_the_session),
        TEST(failures_carry_the_call_and_the_ckr),
        TEST(the_profile_is_aes_kw_without_a_value_len),
        TEST(a_module_that_wants_a_value_len_gets_one),
        TEST(a_module_that_answers_wrongly_is_refused),
        TEST(a_module_without_the_mechanism_is_refused),
        TEST(a_refused_import_is_tested_with_a_generated_key),
        TEST(a_module_that_makes_no_session_keys_goes_untested),
        TEST(an_outage_in_the_test_is_an_outage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
