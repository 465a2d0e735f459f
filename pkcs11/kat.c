/* SPDX-License-Identifier: Apache-2.0 */
/* The known-answer test: a module's word for what CKM_AES_KEY_WRAP does is not taken. */
#include "profile.h"

#include <string.h>

#include <openssl/evp.h>

#include "attributes.h"
#include "kms/log.h"
#include "rv.h"

enum { KEY_LEN = 32 };

/* RFC 3394 section 4.6: 256 bits of key data under a 256-bit KEK. */
static const uint8_t rfc_kek[KEY_LEN] = {
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
    0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F,
};
static const uint8_t rfc_data[KEY_LEN] = {
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF,
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F,
};
static const uint8_t rfc_wrapped[KEY_LEN + KMS_WRAP_OVERHEAD] = {
    0x28, 0xC9, 0xF4, 0x04, 0xC4, 0xB8, 0x10, 0xF4, 0xCB, 0xCC, 0xB3, 0x5C, 0xFB, 0x87,
    0xF8, 0x26, 0x3F, 0x57, 0x86, 0xE2, 0xD8, 0x0E, 0xD3, 0x26, 0xCB, 0xC7, 0xF0, 0xE7,
    0x1A, 0x99, 0xF4, 0x3B, 0xFB, 0x98, 0x8B, 0x9B, 0x7A, 0x02, 0xDD, 0x21,
};

/* A second value, which no module can know by heart; made of KMS_FINGERPRINT_SEED_TEXT. */
static struct kms_bytes other_data(uint8_t buffer[static KMS_SHA256_LEN])
{
    kms_sha256(kms_bytes_of(KMS_FINGERPRINT_SEED_TEXT), buffer);
    return (struct kms_bytes){ buffer, KMS_SHA256_LEN };
}

static void close_cipher(EVP_CIPHER_CTX **ctx)
{
    EVP_CIPHER_CTX_free(*ctx);
}

static bool openssl_wrap(struct kms_bytes data, uint8_t ret_wrapped[static KMS_WRAPPED_MAX],
                         size_t *ret_len)
{
    KMS_CLEANUP(close_cipher) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    if (ctx == NULL)
        return false;
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_EncryptInit_ex(ctx, EVP_aes_256_wrap(), NULL, rfc_kek, NULL) != 1 ||
        EVP_EncryptUpdate(ctx, ret_wrapped, &len, data.data, (int)data.len) != 1)
        return false;
    *ret_len = (size_t)len;
    return true;
}

static enum kms_code wrong_answer(struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "known-answer test: the module's CKM_AES_KEY_WRAP isn't RFC 3394: this module "
                    "can't be used");
}

static void key_template(struct pkcs11_template *template)
{
    pkcs11_template_number(template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(template, CKA_KEY_TYPE, CKK_AES);
    pkcs11_template_bool(template, CKA_TOKEN, false);
    pkcs11_template_bool(template, CKA_PRIVATE, true);
    pkcs11_template_bool(template, CKA_SENSITIVE, true);
    pkcs11_template_bool(template, CKA_EXTRACTABLE, false);
    pkcs11_template_bool(template, CKA_WRAP, true);
    pkcs11_template_bool(template, CKA_UNWRAP, true);
}

/* Wraps @data under the test key and compares with @expected (empty: anything will do). */
static enum kms_code check_wrap(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                CK_OBJECT_HANDLE key, struct kms_bytes data,
                                struct kms_bytes expected, struct kms_wrapped *ret_wrapped,
                                struct kms_error *err)
{
    enum kms_code rc = pkcs11_wrap_seed(wrap, session, key, data, ret_wrapped, err);
    if (rc != KMS_OK || expected.len == 0)
        return rc;
    struct kms_bytes got = { ret_wrapped->data, ret_wrapped->len };
    return kms_bytes_equal(got, expected) ? KMS_OK : wrong_answer(err);
}

static enum kms_code check_unwrap(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                  CK_OBJECT_HANDLE key, const struct kms_wrapped *wrapped,
                                  struct kms_bytes expected, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    struct kms_bytes input = { wrapped->data, wrapped->len };
    enum kms_code rc = pkcs11_unwrap_seed(wrap, session, key, input, &seed, err);
    if (rc != KMS_OK)
        return rc;
    return kms_bytes_equal(kms_secret_bytes(&seed), expected) ? KMS_OK : wrong_answer(err);
}

/* Without CKA_VALUE_LEN in the template, and if the module won't have that, with it. */
static enum kms_code choose_template(struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                     CK_OBJECT_HANDLE key, const struct kms_wrapped *wrapped,
                                     struct kms_bytes expected, struct kms_error *err)
{
    wrap->tell_value_len = false;
    enum kms_code rc = check_unwrap(wrap, session, key, wrapped, expected, err);
    if (rc != KMS_E_PRECONDITION)
        return rc;
    struct kms_error second;
    wrap->tell_value_len = true;
    return check_unwrap(wrap, session, key, wrapped, expected, &second) == KMS_OK ? KMS_OK : rc;
}

static enum kms_code round_trips(struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                 CK_OBJECT_HANDLE key, bool imported, struct kms_error *err)
{
    uint8_t buffer[KMS_SHA256_LEN];
    struct kms_bytes other = other_data(buffer);
    uint8_t software[KMS_WRAPPED_MAX] = { 0 };
    size_t software_len = 0;
    if (!openssl_wrap(other, software, &software_len))
        return kms_fail(err, KMS_E_INTERNAL, "known-answer test: OpenSSL has no id-aes256-wrap");

    struct kms_bytes data = { rfc_data, sizeof(rfc_data) };
    struct kms_bytes expected = { rfc_wrapped, imported ? sizeof(rfc_wrapped) : 0 };
    struct kms_bytes expected_other = { software, imported ? software_len : 0 };
    struct kms_wrapped wrapped = { 0 };
    enum kms_code rc = check_wrap(wrap, session, key, data, expected, &wrapped, err);
    if (rc == KMS_OK)
        rc = choose_template(wrap, session, key, &wrapped, data, err);
    if (rc == KMS_OK)
        rc = check_wrap(wrap, session, key, other, expected_other, &wrapped, err);
    return rc;
}

static CK_RV import_key(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *ret_key)
{
    struct pkcs11_template template = { 0 };
    key_template(&template);
    pkcs11_template_bytes(&template, CKA_VALUE, (struct kms_bytes){ rfc_kek, sizeof(rfc_kek) });
    return fn->C_CreateObject(session, template.items, template.count, ret_key);
}

static CK_RV generate_key(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                          CK_OBJECT_HANDLE *ret_key)
{
    CK_MECHANISM mechanism = { CKM_AES_KEY_GEN, NULL, 0 };
    struct pkcs11_template template = { 0 };
    key_template(&template);
    pkcs11_template_number(&template, CKA_VALUE_LEN, KEY_LEN);
    return fn->C_GenerateKey(session, &mechanism, template.items, template.count, ret_key);
}

static bool is_refusal(CK_RV rv)
{
    enum pkcs11_class class = pkcs11_rv_class("C_CreateObject", rv);
    return class == PKCS11_CLASS_CONFIG || rv == CKR_TEMPLATE_INCONSISTENT;
}

/* *ret_imported: the key is the RFC's, so answers are known.  CK_INVALID_HANDLE: the module makes no
 * session keys at all, which is its right. */
static enum kms_code make_key(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                              CK_OBJECT_HANDLE *ret_key, bool *ret_imported, struct kms_error *err)
{
    CK_RV rv = import_key(fn, session, ret_key);
    *ret_imported = rv == CKR_OK;
    if (rv == CKR_OK)
        return KMS_OK;
    if (!is_refusal(rv))
        return pkcs11_fail(err, "C_CreateObject", rv, "importing the test key");
    kms_log(KMS_LOG_WARN,
            "module refuses to import a test key: its key wrap can't be compared with RFC 3394",
            KMS_F_TEXT("ckr", pkcs11_rv_name(rv)));
    rv = generate_key(fn, session, ret_key);
    if (rv == CKR_OK)
        return KMS_OK;
    *ret_key = CK_INVALID_HANDLE;
    if (!is_refusal(rv))
        return pkcs11_fail(err, "C_GenerateKey", rv, "generating a test key");
    kms_log(KMS_LOG_WARN, "module refuses to generate a test key: its key wrap is not tested",
            KMS_F_TEXT("ckr", pkcs11_rv_name(rv)));
    return KMS_OK;
}

static enum kms_code try_profile(struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                 struct kms_error *err)
{
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    bool imported = false;
    enum kms_code rc = make_key(wrap->fn, session->handle, &key, &imported, err);
    if (rc != KMS_OK || key == CK_INVALID_HANDLE)
        return rc;
    rc = round_trips(wrap, session, key, imported, err);
    pkcs11_wrap_destroy(wrap->fn, session, key);
    return rc;
}

enum kms_code pkcs11_wrap_select(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                                 struct pkcs11_wrap *ret_wrap, struct kms_error *err)
{
    enum kms_code rc = KMS_E_PRECONDITION;
    for (size_t i = 0; i < pkcs11_wrap_profile_count && rc == KMS_E_PRECONDITION; i++) {
        struct pkcs11_wrap wrap = { .fn = fn, .profile = &pkcs11_wrap_profiles[i] };
        rc = try_profile(&wrap, session, err);
        if (rc == KMS_OK)
            *ret_wrap = wrap;
    }
    return rc;
}
