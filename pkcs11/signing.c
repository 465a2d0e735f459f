/* SPDX-License-Identifier: Apache-2.0 */
#include "signing.h"

#include <string.h>

#include "attributes.h"
#include "edit.h"
#include "find.h"
#include "kms/signature.h"
#include "manage.h"
#include "oaep.h"
#include "rv.h"
#include "token.h"

enum { RSA_BITS = 3072, POINT_MAX = PKCS11_P256_POINT_LEN + 2, PARAMS_MAX = 16 };

/* prime256v1 as an ASN.1 object identifier */
static const uint8_t p256[] = { 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 };

/* What is signed to learn whether the keys belong together: never what a checkpoint is. */
static const char trial[] = "hsm-kms audit key trial v1\n";

struct signing_args {
    const char *label;
    struct kms_bytes message;
    bool make;
    struct kms_audit_key key;       /* result */
    struct kms_signature signature; /* result */
};

struct pair {
    CK_OBJECT_HANDLE private_key;
    uint8_t cka_id[KMS_CKA_ID_MAX];
    size_t cka_id_len; /* 0: there is no pair */
    struct kms_spki spki;
    enum kms_signing signing;
};

static struct pkcs11_object object_at(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle)
{
    return (struct pkcs11_object){ place->wrap->fn, place->session->handle, handle };
}

/* --- found --- */

static enum kms_code read_rsa(const struct pkcs11_object *object, struct kms_spki *ret_spki,
                              bool *ret_known, struct kms_error *err)
{
    struct pkcs11_rsa_numbers numbers = { .modulus_len = 0 };
    enum kms_code rc = pkcs11_read_bytes(object, CKA_MODULUS, numbers.modulus,
                                         sizeof(numbers.modulus), &numbers.modulus_len, ret_known,
                                         err);
    if (rc == KMS_OK && *ret_known)
        rc = pkcs11_read_bytes(object, CKA_PUBLIC_EXPONENT, numbers.exponent,
                               sizeof(numbers.exponent), &numbers.exponent_len, ret_known, err);
    return rc == KMS_OK && *ret_known ? pkcs11_spki_from_numbers(&numbers, ret_spki, err) : rc;
}

static enum kms_code read_ec(const struct pkcs11_object *object, struct kms_spki *ret_spki,
                             bool *ret_known, struct kms_error *err)
{
    uint8_t params[PARAMS_MAX], point[POINT_MAX];
    size_t params_len = 0, point_len = 0;
    enum kms_code rc = pkcs11_read_bytes(object, CKA_EC_PARAMS, params, sizeof(params), &params_len,
                                         ret_known, err);
    *ret_known = *ret_known && params_len == sizeof(p256) && memcmp(params, p256, params_len) == 0;
    if (rc == KMS_OK && *ret_known)
        rc = pkcs11_read_bytes(object, CKA_EC_POINT, point, sizeof(point), &point_len, ret_known,
                               err);
    if (rc != KMS_OK || !*ret_known)
        return rc;
    return pkcs11_spki_from_point((struct kms_bytes){ point, point_len }, ret_spki, err);
}

static enum kms_code read_public(const struct pkcs11_object *object, struct pair *pair,
                                 bool *ret_known, struct kms_error *err)
{
    CK_ULONG type = 0;
    enum kms_code rc = pkcs11_read_number(object, CKA_KEY_TYPE, &type, ret_known, err);
    if (rc != KMS_OK || !*ret_known)
        return rc;
    pair->signing = type == CKK_EC ? KMS_SIGNING_ECDSA_P256 : KMS_SIGNING_RSA_PKCS1;
    if (type == CKK_EC)
        return read_ec(object, &pair->spki, ret_known, err);
    *ret_known = type == CKK_RSA;
    return *ret_known ? read_rsa(object, &pair->spki, ret_known, err) : KMS_OK;
}

/* The public key beside the private one; *ret_known is false if there is none that could sign. */
static enum kms_code find_public(const struct pkcs11_place *place, const char *label,
                                 struct pair *pair, bool *ret_known, struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_PUBLIC_KEY);
    pkcs11_template_bool(&template, CKA_TOKEN, true);
    pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(label));
    pkcs11_template_bytes(&template, CKA_ID, (struct kms_bytes){ pair->cka_id, pair->cka_id_len });
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    *ret_known = false;
    enum kms_code rc = pkcs11_find(place->wrap->fn, place->session->handle, &template,
                                   "the audit key", &found, err);
    if (rc != KMS_OK || found.count == 0)
        return rc;
    struct pkcs11_object object = object_at(place, found.handles[0]);
    return read_public(&object, pair, ret_known, err);
}

/* A private key of known origin, so that nobody has its value. */
static enum kms_code check_private(const struct pkcs11_object *object, struct pair *pair,
                                   bool *ret_sound, struct kms_error *err)
{
    const uint32_t must = KMS_KEK_LOCAL | KMS_KEK_SENSITIVE;
    const uint32_t if_told = KMS_KEK_ALWAYS_SENSITIVE | KMS_KEK_NEVER_EXTRACTABLE;
    struct kms_kek_info info = { .label = "" };
    bool signs = false, known = false;
    enum kms_code rc = pkcs11_read_attributes(object, &info, err);
    if (rc == KMS_OK)
        rc = pkcs11_read_bool(object, CKA_SIGN, &signs, &known, err);
    *ret_sound = known && signs && info.cka_id_len > 0 &&
                 (info.known & info.attributes & must) == must &&
                 (info.attributes & KMS_KEK_EXTRACTABLE) == 0 &&
                 (info.known & ~info.attributes & if_told) == 0;
    pair->private_key = object->handle;
    memcpy(pair->cka_id, info.cka_id, sizeof(pair->cka_id));
    pair->cka_id_len = info.cka_id_len;
    return rc;
}

/* Of several the one with the smallest CKA_ID: every host then uses the same. */
static enum kms_code find_pair(const struct pkcs11_place *place, const char *label,
                               struct pair *ret_pair, struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_PRIVATE_KEY);
    pkcs11_template_bool(&template, CKA_TOKEN, true);
    pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(label));
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    struct pair best = { .cka_id_len = 0 };
    enum kms_code rc = pkcs11_find(place->wrap->fn, place->session->handle, &template,
                                   "the audit key", &found, err);
    for (size_t i = 0; i < found.count && rc == KMS_OK; i++) {
        struct pkcs11_object object = object_at(place, found.handles[i]);
        struct pair pair = { .cka_id_len = 0 };
        bool good = false;
        rc = check_private(&object, &pair, &good, err);
        if (rc == KMS_OK && good)
            rc = find_public(place, label, &pair, &good, err);
        if (rc == KMS_OK && good &&
            (best.cka_id_len == 0 || memcmp(pair.cka_id, best.cka_id, sizeof(pair.cka_id)) < 0))
            best = pair;
    }
    if (rc == KMS_OK)
        *ret_pair = best;
    return rc;
}

/* Without a login private keys are hidden, and would seem not to be there. */
static enum kms_code find_logged_in(const struct pkcs11_call *call,
                                    const struct pkcs11_place *place, const char *label,
                                    struct pair *ret_pair, struct kms_error *err)
{
    enum kms_code rc = pkcs11_token_check_login(place->wrap->fn, place->session->handle,
                                                call->link.token, err);
    return rc == KMS_OK ? find_pair(place, label, ret_pair, err) : rc;
}

/* --- used --- */

static enum kms_code sign_raw(const struct pkcs11_place *place, const struct pair *pair,
                              struct kms_bytes input, struct kms_signature *signature,
                              struct kms_error *err)
{
    CK_FUNCTION_LIST *fn = place->wrap->fn;
    CK_MECHANISM mechanism = { pair->signing == KMS_SIGNING_ECDSA_P256 ? CKM_ECDSA
                                                                       : CKM_SHA256_RSA_PKCS,
                               NULL, 0 };
    uint8_t copy[KMS_SIGNED_MAX]; /* Cryptoki wants it writable */
    CK_ULONG len = sizeof(signature->data);
    memcpy(copy, input.data, input.len);
    CK_RV rv = fn->C_SignInit(place->session->handle, &mechanism, pair->private_key);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_SignInit", rv, "signing for the audit log");
    rv = fn->C_Sign(place->session->handle, copy, input.len, signature->data, &len);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_Sign", rv, "signing for the audit log");
    signature->len = len;
    return KMS_OK;
}

static enum kms_code sign_ecdsa(const struct pkcs11_place *place, const struct pair *pair,
                                struct kms_bytes message, struct kms_signature *signature,
                                struct kms_error *err)
{
    uint8_t digest[KMS_SHA256_LEN], raw[PKCS11_P256_RAW_LEN];
    kms_sha256(message, digest);
    enum kms_code rc = sign_raw(place, pair, (struct kms_bytes){ digest, sizeof(digest) },
                                signature, err);
    if (rc == KMS_OK && signature->len != sizeof(raw))
        return kms_fail(err, KMS_E_PRECONDITION, "C_Sign: %zu bytes are no signature of P-256",
                        signature->len);
    if (rc != KMS_OK)
        return rc;
    memcpy(raw, signature->data, sizeof(raw));
    return pkcs11_ecdsa_to_der(raw, signature, err);
}

static enum kms_code sign(const struct pkcs11_place *place, const struct pair *pair,
                          struct kms_bytes message, struct kms_signature *ret_signature,
                          struct kms_error *err)
{
    struct kms_signature signature = { .signing = pair->signing };
    if (message.len > KMS_SIGNED_MAX)
        return kms_fail(err, KMS_E_INVALID, "%zu bytes are too many to sign", message.len);
    enum kms_code rc = pair->signing == KMS_SIGNING_ECDSA_P256
                           ? sign_ecdsa(place, pair, message, &signature, err)
                           : sign_raw(place, pair, message, &signature, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_bytes bytes = { signature.data, signature.len };
    if (kms_signature_check(&pair->spki, message, bytes, err) != KMS_OK)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "C_Sign: the signature isn't of the public key beside the private one: "
                        "the module errs, or somebody put another public key there");
    kms_sha256((struct kms_bytes){ pair->spki.data, pair->spki.len }, signature.key_sha256);
    *ret_signature = signature;
    return KMS_OK;
}

static enum kms_code run_sign(struct pkcs11_call *call, const struct pkcs11_place *place,
                              CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct signing_args *args = call->args;
    struct pair pair = { .cka_id_len = 0 };
    enum kms_code rc = find_logged_in(call, place, args->label, &pair, err);
    if (rc == KMS_OK && pair.cka_id_len == 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "there is no key pair '%.80s' on the token that may sign and was made "
                        "there: hsm-kms audit key --make makes one",
                        args->label);
    return rc == KMS_OK ? sign(place, &pair, args->message, &args->signature, err) : rc;
}

enum kms_code pkcs11_sign(struct kms_keystore *base, const char *label, struct kms_bytes message,
                          int64_t deadline_ms, struct kms_signature *ret_signature,
                          struct kms_error *err)
{
    struct signing_args args = { .label = label, .message = message };
    struct pkcs11_call call = {
        .run = run_sign, .args = &args, .deadline_ms = deadline_ms, .patient = true
    };
    enum kms_code rc = pkcs11_keystore_run(base, call, err);
    if (rc == KMS_OK)
        *ret_signature = args.signature;
    return rc;
}

/* --- made --- */

static bool has(const struct pkcs11_call *call, const struct pkcs11_place *place,
                CK_MECHANISM_TYPE mechanism, CK_FLAGS flag)
{
    CK_MECHANISM_INFO info = { .flags = 0 };
    return place->wrap->fn->C_GetMechanismInfo(call->link.token->slot, mechanism, &info) ==
               CKR_OK &&
           (info.flags & flag) != 0;
}

static void fill_common(const struct pkcs11_new_kek *name, struct pkcs11_template *public_key,
                        struct pkcs11_template *private_key)
{
    const struct kms_bytes cka_id = { name->cka_id, sizeof(name->cka_id) };
    struct pkcs11_template *const both[] = { public_key, private_key };
    for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
        pkcs11_template_bool(both[i], CKA_TOKEN, true);
        pkcs11_template_bytes(both[i], CKA_LABEL, kms_bytes_of(name->label));
        pkcs11_template_bytes(both[i], CKA_ID, cka_id);
    }
    pkcs11_template_bool(public_key, CKA_PRIVATE, false);
    pkcs11_template_bool(public_key, CKA_VERIFY, true);
    pkcs11_template_bool(private_key, CKA_PRIVATE, true);
    pkcs11_template_bool(private_key, CKA_SENSITIVE, true);
    pkcs11_template_bool(private_key, CKA_EXTRACTABLE, false);
    pkcs11_template_bool(private_key, CKA_SIGN, true);
}

static void fill_rsa(struct pkcs11_template *public_key, struct pkcs11_template *private_key)
{
    static const uint8_t exponent[] = { 1, 0, 1 };
    pkcs11_template_number(public_key, CKA_MODULUS_BITS, RSA_BITS);
    pkcs11_template_bytes(public_key, CKA_PUBLIC_EXPONENT,
                          (struct kms_bytes){ exponent, sizeof(exponent) });
    pkcs11_template_bool(private_key, CKA_DECRYPT, false);
    pkcs11_template_bool(private_key, CKA_UNWRAP, false);
}

static enum kms_code generate(const struct pkcs11_call *call, const struct pkcs11_place *place,
                              const char *label, struct kms_error *err)
{
    struct pkcs11_new_kek name;
    enum kms_code rc = pkcs11_new_kek_init(&name, label, err);
    if (rc != KMS_OK)
        return rc;
    bool ec = has(call, place, CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR) &&
              has(call, place, CKM_ECDSA, CKF_SIGN);
    struct pkcs11_template public_key = { 0 }, private_key = { 0 };
    fill_common(&name, &public_key, &private_key);
    if (ec)
        pkcs11_template_bytes(&public_key, CKA_EC_PARAMS, (struct kms_bytes){ p256, sizeof(p256) });
    else
        fill_rsa(&public_key, &private_key);
    CK_MECHANISM mechanism = { ec ? CKM_EC_KEY_PAIR_GEN : CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0 };
    CK_OBJECT_HANDLE public_handle = CK_INVALID_HANDLE, private_handle = CK_INVALID_HANDLE;
    CK_RV rv = place->wrap->fn->C_GenerateKeyPair(
        place->session->handle, &mechanism, public_key.items, public_key.count, private_key.items,
        private_key.count, &public_handle, &private_handle);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_GenerateKeyPair", rv, "making the audit key '%s'", label);
    return KMS_OK;
}

static enum kms_code run_key(struct pkcs11_call *call, const struct pkcs11_place *place,
                             CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct signing_args *args = call->args;
    struct pair pair = { .cka_id_len = 0 };
    enum kms_code rc = find_logged_in(call, place, args->label, &pair, err);
    if (rc == KMS_OK && pair.cka_id_len == 0 && args->make) {
        rc = generate(call, place, args->label, err);
        args->key.made = rc == KMS_OK;
        if (rc == KMS_OK)
            rc = find_pair(place, args->label, &pair, err);
        if (rc == KMS_OK && pair.cka_id_len == 0)
            return kms_fail(err, KMS_E_PRECONDITION,
                            "the token made the audit key '%s' with other attributes than asked "
                            "for: its signatures can't be trusted",
                            args->label);
    }
    if (rc != KMS_OK || pair.cka_id_len == 0)
        return rc;
    args->key.spki = pair.spki;
    args->key.signing = pair.signing;
    return sign(place, &pair, kms_bytes_of(trial), &args->signature, err);
}

enum kms_code pkcs11_audit_key(struct kms_keystore *base, const char *label, bool make,
                               int64_t deadline_ms, struct kms_audit_key *ret_key,
                               struct kms_error *err)
{
    struct signing_args args = { .label = label, .make = make };
    struct pkcs11_call call = { .run = run_key, .args = &args, .deadline_ms = deadline_ms };
    enum kms_code rc = pkcs11_keystore_run(base, call, err);
    if (rc == KMS_OK)
        *ret_key = args.key;
    return rc;
}
