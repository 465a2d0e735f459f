/* SPDX-License-Identifier: Apache-2.0 */
/* Escrow and import where the module fails or lies: on the fake, and on SoftHSM with one call
 * replaced. */
#include <dlfcn.h>

#include "edit.h"
#include "oaep.h"
#include "softhsm_rig.h"

#define TRANSPORT "prod.transport"

/* --- on the fake --- */

static struct kms_kek_info extractable(struct rig *rig)
{
    struct kms_kek_info kek;
    assert_ok(kms_keystore_generate_for_escrow(rig->keystore, "prod.pending.x", rig_soon_ms(), &kek,
                                               &rig->err),
              &rig->err);
    assert_int_not_equal(kek.attributes & KMS_KEK_EXTRACTABLE, 0);
    return kek;
}

static enum kms_code seal(struct rig *rig, const struct kms_kek_info *kek)
{
    const struct kms_object object = { kek->label, { kek->cka_id, kek->cka_id_len } };
    return kms_keystore_seal(rig->keystore, &object, rig_soon_ms(), &rig->err);
}

static void a_sealed_key_is_listed_as_such(void **state)
{
    struct rig *rig = *state;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    struct kms_kek_info kek = extractable(rig);
    assert_ok(seal(rig, &kek), &rig->err);
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.pending.", rig_soon_ms(), &inventory,
                                     &rig->err),
              &rig->err);
    assert_int_equal(inventory.count, 1);
    assert_int_equal(inventory.keks[0].attributes & KMS_KEK_EXTRACTABLE, 0);
}

static void a_seal_that_did_not_hold_is_no_success(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = extractable(rig);
    fake_module_behaviour(rig->module)->sets_nothing = true;
    assert_int_equal(seal(rig, &kek), KMS_E_PRECONDITION);
    assert_contains(rig->err.msg, "can still leave it");
}

static void a_seal_that_lost_its_session_is_done_again(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = extractable(rig);
    fake_module_behaviour(rig->module)->late_rv = CKR_SESSION_CLOSED;
    assert_ok(seal(rig, &kek), &rig->err);
}

static void a_key_that_may_not_be_changed_is_not_sealed(void **state)
{
    struct rig *rig = *state;
    struct kms_kek_info kek = extractable(rig);
    fake_module_fail_always(rig->module, "C_SetAttributeValue", CKR_ACTION_PROHIBITED);
    assert_int_equal(seal(rig, &kek), KMS_E_PRECONDITION);
}

static void a_generated_key_whose_answer_was_lost_is_not_made_twice(void **state)
{
    struct rig *rig = *state;
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    fake_module_behaviour(rig->module)->late_rv = CKR_SESSION_CLOSED;
    (void)extractable(rig);
    assert_ok(kms_keystore_inventory(rig->keystore, "prod.pending.", rig_soon_ms(), &inventory,
                                     &rig->err),
              &rig->err);
    assert_int_equal(inventory.count, 1);
}

/* --- on SoftHSM, some of whose calls are ours --- */

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST bent;
static CK_RV copy_before, copy_after; /* CKR_OK: none; the first answer */

static CK_RV bent_copy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                       CK_ULONG count, CK_OBJECT_HANDLE *ret_object)
{
    CK_RV before = copy_before, after = copy_after;
    copy_before = copy_after = CKR_OK;
    if (before != CKR_OK)
        return before;
    CK_RV rv = real->C_CopyObject(session, object, template, count, ret_object);
    return after != CKR_OK ? after : rv;
}

/* Takes RSA-OAEP for something else: a fresh key comes out. */
static CK_RV bent_unwrap(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key,
                         CK_BYTE *wrapped, CK_ULONG wrapped_len, CK_ATTRIBUTE *template,
                         CK_ULONG count, CK_OBJECT_HANDLE *ret_object)
{
    if (mechanism->mechanism != CKM_RSA_PKCS_OAEP)
        return real->C_UnwrapKey(session, mechanism, key, wrapped, wrapped_len, template, count,
                                 ret_object);
    CK_MECHANISM generate = { CKM_AES_KEY_GEN, NULL, 0 };
    CK_ULONG len = 32;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE items[] = { { CKA_VALUE_LEN, &len, sizeof(len) },
                             { CKA_WRAP, &yes, sizeof(yes) } };
    return real->C_GenerateKey(session, &generate, items, 2, ret_object);
}

struct bench {
    struct kms_keystore *keystore;
    struct kms_transport_key key;
    struct kms_error err;
};

static int load_softhsm(void **state)
{
    if (softhsm_setup(state) != 0)
        return -1;
    void *library = dlopen(SOFTHSM_MODULE, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    CK_C_GetFunctionList get = NULL;
    *(void **)&get = dlsym(library, "C_GetFunctionList");
    assert_non_null(get);
    assert_int_equal(get(&real), CKR_OK);
    return 0;
}

static int bench_setup(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .keystore = NULL };
    bent = *real;
    bent.C_CopyObject = bent_copy;
    copy_before = copy_after = CKR_OK;
    struct pkcs11_keystore_options options = {
        .uri = SOFTHSM_URI, .pin_file = softhsm_pin_file, .sessions = 1, .lock_dir = softhsm_dir
    };
    struct pkcs11_seam seam = { .fn = &bent };
    size_t count = 0;
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &bench.keystore, &bench.err), &bench.err);
    assert_ok(softhsm_list(bench.keystore, "x", &count, &bench.err), &bench.err);
    assert_ok(kms_keystore_transport_key(bench.keystore, TRANSPORT, true, rig_soon_ms(), &bench.key,
                                         &bench.err),
              &bench.err);
    *state = &bench;
    return 0;
}

static int bench_teardown(void **state)
{
    struct bench *bench = *state;
    kms_keystore_close(bench->keystore);
    return 0;
}

static enum kms_code import_as(struct bench *bench, const char *label)
{
    struct kms_transport_blob blob;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_info kek;
    rig_fingerprint(rig_key, fingerprint);
    assert_ok(pkcs11_oaep_encrypt(&bench->key.spki, bench->key.hash,
                                  (struct kms_bytes){ rig_key, sizeof(rig_key) }, &blob,
                                  &bench->err),
              &bench->err);
    const struct kms_transport_import import = {
        TRANSPORT, { blob.data, blob.len }, fingerprint, label
    };
    return kms_keystore_import(bench->keystore, &import, rig_soon_ms(), &kek, &bench->err);
}

static size_t count_of(struct bench *bench, const char *prefix)
{
    size_t count = 0;
    assert_ok(softhsm_list(bench->keystore, prefix, &count, &bench->err), &bench->err);
    return count;
}

static void an_import_that_cannot_be_kept_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    copy_before = CKR_DEVICE_MEMORY;
    assert_int_equal(import_as(bench, "full.v1"), KMS_E_BUSY);
    assert_int_equal(count_of(bench, "full."), 0);
}

static void an_import_whose_session_is_lost_is_done_again(void **state)
{
    struct bench *bench = *state;
    copy_before = CKR_SESSION_CLOSED;
    assert_ok(import_as(bench, "again.v1"), &bench->err);
    assert_int_equal(count_of(bench, "again."), 1);
}

static void an_import_whose_answer_was_lost_is_not_kept_twice(void **state)
{
    struct bench *bench = *state;
    copy_after = CKR_SESSION_CLOSED;
    assert_ok(import_as(bench, "once.v1"), &bench->err);
    assert_int_equal(count_of(bench, "once."), 1);
}

static void a_module_that_unwraps_another_key_is_not_trusted_with_keys(void **state)
{
    struct bench *bench = *state;
    struct kms_transport_key key;
    bent.C_UnwrapKey = bent_unwrap;
    assert_int_equal(kms_keystore_transport_key(bench->keystore, TRANSPORT, true, rig_soon_ms(),
                                                &key, &bench->err),
                     KMS_E_PRECONDITION);
    assert_contains(bench->err.msg, "another key than was wrapped");
    assert_int_equal(import_as(bench, "liar.v1"), KMS_E_INVALID);
    assert_int_equal(count_of(bench, "liar."), 0);
}

#define FAKE_TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup_connected, rig_teardown)
#define BENT_TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest fake_tests[] = {
        FAKE_TEST(a_sealed_key_is_listed_as_such),
        FAKE_TEST(a_seal_that_did_not_hold_is_no_success),
        FAKE_TEST(a_seal_that_lost_its_session_is_done_again),
        FAKE_TEST(a_key_that_may_not_be_changed_is_not_sealed),
        FAKE_TEST(a_generated_key_whose_answer_was_lost_is_not_made_twice),
    };
    const struct CMUnitTest bent_tests[] = {
        BENT_TEST(an_import_that_cannot_be_kept_leaves_nothing),
        BENT_TEST(an_import_whose_session_is_lost_is_done_again),
        BENT_TEST(an_import_whose_answer_was_lost_is_not_kept_twice),
        BENT_TEST(a_module_that_unwraps_another_key_is_not_trusted_with_keys),
    };
    int failed = cmocka_run_group_tests(fake_tests, NULL, NULL);
    return failed + cmocka_run_group_tests(bent_tests, load_softhsm, softhsm_teardown);
}
