/* SPDX-License-Identifier: Apache-2.0 */
#include "wrap.h"

#include <string.h>

#include "attributes.h"
#include "profile.h"
#include "rv.h"

enum { BLOCK = 8 }; /* bytes: RFC 3394 works on halves of an AES block */

void pkcs11_wrap_destroy(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                         CK_OBJECT_HANDLE object)
{
    if (fn->C_DestroyObject(session->handle, object) != CKR_OK)
        session->broken = true;
}

static void secret_template(struct pkcs11_template *template)
{
    pkcs11_template_number(template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(template, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    pkcs11_template_bool(template, CKA_TOKEN, false);
    pkcs11_template_bool(template, CKA_SENSITIVE, false);
    pkcs11_template_bool(template, CKA_EXTRACTABLE, true);
}

static enum kms_code import_seed(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                 struct kms_bytes seed, CK_OBJECT_HANDLE *ret_object,
                                 struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    secret_template(&template);
    pkcs11_template_bool(&template, CKA_PRIVATE, true);
    pkcs11_template_bytes(&template, CKA_VALUE, seed);
    CK_RV rv = fn->C_CreateObject(session, template.items, template.count, ret_object);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_CreateObject", rv, "carrying the seed into the token");
    return KMS_OK;
}

static enum kms_code wrong_length(const char *call, size_t got, size_t expected,
                                  struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "%s: the module answered with %zu bytes where AES key wrap gives %zu: this "
                    "module can't be used",
                    call, got, expected);
}

static enum kms_code aes_kw_wrap(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                 CK_OBJECT_HANDLE kek, struct kms_bytes seed,
                                 struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    enum kms_code rc = import_seed(wrap->fn, session->handle, seed, &object, err);
    if (rc != KMS_OK)
        return rc;

    /* A fixed buffer, never the two-call size query: modules answer that with upper bounds. */
    CK_MECHANISM mechanism = { wrap->mechanism, NULL, 0 };
    struct kms_wrapped wrapped = { 0 };
    CK_ULONG len = sizeof(wrapped.data);
    CK_RV rv = wrap->fn->C_WrapKey(session->handle, &mechanism, kek, object, wrapped.data, &len);
    pkcs11_wrap_destroy(wrap->fn, session, object);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_WrapKey", rv, "wrapping a seed");
    if (len != seed.len + KMS_WRAP_OVERHEAD)
        return wrong_length("C_WrapKey", len, seed.len + KMS_WRAP_OVERHEAD, err);
    wrapped.len = len;
    *ret_wrapped = wrapped;
    return KMS_OK;
}

static enum kms_code read_value(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                CK_OBJECT_HANDLE object, size_t expected,
                                struct kms_secret *ret_seed, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret value = { 0 };
    enum kms_code rc = kms_secret_init(&value, KMS_WRAPPED_MAX, err);
    if (rc != KMS_OK)
        return rc;
    CK_ATTRIBUTE item = { CKA_VALUE, value.data, value.cap };
    CK_RV rv = fn->C_GetAttributeValue(session, object, &item, 1);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_GetAttributeValue", rv, "reading the unwrapped seed");
    if (item.ulValueLen != expected)
        return wrong_length("C_UnwrapKey", item.ulValueLen, expected, err);
    value.len = expected;
    *ret_seed = kms_secret_take(&value);
    return KMS_OK;
}

static enum kms_code aes_kw_unwrap(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                   CK_OBJECT_HANDLE kek, struct kms_bytes wrapped,
                                   struct kms_secret *ret_seed, struct kms_error *err)
{
    size_t seed_len = wrapped.len - KMS_WRAP_OVERHEAD;
    struct pkcs11_template template = { 0 };
    secret_template(&template);
    if (wrap->tell_value_len)
        pkcs11_template_number(&template, CKA_VALUE_LEN, seed_len);

    CK_MECHANISM mechanism = { wrap->mechanism, NULL, 0 };
    uint8_t input[KMS_WRAPPED_MAX]; /* Cryptoki wants it writable */
    memcpy(input, wrapped.data, wrapped.len);
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_RV rv = wrap->fn->C_UnwrapKey(session->handle, &mechanism, kek, input, wrapped.len,
                                     template.items, template.count, &object);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_UnwrapKey", rv, "unwrapping a seed");
    enum kms_code rc = read_value(wrap->fn, session->handle, object, seed_len, ret_seed, err);
    pkcs11_wrap_destroy(wrap->fn, session, object);
    return rc;
}

/* --- as a cipher: no object is made, so that no policy on secret keys stands in the way --- */

/* An operation that may still be active must not meet the session's next user. */
static enum kms_code cipher_failed(struct pkcs11_session *session, const char *call, CK_RV rv,
                                   const char *what, struct kms_error *err)
{
    if (rv == CKR_BUFFER_TOO_SMALL)
        session->broken = true;
    return pkcs11_fail(err, call, rv, "%s", what);
}

static enum kms_code cipher_wrap(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                 CK_OBJECT_HANDLE kek, struct kms_bytes seed,
                                 struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    CK_MECHANISM mechanism = { wrap->mechanism, NULL, 0 };
    CK_RV rv = wrap->fn->C_EncryptInit(session->handle, &mechanism, kek);
    if (rv != CKR_OK)
        return cipher_failed(session, "C_EncryptInit", rv, "wrapping a seed", err);
    struct kms_wrapped wrapped = { 0 };
    CK_ULONG len = sizeof(wrapped.data);
    /* Cryptoki's types have no const; the seed is only read, and a copy would have to be wiped. */
    rv = wrap->fn->C_Encrypt(session->handle, (CK_BYTE *)(uintptr_t)seed.data, seed.len,
                             wrapped.data, &len);
    if (rv != CKR_OK)
        return cipher_failed(session, "C_Encrypt", rv, "wrapping a seed", err);
    if (len != seed.len + KMS_WRAP_OVERHEAD)
        return wrong_length("C_Encrypt", len, seed.len + KMS_WRAP_OVERHEAD, err);
    wrapped.len = len;
    *ret_wrapped = wrapped;
    return KMS_OK;
}

static enum kms_code cipher_unwrap(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                   CK_OBJECT_HANDLE kek, struct kms_bytes wrapped,
                                   struct kms_secret *ret_seed, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret value = { 0 };
    enum kms_code rc = kms_secret_init(&value, KMS_WRAPPED_MAX, err);
    if (rc != KMS_OK)
        return rc;
    CK_MECHANISM mechanism = { wrap->mechanism, NULL, 0 };
    CK_RV rv = wrap->fn->C_DecryptInit(session->handle, &mechanism, kek);
    if (rv != CKR_OK)
        return cipher_failed(session, "C_DecryptInit", rv, "unwrapping a seed", err);
    CK_ULONG len = value.cap;
    rv = wrap->fn->C_Decrypt(session->handle, (CK_BYTE *)(uintptr_t)wrapped.data, wrapped.len,
                             value.data, &len);
    if (rv != CKR_OK)
        return cipher_failed(session, "C_Decrypt", rv, "unwrapping a seed", err);
    if (len != wrapped.len - KMS_WRAP_OVERHEAD)
        return wrong_length("C_Decrypt", len, wrapped.len - KMS_WRAP_OVERHEAD, err);
    value.len = len;
    *ret_seed = kms_secret_take(&value);
    return KMS_OK;
}

/* --- the table --- */

const struct pkcs11_wrap_profile pkcs11_wrap_profiles[] = {
    { "aes-kw", false, CKF_WRAP | CKF_UNWRAP, aes_kw_wrap, aes_kw_unwrap },
    { "aes-kw-cipher", true, CKF_ENCRYPT | CKF_DECRYPT, cipher_wrap, cipher_unwrap },
};
const size_t pkcs11_wrap_profile_count = sizeof(pkcs11_wrap_profiles) /
                                         sizeof(pkcs11_wrap_profiles[0]);

const char *pkcs11_wrap_name(const struct pkcs11_wrap *wrap)
{
    return wrap->profile->name;
}

bool pkcs11_wrap_is_cipher(const struct pkcs11_wrap *wrap)
{
    return wrap->profile->cipher;
}

enum kms_code pkcs11_wrap_check_seed(struct kms_bytes seed, struct kms_error *err)
{
    if (seed.len >= KMS_SEED_MIN && seed.len <= KMS_SEED_MAX && seed.len % BLOCK == 0)
        return KMS_OK;
    return kms_fail(err, KMS_E_INVALID,
                    "a seed of %zu bytes can't be wrapped: AES key wrap carries a multiple of %d "
                    "from %d to %d bytes",
                    seed.len, BLOCK, KMS_SEED_MIN, KMS_SEED_MAX);
}

enum kms_code pkcs11_wrap_check_wrapped(struct kms_bytes wrapped, struct kms_error *err)
{
    if (wrapped.len >= KMS_SEED_MIN + KMS_WRAP_OVERHEAD && wrapped.len <= KMS_WRAPPED_MAX &&
        wrapped.len % BLOCK == 0)
        return KMS_OK;
    return kms_fail(err, KMS_E_INVALID,
                    "a ciphertext of %zu bytes is not AES key wrap's: that has a multiple of %d "
                    "from %d to %d bytes",
                    wrapped.len, BLOCK, KMS_SEED_MIN + KMS_WRAP_OVERHEAD, KMS_WRAPPED_MAX);
}

enum kms_code pkcs11_wrap_seed(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                               CK_OBJECT_HANDLE kek, struct kms_bytes seed,
                               struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    enum kms_code rc = pkcs11_wrap_check_seed(seed, err);
    if (rc != KMS_OK)
        return rc;
    rc = wrap->profile->wrap(wrap, session, kek, seed, ret_wrapped, err);
    kms_secret_wipe_stack();
    return rc;
}

enum kms_code pkcs11_unwrap_seed(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                 CK_OBJECT_HANDLE kek, struct kms_bytes wrapped,
                                 struct kms_secret *ret_seed, struct kms_error *err)
{
    enum kms_code rc = pkcs11_wrap_check_wrapped(wrapped, err);
    if (rc != KMS_OK)
        return rc;
    rc = wrap->profile->unwrap(wrap, session, kek, wrapped, ret_seed, err);
    kms_secret_wipe_stack();
    return rc;
}
