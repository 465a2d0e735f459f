/* SPDX-License-Identifier: Apache-2.0 */
/* A KEK's fingerprint, and the canary that is built on it. */
#include <string.h>

#include <openssl/crypto.h>

#include "blocks.h"
#include "kek.h"
#include "kms/clock.h"
#include "rv.h"

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

static enum kms_code wrap_c_by(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                               enum pkcs11_rung rung, struct kms_wrapped *ret_wrapped,
                               struct kms_error *err)
{
    uint8_t buffer[KMS_SHA256_LEN];
    fingerprint_seed(buffer);
    const struct kms_bytes c = { buffer, sizeof(buffer) };
    if (rung == PKCS11_RUNG_BLOCKS)
        return pkcs11_blocks_wrap(place->wrap->fn, place->session, handle, KMS_ALGORITHM_AES_KW, c,
                                  ret_wrapped, err);
    const struct pkcs11_use use = {
        .fn = place->wrap->fn,
        .way = pkcs11_wrap_way(place->wrap, rung, KMS_ALGORITHM_AES_KW),
        .session = place->session,
        .kek = handle,
    };
    return pkcs11_wrap_seed(&use, c, ret_wrapped, err);
}

static bool has_rung(const struct pkcs11_wrap *wrap, enum pkcs11_rung rung)
{
    if (rung == PKCS11_RUNG_BLOCKS)
        return wrap->blocks;
    return pkcs11_wrap_way(wrap, rung, KMS_ALGORITHM_AES_KW)->profile != NULL;
}

/* Whether what C_WrapKey gave comes back by C_UnwrapKey; asked only where there is another way to take. */
static enum kms_code check_way_back(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                                    enum pkcs11_rung rung, const struct kms_wrapped *wrapped,
                                    struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    if (rung != PKCS11_RUNG_OBJECTS || !has_rung(place->wrap, PKCS11_RUNG_CIPHER))
        return KMS_OK;
    const struct pkcs11_use use = {
        .fn = place->wrap->fn,
        .way = &place->wrap->objects,
        .session = place->session,
        .kek = handle,
    };
    return pkcs11_unwrap_seed(&use, (struct kms_bytes){ wrapped->data, wrapped->len }, &seed, err);
}

/* By the first rung that this key isn't refused, there and back, or there at least.  They give the same
 * bytes, so which one it is doesn't matter to anybody else; what the first one said is what is told, unless
 * a later one couldn't be asked: then nobody knows whether the key is refused. */
static enum kms_code climb(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                           enum pkcs11_rung *ret_rung, struct kms_wrapped *ret_wrapped,
                           struct kms_error *err)
{
    struct kms_error first = { .code = KMS_OK };
    enum pkcs11_rung one_way = PKCS11_RUNG_UNKNOWN;
    for (enum pkcs11_rung rung = PKCS11_RUNG_OBJECTS; rung <= PKCS11_RUNG_BLOCKS; rung++) {
        struct kms_error why = { .code = KMS_OK };
        struct kms_wrapped wrapped = { 0 };
        if (!has_rung(place->wrap, rung))
            continue;
        enum kms_code rc = wrap_c_by(place, handle, rung, &wrapped, &why);
        bool there = rc == KMS_OK;
        if (there)
            rc = check_way_back(place, handle, rung, &wrapped, &why);
        if (there && one_way == PKCS11_RUNG_UNKNOWN) {
            one_way = rung;
            *ret_wrapped = wrapped;
        }
        if (rc == KMS_OK) {
            *ret_rung = rung;
            return KMS_OK;
        }
        if (first.code == KMS_OK || !pkcs11_kek_is_to_blame(&why))
            first = why;
        if (pkcs11_error_class(&why) != PKCS11_CLASS_CONFIG) {
            one_way = PKCS11_RUNG_UNKNOWN;
            break;
        }
    }
    if (one_way != PKCS11_RUNG_UNKNOWN) {
        *ret_rung = one_way;
        return KMS_OK;
    }
    if (err != NULL)
        *err = first;
    return first.code;
}

/* *rung: PKCS11_RUNG_UNKNOWN is made known. */
static enum kms_code wrap_c(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                            enum pkcs11_rung *rung, struct kms_wrapped *ret_wrapped,
                            struct kms_error *err)
{
    enum kms_code rc = pkcs11_check_deadline(place->deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    rc = *rung == PKCS11_RUNG_UNKNOWN ? climb(place, handle, rung, ret_wrapped, err)
                                      : wrap_c_by(place, handle, *rung, ret_wrapped, err);
    if (rc == KMS_E_INVALID) /* C is our own: no caller is to blame */
        rc = err->code = KMS_E_PRECONDITION;
    return rc;
}

enum kms_code pkcs11_kek_fingerprint(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                                     enum pkcs11_rung *ret_rung,
                                     uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN],
                                     struct kms_error *err)
{
    enum pkcs11_rung rung = PKCS11_RUNG_UNKNOWN;
    struct kms_wrapped wrapped = { 0 };
    enum kms_code rc = wrap_c(place, handle, &rung, &wrapped, err);
    if (rc != KMS_OK)
        return rc;
    digest_wrapped(&wrapped, ret_fingerprint);
    *ret_rung = rung;
    return KMS_OK;
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
    enum pkcs11_rung rung = place->rung;
    struct kms_wrapped wrapped = { 0 };
    enum kms_code rc = wrap_c(place, handle, &rung, &wrapped, err);
    return rc == KMS_OK ? compare(ref, &wrapped, ret_substituted, err) : rc;
}

enum kms_code pkcs11_kek_use(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                             enum kms_algorithm algorithm, const struct kms_kek_ref *ref,
                             struct pkcs11_use *ret_use, struct kms_error *err)
{
    const struct pkcs11_way *way = pkcs11_wrap_way(place->wrap, place->rung, algorithm);
    if (way == NULL)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "KEK '%s' can't be used by %s on this token: allow it on the HSM",
                        ref->label, kms_algorithm_name(algorithm));
    *ret_use = (struct pkcs11_use){
        .fn = place->wrap->fn,
        .way = way,
        .session = place->session,
        .kek = handle,
        .bound = kms_bytes_of(ref->key_id != NULL ? ref->key_id : ""),
    };
    return KMS_OK;
}

/* *wrapped is C by RFC 3394, which does unless @use is of another algorithm. */
static enum kms_code go_round(const struct pkcs11_use *use, const struct kms_kek_ref *ref,
                              struct kms_wrapped *wrapped, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    uint8_t c[KMS_SHA256_LEN];
    enum kms_code rc = KMS_OK;
    fingerprint_seed(c);
    if (pkcs11_way_algorithm(use->way) != KMS_ALGORITHM_AES_KW)
        rc = pkcs11_wrap_seed(use, (struct kms_bytes){ c, sizeof(c) }, wrapped, err);
    if (rc == KMS_OK)
        rc = pkcs11_unwrap_seed(use, (struct kms_bytes){ wrapped->data, wrapped->len }, &seed, err);
    if (rc != KMS_OK)
        return rc;
    if (seed.len == sizeof(c) && CRYPTO_memcmp(seed.data, c, sizeof(c)) == 0)
        return KMS_OK;
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "canary: KEK '%s' doesn't give back what it wrapped: the token or its library "
                    "is broken",
                    ref->label);
}

enum kms_code pkcs11_kek_canary(const struct pkcs11_place *place, const struct kms_kek_ref *ref,
                                CK_OBJECT_HANDLE handle, enum kms_algorithm algorithm,
                                bool *ret_substituted, struct kms_error *err)
{
    struct pkcs11_place at = *place;
    struct kms_wrapped wrapped = { 0 };
    struct pkcs11_use use;
    enum kms_code rc = wrap_c(place, handle, &at.rung, &wrapped, err);
    if (rc == KMS_OK)
        rc = compare(ref, &wrapped, ret_substituted, err);
    if (rc == KMS_OK)
        rc = pkcs11_kek_use(&at, handle, algorithm, ref, &use, err);
    return rc == KMS_OK ? go_round(&use, ref, &wrapped, err) : rc;
}
