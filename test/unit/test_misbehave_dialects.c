/* SPDX-License-Identifier: Apache-2.0 */
/* The personalities of libkms_misbehave.so. */
#include <stdio.h>

#include "misbehave_rig.h"

#define LUNA_KW 0x80000170ul
#define CLOUDHSM_KW 0x80002109ul

static const struct misbehave_wish readable = { .sensitive = 0, .private = -1 };
static const struct misbehave_wish silent = { .sensitive = -1, .private = -1 };
static const struct misbehave_wish sized = { .sensitive = 1, .private = -1, .value_len = 32 };

/* A session in which @personality holds, the KEK rig_key, and what it makes of softhsm_seed. */
struct scene {
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE kek;
    uint8_t expected[KMS_WRAPPED_MAX];
};

static struct scene set_scene(const char *control)
{
    struct scene scene = { .session = misbehave_user() };
    scene.kek = misbehave_make_kek(scene.session, "dialect", rig_key, true);
    (void)rig_wrap(rig_key, (struct kms_bytes){ softhsm_seed, sizeof(softhsm_seed) },
                   scene.expected);
    misbehave_tell(control);
    return scene;
}

static void leave_scene(const struct scene *scene)
{
    misbehave_tell("");
    assert_int_equal(misbehave->C_DestroyObject(scene->session, scene->kek), CKR_OK);
}

static CK_RV encrypt(const struct scene *scene, CK_MECHANISM_TYPE type, const uint8_t *data,
                     CK_ULONG len, uint8_t ret[static 64], CK_ULONG *ret_len)
{
    CK_MECHANISM mechanism = { type, NULL, 0 };
    uint8_t copy[64];
    memcpy(copy, data, len);
    CK_RV rv = misbehave->C_EncryptInit(scene->session, &mechanism, scene->kek);
    *ret_len = 64;
    return rv != CKR_OK ? rv : misbehave->C_Encrypt(scene->session, copy, len, ret, ret_len);
}

static CK_RV decrypt(const struct scene *scene, CK_MECHANISM_TYPE type, const uint8_t *data,
                     CK_ULONG len, uint8_t ret[static 64], CK_ULONG *ret_len)
{
    CK_MECHANISM mechanism = { type, NULL, 0 };
    uint8_t copy[64];
    memcpy(copy, data, len);
    CK_RV rv = misbehave->C_DecryptInit(scene->session, &mechanism, scene->kek);
    *ret_len = 64;
    return rv != CKR_OK ? rv : misbehave->C_Decrypt(scene->session, copy, len, ret, ret_len);
}

/* RFC 3394 by C_Encrypt, and back. */
static void assert_ciphers(const struct scene *scene, CK_MECHANISM_TYPE type)
{
    uint8_t wrapped[64], plain[64];
    CK_ULONG len = 0;
    assert_int_equal(encrypt(scene, type, softhsm_seed, 32, wrapped, &len), CKR_OK);
    assert_int_equal(len, 40);
    assert_memory_equal(wrapped, scene->expected, 40);
    assert_int_equal(decrypt(scene, type, wrapped, 40, plain, &len), CKR_OK);
    assert_int_equal(len, 32);
    assert_memory_equal(plain, softhsm_seed, 32);
}

static bool is_listed(CK_MECHANISM_TYPE type)
{
    CK_MECHANISM_TYPE list[512];
    CK_ULONG count = 0, room = 512;
    CK_SLOT_ID slot = misbehave_slot();
    assert_int_equal(misbehave->C_GetMechanismList(slot, NULL, &count), CKR_OK);
    assert_int_equal(misbehave->C_GetMechanismList(slot, list, &room), CKR_OK);
    assert_int_equal(count, room);
    for (CK_ULONG i = 0; i < room; i++) {
        if (list[i] == type)
            return true;
    }
    return false;
}

static CK_FLAGS flags_of(CK_MECHANISM_TYPE type)
{
    CK_MECHANISM_INFO info;
    assert_int_equal(misbehave->C_GetMechanismInfo(misbehave_slot(), type, &info), CKR_OK);
    return info.flags & (CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP);
}

/* Nothing that a client would call key wrap by the standard's numbers. */
static void assert_unknown(const struct scene *scene, CK_MECHANISM_TYPE type)
{
    uint8_t out[64];
    CK_ULONG len = 0;
    CK_MECHANISM_INFO info;
    assert_false(is_listed(type));
    assert_int_equal(misbehave->C_GetMechanismInfo(misbehave_slot(), type, &info),
                     CKR_MECHANISM_INVALID);
    assert_int_equal(encrypt(scene, type, softhsm_seed, 32, out, &len), CKR_MECHANISM_INVALID);
    assert_int_equal(decrypt(scene, type, scene->expected, 40, out, &len), CKR_MECHANISM_INVALID);
}

static void assert_manufacturer(const char *name)
{
    CK_INFO info;
    char padded[33];
    (void)snprintf(padded, sizeof(padded), "%-32s", name);
    assert_int_equal(misbehave->C_GetInfo(&info), CKR_OK);
    assert_memory_equal(info.manufacturerID, padded, 32);
}

/* --- strict-fips --- */

static void strict_fips_takes_no_plaintext_keys(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE seed = 0;
    struct scene scene = set_scene("personality strict-fips");
    assert_int_equal(misbehave_make_seed(scene.session, false, &seed), CKR_ATTRIBUTE_VALUE_INVALID);
    assert_int_equal(misbehave_make_seed(scene.session, true, &seed), CKR_ATTRIBUTE_VALUE_INVALID);
    leave_scene(&scene);
}

static void strict_fips_makes_unwrapped_keys_sensitive(void **state)
{
    (void)state;
    uint8_t value[64];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE back = 0;
    struct scene scene = set_scene("personality strict-fips");
    assert_int_equal(misbehave_unwrap(scene.session, CKM_AES_KEY_WRAP, scene.kek, scene.expected,
                                      40, readable, &back),
                     CKR_OK);
    assert_int_equal(misbehave_read(scene.session, back, value, &len), CKR_ATTRIBUTE_SENSITIVE);
    assert_int_equal(misbehave_wrap(scene.session, CKM_AES_KEY_WRAP, scene.kek, back, value, &len),
                     CKR_OK);
    assert_memory_equal(value, scene.expected, 40);
    leave_scene(&scene);
}

static void strict_fips_wraps_by_encrypting(void **state)
{
    (void)state;
    struct scene scene = set_scene("personality strict-fips");
    assert_int_equal(flags_of(CKM_AES_KEY_WRAP), CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP);
    assert_ciphers(&scene, CKM_AES_KEY_WRAP);
    assert_ciphers(&scene, CKM_AES_KEY_WRAP);
    leave_scene(&scene);
}

static void strict_fips_refuses_wrong_ciphertexts_and_lengths(void **state)
{
    (void)state;
    uint8_t out[64], bad[64];
    CK_ULONG len = 0;
    struct scene scene = set_scene("personality strict-fips");
    for (size_t i = 0; i < 40; i++) {
        memcpy(bad, scene.expected, 40);
        bad[i] ^= 1;
        assert_int_equal(decrypt(&scene, CKM_AES_KEY_WRAP, bad, 40, out, &len),
                         CKR_ENCRYPTED_DATA_INVALID);
    }
    for (CK_ULONG wrong = 0; wrong < 60; wrong++) {
        memset(bad, 7, sizeof(bad));
        if (wrong % 8 != 0 || wrong < 24)
            assert_int_equal(decrypt(&scene, CKM_AES_KEY_WRAP, bad, wrong, out, &len),
                             CKR_ENCRYPTED_DATA_LEN_RANGE);
        if (wrong % 8 != 0 || wrong < 16)
            assert_int_equal(encrypt(&scene, CKM_AES_KEY_WRAP, bad, wrong, out, &len),
                             CKR_DATA_LEN_RANGE);
    }
    assert_ciphers(&scene, CKM_AES_KEY_WRAP);
    leave_scene(&scene);
}

static void a_cipher_tells_its_length_and_goes_on(void **state)
{
    (void)state;
    CK_MECHANISM mechanism = { CKM_AES_KEY_WRAP, NULL, 0 };
    uint8_t seed[32], out[64];
    CK_ULONG len = 0;
    struct scene scene = set_scene("personality strict-fips");
    memcpy(seed, softhsm_seed, sizeof(seed));
    assert_int_equal(misbehave->C_EncryptInit(scene.session, &mechanism, scene.kek), CKR_OK);
    assert_int_equal(misbehave->C_EncryptInit(scene.session, &mechanism, scene.kek),
                     CKR_OPERATION_ACTIVE);
    assert_int_equal(misbehave->C_Encrypt(scene.session, seed, 32, NULL, &len), CKR_OK);
    assert_int_equal(len, 40);
    len = 39;
    assert_int_equal(misbehave->C_Encrypt(scene.session, seed, 32, out, &len),
                     CKR_BUFFER_TOO_SMALL);
    assert_int_equal(len, 40);
    assert_int_equal(misbehave->C_Encrypt(scene.session, seed, 32, out, &len), CKR_OK);
    assert_memory_equal(out, scene.expected, 40);
    assert_int_equal(misbehave->C_Encrypt(scene.session, seed, 32, out, &len),
                     CKR_OPERATION_NOT_INITIALIZED);
    leave_scene(&scene);
}

static void a_key_wrap_cipher_has_no_parts(void **state)
{
    (void)state;
    CK_MECHANISM mechanism = { CKM_AES_KEY_WRAP, NULL, 0 };
    uint8_t seed[32], out[64];
    CK_ULONG len = sizeof(out);
    struct scene scene = set_scene("personality strict-fips");
    memcpy(seed, softhsm_seed, sizeof(seed));
    assert_int_equal(misbehave->C_EncryptInit(scene.session, &mechanism, scene.kek), CKR_OK);
    assert_int_equal(misbehave->C_EncryptUpdate(scene.session, seed, 32, out, &len),
                     CKR_FUNCTION_NOT_SUPPORTED);
    assert_ciphers(&scene, CKM_AES_KEY_WRAP);
    leave_scene(&scene);
}

static void a_cipher_needs_a_key_that_may_encrypt(void **state)
{
    (void)state;
    CK_MECHANISM mechanism = { CKM_AES_KEY_WRAP, NULL, 0 };
    CK_OBJECT_HANDLE seed = 0;
    CK_SESSION_HANDLE session = misbehave_user();
    CK_OBJECT_HANDLE kek = misbehave_make_kek(session, "wraps", NULL, false);
    assert_int_equal(misbehave_make_seed(session, false, &seed), CKR_OK);
    misbehave_tell("personality strict-fips");
    assert_int_equal(misbehave->C_EncryptInit(session, &mechanism, kek),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(misbehave->C_DecryptInit(session, &mechanism, kek),
                     CKR_KEY_FUNCTION_NOT_PERMITTED);
    assert_int_equal(misbehave->C_EncryptInit(session, &mechanism, seed),
                     CKR_KEY_TYPE_INCONSISTENT);
    misbehave_tell("");
    assert_int_equal(misbehave->C_DestroyObject(session, kek), CKR_OK);
}

/* --- luna --- */

static void luna_wraps_by_its_own_number_only(void **state)
{
    (void)state;
    uint8_t out[64];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE seed = 0, back = 0;
    struct scene scene = set_scene("personality luna");
    assert_unknown(&scene, CKM_AES_KEY_WRAP);
    assert_unknown(&scene, CKM_AES_KEY_WRAP_PAD);
    assert_true(is_listed(LUNA_KW));
    assert_int_equal(flags_of(LUNA_KW), CKF_ENCRYPT | CKF_DECRYPT | CKF_WRAP | CKF_UNWRAP);
    assert_int_equal(misbehave_make_seed(scene.session, true, &seed), CKR_OK);
    assert_int_equal(misbehave_wrap(scene.session, CKM_AES_KEY_WRAP, scene.kek, seed, out, &len),
                     CKR_MECHANISM_INVALID);
    assert_int_equal(misbehave_unwrap(scene.session, CKM_AES_KEY_WRAP, scene.kek, scene.expected,
                                      40, sized, &back),
                     CKR_MECHANISM_INVALID);
    assert_int_equal(misbehave_wrap(scene.session, LUNA_KW, scene.kek, seed, out, &len), CKR_OK);
    assert_memory_equal(out, scene.expected, 40);
    assert_ciphers(&scene, LUNA_KW);
    assert_manufacturer("SafeNet");
    leave_scene(&scene);
}

static void luna_wants_the_length_of_an_unwrapped_key(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE back = 0;
    struct misbehave_wish wrong = sized;
    wrong.value_len = 24;
    struct scene scene = set_scene("personality luna");
    assert_int_equal(
        misbehave_unwrap(scene.session, LUNA_KW, scene.kek, scene.expected, 40, silent, &back),
        CKR_TEMPLATE_INCOMPLETE);
    assert_int_equal(
        misbehave_unwrap(scene.session, LUNA_KW, scene.kek, scene.expected, 40, wrong, &back),
        CKR_WRAPPED_KEY_LEN_RANGE);
    assert_int_equal(
        misbehave_unwrap(scene.session, LUNA_KW, scene.kek, scene.expected, 40, sized, &back),
        CKR_OK);
    leave_scene(&scene);
}

static void luna_has_sensitive_keys_only(void **state)
{
    (void)state;
    uint8_t value[64];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE object = 0;
    struct misbehave_wish plain = sized, public = sized, unsaid = sized;
    plain.sensitive = 0;
    public.private = 0;
    unsaid.sensitive = -1;
    struct scene scene = set_scene("personality luna");
    assert_int_equal(misbehave_make_seed(scene.session, false, &object),
                     CKR_ATTRIBUTE_VALUE_INVALID);
    assert_int_equal(
        misbehave_unwrap(scene.session, LUNA_KW, scene.kek, scene.expected, 40, plain, &object),
        CKR_ATTRIBUTE_VALUE_INVALID);
    assert_int_equal(
        misbehave_unwrap(scene.session, LUNA_KW, scene.kek, scene.expected, 40, public, &object),
        CKR_ATTRIBUTE_VALUE_INVALID);
    assert_int_equal(
        misbehave_unwrap(scene.session, LUNA_KW, scene.kek, scene.expected, 40, unsaid, &object),
        CKR_OK);
    assert_int_equal(misbehave_read(scene.session, object, value, &len), CKR_ATTRIBUTE_SENSITIVE);
    leave_scene(&scene);
}

static CK_RV relabel(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    char label[] = "other";
    CK_ATTRIBUTE attribute = { CKA_LABEL, label, 5 };
    return misbehave->C_SetAttributeValue(session, object, &attribute, 1);
}

static CK_RV generate(CK_SESSION_HANDLE session, bool on_token, CK_OBJECT_HANDLE *ret)
{
    CK_MECHANISM mechanism = { CKM_AES_KEY_GEN, NULL, 0 };
    CK_BBOOL token = on_token ? CK_TRUE : CK_FALSE;
    CK_ULONG len = 32;
    CK_ATTRIBUTE template[] = { { CKA_TOKEN, &token, sizeof(token) },
                                { CKA_VALUE_LEN, &len, sizeof(len) } };
    return misbehave->C_GenerateKey(session, &mechanism, template, 2, ret);
}

static void a_limited_luna_user_uses_keys_but_changes_none(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE object = 0, copy = 0;
    CK_BBOOL no = CK_FALSE;
    CK_ATTRIBUTE off_token = { CKA_TOKEN, &no, sizeof(no) };
    struct scene scene = set_scene("personality luna-cu");
    assert_int_equal(generate(scene.session, true, &object), CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(misbehave->C_DestroyObject(scene.session, scene.kek),
                     CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(misbehave->C_CopyObject(scene.session, scene.kek, NULL, 0, &copy),
                     CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(relabel(scene.session, scene.kek), CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(generate(scene.session, false, &object), CKR_OK);
    assert_int_equal(relabel(scene.session, object), CKR_TOKEN_WRITE_PROTECTED);
    assert_int_equal(misbehave->C_CopyObject(scene.session, scene.kek, &off_token, 1, &copy),
                     CKR_OK);
    assert_int_equal(misbehave->C_DestroyObject(scene.session, object), CKR_OK);
    assert_ciphers(&scene, LUNA_KW);
    leave_scene(&scene);
}

/* --- cloudhsm --- */

static void cloudhsm_wraps_by_its_own_number_and_does_not_encrypt(void **state)
{
    (void)state;
    uint8_t out[64];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE seed = 0, back = 0;
    struct scene scene = set_scene("personality cloudhsm");
    assert_unknown(&scene, CKM_AES_KEY_WRAP);
    assert_true(is_listed(CLOUDHSM_KW));
    assert_int_equal(flags_of(CLOUDHSM_KW), CKF_WRAP | CKF_UNWRAP);
    assert_int_equal(misbehave_make_seed(scene.session, false, &seed), CKR_OK);
    assert_int_equal(misbehave_wrap(scene.session, CLOUDHSM_KW, scene.kek, seed, out, &len),
                     CKR_OK);
    assert_int_equal(len, 40);
    assert_memory_equal(out, scene.expected, 40);
    assert_int_equal(
        misbehave_unwrap(scene.session, CLOUDHSM_KW, scene.kek, out, 40, readable, &back), CKR_OK);
    assert_int_equal(misbehave_read(scene.session, back, out, &len), CKR_OK);
    assert_memory_equal(out, softhsm_seed, 32);
    assert_int_equal(encrypt(&scene, CLOUDHSM_KW, softhsm_seed, 32, out, &len),
                     CKR_MECHANISM_INVALID);
    assert_manufacturer("Cavium Networks");
    leave_scene(&scene);
}

static void to_cloudhsm_the_standard_number_is_another_mechanism_and_is_told_on(void **state)
{
    (void)state;
    uint8_t padded[64], plain[64];
    char log[4096];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE seed = 0, back = 0;
    struct scene scene = set_scene("personality cloudhsm");
    assert_int_equal(misbehave_make_seed(scene.session, false, &seed), CKR_OK);
    assert_int_equal(misbehave_wrap(scene.session, CKM_AES_KEY_WRAP, scene.kek, seed, padded, &len),
                     CKR_OK);
    assert_int_equal(len, 48);
    assert_memory_not_equal(padded, scene.expected, 40);
    misbehave_read_log(log, sizeof(log));
    assert_contains(log, "C_WrapKey: foreign mechanism 0x2109");
    assert_int_equal(
        misbehave_unwrap(scene.session, CKM_AES_KEY_WRAP, scene.kek, padded, 48, readable, &back),
        CKR_OK);
    assert_int_equal(misbehave_read(scene.session, back, plain, &len), CKR_OK);
    assert_int_equal(len, 32);
    assert_memory_equal(plain, softhsm_seed, 32);
    assert_int_equal(misbehave_unwrap(scene.session, CKM_AES_KEY_WRAP, scene.kek, scene.expected,
                                      40, readable, &back),
                     CKR_WRAPPED_KEY_INVALID);
    leave_scene(&scene);
}

static void cloudhsm_refuses_lengths_and_public_keys(void **state)
{
    (void)state;
    CK_OBJECT_HANDLE back = 0;
    struct misbehave_wish public = { .sensitive = 0, .private = 0 };
    struct scene scene = set_scene("personality cloudhsm");
    assert_int_equal(
        misbehave_unwrap(scene.session, CLOUDHSM_KW, scene.kek, scene.expected, 40, sized, &back),
        CKR_TEMPLATE_INCONSISTENT);
    assert_int_equal(
        misbehave_unwrap(scene.session, CLOUDHSM_KW, scene.kek, scene.expected, 40, public, &back),
        CKR_ATTRIBUTE_VALUE_INVALID);
    leave_scene(&scene);
}

static void cloudhsm_keys_may_leave_unless_told_otherwise(void **state)
{
    (void)state;
    uint8_t out[64];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE key = 0;
    CK_BBOOL extractable = CK_FALSE, wraps = CK_TRUE;
    struct scene scene = set_scene("personality cloudhsm");
    assert_int_equal(generate(scene.session, false, &key), CKR_OK);
    CK_ATTRIBUTE facts[] = { { CKA_EXTRACTABLE, &extractable, sizeof(extractable) },
                             { CKA_WRAP, &wraps, sizeof(wraps) } };
    assert_int_equal(misbehave->C_GetAttributeValue(scene.session, key, facts, 2), CKR_OK);
    assert_int_equal(extractable, CK_TRUE);
    assert_int_equal(wraps, CK_FALSE);
    assert_int_equal(misbehave_read(scene.session, key, out, &len), CKR_ATTRIBUTE_SENSITIVE);
    leave_scene(&scene);
}

static void cloudhsm_wants_a_user_before_the_password(void **state)
{
    (void)state;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("personality cloudhsm");
    assert_int_equal(misbehave_log_in(session, SOFTHSM_PIN), CKR_PIN_INCORRECT);
    assert_int_equal(misbehave_log_in(session, ":" SOFTHSM_PIN), CKR_PIN_INCORRECT);
    assert_int_equal(misbehave_log_in(session, "kms:wrong"), CKR_PIN_INCORRECT);
    assert_int_equal(misbehave_log_in(session, "kms:" SOFTHSM_PIN), CKR_OK);
}

static void cloudhsm_says_arguments_bad_when_sessions_run_out(void **state)
{
    (void)state;
    CK_SESSION_HANDLE more = 0;
    CK_SLOT_ID slot = misbehave_slot();
    misbehave_tell("personality cloudhsm");
    for (int i = 0; i < 1024; i++)
        assert_int_equal(misbehave->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &more),
                         CKR_OK);
    assert_int_equal(misbehave->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &more),
                     CKR_ARGUMENTS_BAD);
    assert_int_equal(misbehave->C_CloseAllSessions(slot), CKR_OK);
}

/* --- the rest --- */

static void a_network_costs_time_in_each_call(void **state)
{
    (void)state;
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE session = misbehave_session();
    misbehave_tell("personality network\nlatency 20");
    int64_t begin_ms = kms_monotonic_ms();
    for (int i = 0; i < 5; i++)
        assert_int_equal(misbehave->C_GetSessionInfo(session, &info), CKR_OK);
    assert_true(kms_monotonic_ms() - begin_ms >= 99); /* the clock is cut to milliseconds */
}

static void any_manufacturer_may_be_named(void **state)
{
    (void)state;
    misbehave_tell("personality luna\nmanufacturer Acme Vaults");
    assert_manufacturer("Acme Vaults");
    misbehave_tell("");
    assert_manufacturer("SoftHSM");
}

#define INITIALIZED(test) cmocka_unit_test_setup_teardown(test, misbehave_begin, misbehave_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        INITIALIZED(strict_fips_takes_no_plaintext_keys),
        INITIALIZED(strict_fips_makes_unwrapped_keys_sensitive),
        INITIALIZED(strict_fips_wraps_by_encrypting),
        INITIALIZED(strict_fips_refuses_wrong_ciphertexts_and_lengths),
        INITIALIZED(a_cipher_tells_its_length_and_goes_on),
        INITIALIZED(a_key_wrap_cipher_has_no_parts),
        INITIALIZED(a_cipher_needs_a_key_that_may_encrypt),
        INITIALIZED(luna_wraps_by_its_own_number_only),
        INITIALIZED(luna_wants_the_length_of_an_unwrapped_key),
        INITIALIZED(luna_has_sensitive_keys_only),
        INITIALIZED(a_limited_luna_user_uses_keys_but_changes_none),
        INITIALIZED(cloudhsm_wraps_by_its_own_number_and_does_not_encrypt),
        INITIALIZED(to_cloudhsm_the_standard_number_is_another_mechanism_and_is_told_on),
        INITIALIZED(cloudhsm_refuses_lengths_and_public_keys),
        INITIALIZED(cloudhsm_keys_may_leave_unless_told_otherwise),
        INITIALIZED(cloudhsm_wants_a_user_before_the_password),
        INITIALIZED(cloudhsm_says_arguments_bad_when_sessions_run_out),
        INITIALIZED(a_network_costs_time_in_each_call),
        INITIALIZED(any_manufacturer_may_be_named),
    };
    return cmocka_run_group_tests_name("misbehave_dialects", tests, misbehave_setup,
                                       misbehave_teardown);
}
