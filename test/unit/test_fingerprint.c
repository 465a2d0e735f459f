/* SPDX-License-Identifier: Apache-2.0 */
/* By which rung a KEK gives its fingerprint, and the canary. */
#include "pkcs11_rig.h"
#include "wrap.h"

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

/* The module has no AES key wrap, but single blocks. */
static void lose_key_wrap(struct rig_session *rig)
{
    behaviour(rig)->key_wrap = ~0UL;
    behaviour(rig)->blocks = true;
}

static enum kms_code fingerprint(struct rig_session *rig, CK_OBJECT_HANDLE handle,
                                 enum pkcs11_rung *ret_rung)
{
    uint8_t got[KMS_FINGERPRINT_LEN] = { 0 }, expected[KMS_FINGERPRINT_LEN];
    rig_fingerprint(rig_key, expected);
    enum kms_code rc = pkcs11_kek_fingerprint(&rig->place, handle, ret_rung, got, &rig->err);
    if (rc == KMS_OK)
        assert_memory_equal(got, expected, sizeof(got));
    return rc;
}

static void a_kek_that_is_refused_one_way_takes_the_next(void **state)
{
    struct rig_session *rig = *state;
    enum pkcs11_rung rung = PKCS11_RUNG_UNKNOWN;
    behaviour(rig)->ciphers = true;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(fingerprint(rig, handle, &rung), &rig->err);
    assert_int_equal(rung, PKCS11_RUNG_OBJECTS);
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_ok(fingerprint(rig, handle, &rung), &rig->err);
    assert_int_equal(rung, PKCS11_RUNG_CIPHER);
}

static void a_kek_that_does_not_come_back_takes_the_next(void **state)
{
    struct rig_session *rig = *state;
    enum pkcs11_rung rung = PKCS11_RUNG_UNKNOWN;
    behaviour(rig)->ciphers = true;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_ok(fingerprint(rig, handle, &rung), &rig->err);
    assert_int_equal(rung, PKCS11_RUNG_CIPHER);
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_KEY_FUNCTION_NOT_PERMITTED);
    fake_module_fail_next(rig->module, "C_EncryptInit", CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_ok(fingerprint(rig, handle, &rung), &rig->err);
    assert_int_equal(rung, PKCS11_RUNG_OBJECTS); /* there at least */
    fake_module_fail_next(rig->module, "C_UnwrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(fingerprint(rig, handle, &rung), KMS_E_UNAVAILABLE);
}

static void an_outage_moves_no_kek(void **state)
{
    struct rig_session *rig = *state;
    enum pkcs11_rung rung = PKCS11_RUNG_UNKNOWN;
    behaviour(rig)->ciphers = true;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_DEVICE_ERROR);
    assert_int_equal(fingerprint(rig, rig_session_kek(rig), &rung), KMS_E_UNAVAILABLE);
    assert_int_equal(rung, PKCS11_RUNG_UNKNOWN);
}

static void what_the_first_way_said_is_told(void **state)
{
    struct rig_session *rig = *state;
    enum pkcs11_rung rung = PKCS11_RUNG_UNKNOWN;
    behaviour(rig)->ciphers = true;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    fake_module_fail_next(rig->module, "C_WrapKey", CKR_KEY_FUNCTION_NOT_PERMITTED);
    fake_module_fail_next(rig->module, "C_EncryptInit", CKR_MECHANISM_INVALID);
    assert_int_equal(fingerprint(rig, handle, &rung), KMS_E_PRECONDITION);
    assert_string_equal(rig->err.op, "C_WrapKey");
}

static void an_outage_of_the_second_way_is_no_refusal(void **state)
{
    static const CK_RV rvs[] = { CKR_SESSION_HANDLE_INVALID, CKR_HOST_MEMORY, CKR_DEVICE_REMOVED };
    struct rig_session *rig = *state;
    enum pkcs11_rung rung = PKCS11_RUNG_UNKNOWN;
    behaviour(rig)->ciphers = true;
    assert_ok(choose(rig, KMS_PROFILE_AUTO), &rig->err);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    for (size_t i = 0; i < sizeof(rvs) / sizeof(rvs[0]); i++) {
        fake_module_fail_next(rig->module, "C_WrapKey", CKR_KEY_FUNCTION_NOT_PERMITTED);
        fake_module_fail_next(rig->module, "C_EncryptInit", rvs[i]);
        assert_int_not_equal(fingerprint(rig, handle, &rung), KMS_OK);
        assert_int_equal(rig->err.ckr, rvs[i]);
        assert_string_equal(rig->err.op, "C_EncryptInit");
    }
}

static void blocks_give_the_same_fingerprint(void **state)
{
    struct rig_session *rig = *state;
    enum pkcs11_rung rung = PKCS11_RUNG_UNKNOWN;
    lose_key_wrap(rig);
    use_gcm(rig, FAKE_GCM_CALLER);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(fingerprint(rig, handle, &rung), &rig->err);
    assert_int_equal(rung, PKCS11_RUNG_BLOCKS);
    fake_module_fail_after(rig->module, "C_Encrypt", 5, CKR_DEVICE_REMOVED);
    assert_int_equal(fingerprint(rig, handle, &rung), KMS_E_UNAVAILABLE);
    assert_true(rig->session.broken);
}

static void blocks_never_carry_a_seed(void **state)
{
    struct rig_session *rig = *state;
    struct pkcs11_use use;
    const struct kms_kek_ref ref = { "kek", NULL, NULL };
    lose_key_wrap(rig);
    use_gcm(rig, FAKE_GCM_CALLER);
    rig->place.rung = PKCS11_RUNG_BLOCKS;
    assert_int_equal(pkcs11_kek_use(&rig->place, 1, KMS_ALGORITHM_AES_KW, &ref, &use, &rig->err),
                     KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "can't be used by aes-kw");
}

static void the_canary_goes_round_by_the_algorithm_in_use(void **state)
{
    struct rig_session *rig = *state;
    uint8_t expected[KMS_FINGERPRINT_LEN];
    const struct kms_kek_ref ref = { "kek", expected, "ring.v1.00" };
    bool substituted = false;
    rig_fingerprint(rig_key, expected);
    use_gcm(rig, FAKE_GCM_CALLER);
    CK_OBJECT_HANDLE handle = rig_session_kek(rig);
    assert_ok(pkcs11_kek_canary(&rig->place, &ref, handle, KMS_ALGORITHM_AES_GCM, &substituted,
                                &rig->err),
              &rig->err);
    fake_module_fail_next(rig->module, "C_Decrypt", CKR_DEVICE_ERROR);
    assert_int_equal(pkcs11_kek_canary(&rig->place, &ref, handle, KMS_ALGORITHM_AES_GCM,
                                       &substituted, &rig->err),
                     KMS_E_UNAVAILABLE);
    assert_string_equal(rig->err.op, "C_Decrypt");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_session_setup, rig_session_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_kek_that_is_refused_one_way_takes_the_next),
        TEST(a_kek_that_does_not_come_back_takes_the_next),
        TEST(an_outage_moves_no_kek),
        TEST(what_the_first_way_said_is_told),
        TEST(an_outage_of_the_second_way_is_no_refusal),
        TEST(blocks_give_the_same_fingerprint),
        TEST(blocks_never_carry_a_seed),
        TEST(the_canary_goes_round_by_the_algorithm_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
