/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11_rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>

const uint8_t rig_key[32] = {
    0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
};
const uint8_t rig_other_key[32] = { 0xAA, 0x55 };

static const uint8_t sample_seed[32] = "thirty-two bytes of sample seed";

size_t rig_wrap(const uint8_t key[static 32], struct kms_bytes data,
                uint8_t ret[static KMS_WRAPPED_MAX])
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    assert_non_null(ctx);
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    int len = 0;
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap(), NULL, key, NULL), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, ret, &len, data.data, (int)data.len), 1);
    EVP_CIPHER_CTX_free(ctx);
    return (size_t)len;
}

void rig_fingerprint(const uint8_t key[static 32], uint8_t ret[static KMS_FINGERPRINT_LEN])
{
    uint8_t c[KMS_SHA256_LEN];
    kms_sha256(kms_bytes_of(KMS_FINGERPRINT_SEED_TEXT), c);
    size_t domain_len = strlen(KMS_FINGERPRINT_DOMAIN);
    uint8_t input[64 + KMS_WRAPPED_MAX];
    memcpy(input, KMS_FINGERPRINT_DOMAIN, domain_len);
    size_t len = rig_wrap(key, (struct kms_bytes){ c, sizeof(c) }, input + domain_len);
    kms_sha256((struct kms_bytes){ input, domain_len + len }, ret);
}

int64_t rig_soon_ms(void)
{
    return kms_monotonic_ms() + 20000;
}

int rig_setup(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    *state = rig;
    strcpy(rig->dir, "/tmp/hsm-kms-test-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    rig->module = fake_module_new();
    rig->place = fake_module_add_kek(rig->module, "prod.v1", rig_key);
    rig_fingerprint(rig_key, rig->fingerprint);
    rig->kek = (struct kms_kek_ref){ "prod.v1", rig->fingerprint, NULL };
    assert_ok(kms_secret_copy(&rig->pin, kms_bytes_of(FAKE_PIN), &rig->err), &rig->err);
    struct pkcs11_keystore_options options = {
        .uri = FAKE_URI, .pin = &rig->pin, .sessions = 2, .lock_dir = rig->dir
    };
    struct pkcs11_seam seam = { .fn = fake_module_functions(rig->module) };
    assert_ok(pkcs11_keystore_open_at(&options, &seam, &rig->keystore, &rig->err), &rig->err);
    return 0;
}

int rig_setup_connected(void **state)
{
    (void)rig_setup(state);
    struct rig *rig = *state;
    assert_ok(rig_inventory(rig), &rig->err);
    return 0;
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
    assert_int_equal(rmdir(path), 0);
}

int rig_teardown(void **state)
{
    struct rig *rig = *state;
    unsigned objects = fake_module_session_objects(rig->module);
    kms_keystore_close(rig->keystore);
    unsigned sessions = fake_module_sessions(rig->module);
    bool initialized = fake_module_is_initialized(rig->module);
    fake_module_free(rig->module);
    kms_secret_done(&rig->pin);
    remove_dir(rig->dir);
    free(rig);
    return objects == 0 && sessions == 0 && !initialized ? 0 : -1;
}

enum kms_code rig_inventory(struct rig *rig)
{
    struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_inventory(rig->keystore, "prod.", rig_soon_ms(), &inventory,
                                              &rig->err);
    kms_inventory_done(&inventory);
    return rc;
}

enum kms_code rig_wrap_seed(struct rig *rig, struct kms_wrapped *ret_wrapped)
{
    return kms_keystore_wrap(rig->keystore, &rig->kek,
                             (struct kms_bytes){ sample_seed, sizeof(sample_seed) }, rig_soon_ms(),
                             ret_wrapped, &rig->err);
}

struct kms_wrapped rig_sample(void)
{
    struct kms_wrapped wrapped = { 0 };
    wrapped.len = rig_wrap(rig_key, (struct kms_bytes){ sample_seed, sizeof(sample_seed) },
                           wrapped.data);
    return wrapped;
}

enum kms_code rig_unwrap(struct rig *rig, const struct kms_wrapped *wrapped)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    return kms_keystore_unwrap(rig->keystore, &rig->kek, KMS_ALGORITHM_AES_KW,
                               (struct kms_bytes){ wrapped->data, wrapped->len }, rig_soon_ms(),
                               &seed, &rig->err);
}

void rig_assert_unwraps(struct rig *rig)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    struct kms_wrapped wrapped = rig_sample();
    assert_ok(kms_keystore_unwrap(rig->keystore, &rig->kek, KMS_ALGORITHM_AES_KW,
                                  (struct kms_bytes){ wrapped.data, wrapped.len }, rig_soon_ms(),
                                  &seed, &rig->err),
              &rig->err);
    assert_int_equal(seed.len, sizeof(sample_seed));
    assert_memory_equal(seed.data, sample_seed, sizeof(sample_seed));
}

void rig_assert_wraps(struct rig *rig)
{
    struct kms_wrapped wrapped = { 0 };
    assert_ok(rig_wrap_seed(rig, &wrapped), &rig->err);
    struct kms_wrapped sample = rig_sample();
    assert_int_equal(wrapped.len, sample.len);
    assert_memory_equal(wrapped.data, sample.data, sample.len);
}

int rig_session_setup(void **state)
{
    struct rig_session *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    *state = rig;
    rig->module = fake_module_new();
    CK_FUNCTION_LIST *fn = fake_module_functions(rig->module);
    CK_C_INITIALIZE_ARGS args = { .flags = CKF_OS_LOCKING_OK };
    CK_SLOT_ID slot = 0;
    CK_ULONG count = 1;
    unsigned char pin[] = FAKE_PIN;
    assert_int_equal(fn->C_Initialize(&args), CKR_OK);
    assert_int_equal(fn->C_GetSlotList(CK_TRUE, &slot, &count), CKR_OK);
    assert_int_equal(fn->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                       &rig->session.handle),
                     CKR_OK);
    assert_int_equal(fn->C_Login(rig->session.handle, CKU_USER, pin, strlen(FAKE_PIN)), CKR_OK);
    rig->probe = (struct pkcs11_probe){ .fn = fn, .token = &rig->token, .session = &rig->session };
    assert_ok(pkcs11_wrap_select(&rig->probe, &rig->wrap, NULL, &rig->err), &rig->err);
    rig->bound = "a key_id";
    rig->place = (struct pkcs11_place){ .wrap = &rig->wrap,
                                        .session = &rig->session,
                                        .deadline_ms = rig_soon_ms() };
    return 0;
}

void rig_use_cipher(struct rig_session *rig)
{
    struct fake_behaviour *behaviour = fake_module_behaviour(rig->module);
    behaviour->ciphers = true;
    behaviour->import_seed_rv = CKR_ATTRIBUTE_VALUE_INVALID;
    assert_ok(pkcs11_wrap_select(&rig->probe, &rig->wrap, NULL, &rig->err), &rig->err);
    assert_true(pkcs11_wrap_is_cipher(&rig->wrap));
}

CK_OBJECT_HANDLE rig_session_kek(struct rig_session *rig)
{
    size_t place = fake_module_add_kek(rig->module, "kek", rig_key);
    fake_module_set_bool(rig->module, place, CKA_ENCRYPT, true);
    fake_module_set_bool(rig->module, place, CKA_DECRYPT, true);
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

int rig_session_teardown(void **state)
{
    struct rig_session *rig = *state;
    unsigned objects = rig->session.broken ? 0 : fake_module_session_objects(rig->module);
    fake_module_free(rig->module);
    free(rig);
    return objects == 0 ? 0 : -1;
}
