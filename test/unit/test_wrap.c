/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11_rig.h"
#include "vendor.h"
#include "wrap.h"

static const uint8_t data[KMS_SEED_MAX + 8] = { 1, 2, 3 };

static struct pkcs11_use use_of(struct rig_session *rig, enum kms_algorithm algorithm,
                                CK_OBJECT_HANDLE handle)
{
    const struct pkcs11_way *way = algorithm == rig->wrap.algorithm
                                       ? pkcs11_wrap_chosen(&rig->wrap)
                                       : pkcs11_wrap_way(&rig->wrap, PKCS11_RUNG_OBJECTS,
                                                         algorithm);
    return (struct pkcs11_use){ rig->wrap.fn, way, &rig->session, handle,
                                kms_bytes_of(rig->bound) };
}

static enum kms_code wrap(struct rig_session *rig, CK_OBJECT_HANDLE handle, size_t len,
                          struct kms_wrapped *ret_wrapped)
{
    struct pkcs11_use use = use_of(rig, rig->wrap.algorithm, handle);
    return pkcs11_wrap_seed(&use, (struct kms_bytes){ data, len }, ret_wrapped, &rig->err);
}

static enum kms_code unwrap(struct rig_session *rig, CK_OBJECT_HANDLE handle,
                            const struct kms_wrapped *wrapped)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    struct pkcs11_use use = use_of(rig, wrapped->algorithm, handle);
    enum kms_code rc = pkcs11_unwrap_seed(&use, (struct kms_bytes){ wrapped->data, wrapped->len },
                                          &seed, &rig->err);
    if (rc == KMS_OK)
        assert_memory_equal(seed.data, data, seed.len);
    else
        assert_null(seed.data);
    return rc;
}

static void all_lengths_go_round(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
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
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
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
        assert_int_equal(pkcs11_wrap_check_wrapped(KMS_ALGORITHM_AES_KW,
                                                   (struct kms_bytes){ data, ciphertexts[i] },
                                                   &err),
                         KMS_E_INVALID);
    }
    assert_int_equal(fake_module_all_calls(rig->module), calls);
}

static void a_wrong_length_from_wrap_is_refused(void **state)
{
    struct rig_session *rig = *state;
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
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
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
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
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
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
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
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

/* --- as a cipher --- */

static void a_cipher_makes_the_same_bytes_and_no_objects(void **state)
{
    struct rig_session *rig = *state;
    rig_use_cipher(rig);
    unsigned imports = fake_module_calls(rig->module, "C_CreateObject");
    all_lengths_go_round(state);
    assert_int_equal(fake_module_calls(rig->module, "C_CreateObject"), imports);
}

static void profiles_read_what_the_other_wrote(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap objects = rig->wrap;
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    struct kms_wrapped by_objects = { 0 }, by_cipher = { 0 };
    assert_ok(wrap(rig, handle, 32, &by_objects), &rig->err);
    rig_use_cipher(rig);
    assert_ok(wrap(rig, handle, 32, &by_cipher), &rig->err);
    assert_ok(unwrap(rig, handle, &by_objects), &rig->err);
    rig->wrap = objects;
    assert_ok(unwrap(rig, handle, &by_cipher), &rig->err);
}

static void a_cipher_with_wrong_lengths_is_refused(void **state)
{
    struct rig_session *rig = *state;
    rig_use_cipher(rig);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    struct kms_wrapped wrapped = { 0 }, none = { 0 };
    assert_ok(wrap(rig, handle, 32, &wrapped), &rig->err);
    fake_module_behaviour(rig->module)->wrap_len_error = 8;
    assert_int_equal(wrap(rig, handle, 32, &none), KMS_E_PRECONDITION);
    assert_int_equal(none.len, 0);
    fake_module_behaviour(rig->module)->value_len_error = -8;
    assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_PRECONDITION);
}

static void a_cipher_says_which_call_failed(void **state)
{
    struct rig_session *rig = *state;
    rig_use_cipher(rig);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    struct kms_wrapped wrapped = { 0 };
    fake_module_fail_next(rig->module, "C_EncryptInit", CKR_KEY_HANDLE_INVALID);
    assert_int_equal(wrap(rig, handle, 32, &wrapped), KMS_E_PRECONDITION);
    assert_string_equal(rig->err.op, "C_EncryptInit");
    assert_ok(wrap(rig, handle, 32, &wrapped), &rig->err);
    wrapped.data[0] ^= 1;
    fake_module_behaviour(rig->module)->tamper_rv = CKR_ENCRYPTED_DATA_INVALID;
    assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_CORRUPT);
    assert_string_equal(rig->err.op, "C_Decrypt");
    assert_false(rig->session.broken);
}

/* The operation goes on then, and would refuse the session's next user. */
static void an_operation_that_stays_active_breaks_the_session(void **state)
{
    struct rig_session *rig = *state;
    rig_use_cipher(rig);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    struct kms_wrapped wrapped = { 0 };
    fake_module_fail_next(rig->module, "C_Encrypt", CKR_BUFFER_TOO_SMALL);
    assert_int_equal(wrap(rig, handle, 32, &wrapped), KMS_E_INTERNAL);
    assert_true(rig->session.broken);
}

/* --- the known-answer test --- */

static enum kms_code select_again(struct rig_session *rig, struct pkcs11_wrap *ret_wrap)
{
    return pkcs11_wrap_select(&rig->probe, ret_wrap, NULL, &rig->err);
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
    assert_int_equal(fake_module_calls(rig->module, "C_GenerateKey"), 2); /* of two kinds */
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

static void an_outage_in_the_first_profile_chooses_no_other(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_behaviour(rig->module)->ciphers = true;
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(select_again(rig, &chosen), KMS_E_UNAVAILABLE);
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&chosen), "aes-kw");
}

static void a_module_that_takes_no_seeds_wraps_as_a_cipher(void **state)
{
    struct rig_session *rig = *state;
    rig_use_cipher(rig);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kw-cipher");
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->proof, PKCS11_PROOF_KNOWN_ANSWER);
    assert_contains(rig->wrap.reason,
                    "before it aes-kw (0x2109): C_CreateObject: CKR_ATTRIBUTE_VALUE_INVALID");
    assert_int_equal(fake_module_session_objects(rig->module), 0);
}

static void what_a_cipher_wants_of_other_templates_is_learnt(void **state)
{
    struct rig_session *rig = *state;
    rig_use_cipher(rig);
    assert_false(rig->wrap.tell_value_len);
    fake_module_behaviour(rig->module)->demand_value_len = true;
    fake_module_behaviour(rig->module)->value_len_rv = CKR_OK;
    rig_use_cipher(rig);
    assert_true(rig->wrap.tell_value_len);
}

static void a_cipher_without_an_imported_key_goes_round(void **state)
{
    struct rig_session *rig = *state;
    fake_module_behaviour(rig->module)->import_aes_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    rig_use_cipher(rig);
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->proof, PKCS11_PROOF_ROUND_TRIP);
    assert_contains(rig->wrap.reason, "couldn't be compared with RFC 3394");
    assert_false(rig->session.broken);
}

static void a_generated_key_proves_rfc_3394_by_its_blocks(void **state)
{
    struct rig_session *rig = *state;
    fake_module_behaviour(rig->module)->import_aes_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    fake_module_behaviour(rig->module)->blocks = true;
    rig_use_cipher(rig);
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->proof, PKCS11_PROOF_COMPUTED);
    assert_contains(rig->wrap.reason, "RFC 3394 as computed from AES blocks");
}

/* As AES key wrap with padding does: 40 bytes that come back, and aren't RFC 3394. */
static void another_format_of_the_same_length_is_found_out(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    struct fake_behaviour *behaviour = fake_module_behaviour(rig->module);
    behaviour->import_aes_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    behaviour->blocks = true;
    rig_use_cipher(rig);
    behaviour->other_iv = true;
    assert_int_equal(select_again(rig, &chosen), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "aes-kw-cipher (0x2109): the answer isn't RFC 3394");
    behaviour->blocks = false;
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_int_equal(pkcs11_wrap_chosen(&chosen)->proof, PKCS11_PROOF_ROUND_TRIP);
}

static void without_any_test_key_the_modules_word_counts(void **state)
{
    struct rig_session *rig = *state;
    fake_module_behaviour(rig->module)->import_aes_rv = CKR_TEMPLATE_INCONSISTENT;
    fake_module_fail_always(rig->module, "C_GenerateKey", CKR_FUNCTION_NOT_SUPPORTED);
    rig_use_cipher(rig);
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->proof, PKCS11_PROOF_NONE);
    assert_contains(rig->wrap.reason, "C_GetMechanismInfo offers it");
}

static void a_refusal_names_what_each_profile_answered(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    fake_module_behaviour(rig->module)->key_wrap = CKM_AES_GCM;
    assert_int_equal(select_again(rig, &chosen), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "aes-kw (0x2109): C_WrapKey: CKR_MECHANISM_INVALID; "
                                  "aes-kw-cipher (0x2109): C_EncryptInit: CKR_MECHANISM_INVALID");
}

/* --- vendors --- */

static void become(struct rig_session *rig, const char *manufacturer, CK_MECHANISM_TYPE key_wrap)
{
    memset(&rig->token, 0, sizeof(rig->token));
    memcpy(rig->token.library.manufacturerID, manufacturer, strlen(manufacturer));
    fake_module_behaviour(rig->module)->key_wrap = key_wrap;
}

static void a_vendors_own_number_is_used_at_that_vendor(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    become(rig, "SafeNet", PKCS11_CKM_LUNA_AES_KW);
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_int_equal(pkcs11_wrap_chosen(&chosen)->mechanism, 0x80000170);
    assert_string_equal(pkcs11_wrap_name(&chosen), "aes-kw");
    become(rig, "Cavium Networks", PKCS11_CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD);
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_int_equal(pkcs11_wrap_chosen(&chosen)->mechanism, 0x80002109);
}

static void a_vendors_own_number_wraps_as_a_cipher(void **state)
{
    struct rig_session *rig = *state;
    become(rig, "SafeNet", PKCS11_CKM_LUNA_AES_KW);
    rig_use_cipher(rig);
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->mechanism, PKCS11_CKM_LUNA_AES_KW);
    all_lengths_go_round(state);
}

static void the_standard_number_comes_first(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    become(rig, "SafeNet", CKM_AES_KEY_WRAP);
    assert_ok(select_again(rig, &chosen), &rig->err);
    assert_int_equal(pkcs11_wrap_chosen(&chosen)->mechanism, CKM_AES_KEY_WRAP);
}

static void a_vendors_own_number_is_tried_nowhere_else(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    become(rig, "somebody", PKCS11_CKM_LUNA_AES_KW);
    assert_int_equal(select_again(rig, &chosen), KMS_E_PRECONDITION);
}

/* There it was PKCS#5 padding once: a ciphertext that nothing else reads. */
static void cloudhsm_never_sees_the_standard_number(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    become(rig, "Cavium Networks", CKM_AES_KEY_WRAP);
    fake_module_behaviour(rig->module)->ciphers = true;
    assert_int_equal(select_again(rig, &chosen), KMS_E_PRECONDITION);
    assert_null(strstr(rig->err.msg, "0x2109"));
}

static void a_vendor_is_known_by_module_or_token_in_any_case(void **state)
{
    (void)state;
    struct pkcs11_token token = { 0 };
    assert_null(pkcs11_vendor_of(&token));
    memcpy(token.info.manufacturerID, "Safenet, Inc.", 13);
    assert_string_equal(pkcs11_vendor_of(&token)->name, "Thales Luna");
    memset(&token, ' ', sizeof(token));
    memcpy(token.library.libraryDescription + 3, "CloudHSM PKCS#11", 16);
    assert_string_equal(pkcs11_vendor_of(&token)->name, "AWS CloudHSM");
    memset(&token, 'x', sizeof(token));
    memcpy(token.info.model + sizeof(token.info.model) - 4, "Luna", 4);
    assert_string_equal(pkcs11_vendor_of(&token)->name, "Thales Luna");
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
        TEST(a_cipher_makes_the_same_bytes_and_no_objects),
        TEST(profiles_read_what_the_other_wrote),
        TEST(a_cipher_with_wrong_lengths_is_refused),
        TEST(a_cipher_says_which_call_failed),
        TEST(an_operation_that_stays_active_breaks_the_session),
        TEST(the_profile_is_aes_kw_without_a_value_len),
        TEST(a_module_that_wants_a_value_len_gets_one),
        TEST(a_module_that_answers_wrongly_is_refused),
        TEST(a_module_without_the_mechanism_is_refused),
        TEST(a_refused_import_is_tested_with_a_generated_key),
        TEST(a_module_that_makes_no_session_keys_goes_untested),
        TEST(an_outage_in_the_test_is_an_outage),
        TEST(an_outage_in_the_first_profile_chooses_no_other),
        TEST(a_module_that_takes_no_seeds_wraps_as_a_cipher),
        TEST(what_a_cipher_wants_of_other_templates_is_learnt),
        TEST(a_cipher_without_an_imported_key_goes_round),
        TEST(a_generated_key_proves_rfc_3394_by_its_blocks),
        TEST(another_format_of_the_same_length_is_found_out),
        TEST(without_any_test_key_the_modules_word_counts),
        TEST(a_refusal_names_what_each_profile_answered),
        TEST(a_vendors_own_number_is_used_at_that_vendor),
        TEST(a_vendors_own_number_wraps_as_a_cipher),
        TEST(the_standard_number_comes_first),
        TEST(a_vendors_own_number_is_tried_nowhere_else),
        TEST(cloudhsm_never_sees_the_standard_number),
        TEST(a_vendor_is_known_by_module_or_token_in_any_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
