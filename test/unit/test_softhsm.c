/* SPDX-License-Identifier: Apache-2.0 */
/* The keystore on a real module. */
#include <pthread.h>
#include <stdio.h>

#include "../../pkcs11/module.h"
#include "attributes.h"
#include "softhsm_rig.h"

static void a_generated_kek_wraps_and_unwraps(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "round.v1", &sample);
    assert_int_equal(sample.wrapped.len, 40);
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
    assert_ok(kms_keystore_canary(keystore, &sample.ref, rig_soon_ms(), &err), &err);
    assert_int_equal(sample.kek.known, 0x3FF);
    assert_int_equal(sample.kek.attributes, KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE |
                                                KMS_KEK_NEVER_EXTRACTABLE | KMS_KEK_LOCAL |
                                                KMS_KEK_PRIVATE | KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    assert_int_equal(sample.kek.value_len, 32);
}

static void the_token_describes_itself(void **state)
{
    (void)state;
    struct kms_error err;
    size_t count = 0;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    assert_ok(softhsm_list(keystore, "x", &count, &err), &err);
    struct kms_token_info infos[KMS_TOKENS_MAX];
    kms_keystore_describe(keystore, infos);
    assert_string_equal(infos[0].label, SOFTHSM_TOKEN);
    assert_int_equal(strlen(infos[0].serial), 16);
    assert_string_equal(infos[0].profile, "aes-kw");
    assert_true(infos[0].connected);
}

/* Debian's softhsm2 registers itself with p11-kit under this name. */
static void the_module_is_found_by_its_p11_kit_name(void **state)
{
    (void)state;
    struct kms_error err;
    size_t count = 0;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open_module("softhsm2", SOFTHSM_URI);
    assert_ok(softhsm_list(keystore, "x", &count, &err), &err);
}

static void tampered_or_foreign_ciphertexts_are_corrupt(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    struct softhsm_sample other;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "tamper.v1", &sample);
    softhsm_make_sample(keystore, "tamper.v2", &other);
    struct kms_wrapped good = sample.wrapped;
    sample.wrapped.data[20] ^= 0x10;
    assert_int_equal(softhsm_unwrap(keystore, &sample, &err), KMS_E_CORRUPT);
    assert_int_equal(err.ckr, CKR_GENERAL_ERROR);
    sample.wrapped = other.wrapped;
    assert_int_equal(softhsm_unwrap(keystore, &sample, &err), KMS_E_CORRUPT);
    sample.wrapped = good;
    sample.wrapped.len = 32;
    assert_int_equal(softhsm_unwrap(keystore, &sample, &err), KMS_E_CORRUPT);
    sample.wrapped = good;
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
}

static void lengths_that_softhsm_would_pad_are_refused(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "len.v1", &sample);
    static const size_t wrong[] = { 0, 8, 15, 20, 31, 33 };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct kms_wrapped wrapped = { 0 };
        assert_int_equal(kms_keystore_wrap(keystore, &sample.ref,
                                           (struct kms_bytes){ softhsm_seed, wrong[i] },
                                           rig_soon_ms(), &wrapped, &err),
                         KMS_E_INVALID);
    }
}

static void duplicate_labels_are_all_listed(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample first;
    struct softhsm_sample second;
    size_t count = 0;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "dup.v1", &first);
    softhsm_make_sample(keystore, "dup.v1", &second);
    assert_ok(softhsm_list(keystore, "dup.", &count, &err), &err);
    assert_int_equal(count, 2);
    assert_ok(softhsm_unwrap(keystore, &first, &err), &err);
    assert_ok(softhsm_unwrap(keystore, &second, &err), &err);
    struct kms_bytes id = { first.kek.cka_id, first.kek.cka_id_len };
    assert_ok(kms_keystore_destroy(keystore, "dup.v1", id, rig_soon_ms(), &err), &err);
    assert_ok(softhsm_list(keystore, "dup.", &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(softhsm_unwrap(keystore, &first, &err), KMS_E_PRECONDITION);
    assert_ok(softhsm_unwrap(keystore, &second, &err), &err);
}

static CK_SLOT_ID slot_of_token(CK_FUNCTION_LIST *fn)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    assert_int_equal(fn->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        assert_int_equal(fn->C_GetTokenInfo(slots[i], &info), CKR_OK);
        if (memcmp(info.label, SOFTHSM_TOKEN " ", sizeof(SOFTHSM_TOKEN)) == 0)
            return slots[i];
    }
    fail_msg("no token '%s'", SOFTHSM_TOKEN);
    return 0;
}

/* As an HSM administrator would, with a client of their own. */
static void import_kek(const char *label, const uint8_t key[static 32])
{
    struct kms_error err;
    KMS_CLEANUP(pkcs11_module_close_ptr) struct pkcs11_module *module = NULL;
    assert_ok(pkcs11_module_open(SOFTHSM_MODULE, &module, &err), &err);
    assert_ok(pkcs11_module_initialize(module, &err), &err);
    CK_FUNCTION_LIST *fn = pkcs11_module_functions(module);
    CK_SESSION_HANDLE session = 0;
    CK_OBJECT_HANDLE handle = 0;
    unsigned char pin[] = SOFTHSM_PIN;
    assert_int_equal(fn->C_OpenSession(slot_of_token(fn), CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
                                       NULL, &session),
                     CKR_OK);
    assert_int_equal(fn->C_Login(session, CKU_USER, pin, strlen(SOFTHSM_PIN)), CKR_OK);
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_AES);
    pkcs11_template_bool(&template, CKA_TOKEN, true);
    pkcs11_template_bool(&template, CKA_PRIVATE, true);
    pkcs11_template_bool(&template, CKA_SENSITIVE, true);
    pkcs11_template_bool(&template, CKA_EXTRACTABLE, false);
    pkcs11_template_bool(&template, CKA_WRAP, true);
    pkcs11_template_bool(&template, CKA_UNWRAP, true);
    pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(label));
    pkcs11_template_bytes(&template, CKA_VALUE, (struct kms_bytes){ key, 32 });
    assert_int_equal(fn->C_CreateObject(session, template.items, template.count, &handle), CKR_OK);
}

static void an_imported_kek_has_the_fingerprint_of_its_bytes(void **state)
{
    (void)state;
    struct kms_error err;
    import_kek("import.v1", rig_key);
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    struct kms_inventory inventory = { 0 };
    assert_ok(kms_keystore_inventory(keystore, "import.", rig_soon_ms(), &inventory, &err), &err);
    assert_int_equal(inventory.count, 1);
    /* SHA-256(domain ‖ KW(C)) with KW(C) as measured on SoftHSM, NSS and kryoptic. */
    uint8_t input[128];
    uint8_t expected[KMS_FINGERPRINT_LEN];
    size_t len = strlen(KMS_FINGERPRINT_DOMAIN);
    memcpy(input, KMS_FINGERPRINT_DOMAIN, len);
    assert_true(kms_hex_decode("9d59a37da8b916b979bea2207b35f02e3f9f5ac48a3780c5ed52904c6a81f444"
                               "25fa6bd74614cd42",
                               input + len, 40));
    kms_sha256((struct kms_bytes){ input, len + 40 }, expected);
    assert_memory_equal(inventory.keks[0].fingerprint, expected, sizeof(expected));
    assert_int_equal(inventory.keks[0].attributes & KMS_KEK_LOCAL, 0);
    assert_int_not_equal(inventory.keks[0].known & KMS_KEK_LOCAL, 0);
    kms_inventory_done(&inventory);
}

static void a_token_directory_that_goes_and_comes_back_heals(void **state)
{
    (void)state;
    struct kms_error err;
    struct softhsm_sample sample;
    char away[80];
    size_t count = 0;
    (void)snprintf(away, sizeof(away), "%s.away", softhsm_tokens);
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "away.v1", &sample);
    assert_ok(softhsm_list(keystore, "away.", &count, &err), &err);

    assert_int_equal(rename(softhsm_tokens, away), 0);
    enum kms_code rc = softhsm_unwrap(keystore, &sample, &err);
    assert_true(rc == KMS_E_UNAVAILABLE || rc == KMS_E_PRECONDITION);
    rc = softhsm_list(keystore, "away.", &count, &err);
    assert_true(rc == KMS_E_UNAVAILABLE || rc == KMS_E_PRECONDITION);
    rc = softhsm_unwrap(keystore, &sample, &err);
    assert_true(rc == KMS_E_UNAVAILABLE || rc == KMS_E_PRECONDITION);

    assert_int_equal(rename(away, softhsm_tokens), 0);
    assert_ok(softhsm_list_until_ok(keystore, "away.", &count, &err), &err);
    assert_int_equal(count, 1);
    assert_ok(softhsm_unwrap(keystore, &sample, &err), &err);
}

static void a_token_made_later_by_another_process_is_found(void **state)
{
    (void)state;
    struct kms_error err;
    size_t count = 0;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open("pkcs11:token=late");
    assert_int_equal(softhsm_list(keystore, "x", &count, &err), KMS_E_UNAVAILABLE);
    assert_contains(err.msg, "'" SOFTHSM_TOKEN "'");
    softhsm_make_token("late");
    assert_ok(softhsm_list_until_ok(keystore, "x", &count, &err), &err);
}

static void a_wrong_pin_is_refused_once_and_a_new_one_taken(void **state)
{
    (void)state;
    struct kms_error err;
    size_t count = 0;
    softhsm_write_file(softhsm_pin_file, "00000000");
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    enum kms_code rc = softhsm_list(keystore, "x", &count, &err);
    softhsm_write_file(softhsm_pin_file, SOFTHSM_PIN);
    assert_int_equal(rc, KMS_E_PRECONDITION);
    assert_int_equal(err.ckr, CKR_PIN_INCORRECT);
    assert_ok(softhsm_list_until_ok(keystore, "x", &count, &err), &err);
}

struct worker {
    struct kms_keystore *keystore;
    const struct softhsm_sample *sample;
    enum kms_code worst;
};

static void *unwrap_many(void *arg)
{
    struct worker *worker = arg;
    struct kms_error err;
    for (int i = 0; i < 100 && worker->worst == KMS_OK; i++)
        worker->worst = softhsm_unwrap(worker->keystore, worker->sample, &err);
    return NULL;
}

static void eight_threads_share_four_sessions(void **state)
{
    (void)state;
    struct softhsm_sample sample;
    KMS_CLEANUP(kms_keystore_close_ptr)
    struct kms_keystore *keystore = softhsm_open(SOFTHSM_URI);
    softhsm_make_sample(keystore, "many.v1", &sample);
    struct worker workers[8];
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) {
        workers[i] = (struct worker){ keystore, &sample, KMS_OK };
        assert_int_equal(pthread_create(&threads[i], NULL, unwrap_many, &workers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].worst, KMS_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_generated_kek_wraps_and_unwraps),
        cmocka_unit_test(the_token_describes_itself),
        cmocka_unit_test(the_module_is_found_by_its_p11_kit_name),
        cmocka_unit_test(tampered_or_foreign_ciphertexts_are_corrupt),
        cmocka_unit_test(lengths_that_softhsm_would_pad_are_refused),
        cmocka_unit_test(duplicate_labels_are_all_listed),
        cmocka_unit_test(an_imported_kek_has_the_fingerprint_of_its_bytes),
        cmocka_unit_test(a_token_directory_that_goes_and_comes_back_heals),
        cmocka_unit_test(a_token_made_later_by_another_process_is_found),
        cmocka_unit_test(a_wrong_pin_is_refused_once_and_a_new_one_taken),
        cmocka_unit_test(eight_threads_share_four_sessions),
    };
    return cmocka_run_group_tests(tests, softhsm_setup, softhsm_teardown);
}
