/* SPDX-License-Identifier: Apache-2.0 */
/* The audit key on a real token. */
#include "signing.h"

#include "../../pkcs11/module.h"
#include "attributes.h"
#include "kms/signature.h"
#include "softhsm_rig.h"

#define LABEL "prod.audit"

static struct bench {
    struct kms_keystore *keystore;
    struct kms_audit_key key;
    struct kms_error err;
} bench;

static int set_up(void **state)
{
    if (softhsm_setup(state) != 0)
        return -1;
    size_t count = 0;
    bench.keystore = softhsm_open(SOFTHSM_URI);
    assert_ok(softhsm_list(bench.keystore, "x", &count, &bench.err), &bench.err);
    assert_ok(
        kms_keystore_audit_key(bench.keystore, LABEL, true, rig_soon_ms(), &bench.key, &bench.err),
        &bench.err);
    return 0;
}

static int tear_down(void **state)
{
    kms_keystore_close(bench.keystore);
    return softhsm_teardown(state);
}

static enum kms_code sign(const char *label, struct kms_bytes message,
                          struct kms_signature *ret_signature)
{
    return kms_keystore_sign(bench.keystore, label, message, rig_soon_ms(), ret_signature,
                             &bench.err);
}

static void the_key_is_made_once(void **state)
{
    (void)state;
    struct kms_audit_key again;
    assert_true(bench.key.made);
    assert_int_equal(bench.key.signing, KMS_SIGNING_ECDSA_P256);
    assert_ok(
        kms_keystore_audit_key(bench.keystore, LABEL, true, rig_soon_ms(), &again, &bench.err),
        &bench.err);
    assert_false(again.made);
    assert_int_equal(again.spki.len, bench.key.spki.len);
    assert_memory_equal(again.spki.data, bench.key.spki.data, again.spki.len);
}

static void a_key_is_not_made_unasked(void **state)
{
    (void)state;
    struct kms_audit_key key;
    assert_ok(kms_keystore_audit_key(bench.keystore, "other.audit", false, rig_soon_ms(), &key,
                                     &bench.err),
              &bench.err);
    assert_int_equal(key.spki.len, 0);
    assert_false(key.made);
}

static void a_signature_is_of_the_key_and_of_nothing_else(void **state)
{
    (void)state;
    struct kms_signature signature;
    uint8_t sha256[KMS_SHA256_LEN];
    assert_ok(sign(LABEL, kms_bytes_of("text"), &signature), &bench.err);
    struct kms_bytes bytes = { signature.data, signature.len };
    kms_sha256((struct kms_bytes){ bench.key.spki.data, bench.key.spki.len }, sha256);
    assert_memory_equal(signature.key_sha256, sha256, sizeof(sha256));
    assert_ok(kms_signature_check(&bench.key.spki, kms_bytes_of("text"), bytes, &bench.err),
              &bench.err);
    assert_int_equal(kms_signature_check(&bench.key.spki, kms_bytes_of("texT"), bytes, &bench.err),
                     KMS_E_CORRUPT);
}

static void without_a_key_there_is_no_signature(void **state)
{
    (void)state;
    struct kms_signature signature;
    assert_int_equal(sign("other.audit", kms_bytes_of("text"), &signature), KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "hsm-kms audit key --make");
}

static void more_than_the_seam_allows_is_refused(void **state)
{
    (void)state;
    struct kms_signature signature;
    static const uint8_t much[KMS_SIGNED_MAX + 1];
    enum kms_code rc = sign(LABEL, (struct kms_bytes){ much, sizeof(much) }, &signature);
    assert_int_equal(rc, KMS_E_INVALID);
}

static void a_point_is_read_bare_and_as_an_octet_string(void **state)
{
    (void)state;
    struct kms_spki spki;
    uint8_t point[PKCS11_P256_POINT_LEN + 2] = { 0x04, PKCS11_P256_POINT_LEN };
    size_t head = bench.key.spki.len - PKCS11_P256_POINT_LEN; /* the point ends an SPKI */
    memcpy(point + 2, bench.key.spki.data + head, PKCS11_P256_POINT_LEN);
    for (size_t skip = 0; skip <= 2; skip += 2) {
        const struct kms_bytes bytes = { point + skip, sizeof(point) - skip };
        assert_ok(pkcs11_spki_from_point(bytes, &spki, &bench.err), &bench.err);
        assert_memory_equal(spki.data, bench.key.spki.data, spki.len);
    }
}

static void what_is_no_point_is_refused(void **state)
{
    (void)state;
    struct kms_spki spki;
    uint8_t point[PKCS11_P256_POINT_LEN] = { 0x04, 1 }; /* not on the curve */
    assert_int_equal(
        pkcs11_spki_from_point((struct kms_bytes){ point, sizeof(point) }, &spki, &bench.err),
        KMS_E_INVALID);
    assert_int_equal(pkcs11_spki_from_point((struct kms_bytes){ point, 3 }, &spki, &bench.err),
                     KMS_E_INVALID);
    point[0] = 0x02; /* compressed */
    assert_int_equal(
        pkcs11_spki_from_point((struct kms_bytes){ point, sizeof(point) }, &spki, &bench.err),
        KMS_E_INVALID);
}

/* --- key pairs that somebody else put there --- */

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

/* RSA-2048, of which what isn't kept ends with the session. */
struct planted {
    const char *label;
    bool keeps_public, keeps_private;
    bool readable; /* the private key, in the clear */
};

static void plant_in(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, const struct planted *planted)
{
    static const uint8_t exponent[] = { 1, 0, 1 }, id[] = { 7 };
    struct pkcs11_template public_key = { 0 }, private_key = { 0 };
    pkcs11_template_number(&public_key, CKA_MODULUS_BITS, 2048);
    pkcs11_template_bytes(&public_key, CKA_PUBLIC_EXPONENT, (struct kms_bytes){ exponent, 3 });
    pkcs11_template_bool(&public_key, CKA_TOKEN, planted->keeps_public);
    pkcs11_template_bytes(&public_key, CKA_LABEL, kms_bytes_of(planted->label));
    pkcs11_template_bytes(&public_key, CKA_ID, (struct kms_bytes){ id, sizeof(id) });
    pkcs11_template_bool(&private_key, CKA_TOKEN, planted->keeps_private);
    pkcs11_template_bool(&private_key, CKA_PRIVATE, true);
    pkcs11_template_bool(&private_key, CKA_SENSITIVE, !planted->readable);
    pkcs11_template_bool(&private_key, CKA_EXTRACTABLE, planted->readable);
    pkcs11_template_bool(&private_key, CKA_SIGN, true);
    pkcs11_template_bytes(&private_key, CKA_LABEL, kms_bytes_of(planted->label));
    pkcs11_template_bytes(&private_key, CKA_ID, (struct kms_bytes){ id, sizeof(id) });
    CK_MECHANISM mechanism = { CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0 };
    CK_OBJECT_HANDLE handles[2];
    assert_int_equal(fn->C_GenerateKeyPair(session, &mechanism, public_key.items, public_key.count,
                                           private_key.items, private_key.count, &handles[0],
                                           &handles[1]),
                     CKR_OK);
}

/* The keystore is another one afterwards: the module is finalized between. */
static void plant(const struct planted *planted, size_t count)
{
    struct kms_error err;
    size_t listed = 0;
    kms_keystore_close(bench.keystore);
    struct pkcs11_module *module = NULL;
    assert_ok(pkcs11_module_open(SOFTHSM_MODULE, &module, &err), &err);
    assert_ok(pkcs11_module_initialize(module, &err), &err);
    CK_SESSION_HANDLE session = 0;
    CK_FUNCTION_LIST *fn = log_in(module, &session);
    for (size_t i = 0; i < count; i++)
        plant_in(fn, session, &planted[i]);
    pkcs11_module_close(module);
    bench.keystore = softhsm_open(SOFTHSM_URI);
    assert_ok(softhsm_list(bench.keystore, "x", &listed, &bench.err), &bench.err);
}

static void an_rsa_pair_signs_as_well(void **state)
{
    (void)state;
    const struct planted planted = { "rsa.audit", true, true, false };
    struct kms_audit_key key;
    struct kms_signature signature;
    plant(&planted, 1);
    assert_ok(
        kms_keystore_audit_key(bench.keystore, "rsa.audit", true, rig_soon_ms(), &key, &bench.err),
        &bench.err);
    assert_false(key.made);
    assert_int_equal(key.signing, KMS_SIGNING_RSA_PKCS1);
    assert_ok(sign("rsa.audit", kms_bytes_of("text"), &signature), &bench.err);
    assert_int_equal(signature.len, 2048 / 8);
}

static void a_private_key_that_could_be_read_does_not_sign(void **state)
{
    (void)state;
    const struct planted planted = { "read.audit", true, true, true };
    struct kms_signature signature;
    plant(&planted, 1);
    assert_int_equal(sign("read.audit", kms_bytes_of("text"), &signature), KMS_E_PRECONDITION);
}

static void a_private_key_without_its_public_one_is_no_pair(void **state)
{
    (void)state;
    const struct planted planted = { "half.audit", false, true, false };
    struct kms_signature signature;
    plant(&planted, 1);
    assert_int_equal(sign("half.audit", kms_bytes_of("text"), &signature), KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "there is no key pair");
}

static void a_public_key_in_anothers_place_is_noticed(void **state)
{
    (void)state;
    const struct planted planted[] = { { "swapped.audit", false, true, false },
                                       { "swapped.audit", true, false, false } };
    struct kms_signature signature;
    plant(planted, 2);
    assert_int_equal(sign("swapped.audit", kms_bytes_of("text"), &signature), KMS_E_PRECONDITION);
    assert_contains(bench.err.msg, "somebody put another public key there");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_is_made_once),
        cmocka_unit_test(a_key_is_not_made_unasked),
        cmocka_unit_test(a_signature_is_of_the_key_and_of_nothing_else),
        cmocka_unit_test(without_a_key_there_is_no_signature),
        cmocka_unit_test(more_than_the_seam_allows_is_refused),
        cmocka_unit_test(a_point_is_read_bare_and_as_an_octet_string),
        cmocka_unit_test(what_is_no_point_is_refused),
        cmocka_unit_test(an_rsa_pair_signs_as_well),
        cmocka_unit_test(a_private_key_that_could_be_read_does_not_sign),
        cmocka_unit_test(a_private_key_without_its_public_one_is_no_pair),
        cmocka_unit_test(a_public_key_in_anothers_place_is_noticed),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
