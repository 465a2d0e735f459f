/* SPDX-License-Identifier: Apache-2.0 */
/* What a keystore is asked for, and what it keeps over connections. */
#include "pkcs11_rig.h"
#include "vendor.h"

static const uint8_t seed[32] = { 9, 8, 7 };
enum { GCM_LEN = sizeof(seed) + KMS_GCM_IV_LEN + KMS_GCM_TAG_LEN };

static struct fake_behaviour *behaviour(struct rig *rig)
{
    return fake_module_behaviour(rig->module);
}

static void reopen(struct rig *rig, enum kms_profile profile, enum kms_user_type user_type)
{
    kms_keystore_close(rig->keystore);
    struct pkcs11_keystore_options options = {
        .uri = FAKE_URI,
        .pin = &rig->pin,
        .sessions = 2,
        .lock_dir = rig->dir,
        .profile = profile,
        .user_type = user_type,
    };
    struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &rig->keystore, &rig->err), &rig->err);
}

static int set_up(void **state)
{
    (void)rig_setup(state);
    struct rig *rig = *state;
    fake_module_set_bool(rig->module, rig->place, CKA_ENCRYPT, true);
    fake_module_set_bool(rig->module, rig->place, CKA_DECRYPT, true);
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    rig->kek.key_id = "prod.v1.0123";
    return 0;
}

static void ask_for(struct rig *rig, enum kms_profile profile)
{
    reopen(rig, profile, KMS_USER_TYPE_USER);
    assert_ok(rig_inventory(rig), &rig->err);
}

/* The connection is given up; the next listing makes a new one. */
static void disconnect(struct rig *rig)
{
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_REMOVED);
    fake_module_fail_next(rig->module, "C_EncryptInit", CKR_DEVICE_REMOVED);
    assert_int_equal(kms_keystore_canary(rig->keystore, &rig->kek, rig_soon_ms(), &rig->err),
                     KMS_E_UNAVAILABLE);
    fake_module_fail_always(rig->module, "C_WrapKey", CKR_OK);
    fake_module_fail_always(rig->module, "C_EncryptInit", CKR_OK);
    struct kms_token_info infos[KMS_TOKENS_MAX];
    kms_keystore_describe(rig->keystore, infos);
    assert_false(infos[0].connected);
}

static enum kms_code wrap(struct rig *rig, struct kms_wrapped *ret_wrapped)
{
    return kms_keystore_wrap(rig->keystore, &rig->kek, (struct kms_bytes){ seed, sizeof(seed) },
                             rig_soon_ms(), ret_wrapped, &rig->err);
}

static enum kms_code unwrap(struct rig *rig, const struct kms_wrapped *wrapped)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret got = { 0 };
    enum kms_code rc = kms_keystore_unwrap(rig->keystore, &rig->kek, wrapped->algorithm,
                                           (struct kms_bytes){ wrapped->data, wrapped->len },
                                           rig_soon_ms(), &got, &rig->err);
    if (rc == KMS_OK) {
        assert_int_equal(got.len, sizeof(seed));
        assert_memory_equal(got.data, seed, sizeof(seed));
    }
    return rc;
}

static const char *profile_of(struct rig *rig)
{
    static struct kms_token_info infos[KMS_TOKENS_MAX];
    kms_keystore_describe(rig->keystore, infos);
    return infos[0].profile;
}

static void what_is_asked_for_is_used(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    ask_for(rig, KMS_PROFILE_AES_GCM);
    assert_string_equal(profile_of(rig), "aes-gcm");
    assert_ok(wrap(rig, &wrapped), &rig->err);
    assert_int_equal(wrapped.algorithm, KMS_ALGORITHM_AES_GCM);
    assert_int_equal(wrapped.len, GCM_LEN);
    assert_ok(unwrap(rig, &wrapped), &rig->err);
    assert_ok(kms_keystore_canary(rig->keystore, &rig->kek, rig_soon_ms(), &rig->err), &rig->err);
}

static void another_key_id_is_corruption(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    ask_for(rig, KMS_PROFILE_AES_GCM);
    assert_ok(wrap(rig, &wrapped), &rig->err);
    rig->kek.key_id = "prod.v2.0123";
    assert_int_equal(unwrap(rig, &wrapped), KMS_E_CORRUPT);
    assert_string_equal(rig->err.op, "C_Decrypt");
    rig->kek.key_id = NULL;
    assert_int_equal(unwrap(rig, &wrapped), KMS_E_CORRUPT);
}

static void a_ring_that_changes_its_profile_reads_what_it_wrote(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped by_key_wrap = { 0 }, by_gcm = { 0 };
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_ok(wrap(rig, &by_key_wrap), &rig->err);
    assert_int_equal(by_key_wrap.algorithm, KMS_ALGORITHM_AES_KW);
    ask_for(rig, KMS_PROFILE_AES_GCM);
    assert_ok(wrap(rig, &by_gcm), &rig->err);
    assert_ok(unwrap(rig, &by_key_wrap), &rig->err);
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_ok(unwrap(rig, &by_gcm), &rig->err);
    assert_ok(unwrap(rig, &by_key_wrap), &rig->err);
}

/* As KEKs are made for AES key wrap. */
static void a_kek_without_the_right_to_encrypt_reads_old_seeds_and_wraps_no_new_ones(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped old = { 0 }, none = { 0 };
    fake_module_set_bool(rig->module, rig->place, CKA_ENCRYPT, false);
    fake_module_set_bool(rig->module, rig->place, CKA_DECRYPT, false);
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_ok(wrap(rig, &old), &rig->err);
    ask_for(rig, KMS_PROFILE_AES_GCM);
    assert_ok(unwrap(rig, &old), &rig->err);
    assert_int_equal(wrap(rig, &none), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "C_EncryptInit: CKR_KEY_FUNCTION_NOT_PERMITTED");
    assert_int_equal(kms_keystore_canary(rig->keystore, &rig->kek, rig_soon_ms(), &rig->err),
                     KMS_E_PRECONDITION);
}

static void blocks_fingerprint_where_key_wrap_can_not_be_had(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    struct kms_wrapped old = rig_sample();
    behaviour(rig)->key_wrap = ~0UL;
    behaviour(rig)->blocks = true;
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_string_equal(profile_of(rig), "aes-gcm");
    assert_ok(wrap(rig, &wrapped), &rig->err);
    assert_ok(unwrap(rig, &wrapped), &rig->err);
    assert_int_equal(unwrap(rig, &old), KMS_E_INVALID);
    assert_contains(rig->err.msg, "can't be used by aes-kw on this token");
}

static void a_substituted_key_is_found_out_by_its_blocks(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    behaviour(rig)->key_wrap = ~0UL;
    behaviour(rig)->blocks = true;
    ask_for(rig, KMS_PROFILE_AUTO);
    fake_module_set_bytes(rig->module, rig->place, CKA_VALUE, rig_other_key, 32);
    assert_int_equal(wrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "substituted");
}

/* --- an algorithm that an annotation names, and the token doesn't have --- */

static struct kms_wrapped foreign(enum kms_algorithm algorithm)
{
    return (struct kms_wrapped){ .len = sizeof(seed) + kms_algorithm_overhead(algorithm),
                                 .algorithm = algorithm };
}

/* A doubted connection believes no fingerprint. */
static void assert_no_doubt(struct rig *rig)
{
    unsigned before = fake_module_calls(rig->module, "C_WrapKey");
    assert_ok(rig_inventory(rig), &rig->err);
    assert_int_equal(fake_module_calls(rig->module, "C_WrapKey"), before);
}

static void what_the_token_can_not_do_is_the_values_fault(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped padded = foreign(KMS_ALGORITHM_AES_KWP);
    struct kms_wrapped gcm = foreign(KMS_ALGORITHM_AES_GCM);
    behaviour(rig)->gcm_iv = FAKE_GCM_NONE;
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_int_equal(unwrap(rig, &padded), KMS_E_INVALID);
    assert_contains(rig->err.msg, "this token can't unwrap by aes-kwp under KEK 'prod.v1'");
    assert_int_equal(unwrap(rig, &gcm), KMS_E_INVALID);
    assert_contains(rig->err.msg, "this token can't unwrap by aes-gcm under KEK 'prod.v1'");
    assert_no_doubt(rig);
}

static void whatever_a_module_says_to_a_foreign_algorithm_it_is_not_doubted(void **state)
{
    static const CK_RV rvs[] = { CKR_MECHANISM_INVALID,  CKR_KEY_FUNCTION_NOT_PERMITTED,
                                 CKR_ARGUMENTS_BAD,      CKR_GENERAL_ERROR,
                                 CKR_FUNCTION_FAILED,    CKR_DATA_INVALID,
                                 CKR_KEY_HANDLE_INVALID, CKR_OPERATION_NOT_INITIALIZED,
                                 CKR_VENDOR_DEFINED + 1 };
    static const char *const calls[] = { "C_DecryptInit", "C_Decrypt" };
    struct rig *rig = *state;
    struct kms_wrapped gcm = foreign(KMS_ALGORITHM_AES_GCM);
    ask_for(rig, KMS_PROFILE_AUTO);
    for (size_t i = 0; i < sizeof(rvs) / sizeof(rvs[0]); i++) {
        for (size_t k = 0; k < sizeof(calls) / sizeof(calls[0]); k++) {
            fake_module_fail_always(rig->module, calls[k], rvs[i]);
            assert_int_equal(unwrap(rig, &gcm), KMS_E_INVALID);
            assert_no_doubt(rig);
            fake_module_fail_always(rig->module, calls[k], CKR_OK);
        }
    }
}

static void a_token_that_refuses_its_own_algorithm_too_is_to_blame(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped gcm = foreign(KMS_ALGORITHM_AES_GCM);
    behaviour(rig)->gcm_iv = FAKE_GCM_NONE;
    ask_for(rig, KMS_PROFILE_AUTO);
    fake_module_fail_always(rig->module, "C_UnwrapKey", CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(unwrap(rig, &gcm), KMS_E_PRECONDITION);
    assert_string_equal(rig->err.op, "C_UnwrapKey");
}

static void an_outage_is_no_fault_of_a_foreign_algorithm(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped gcm = foreign(KMS_ALGORITHM_AES_GCM);
    ask_for(rig, KMS_PROFILE_AUTO);
    fake_module_fail_next(rig->module, "C_DecryptInit", CKR_DEVICE_REMOVED);
    assert_int_equal(unwrap(rig, &gcm), KMS_E_UNAVAILABLE);
}

/* --- over connections --- */

static void the_algorithm_is_kept_though_a_better_one_appears(void **state)
{
    struct rig *rig = *state;
    behaviour(rig)->key_wrap = ~0UL;
    behaviour(rig)->blocks = true;
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_string_equal(profile_of(rig), "aes-gcm");
    disconnect(rig);
    behaviour(rig)->key_wrap = CKM_AES_KEY_WRAP;
    behaviour(rig)->firmware++;
    assert_ok(rig_inventory(rig), &rig->err);
    assert_string_equal(profile_of(rig), "aes-gcm");
}

static void a_token_that_lost_the_algorithm_is_refused(void **state)
{
    struct rig *rig = *state;
    ask_for(rig, KMS_PROFILE_AES_GCM);
    disconnect(rig);
    behaviour(rig)->gcm_iv = FAKE_GCM_NONE;
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "doesn't wrap by aes-gcm");
    behaviour(rig)->gcm_iv = FAKE_GCM_CALLER;
    assert_ok(rig_inventory(rig), &rig->err);
}

static void an_upgrade_that_takes_the_algorithm_is_named(void **state)
{
    struct rig *rig = *state;
    ask_for(rig, KMS_PROFILE_AUTO);
    disconnect(rig);
    behaviour(rig)->key_wrap = ~0UL;
    behaviour(rig)->blocks = true;
    behaviour(rig)->firmware = 4;
    behaviour(rig)->library = 9;
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg,
                    "firmware 1.3 (library 2.7) became 1.4 (2.9), and the token wraps "
                    "by aes-kw no longer");
}

static void only_an_upgrade_moves_to_other_calls(void **state)
{
    struct rig *rig = *state;
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_string_equal(profile_of(rig), "aes-kw");
    disconnect(rig);
    behaviour(rig)->ciphers = true;
    behaviour(rig)->import_seed_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "wraps by aes-kw-cipher now, and by aes-kw before");
    behaviour(rig)->library++;
    assert_ok(rig_inventory(rig), &rig->err);
    assert_string_equal(profile_of(rig), "aes-kw-cipher");
    rig_assert_wraps(rig);
}

/* KEKs that take this way would be refused. */
static void a_way_that_is_lost_without_an_upgrade_is_asked_for_again(void **state)
{
    struct rig *rig = *state;
    behaviour(rig)->ciphers = true;
    ask_for(rig, KMS_PROFILE_AUTO);
    assert_string_equal(profile_of(rig), "aes-kw");
    disconnect(rig);
    behaviour(rig)->ciphers = false;
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "the module did aes-kw-cipher before, and doesn't now");
    behaviour(rig)->ciphers = true;
    assert_ok(rig_inventory(rig), &rig->err);
    disconnect(rig);
    behaviour(rig)->ciphers = false;
    behaviour(rig)->firmware++;
    assert_ok(rig_inventory(rig), &rig->err);
}

static void blocks_that_are_lost_without_an_upgrade_are_asked_for_again(void **state)
{
    struct rig *rig = *state;
    behaviour(rig)->key_wrap = ~0UL;
    behaviour(rig)->blocks = true;
    ask_for(rig, KMS_PROFILE_AUTO);
    disconnect(rig);
    behaviour(rig)->key_wrap = CKM_AES_KEY_WRAP;
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "fingerprints were by AES blocks before");
}

static void a_way_that_is_won_does_no_harm(void **state)
{
    struct rig *rig = *state;
    ask_for(rig, KMS_PROFILE_AUTO);
    disconnect(rig);
    behaviour(rig)->ciphers = true;
    assert_ok(rig_inventory(rig), &rig->err);
    assert_string_equal(profile_of(rig), "aes-kw");
}

static void a_choice_that_was_tried_is_not_made_untried(void **state)
{
    struct rig *rig = *state;
    ask_for(rig, KMS_PROFILE_AUTO);
    disconnect(rig);
    behaviour(rig)->import_aes_rv = CKR_TEMPLATE_INCONSISTENT;
    fake_module_fail_always(rig->module, "C_GenerateKey", CKR_MECHANISM_INVALID);
    assert_int_equal(rig_inventory(rig), KMS_E_UNAVAILABLE);
    assert_contains(rig->err.msg, "makes no key to try it with");
    behaviour(rig)->import_aes_rv = CKR_OK;
    fake_module_fail_always(rig->module, "C_GenerateKey", CKR_OK);
    assert_ok(rig_inventory(rig), &rig->err);
}

static void templates_are_learnt_anew(void **state)
{
    struct rig *rig = *state;
    ask_for(rig, KMS_PROFILE_AUTO);
    disconnect(rig);
    behaviour(rig)->demand_value_len = true;
    behaviour(rig)->value_len_rv = CKR_OK;
    assert_ok(rig_inventory(rig), &rig->err);
    rig_assert_unwraps(rig);
}

static void no_error_of_a_call_changes_the_algorithm(void **state)
{
    struct rig *rig = *state;
    struct kms_wrapped wrapped = { 0 };
    ask_for(rig, KMS_PROFILE_AUTO);
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_MECHANISM_INVALID);
    assert_int_equal(wrap(rig, &wrapped), KMS_E_PRECONDITION);
    assert_ok(wrap(rig, &wrapped), &rig->err);
    assert_int_equal(wrapped.algorithm, KMS_ALGORITHM_AES_KW);
}

/* --- as whom --- */

static void a_crypto_user_logs_in_as_its_vendor_has_it(void **state)
{
    struct rig *rig = *state;
    behaviour(rig)->manufacturer = "SafeNet";
    behaviour(rig)->user = PKCS11_CKU_LUNA_LIMITED_USER;
    reopen(rig, KMS_PROFILE_AUTO, KMS_USER_TYPE_CRYPTO_USER);
    assert_ok(rig_inventory(rig), &rig->err);
    rig_assert_wraps(rig);
}

static void a_lost_login_of_a_crypto_user_is_made_again(void **state)
{
    struct rig *rig = *state;
    behaviour(rig)->manufacturer = "SafeNet";
    behaviour(rig)->user = PKCS11_CKU_LUNA_LIMITED_USER;
    reopen(rig, KMS_PROFILE_AUTO, KMS_USER_TYPE_CRYPTO_USER);
    assert_ok(rig_inventory(rig), &rig->err);
    fake_module_log_out(rig->module);
    rig_assert_wraps(rig);
}

static void a_crypto_user_is_refused_where_no_such_is_known(void **state)
{
    struct rig *rig = *state;
    unsigned logins = fake_module_calls(rig->module, "C_Login");
    reopen(rig, KMS_PROFILE_AUTO, KMS_USER_TYPE_CRYPTO_USER);
    assert_int_equal(rig_inventory(rig), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "user_type: crypto-user: only Thales Luna");
    assert_int_equal(fake_module_calls(rig->module, "C_Login"), logins);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_asked_for_is_used),
        TEST(another_key_id_is_corruption),
        TEST(a_ring_that_changes_its_profile_reads_what_it_wrote),
        TEST(a_kek_without_the_right_to_encrypt_reads_old_seeds_and_wraps_no_new_ones),
        TEST(blocks_fingerprint_where_key_wrap_can_not_be_had),
        TEST(a_substituted_key_is_found_out_by_its_blocks),
        TEST(what_the_token_can_not_do_is_the_values_fault),
        TEST(whatever_a_module_says_to_a_foreign_algorithm_it_is_not_doubted),
        TEST(a_token_that_refuses_its_own_algorithm_too_is_to_blame),
        TEST(an_outage_is_no_fault_of_a_foreign_algorithm),
        TEST(the_algorithm_is_kept_though_a_better_one_appears),
        TEST(a_token_that_lost_the_algorithm_is_refused),
        TEST(an_upgrade_that_takes_the_algorithm_is_named),
        TEST(only_an_upgrade_moves_to_other_calls),
        TEST(a_way_that_is_lost_without_an_upgrade_is_asked_for_again),
        TEST(blocks_that_are_lost_without_an_upgrade_are_asked_for_again),
        TEST(a_way_that_is_won_does_no_harm),
        TEST(a_choice_that_was_tried_is_not_made_untried),
        TEST(templates_are_learnt_anew),
        TEST(no_error_of_a_call_changes_the_algorithm),
        TEST(a_crypto_user_logs_in_as_its_vendor_has_it),
        TEST(a_lost_login_of_a_crypto_user_is_made_again),
        TEST(a_crypto_user_is_refused_where_no_such_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
