/* SPDX-License-Identifier: Apache-2.0 */
/* Keys that come to a real token and leave it. */
#include "../../pkcs11/module.h"
#include "attributes.h"
#include "oaep.h"
#include "softhsm_rig.h"

#define TRANSPORT "prod.transport"

/* --- one connected keystore for all, and its transport key: RSA keys take their time --- */

struct bench {
    struct kms_keystore *keystore;
    struct kms_transport_key key;
    struct kms_error err;
};
static struct bench bench;

static int set_up(void **state)
{
    if (softhsm_setup(state) != 0)
        return -1;
    size_t count = 0;
    bench.keystore = softhsm_open(SOFTHSM_URI);
    assert_ok(softhsm_list(bench.keystore, "x", &count, &bench.err), &bench.err);
    assert_ok(kms_keystore_transport_key(bench.keystore, TRANSPORT, true, rig_soon_ms(), &bench.key,
                                         &bench.err),
              &bench.err);
    return 0;
}

static int tear_down(void **state)
{
    kms_keystore_close(bench.keystore);
    return softhsm_teardown(state);
}

static struct kms_transport_blob wrap_for(const struct kms_spki *spki, const uint8_t *key,
                                          size_t len)
{
    struct kms_transport_blob blob;
    assert_ok(pkcs11_oaep_encrypt(spki, bench.key.hash, (struct kms_bytes){ key, len }, &blob,
                                  &bench.err),
              &bench.err);
    return blob;
}

static enum kms_code import_blob(const struct kms_transport_blob *blob, const uint8_t *fingerprint,
                                 const char *label, struct kms_kek_info *ret_kek)
{
    const struct kms_transport_import import = {
        TRANSPORT, { blob->data, blob->len }, fingerprint, label
    };
    return kms_keystore_import(bench.keystore, &import, rig_soon_ms(), ret_kek, &bench.err);
}

static size_t count_of(const char *prefix)
{
    size_t count = 0;
    assert_ok(softhsm_list(bench.keystore, prefix, &count, &bench.err), &bench.err);
    return count;
}

static void the_transport_key_is_made_once(void **state)
{
    (void)state;
    struct kms_transport_key again;
    assert_true(bench.key.made);
    assert_true(bench.key.spki.len > 0);
    assert_ok(kms_keystore_transport_key(bench.keystore, TRANSPORT, true, rig_soon_ms(), &again,
                                         &bench.err),
              &bench.err);
    assert_false(again.made);
    assert_int_equal(again.spki.len, bench.key.spki.len);
    assert_memory_equal(again.spki.data, bench.key.spki.data, again.spki.len);
}

static void a_transport_key_is_not_made_unasked(void **state)
{
    (void)state;
    struct kms_transport_key key;
    assert_ok(kms_keystore_transport_key(bench.keystore, "other.transport", false, rig_soon_ms(),
                                         &key, &bench.err),
              &bench.err);
    assert_int_equal(key.spki.len, 0);
    assert_false(key.made);
}

/* SoftHSM 2.6.1 takes no other; a newer one may. */
static void the_hash_is_found_by_trying(void **state)
{
    (void)state;
    print_message("OAEP by %s\n", bench.key.hash == KMS_OAEP_SHA256 ? "SHA-256" : "SHA-1");
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_key, sizeof(rig_key));
    rig_fingerprint(rig_key, fingerprint);
    assert_ok(import_blob(&blob, fingerprint, NULL, &kek), &bench.err);
}

static void an_imported_key_wraps_what_openssl_unwraps(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN], expected[KMS_WRAPPED_MAX];
    struct kms_kek_info kek;
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_key, sizeof(rig_key));
    rig_fingerprint(rig_key, fingerprint);
    assert_ok(import_blob(&blob, fingerprint, "in.v1", &kek), &bench.err);
    assert_string_equal(kek.label, "in.v1");
    assert_memory_equal(kek.fingerprint, fingerprint, sizeof(fingerprint));
    assert_int_equal(kek.cka_id_len, 16);
    assert_int_equal(kek.attributes,
                     KMS_KEK_SENSITIVE | KMS_KEK_PRIVATE | KMS_KEK_WRAP | KMS_KEK_UNWRAP);
    struct kms_kek_ref ref = { "in.v1", fingerprint, NULL };
    struct kms_wrapped wrapped;
    const struct kms_bytes seed = { softhsm_seed, sizeof(softhsm_seed) };
    assert_ok(kms_keystore_wrap(bench.keystore, &ref, seed, rig_soon_ms(), &wrapped, &bench.err),
              &bench.err);
    assert_int_equal(wrapped.len, rig_wrap(rig_key, seed, expected));
    assert_memory_equal(wrapped.data, expected, wrapped.len);
}

static void an_imported_key_is_there_for_another_connection(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_key, sizeof(rig_key));
    rig_fingerprint(rig_key, fingerprint);
    assert_ok(import_blob(&blob, fingerprint, "stay.v1", &kek), &bench.err);
    kms_keystore_close(bench.keystore);
    bench.keystore = softhsm_open(SOFTHSM_URI);
    assert_int_equal(count_of("stay."), 1);
}

static void another_key_than_expected_leaves_nothing(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_other_key, 32);
    rig_fingerprint(rig_key, fingerprint);
    assert_int_equal(import_blob(&blob, fingerprint, "wrong.v1", &kek), KMS_E_INVALID);
    assert_contains(bench.err.msg, "another key than expected");
    assert_int_equal(count_of("wrong."), 0);
}

static void a_key_that_is_not_aes_256_is_refused(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_key, 16);
    rig_fingerprint(rig_key, fingerprint);
    assert_int_equal(import_blob(&blob, fingerprint, "short.v1", &kek), KMS_E_INVALID);
    assert_int_equal(count_of("short."), 0);
}

static void a_damaged_blob_is_corrupt(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_key, sizeof(rig_key));
    rig_fingerprint(rig_key, fingerprint);
    blob.data[100] ^= 1;
    assert_int_equal(import_blob(&blob, fingerprint, "bad.v1", &kek), KMS_E_CORRUPT);
    blob.len = 0;
    assert_int_equal(import_blob(&blob, fingerprint, "bad.v1", &kek), KMS_E_CORRUPT);
    blob.len = 7;
    assert_int_equal(import_blob(&blob, fingerprint, "bad.v1", &kek), KMS_E_CORRUPT);
    assert_int_equal(count_of("bad."), 0);
}

static void a_trial_keeps_nothing(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    size_t before = count_of("");
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_key, sizeof(rig_key));
    rig_fingerprint(rig_key, fingerprint);
    assert_ok(import_blob(&blob, fingerprint, NULL, &kek), &bench.err);
    assert_memory_equal(kek.fingerprint, fingerprint, sizeof(fingerprint));
    assert_int_equal(count_of(""), before);
}

static void without_a_transport_key_nothing_comes_in(void **state)
{
    (void)state;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    struct kms_transport_blob blob = wrap_for(&bench.key.spki, rig_key, sizeof(rig_key));
    rig_fingerprint(rig_key, fingerprint);
    const struct kms_transport_import import = {
        "none.transport", { blob.data, blob.len }, fingerprint, "none.v1"
    };
    assert_int_equal(kms_keystore_import(bench.keystore, &import, rig_soon_ms(), &kek, &bench.err),
                     KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "key transport-key");
}

/* --- a private key that somebody else put there --- */

static CK_FUNCTION_LIST *log_in(struct pkcs11_module *module, CK_SESSION_HANDLE *ret_session)
{
    CK_FUNCTION_LIST *fn = pkcs11_module_functions(module);
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    unsigned char pin[] = SOFTHSM_PIN;
    assert_int_equal(fn->C_GetSlotList(CK_TRUE, slots, &count), CKR_OK);
    assert_int_equal(
        fn->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, ret_session),
        CKR_OK);
    assert_int_equal(fn->C_Login(*ret_session, CKU_USER, pin, strlen(SOFTHSM_PIN)), CKR_OK);
    return fn;
}

/* Readable in the clear. */
static void plant_pair(const char *label)
{
    struct kms_error err;
    KMS_CLEANUP(pkcs11_module_close_ptr) struct pkcs11_module *module = NULL;
    assert_ok(pkcs11_module_open(SOFTHSM_MODULE, &module, &err), &err);
    assert_ok(pkcs11_module_initialize(module, &err), &err);
    CK_SESSION_HANDLE session = 0;
    CK_FUNCTION_LIST *fn = log_in(module, &session);
    struct pkcs11_template public_key = { 0 }, private_key = { 0 };
    static const uint8_t exponent[] = { 1, 0, 1 };
    pkcs11_template_number(&public_key, CKA_MODULUS_BITS, 2048);
    pkcs11_template_bytes(&public_key, CKA_PUBLIC_EXPONENT, (struct kms_bytes){ exponent, 3 });
    pkcs11_template_bool(&private_key, CKA_TOKEN, true);
    pkcs11_template_bool(&private_key, CKA_PRIVATE, true);
    pkcs11_template_bool(&private_key, CKA_SENSITIVE, false);
    pkcs11_template_bool(&private_key, CKA_EXTRACTABLE, true);
    pkcs11_template_bool(&private_key, CKA_UNWRAP, true);
    pkcs11_template_bytes(&private_key, CKA_LABEL, kms_bytes_of(label));
    CK_MECHANISM mechanism = { CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0 };
    CK_OBJECT_HANDLE handles[2];
    assert_int_equal(fn->C_GenerateKeyPair(session, &mechanism, public_key.items, public_key.count,
                                           private_key.items, private_key.count, &handles[0],
                                           &handles[1]),
                     CKR_OK);
}

static void a_private_key_that_could_be_read_is_not_used(void **state)
{
    (void)state;
    struct kms_transport_key key;
    kms_keystore_close(bench.keystore);
    plant_pair("planted.transport");
    bench.keystore = softhsm_open(SOFTHSM_URI);
    (void)count_of("");
    assert_ok(kms_keystore_transport_key(bench.keystore, "planted.transport", false, rig_soon_ms(),
                                         &key, &bench.err),
              &bench.err);
    assert_int_equal(key.spki.len, 0);
}

/* --- escrow --- */

static struct kms_object object_of(const struct kms_kek_info *kek)
{
    struct kms_bytes id = { kek->cka_id, kek->cka_id_len };
    return (struct kms_object){ kek->label, id };
}

static struct kms_kek_info generate_for_escrow(const char *label)
{
    struct kms_kek_info kek;
    assert_ok(
        kms_keystore_generate_for_escrow(bench.keystore, label, rig_soon_ms(), &kek, &bench.err),
        &bench.err);
    return kek;
}

static void an_exported_key_comes_back_as_the_same(void **state)
{
    (void)state;
    struct kms_transport_blob blob;
    struct kms_kek_info kek = generate_for_escrow("out.pending"), back;
    struct kms_object object = object_of(&kek);
    assert_int_not_equal(kek.attributes & KMS_KEK_EXTRACTABLE, 0);
    assert_ok(kms_keystore_export_to(bench.keystore, &object, &bench.key.spki, KMS_OAEP_SHA256,
                                     rig_soon_ms(), &blob, &bench.err),
              &bench.err);
    assert_int_equal(blob.hash, bench.key.hash);
    assert_ok(import_blob(&blob, kek.fingerprint, "out.copy", &back), &bench.err);
    assert_int_equal(back.attributes & (KMS_KEK_EXTRACTABLE | KMS_KEK_LOCAL), 0);
}

static void a_sealed_key_never_leaves_again(void **state)
{
    (void)state;
    struct kms_transport_blob blob;
    struct kms_kek_details details;
    struct kms_kek_info kek = generate_for_escrow("seal.pending");
    struct kms_object object = object_of(&kek);
    assert_ok(kms_keystore_seal(bench.keystore, &object, rig_soon_ms(), &bench.err), &bench.err);
    assert_ok(kms_keystore_inspect(bench.keystore, &object, rig_soon_ms(), &details, &bench.err),
              &bench.err);
    assert_int_equal(details.info.attributes & (KMS_KEK_EXTRACTABLE | KMS_KEK_NEVER_EXTRACTABLE),
                     0);
    assert_int_not_equal(details.info.attributes & KMS_KEK_LOCAL, 0);
    assert_int_equal(kms_keystore_export_to(bench.keystore, &object, &bench.key.spki,
                                            KMS_OAEP_SHA256, rig_soon_ms(), &blob, &bench.err),
                     KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "can't leave the token");
    assert_ok(kms_keystore_seal(bench.keystore, &object, rig_soon_ms(), &bench.err), &bench.err);
}

static void a_key_that_is_gone_can_neither_be_exported_nor_sealed(void **state)
{
    (void)state;
    struct kms_transport_blob blob;
    struct kms_object object = { "gone.pending", { (const uint8_t *)"id", 2 } };
    assert_int_equal(kms_keystore_export_to(bench.keystore, &object, &bench.key.spki, KMS_OAEP_SHA1,
                                            rig_soon_ms(), &blob, &bench.err),
                     KMS_E_PRECONDITION);
    assert_int_equal(kms_keystore_seal(bench.keystore, &object, rig_soon_ms(), &bench.err),
                     KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "0 keys");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_transport_key_is_made_once),
        cmocka_unit_test(a_transport_key_is_not_made_unasked),
        cmocka_unit_test(the_hash_is_found_by_trying),
        cmocka_unit_test(an_imported_key_wraps_what_openssl_unwraps),
        cmocka_unit_test(an_imported_key_is_there_for_another_connection),
        cmocka_unit_test(another_key_than_expected_leaves_nothing),
        cmocka_unit_test(a_key_that_is_not_aes_256_is_refused),
        cmocka_unit_test(a_damaged_blob_is_corrupt),
        cmocka_unit_test(a_trial_keeps_nothing),
        cmocka_unit_test(without_a_transport_key_nothing_comes_in),
        cmocka_unit_test(a_private_key_that_could_be_read_is_not_used),
        cmocka_unit_test(an_exported_key_comes_back_as_the_same),
        cmocka_unit_test(a_sealed_key_never_leaves_again),
        cmocka_unit_test(a_key_that_is_gone_can_neither_be_exported_nor_sealed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
