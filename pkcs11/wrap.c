/* SPDX-License-Identifier: Apache-2.0 */
#include "wrap.h"

#include <string.h>

#include "attributes.h"
#include "cipher.h"
#include "gcm.h"
#include "profile.h"
#include "rv.h"

void pkcs11_wrap_destroy(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                         CK_OBJECT_HANDLE object)
{
    if (fn->C_DestroyObject(session->handle, object) != CKR_OK)
        session->broken = true;
}

/* --- AES key wrap, padded or not, of objects --- */

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

static enum kms_code object_wrap(const struct pkcs11_use *use, struct kms_bytes seed,
                                 struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_SESSION_HANDLE session = use->session->handle;
    enum kms_code rc = import_seed(use->fn, session, seed, &object, err);
    if (rc != KMS_OK)
        return rc;

    /* A fixed buffer, never the two-call size query: modules answer that with upper bounds. */
    CK_MECHANISM mechanism = { use->way->mechanism, NULL, 0 };
    struct kms_wrapped wrapped = { .algorithm = use->way->profile->algorithm };
    CK_ULONG len = sizeof(wrapped.data);
    CK_RV rv = use->fn->C_WrapKey(session, &mechanism, use->kek, object, wrapped.data, &len);
    pkcs11_wrap_destroy(use->fn, use->session, object);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_WrapKey", rv, "wrapping a seed");
    if (len != seed.len + KMS_WRAP_OVERHEAD)
        return pkcs11_wrong_length("C_WrapKey", len, seed.len + KMS_WRAP_OVERHEAD, err);
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
        return pkcs11_wrong_length("C_UnwrapKey", item.ulValueLen, expected, err);
    value.len = expected;
    *ret_seed = kms_secret_take(&value);
    return KMS_OK;
}

static enum kms_code object_unwrap(const struct pkcs11_use *use, struct kms_bytes wrapped,
                                   struct kms_secret *ret_seed, struct kms_error *err)
{
    size_t seed_len = wrapped.len - KMS_WRAP_OVERHEAD;
    struct pkcs11_template template = { 0 };
    secret_template(&template);
    if (use->way->tell_value_len)
        pkcs11_template_number(&template, CKA_VALUE_LEN, seed_len);

    CK_MECHANISM mechanism = { use->way->mechanism, NULL, 0 };
    uint8_t input[KMS_WRAPPED_MAX]; /* Cryptoki wants it writable */
    memcpy(input, wrapped.data, wrapped.len);
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_SESSION_HANDLE session = use->session->handle;
    CK_RV rv = use->fn->C_UnwrapKey(session, &mechanism, use->kek, input, wrapped.len,
                                    template.items, template.count, &object);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_UnwrapKey", rv, "unwrapping a seed");
    enum kms_code rc = read_value(use->fn, session, object, seed_len, ret_seed, err);
    pkcs11_wrap_destroy(use->fn, use->session, object);
    return rc;
}

/* --- the same as a cipher --- */

static enum kms_code cipher_wrap(const struct pkcs11_use *use, struct kms_bytes seed,
                                 struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    CK_MECHANISM mechanism = { use->way->mechanism, NULL, 0 };
    struct kms_wrapped wrapped = { .algorithm = use->way->profile->algorithm };
    enum kms_code rc = pkcs11_cipher_encrypt(use, &mechanism, seed, &wrapped, err);
    if (rc == KMS_OK)
        *ret_wrapped = wrapped;
    return rc;
}

static enum kms_code cipher_unwrap(const struct pkcs11_use *use, struct kms_bytes wrapped,
                                   struct kms_secret *ret_seed, struct kms_error *err)
{
    CK_MECHANISM mechanism = { use->way->mechanism, NULL, 0 };
    return pkcs11_cipher_decrypt(use, &mechanism, wrapped, wrapped.len - KMS_WRAP_OVERHEAD,
                                 ret_seed, err);
}

/* --- the table --- */

#define WRAPS (CKF_WRAP | CKF_UNWRAP)
#define ENCRYPTS (CKF_ENCRYPT | CKF_DECRYPT)

/* clang-format off: one row a profile */
const struct pkcs11_wrap_profile pkcs11_wrap_profiles[] = {
    { "aes-kw", KMS_ALGORITHM_AES_KW, false, WRAPS, PKCS11_IV_NONE, object_wrap, object_unwrap },
    { "aes-kw-cipher", KMS_ALGORITHM_AES_KW, true, ENCRYPTS, PKCS11_IV_NONE, cipher_wrap,
      cipher_unwrap },
    { "aes-kwp", KMS_ALGORITHM_AES_KWP, false, WRAPS, PKCS11_IV_NONE, object_wrap, object_unwrap },
    { "aes-kwp-cipher", KMS_ALGORITHM_AES_KWP, true, ENCRYPTS, PKCS11_IV_NONE, cipher_wrap,
      cipher_unwrap },
    { "aes-gcm-hsm", KMS_ALGORITHM_AES_GCM, true, ENCRYPTS, PKCS11_IV_PREPENDED, pkcs11_gcm_wrap,
      pkcs11_gcm_unwrap },
    { "aes-gcm", KMS_ALGORITHM_AES_GCM, true, ENCRYPTS, PKCS11_IV_OURS, pkcs11_gcm_wrap,
      pkcs11_gcm_unwrap },
    { "aes-gcm-hsm-iv", KMS_ALGORITHM_AES_GCM, true, ENCRYPTS, PKCS11_IV_WRITTEN, pkcs11_gcm_wrap,
      pkcs11_gcm_unwrap },
};
/* clang-format on */
const size_t pkcs11_wrap_profile_count = sizeof(pkcs11_wrap_profiles) /
                                         sizeof(pkcs11_wrap_profiles[0]);

const char *pkcs11_profile_name(const struct pkcs11_wrap_profile *profile)
{
    return profile->name;
}

enum kms_algorithm pkcs11_way_algorithm(const struct pkcs11_way *way)
{
    return way->profile->algorithm;
}

const struct pkcs11_way *pkcs11_wrap_chosen(const struct pkcs11_wrap *wrap)
{
    if (wrap->algorithm != KMS_ALGORITHM_AES_KW)
        return &wrap->others[wrap->algorithm];
    return wrap->objects.profile != NULL ? &wrap->objects : &wrap->cipher;
}

const char *pkcs11_wrap_name(const struct pkcs11_wrap *wrap)
{
    return pkcs11_wrap_chosen(wrap)->profile->name;
}

const struct pkcs11_way *pkcs11_wrap_way(const struct pkcs11_wrap *wrap, enum pkcs11_rung rung,
                                         enum kms_algorithm algorithm)
{
    if (algorithm != KMS_ALGORITHM_AES_KW)
        return &wrap->others[algorithm];
    switch (rung) {
    case PKCS11_RUNG_OBJECTS:
        return &wrap->objects;
    case PKCS11_RUNG_CIPHER:
        return &wrap->cipher;
    case PKCS11_RUNG_UNKNOWN:
    case PKCS11_RUNG_BLOCKS:
        break;
    }
    return NULL;
}

bool pkcs11_wrap_fingerprints_by_cipher(const struct pkcs11_wrap *wrap)
{
    return wrap->objects.profile == NULL;
}

bool pkcs11_wrap_is_cipher(const struct pkcs11_wrap *wrap)
{
    return pkcs11_wrap_chosen(wrap)->profile->cipher || pkcs11_wrap_fingerprints_by_cipher(wrap);
}

enum kms_code pkcs11_wrap_check_seed(struct kms_bytes seed, struct kms_error *err)
{
    if (kms_seed_len_is_valid(seed.len))
        return KMS_OK;
    return kms_fail(err, KMS_E_INVALID,
                    "a seed of %zu bytes can't be wrapped: AES key wrap carries a multiple of 8 "
                    "from %d to %d bytes",
                    seed.len, KMS_SEED_MIN, KMS_SEED_MAX);
}

enum kms_code pkcs11_wrap_check_wrapped(enum kms_algorithm algorithm, struct kms_bytes wrapped,
                                        struct kms_error *err)
{
    if (kms_wrapped_len_is_valid(algorithm, wrapped.len))
        return KMS_OK;
    return kms_fail(err, KMS_E_INVALID,
                    "a ciphertext of %zu bytes is not by %s: that has %zu more than a multiple of "
                    "8 from %d to %d",
                    wrapped.len, kms_algorithm_name(algorithm), kms_algorithm_overhead(algorithm),
                    KMS_SEED_MIN, KMS_SEED_MAX);
}

enum kms_code pkcs11_wrap_seed(const struct pkcs11_use *use, struct kms_bytes seed,
                               struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    enum kms_code rc = pkcs11_wrap_check_seed(seed, err);
    if (rc != KMS_OK)
        return rc;
    rc = use->way->profile->wrap(use, seed, ret_wrapped, err);
    kms_secret_wipe_stack();
    return rc;
}

enum kms_code pkcs11_unwrap_seed(const struct pkcs11_use *use, struct kms_bytes wrapped,
                                 struct kms_secret *ret_seed, struct kms_error *err)
{
    enum kms_code rc = pkcs11_wrap_check_wrapped(use->way->profile->algorithm, wrapped, err);
    if (rc != KMS_OK)
        return rc;
    rc = use->way->profile->unwrap(use, wrapped, ret_seed, err);
    kms_secret_wipe_stack();
    return rc;
}
