/* SPDX-License-Identifier: Apache-2.0 */
/* Wrapping otherwise than by AES key wrap. */
#include <openssl/evp.h>

#include "pkcs11_rig.h"
#include "vendor.h"
#include "wrap.h"

static const uint8_t data[KMS_SEED_MAX] = { 1, 2, 3 };
enum { OVERHEAD = KMS_GCM_IV_LEN + KMS_GCM_TAG_LEN };

static struct fake_behaviour *behaviour(struct rig_session *rig)
{
    return fake_module_behaviour(rig->module);
}

static enum kms_code choose(struct rig_session *rig, enum kms_profile profile)
{
    struct pkcs11_wrap chosen = { 0 };
    rig->probe.profile = profile;
    enum kms_code rc = pkcs11_wrap_select(&rig->probe, &chosen, NULL, &rig->err);
    if (rc == KMS_OK)
        rig->wrap = chosen;
    assert_int_equal(fake_module_session_objects(rig->module), 0);
    return rc;
}

static void use_gcm(struct rig_session *rig, enum fake_gcm iv)
{
    behaviour(rig)->gcm_iv = iv;
    assert_ok(choose(rig, KMS_PROFILE_AES_GCM), &rig->err);
}

static void become(struct rig_session *rig, const char *manufacturer)
{
    memset(&rig->token, 0, sizeof(rig->token));
    memcpy(rig->token.library.manufacturerID, manufacturer, strlen(manufacturer));
}

/* The module has no AES key wrap, but single blocks. */
static void lose_key_wrap(struct rig_session *rig)
{
    behaviour(rig)->key_wrap = ~0UL;
    behaviour(rig)->blocks = true;
}

static struct pkcs11_use use_of(struct rig_session *rig, CK_OBJECT_HANDLE handle)
{
    return (struct pkcs11_use){ rig->wrap.fn, pkcs11_wrap_chosen(&rig->wrap), &rig->session, handle,
                                kms_bytes_of(rig->bound) };
}

static enum kms_code wrap(struct rig_session *rig, CK_OBJECT_HANDLE handle, size_t len,
                          struct kms_wrapped *ret_wrapped)
{
    struct pkcs11_use use = use_of(rig, handle);
    return pkcs11_wrap_seed(&use, (struct kms_bytes){ data, len }, ret_wrapped, &rig->err);
}

static enum kms_code unwrap(struct rig_session *rig, CK_OBJECT_HANDLE handle,
                            const struct kms_wrapped *wrapped)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    struct pkcs11_use use = use_of(rig, handle);
    enum kms_code rc = pkcs11_unwrap_seed(&use, (struct kms_bytes){ wrapped->data, wrapped->len },
                                          &seed, &rig->err);
    if (rc == KMS_OK)
        assert_memory_equal(seed.data, data, seed.len);
    else
        assert_null(seed.data);
    return rc;
}

static void all_lengths_go_round(struct rig_session *rig)
{
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    size_t overhead = kms_algorithm_overhead(rig->wrap.algorithm);
    for (size_t len = KMS_SEED_MIN; len <= KMS_SEED_MAX; len += 8) {
        struct kms_wrapped wrapped = { 0 };
        assert_ok(wrap(rig, handle, len, &wrapped), &rig->err);
        assert_int_equal(wrapped.len, len + overhead);
        assert_int_equal(wrapped.algorithm, rig->wrap.algorithm);
        assert_ok(unwrap(rig, handle, &wrapped), &rig->err);
    }
    assert_int_equal(fake_module_session_objects(rig->module), 0);
}

/* --- AES key wrap with padding --- */

static void rfc_5649_is_taken_where_it_is_asked_for(void **state)
{
    struct rig_session *rig = *state;
    behaviour(rig)->padded = CKM_AES_KEY_WRAP_KWP;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kw");
    assert_ok(choose(rig, KMS_PROFILE_AES_KWP), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kwp");
    assert_contains(rig->wrap.reason, "asked for: it gave the known answer of RFC 5649");
    all_lengths_go_round(rig);
}

static void rfc_5649_gives_what_openssl_gives(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    uint8_t expected[KMS_WRAPPED_MAX];
    int len = 0;
    behaviour(rig)->padded = CKM_AES_KEY_WRAP_KWP;
    assert_ok(choose(rig, KMS_PROFILE_AES_KWP), &rig->err);
    assert_ok(wrap(rig, rig_session_kek(rig), 32, &wrapped), &rig->err);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap_pad(), NULL, rig_key, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, expected, &len, data, 32), 1);
    EVP_CIPHER_CTX_free(ctx);
    assert_int_equal(len, wrapped.len);
    assert_memory_equal(expected, wrapped.data, wrapped.len);
}

static void rfc_5649_is_taken_where_rfc_3394_can_not_be_had(void **state)
{
    struct rig_session *rig = *state;
    lose_key_wrap(rig);
    behaviour(rig)->padded = CKM_AES_KEY_WRAP_KWP;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kwp");
    assert_contains(rig->wrap.reason, "fingerprints are by AES blocks; before it aes-kw (0x2109)");
    assert_true(pkcs11_wrap_is_cipher(&rig->wrap));
}

static void rfc_5649_as_a_cipher_is_proved_by_blocks(void **state)
{
    struct rig_session *rig = *state;
    lose_key_wrap(rig);
    behaviour(rig)->padded = CKM_AES_KEY_WRAP_KWP;
    behaviour(rig)->ciphers = true;
    behaviour(rig)->import_seed_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    behaviour(rig)->import_aes_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kwp-cipher");
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->proof, PKCS11_PROOF_COMPUTED);
    all_lengths_go_round(rig);
}

static void rfc_3394_does_not_pass_for_rfc_5649(void **state)
{
    struct rig_session *rig = *state;
    behaviour(rig)->key_wrap = CKM_AES_KEY_WRAP_KWP;
    behaviour(rig)->blocks = true;
    assert_int_equal(choose(rig, KMS_PROFILE_AES_KWP), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "aes-kwp (0x210b): the answer isn't RFC 5649");
}

static void padded_numbers_are_the_vendors_and_never_0x210a(void **state)
{
    (void)state;
    struct rig_session *rig = *state;
    CK_MECHANISM_TYPE numbers[PKCS11_NUMBERS_MAX];
    become(rig, "SafeNet");
    assert_int_equal(
        pkcs11_vendor_numbers(pkcs11_vendor_of(&rig->token), KMS_ALGORITHM_AES_KWP, false, numbers),
        2);
    assert_int_equal(numbers[0], 0x210B);
    assert_int_equal(numbers[1], 0x80000171);
    become(rig, "Cavium Networks");
    assert_int_equal(
        pkcs11_vendor_numbers(pkcs11_vendor_of(&rig->token), KMS_ALGORITHM_AES_KWP, false, numbers),
        1);
    assert_int_equal(numbers[0], 0x8000216F);
    behaviour(rig)->padded = CKM_AES_KEY_WRAP_PAD;
    assert_int_equal(choose(rig, KMS_PROFILE_AES_KWP), KMS_E_PRECONDITION);
    assert_null(strstr(rig->err.msg, "0x210a"));
}

/* --- AES-GCM --- */

static void gcm_is_taken_where_it_is_asked_for(void **state)
{
    struct rig_session *rig = *state;
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kw");
    use_gcm(rig, FAKE_GCM_CALLER);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-gcm");
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->proof, PKCS11_PROOF_KNOWN_ANSWER);
    assert_true(pkcs11_wrap_is_cipher(&rig->wrap));
    assert_false(pkcs11_wrap_fingerprints_by_cipher(&rig->wrap));
    all_lengths_go_round(rig);
}

static void gcm_is_taken_where_key_wrap_can_not_be_had(void **state)
{
    struct rig_session *rig = *state;
    lose_key_wrap(rig);
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    assert_int_equal(rig->wrap.algorithm, KMS_ALGORITHM_AES_GCM);
    assert_true(rig->wrap.blocks);
    assert_int_equal(choose(rig, KMS_PROFILE_AES_KW), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "doesn't wrap by aes-kw");
}

static void gcm_without_any_fingerprint_is_refused(void **state)
{
    struct rig_session *rig = *state;
    lose_key_wrap(rig);
    behaviour(rig)->blocks = false;
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    assert_int_equal(choose(rig, KMS_PROFILE_AUTO), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "a KEK's fingerprint needs AES key wrap or CKM_AES_ECB");
}

static void a_module_that_writes_the_iv_gets_zeros(void **state)
{
    struct rig_session *rig = *state;
    use_gcm(rig, FAKE_GCM_WRITTEN);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-gcm-hsm-iv");
    all_lengths_go_round(rig);
}

static void cloudhsm_prepends_the_iv_by_its_own_number(void **state)
{
    struct rig_session *rig = *state;
    become(rig, "Cavium Networks");
    behaviour(rig)->key_wrap = PKCS11_CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD;
    behaviour(rig)->gcm = PKCS11_CKM_CLOUDHSM_AES_GCM;
    use_gcm(rig, FAKE_GCM_PREPENDED);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-gcm-hsm");
    assert_int_equal(pkcs11_wrap_chosen(&rig->wrap)->mechanism, 0x80001087);
    all_lengths_go_round(rig);
}

static void whoever_makes_the_iv_reads_what_another_wrote(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped by_us = { 0 }, by_module = { 0 };
    use_gcm(rig, FAKE_GCM_CALLER);
    struct pkcs11_wrap ours = rig->wrap;
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(wrap(rig, handle, 32, &by_us), &rig->err);
    use_gcm(rig, FAKE_GCM_WRITTEN);
    assert_ok(wrap(rig, handle, 32, &by_module), &rig->err);
    assert_ok(unwrap(rig, handle, &by_us), &rig->err);
    rig->wrap = ours;
    assert_ok(unwrap(rig, handle, &by_module), &rig->err);
}

static void no_two_ciphertexts_are_alike(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped first = { 0 }, second = { 0 };
    use_gcm(rig, FAKE_GCM_CALLER);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(wrap(rig, handle, 32, &first), &rig->err);
    assert_ok(wrap(rig, handle, 32, &second), &rig->err);
    assert_memory_not_equal(first.data, second.data, KMS_GCM_IV_LEN);
    assert_memory_not_equal(first.data + KMS_GCM_IV_LEN, second.data + KMS_GCM_IV_LEN, 32);
}

static void a_seed_is_bound_to_its_key_id(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    use_gcm(rig, FAKE_GCM_CALLER);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(wrap(rig, handle, 32, &wrapped), &rig->err);
    behaviour(rig)->tamper_rv = CKR_ENCRYPTED_DATA_INVALID;
    rig->bound = "another key_id";
    assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_CORRUPT);
    assert_false(rig->session.broken);
}

static void every_changed_byte_is_found(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    use_gcm(rig, FAKE_GCM_CALLER);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(wrap(rig, handle, 16, &wrapped), &rig->err);
    behaviour(rig)->tamper_rv = CKR_ENCRYPTED_DATA_INVALID;
    for (size_t i = 0; i < wrapped.len; i++) {
        wrapped.data[i] ^= 1;
        assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_CORRUPT);
        wrapped.data[i] ^= 1;
    }
}

static void gcm_lengths_are_checked_before_the_module_is_asked(void **state)
{
    struct rig_session *rig = *state;
    use_gcm(rig, FAKE_GCM_CALLER);
    struct pkcs11_use use = use_of(rig, rig_session_kek(rig));
    unsigned calls = fake_module_all_calls(rig->module);
    static const size_t wrong[] = { 0, 12, 28, 43, 45, 40, 264, 283, 285, 288 };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
        uint8_t bytes[KMS_WRAPPED_MAX] = { 0 };
        assert_int_equal(
            pkcs11_unwrap_seed(&use, (struct kms_bytes){ bytes, wrong[i] }, &seed, &rig->err),
            KMS_E_INVALID);
    }
    assert_int_equal(fake_module_all_calls(rig->module), calls);
}

static void wrong_lengths_from_gcm_are_refused(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped wrapped = { 0 }, none = { 0 };
    use_gcm(rig, FAKE_GCM_CALLER);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(wrap(rig, handle, 32, &wrapped), &rig->err);
    behaviour(rig)->gcm_lacks_a_byte = true;
    assert_int_equal(wrap(rig, handle, 32, &none), KMS_E_PRECONDITION);
    assert_int_equal(none.len, 0);
    behaviour(rig)->value_len_error = -8;
    assert_int_equal(unwrap(rig, handle, &wrapped), KMS_E_PRECONDITION);
}

static void gcm_says_which_call_failed(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    use_gcm(rig, FAKE_GCM_CALLER);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    static const char *const calls[] = { "C_EncryptInit", "C_Encrypt" };
    for (size_t i = 0; i < 2; i++) {
        fake_module_fail_next(rig->module, calls[i], CKR_DEVICE_REMOVED);
        assert_int_equal(wrap(rig, handle, 32, &wrapped), KMS_E_UNAVAILABLE);
        assert_string_equal(rig->err.op, calls[i]);
        rig->wrap.fn->C_CloseSession(rig->session.handle);
        assert_int_equal(rig->wrap.fn->C_OpenSession(7, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
                                                     NULL, &rig->session.handle),
                         CKR_OK);
    }
}

static void one_iv_twice_is_found_out(void **state)
{
    struct rig_session *rig = *state;
    behaviour(rig)->gcm_iv = FAKE_GCM_WRITTEN;
    behaviour(rig)->gcm_repeats_iv = true;
    assert_int_equal(choose(rig, KMS_PROFILE_AES_GCM), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "used one IV twice");
}

static void a_module_that_makes_no_iv_is_refused_always(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    use_gcm(rig, FAKE_GCM_WRITTEN);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    behaviour(rig)->gcm_makes_no_iv = true;
    assert_int_equal(wrap(rig, handle, 32, &wrapped), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "made no IV");
    assert_int_equal(wrapped.len, 0);
    assert_int_equal(choose(rig, KMS_PROFILE_AES_GCM), KMS_E_PRECONDITION);
}

static void a_module_that_binds_nothing_is_refused(void **state)
{
    struct rig_session *rig = *state;
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    behaviour(rig)->gcm_ignores_aad = true;
    behaviour(rig)->import_aes_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    assert_int_equal(choose(rig, KMS_PROFILE_AES_GCM), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "doesn't check what a seed is bound to");
    behaviour(rig)->import_aes_rv = CKR_OK;
    assert_int_equal(choose(rig, KMS_PROFILE_AES_GCM), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "isn't AES-GCM");
}

static void whatever_refuses_a_bad_tag_binds(void **state)
{
    static const CK_RV rvs[] = { CKR_ENCRYPTED_DATA_INVALID, CKR_SIGNATURE_INVALID,
                                 CKR_GENERAL_ERROR };
    struct rig_session *rig = *state;
    for (size_t i = 0; i < sizeof(rvs) / sizeof(rvs[0]); i++) {
        behaviour(rig)->tamper_rv = rvs[i];
        use_gcm(rig, FAKE_GCM_CALLER);
    }
}

static void a_failure_for_another_reason_proves_no_binding(void **state)
{
    static const struct {
        CK_RV rv;
        enum kms_code code;
    } rows[] = {
        { CKR_SESSION_HANDLE_INVALID, KMS_E_UNAVAILABLE },
        { CKR_HOST_MEMORY, KMS_E_BUSY },
        { CKR_DEVICE_REMOVED, KMS_E_UNAVAILABLE },
        { CKR_KEY_FUNCTION_NOT_PERMITTED, KMS_E_PRECONDITION },
    };
    enum { GOOD_ONES = 1 }; /* before the one with another key_id */
    struct rig_session *rig = *state;
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fake_module_fail_after(rig->module, "C_DecryptInit", GOOD_ONES, rows[i].rv);
        assert_int_equal(choose(rig, KMS_PROFILE_AES_GCM), rows[i].code);
    }
}

/* --- what isn't asked for --- */

static void an_outage_decides_on_no_algorithm(void **state)
{
    struct rig_session *rig = *state;
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    behaviour(rig)->blocks = true;
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(choose(rig, KMS_PROFILE_AUTO), KMS_E_UNAVAILABLE);
    fake_module_fail_next(rig->module, "C_EncryptInit", CKR_DEVICE_REMOVED);
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    assert_string_equal(pkcs11_wrap_name(&rig->wrap), "aes-kw");
    fake_module_fail_after(rig->module, "C_EncryptInit", 1, CKR_DEVICE_REMOVED);
    assert_int_equal(choose(rig, KMS_PROFILE_AES_GCM), KMS_E_UNAVAILABLE);
}

static void what_another_algorithm_wrote_can_be_read(void **state)
{
    struct rig_session *rig = *state;
    struct kms_wrapped key_wrapped = { 0 }, by_gcm = { 0 };
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    struct pkcs11_use kw = use_of(rig, handle), gcm = kw;
    gcm.way = pkcs11_wrap_way(&rig->wrap, PKCS11_RUNG_OBJECTS, KMS_ALGORITHM_AES_GCM);
    assert_ok(wrap(rig, handle, 32, &key_wrapped), &rig->err);
    use_gcm(rig, FAKE_GCM_CALLER);
    struct pkcs11_use old = use_of(rig, handle);
    old.way = pkcs11_wrap_way(&rig->wrap, PKCS11_RUNG_OBJECTS, KMS_ALGORITHM_AES_KW);
    assert_ok(wrap(rig, handle, 32, &by_gcm), &rig->err);
    KMS_CLEANUP(kms_secret_done) struct kms_secret first = { 0 };
    KMS_CLEANUP(kms_secret_done) struct kms_secret second = { 0 };
    assert_ok(pkcs11_unwrap_seed(&old, (struct kms_bytes){ key_wrapped.data, key_wrapped.len },
                                 &first, &rig->err),
              &rig->err);
    assert_ok(
        pkcs11_unwrap_seed(&gcm, (struct kms_bytes){ by_gcm.data, by_gcm.len }, &second, &rig->err),
        &rig->err);
    assert_memory_equal(first.data, data, 32);
    assert_memory_equal(second.data, data, 32);
}

static void a_survey_tries_everything(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_wrap chosen = { 0 };
    struct pkcs11_trials trials = { .count = 0 };
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    rig->probe.profile = KMS_PROFILE_AUTO;
    assert_ok(pkcs11_wrap_select(&rig->probe, &chosen, &trials, &rig->err), &rig->err);
    static const struct {
        const char *name;
        bool works;
    } expected[] = { { "aes-kw", true },
                     { "aes-kw-cipher", false },
                     { "aes-kwp", false },
                     { "aes-kwp-cipher", false },
                     { "aes-gcm", true } };
    assert_int_equal(trials.count, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < trials.count; i++) {
        assert_string_equal(pkcs11_profile_name(trials.list[i].profile), expected[i].name);
        assert_int_equal(trials.list[i].works, expected[i].works);
    }
    assert_string_equal(trials.list[2].answer, "C_WrapKey: CKR_MECHANISM_INVALID");
    assert_string_equal(pkcs11_wrap_name(&chosen), "aes-kw");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_session_setup, rig_session_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rfc_5649_is_taken_where_it_is_asked_for),
        TEST(rfc_5649_gives_what_openssl_gives),
        TEST(rfc_5649_is_taken_where_rfc_3394_can_not_be_had),
        TEST(rfc_5649_as_a_cipher_is_proved_by_blocks),
        TEST(rfc_3394_does_not_pass_for_rfc_5649),
        TEST(padded_numbers_are_the_vendors_and_never_0x210a),
        TEST(gcm_is_taken_where_it_is_asked_for),
        TEST(gcm_is_taken_where_key_wrap_can_not_be_had),
        TEST(gcm_without_any_fingerprint_is_refused),
        TEST(a_module_that_writes_the_iv_gets_zeros),
        TEST(cloudhsm_prepends_the_iv_by_its_own_number),
        TEST(whoever_makes_the_iv_reads_what_another_wrote),
        TEST(no_two_ciphertexts_are_alike),
        TEST(a_seed_is_bound_to_its_key_id),
        TEST(every_changed_byte_is_found),
        TEST(gcm_lengths_are_checked_before_the_module_is_asked),
        TEST(wrong_lengths_from_gcm_are_refused),
        TEST(gcm_says_which_call_failed),
        TEST(one_iv_twice_is_found_out),
        TEST(a_module_that_makes_no_iv_is_refused_always),
        TEST(a_module_that_binds_nothing_is_refused),
        TEST(whatever_refuses_a_bad_tag_binds),
        TEST(a_failure_for_another_reason_proves_no_binding),
        TEST(an_outage_decides_on_no_algorithm),
        TEST(what_another_algorithm_wrote_can_be_read),
        TEST(a_survey_tries_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
