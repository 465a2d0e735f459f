/* SPDX-License-Identifier: Apache-2.0 */
/* A KEK's fingerprint, and the canary that is built on it. */
#include <string.h>

#include <openssl/crypto.h>

#include "kek.h"
#include "kms/clock.h"

enum kms_code pkcs11_check_deadline(int64_t deadline_ms, struct kms_error *err)
{
    if (kms_monotonic_ms() < deadline_ms)
        return KMS_OK;
    return kms_fail(err, KMS_E_DEADLINE, "the deadline passed before the token was asked: retry");
}

static void fingerprint_seed(uint8_t ret_seed[static KMS_SHA256_LEN])
{
    kms_sha256(kms_bytes_of(KMS_FINGERPRINT_SEED_TEXT), ret_seed);
}

static void digest_wrapped(const struct kms_wrapped *wrapped,
                           uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN])
{
    uint8_t input[sizeof(KMS_FINGERPRINT_DOMAIN) + KMS_WRAPPED_MAX];
    size_t domain_len = strlen(KMS_FINGERPRINT_DOMAIN);
    memcpy(input, KMS_FINGERPRINT_DOMAIN, domain_len);
    memcpy(input + domain_len, wrapped->data, wrapped->len);
    kms_sha256((struct kms_bytes){ input, domain_len + wrapped->len }, ret_fingerprint);
}

static enum kms_code wrap_c(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                            struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    uint8_t c[KMS_SHA256_LEN];
    fingerprint_seed(c);
    enum kms_code rc = pkcs11_check_deadline(place->deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    rc = pkcs11_wrap_seed(place->wrap, place->session, handle, (struct kms_bytes){ c, sizeof(c) },
                          ret_wrapped, err);
    if (rc == KMS_E_INVALID) /* C is our own: no caller is to blame */
        rc = err->code = KMS_E_PRECONDITION;
    return rc;
}

enum kms_code pkcs11_kek_fingerprint(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                                     uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN],
                                     struct kms_error *err)
{
    struct kms_wrapped wrapped = { 0 };
    enum kms_code rc = wrap_c(place, handle, &wrapped, err);
    if (rc == KMS_OK)
        digest_wrapped(&wrapped, ret_fingerprint);
    return rc;
}

enum kms_code pkcs11_kek_substituted(const struct kms_kek_ref *ref, struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "KEK '%s' was substituted: the key on the token has another fingerprint; put "
                    "the right key back; do not delete objects: they come back with it",
                    ref->label);
}

static enum kms_code compare(const struct kms_kek_ref *ref, const struct kms_wrapped *wrapped,
                             bool *ret_substituted, struct kms_error *err)
{
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    digest_wrapped(wrapped, fingerprint);
    *ret_substituted = memcmp(fingerprint, ref->fingerprint, sizeof(fingerprint)) != 0;
    return *ret_substituted ? pkcs11_kek_substituted(ref, err) : KMS_OK;
}

enum kms_code pkcs11_kek_verify(const struct pkcs11_place *place, const struct kms_kek_ref *ref,
                                CK_OBJECT_HANDLE handle, bool *ret_substituted,
                                struct kms_error *err)
{
    struct kms_wrapped wrapped = { 0 };
    enum kms_code rc = wrap_c(place, handle, &wrapped, err);
    return rc == KMS_OK ? compare(ref, &wrapped, ret_substituted, err) : rc;
}

enum kms_code pkcs11_kek_canary(const struct pkcs11_place *place, const struct kms_kek_ref *ref,
                                CK_OBJECT_HANDLE handle, bool *ret_substituted,
                                struct kms_error *err)
{
    struct kms_wrapped wrapped = { 0 };
    enum kms_code rc = wrap_c(place, handle, &wrapped, err);
    if (rc == KMS_OK)
        rc = compare(ref, &wrapped, ret_substituted, err);
    if (rc != KMS_OK)
        return rc;

    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    struct kms_bytes input = { wrapped.data, wrapped.len };
    rc = pkcs11_unwrap_seed(place->wrap, place->session, handle, input, &seed, err);
    if (rc != KMS_OK)
        return rc;
    uint8_t c[KMS_SHA256_LEN];
    fingerprint_seed(c);
    if (seed.len == sizeof(c) && CRYPTO_memcmp(seed.data, c, sizeof(c)) == 0)
        return KMS_OK;
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "canary: KEK '%s' doesn't give back what it wrapped: the token or its library "
                    "is broken",
                    ref->label);
}
