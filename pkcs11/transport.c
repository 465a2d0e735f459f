/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <string.h>

#include <openssl/rand.h>

#include "attributes.h"
#include "edit.h"
#include "find.h"
#include "manage.h"
#include "oaep.h"
#include "profile.h"
#include "rv.h"
#include "token.h"

enum { KEK_LEN = 32, TRANSPORT_BITS = 3072, PRIVATE_MAX = 16 };

static const enum kms_oaep_hash hashes[] = { KMS_OAEP_SHA256, KMS_OAEP_SHA1 };
enum { HASH_COUNT = sizeof(hashes) / sizeof(hashes[0]) };

void pkcs11_oaep_init(struct pkcs11_oaep *oaep, enum kms_oaep_hash hash)
{
    bool sha256 = hash == KMS_OAEP_SHA256;
    oaep->params = (CK_RSA_PKCS_OAEP_PARAMS){ .hash_alg = sha256 ? CKM_SHA256 : CKM_SHA_1,
                                              .mgf = sha256 ? CKG_MGF1_SHA256 : CKG_MGF1_SHA1,
                                              .source = CKZ_DATA_SPECIFIED };
    oaep->mechanism = (CK_MECHANISM){ CKM_RSA_PKCS_OAEP, &oaep->params, sizeof(oaep->params) };
}

/* What another hash or another key doesn't mend. */
static bool is_of_the_token(const struct kms_error *err)
{
    enum pkcs11_class class = pkcs11_error_class(err);
    return err->code == KMS_E_DEADLINE || class == PKCS11_CLASS_SESSION ||
           class == PKCS11_CLASS_CAPACITY || class == PKCS11_CLASS_MODULE ||
           class == PKCS11_CLASS_CREDENTIALS;
}

/* --- the private key --- */

/* All private keys that may be used, the one with the smallest CKA_ID first: every host then shows
 * the same public key, even if two were made at once. */
struct private_keys {
    CK_OBJECT_HANDLE handles[PRIVATE_MAX];
    struct kms_kek_info infos[PRIVATE_MAX];
    size_t count;
};

static struct pkcs11_object object_at(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle)
{
    return (struct pkcs11_object){ place->wrap->fn, place->session->handle, handle };
}

/* A private key of known origin: whoever writes to the partition could leave his own under the
 * name, and read what custodians send. */
static bool is_sound(const struct kms_kek_info *info)
{
    const uint32_t must = KMS_KEK_LOCAL | KMS_KEK_SENSITIVE | KMS_KEK_UNWRAP;
    const uint32_t must_not = KMS_KEK_EXTRACTABLE | KMS_KEK_DECRYPT;
    const uint32_t if_told = KMS_KEK_ALWAYS_SENSITIVE | KMS_KEK_NEVER_EXTRACTABLE;
    return (info->known & info->attributes & must) == must && (info->attributes & must_not) == 0 &&
           (info->known & ~info->attributes & if_told) == 0;
}

static void add_sorted(struct private_keys *keys, CK_OBJECT_HANDLE handle,
                       const struct kms_kek_info *info)
{
    size_t at = keys->count++;
    for (; at > 0 && memcmp(info->cka_id, keys->infos[at - 1].cka_id, sizeof(info->cka_id)) < 0;
         at--) {
        keys->handles[at] = keys->handles[at - 1];
        keys->infos[at] = keys->infos[at - 1];
    }
    keys->handles[at] = handle;
    keys->infos[at] = *info;
}

static enum kms_code find_private(const struct pkcs11_place *place, const char *label,
                                  struct private_keys *keys, struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_PRIVATE_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_RSA);
    pkcs11_template_bool(&template, CKA_TOKEN, true);
    pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(label));
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    enum kms_code rc = pkcs11_find(place->wrap->fn, place->session->handle, &template,
                                   "the transport key", &found, err);
    keys->count = 0;
    for (size_t i = 0; i < found.count && rc == KMS_OK && keys->count < PRIVATE_MAX; i++) {
        struct pkcs11_object object = object_at(place, found.handles[i]);
        struct kms_kek_info info = { .label = "" };
        rc = pkcs11_read_attributes(&object, &info, err);
        if (rc == KMS_OK && is_sound(&info))
            add_sorted(keys, found.handles[i], &info);
    }
    return rc;
}

/* The public key is a session object: what stays on the token comes in one piece or not at all. */
static void pair_templates(const char *label, struct kms_bytes cka_id,
                           struct pkcs11_template *public_key, struct pkcs11_template *private_key)
{
    static const uint8_t exponent[] = { 1, 0, 1 };
    pkcs11_template_bool(public_key, CKA_TOKEN, false);
    pkcs11_template_bool(public_key, CKA_PRIVATE, false);
    pkcs11_template_number(public_key, CKA_MODULUS_BITS, TRANSPORT_BITS);
    pkcs11_template_bytes(public_key, CKA_PUBLIC_EXPONENT,
                          (struct kms_bytes){ exponent, sizeof(exponent) });
    pkcs11_template_bool(public_key, CKA_WRAP, true);
    pkcs11_template_bool(public_key, CKA_ENCRYPT, false);
    pkcs11_template_bool(public_key, CKA_VERIFY, false);
    pkcs11_template_bool(private_key, CKA_TOKEN, true);
    pkcs11_template_bool(private_key, CKA_PRIVATE, true);
    pkcs11_template_bool(private_key, CKA_SENSITIVE, true);
    pkcs11_template_bool(private_key, CKA_EXTRACTABLE, false);
    pkcs11_template_bool(private_key, CKA_UNWRAP, true);
    pkcs11_template_bool(private_key, CKA_DECRYPT, false);
    pkcs11_template_bool(private_key, CKA_SIGN, false);
    pkcs11_template_bytes(private_key, CKA_LABEL, kms_bytes_of(label));
    pkcs11_template_bytes(private_key, CKA_ID, cka_id);
}

static enum kms_code generate_pair(const struct pkcs11_place *place, const char *label,
                                   struct kms_error *err)
{
    struct pkcs11_new_kek name;
    enum kms_code rc = pkcs11_new_kek_init(&name, label, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_template public_key = { 0 }, private_key = { 0 };
    pair_templates(label, (struct kms_bytes){ name.cka_id, sizeof(name.cka_id) }, &public_key,
                   &private_key);
    CK_MECHANISM mechanism = { CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0 };
    CK_OBJECT_HANDLE public_handle = CK_INVALID_HANDLE, private_handle = CK_INVALID_HANDLE;
    CK_RV rv = place->wrap->fn->C_GenerateKeyPair(
        place->session->handle, &mechanism, public_key.items, public_key.count, private_key.items,
        private_key.count, &public_handle, &private_handle);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_GenerateKeyPair", rv, "making the transport key '%s'", label);
    pkcs11_wrap_destroy(place->wrap->fn, place->session, public_handle);
    return KMS_OK;
}

/* --- unwrapped --- */

/* As a session object that can't leave the token. */
static enum kms_code unwrap(const struct pkcs11_place *place, CK_OBJECT_HANDLE private_key,
                            enum kms_oaep_hash hash, struct kms_bytes blob,
                            CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_AES);
    pkcs11_template_bool(&template, CKA_TOKEN, false);
    pkcs11_template_bool(&template, CKA_PRIVATE, true);
    pkcs11_template_bool(&template, CKA_SENSITIVE, true);
    pkcs11_template_bool(&template, CKA_EXTRACTABLE, false);
    pkcs11_template_bool(&template, CKA_WRAP, true);
    pkcs11_template_bool(&template, CKA_UNWRAP, true);
    pkcs11_template_bool(&template, CKA_ENCRYPT, pkcs11_wrap_is_cipher(place->wrap));
    pkcs11_template_bool(&template, CKA_DECRYPT, pkcs11_wrap_is_cipher(place->wrap));
    if (place->wrap->tell_value_len)
        pkcs11_template_number(&template, CKA_VALUE_LEN, KEK_LEN);
    struct pkcs11_oaep oaep;
    pkcs11_oaep_init(&oaep, hash);
    uint8_t input[KMS_TRANSPORT_MAX]; /* Cryptoki wants it writable */
    if (blob.len == 0 || blob.len > sizeof(input))
        return kms_fail(err, KMS_E_CORRUPT, "%zu bytes are no key wrapped by RSA-OAEP", blob.len);
    memcpy(input, blob.data, blob.len);
    CK_RV rv = place->wrap->fn->C_UnwrapKey(place->session->handle, &oaep.mechanism, private_key,
                                            input, blob.len, template.items, template.count,
                                            ret_handle);
    kms_secret_wipe_stack();
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_UnwrapKey", rv, "unwrapping a KEK by RSA-OAEP");
    return KMS_OK;
}

static enum kms_code unwrap_by_any(const struct pkcs11_place *place,
                                   const struct private_keys *keys, struct kms_bytes blob,
                                   CK_OBJECT_HANDLE *ret_handle, struct kms_error *err)
{
    for (size_t i = 0; i < keys->count * HASH_COUNT; i++) {
        enum kms_code rc = unwrap(place, keys->handles[i / HASH_COUNT], hashes[i % HASH_COUNT],
                                  blob, ret_handle, err);
        if (rc == KMS_OK || is_of_the_token(err))
            return rc;
    }
    return kms_fail(
        err, KMS_E_CORRUPT,
        "it doesn't unwrap under this token's transport key, by SHA-256 or SHA-1: it is "
        "damaged, was wrapped under another public key (compare the SHA-256 of key "
        "transport-key), or by a hash that this module doesn't take (key wrap --hash)");
}

static enum kms_code fingerprint_of(const struct pkcs11_place *place, CK_OBJECT_HANDLE handle,
                                    struct kms_kek_info *ret_info, struct kms_error *err)
{
    struct pkcs11_object object = object_at(place, handle);
    struct kms_kek_info info = { .label = "" };
    enum pkcs11_rung rung;
    enum kms_code rc = pkcs11_read_attributes(&object, &info, err);
    if (rc == KMS_OK && info.value_len != 0 && info.value_len != KEK_LEN)
        return kms_fail(err, KMS_E_INVALID, "it is a key of %zu bytes; a KEK is AES-256",
                        info.value_len);
    if (rc == KMS_OK)
        rc = pkcs11_kek_fingerprint(place, handle, &rung, info.fingerprint, err);
    if (rc != KMS_OK)
        return rc;
    info.fingerprinted = true;
    *ret_info = info;
    return KMS_OK;
}

/* --- the transport key, proved --- */

/* That it unwraps by @hash, and that the public key is its own. */
static enum kms_code try_hash(const struct pkcs11_place *place, CK_OBJECT_HANDLE private_key,
                              const struct kms_spki *spki, enum kms_oaep_hash hash,
                              struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret key = { 0 };
    struct kms_transport_blob blob;
    uint8_t expected[KMS_FINGERPRINT_LEN];
    enum kms_code rc = kms_secret_init(&key, KEK_LEN, err);
    if (rc == KMS_OK && RAND_priv_bytes(key.data, KEK_LEN) != 1)
        rc = kms_fail(err, KMS_E_INTERNAL, "OpenSSL has no random bytes");
    if (rc == KMS_OK)
        rc = pkcs11_key_fingerprint(kms_secret_bytes(&key), expected, err);
    if (rc == KMS_OK)
        rc = pkcs11_oaep_encrypt(spki, hash, kms_secret_bytes(&key), &blob, err);
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    if (rc == KMS_OK)
        rc = unwrap(place, private_key, hash, (struct kms_bytes){ blob.data, blob.len }, &handle,
                    err);
    if (rc != KMS_OK)
        return rc;
    struct kms_kek_info info = { .label = "" };
    rc = fingerprint_of(place, handle, &info, err);
    pkcs11_wrap_destroy(place->wrap->fn, place->session, handle);
    if (rc == KMS_OK && memcmp(info.fingerprint, expected, sizeof(expected)) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "C_UnwrapKey: the module makes another key than was wrapped: it can't "
                        "import keys");
    return rc;
}

static enum kms_code read_public(const struct pkcs11_place *place, CK_OBJECT_HANDLE private_key,
                                 struct kms_spki *ret_spki, struct kms_error *err)
{
    static const uint8_t usual[] = { 1, 0, 1 }; /* what was asked for, where the token won't tell */
    struct pkcs11_object object = object_at(place, private_key);
    struct pkcs11_rsa_numbers numbers = { .modulus_len = 0 };
    bool known = false;
    enum kms_code rc = pkcs11_read_bytes(&object, CKA_MODULUS, numbers.modulus,
                                         sizeof(numbers.modulus), &numbers.modulus_len, &known,
                                         err);
    if (rc == KMS_OK && !known)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the token doesn't tell the modulus of its own transport key");
    if (rc == KMS_OK)
        rc = pkcs11_read_bytes(&object, CKA_PUBLIC_EXPONENT, numbers.exponent,
                               sizeof(numbers.exponent), &numbers.exponent_len, &known, err);
    if (rc != KMS_OK)
        return rc;
    if (!known || numbers.exponent_len == 0) {
        memcpy(numbers.exponent, usual, sizeof(usual));
        numbers.exponent_len = sizeof(usual);
    }
    return pkcs11_spki_from_numbers(&numbers, ret_spki, err);
}

static enum kms_code prove(const struct pkcs11_place *place, CK_OBJECT_HANDLE private_key,
                           struct kms_transport_key *key, struct kms_error *err)
{
    enum kms_code rc = read_public(place, private_key, &key->spki, err);
    if (rc != KMS_OK)
        return rc;
    for (size_t i = 0; i < HASH_COUNT; i++) {
        key->hash = hashes[i];
        rc = try_hash(place, private_key, &key->spki, hashes[i], err);
        if (rc == KMS_OK || is_of_the_token(err))
            return rc;
    }
    struct kms_error why = *err;
    return kms_fail(err, KMS_E_PRECONDITION,
                    "the module unwraps no AES key by RSA-OAEP, with SHA-256 or SHA-1: %.300s",
                    why.msg);
}

/* --- operations --- */

struct transport_args {
    const char *label;
    bool make;
    struct kms_transport_key key; /* result */
    const struct kms_transport_import *import;
    struct pkcs11_new_kek new_kek;
    struct kms_kek_info kek; /* result */
};

/* Without a login private keys are hidden, and would seem not to be there. */
static enum kms_code find_logged_in(const struct pkcs11_call *call,
                                    const struct pkcs11_place *place, const char *label,
                                    struct private_keys *keys, struct kms_error *err)
{
    enum kms_code rc = pkcs11_token_check_login(place->wrap->fn, place->session->handle,
                                                call->link.token, err);
    return rc == KMS_OK ? find_private(place, label, keys, err) : rc;
}

static enum kms_code run_key(struct pkcs11_call *call, const struct pkcs11_place *place,
                             CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct transport_args *args = call->args;
    struct private_keys keys;
    enum kms_code rc = find_logged_in(call, place, args->label, &keys, err);
    if (rc == KMS_OK && keys.count == 0 && args->make) {
        rc = generate_pair(place, args->label, err);
        args->key.made = rc == KMS_OK;
        if (rc == KMS_OK)
            rc = find_private(place, args->label, &keys, err);
        if (rc == KMS_OK && keys.count == 0)
            return kms_fail(err, KMS_E_PRECONDITION,
                            "the token made the transport key '%s' with other attributes than "
                            "asked for: it can't be trusted with keys",
                            args->label);
    }
    if (rc != KMS_OK || keys.count == 0)
        return rc;
    return prove(place, keys.handles[0], &args->key, err);
}

enum kms_code pkcs11_transport_key(struct kms_keystore *base, const char *label, bool make,
                                   int64_t deadline_ms, struct kms_transport_key *ret_key,
                                   struct kms_error *err)
{
    struct transport_args args = { .label = label, .make = make };
    struct pkcs11_call call = { .run = run_key, .args = &args, .deadline_ms = deadline_ms };
    enum kms_code rc = pkcs11_keystore_run(base, call, err);
    if (rc == KMS_OK)
        *ret_key = args.key;
    return rc;
}

static enum kms_code check_expected(const struct kms_transport_import *import,
                                    const struct kms_kek_info *info, struct kms_error *err)
{
    if (memcmp(info->fingerprint, import->fingerprint, KMS_FINGERPRINT_LEN) == 0)
        return KMS_OK;
    char found[2 * KMS_FINGERPRINT_LEN + 1];
    kms_hex_encode((struct kms_bytes){ info->fingerprint, KMS_FINGERPRINT_LEN }, found);
    return kms_fail(err, KMS_E_INVALID,
                    "it is another key than expected, with fingerprint %s; nothing was kept on the "
                    "token",
                    found);
}

static enum kms_code run_import(struct pkcs11_call *call, const struct pkcs11_place *place,
                                CK_OBJECT_HANDLE unused, struct kms_error *err)
{
    (void)unused;
    struct transport_args *args = call->args;
    const struct kms_transport_import *import = args->import;
    struct private_keys keys;
    enum kms_code rc = find_logged_in(call, place, import->transport_label, &keys, err);
    if (rc == KMS_OK && keys.count == 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "there is no transport key '%s' on the token that was made there: run "
                        "hsm-kms key transport-key",
                        import->transport_label);
    CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
    if (rc == KMS_OK)
        rc = unwrap_by_any(place, &keys, import->blob, &handle, err);
    if (rc != KMS_OK)
        return rc;
    rc = fingerprint_of(place, handle, &args->kek, err);
    if (rc == KMS_OK)
        rc = check_expected(import, &args->kek, err);
    if (rc == KMS_OK && import->label != NULL) {
        struct pkcs11_kek kek;
        rc = pkcs11_kek_keep(place, handle, &args->new_kek, &kek, err);
        if (rc == KMS_OK)
            args->kek = kek.info;
    }
    pkcs11_wrap_destroy(place->wrap->fn, place->session, handle);
    return rc;
}

enum kms_code pkcs11_transport_import(struct kms_keystore *base,
                                      const struct kms_transport_import *import,
                                      int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                      struct kms_error *err)
{
    struct transport_args args = { .import = import };
    enum kms_code rc = KMS_OK;
    if (import->label != NULL)
        rc = pkcs11_new_kek_init(&args.new_kek, import->label, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_call call = { .run = run_import, .args = &args, .deadline_ms = deadline_ms };
    rc = pkcs11_keystore_run(base, call, err);
    if (rc == KMS_OK)
        *ret_kek = args.kek;
    return rc;
}
