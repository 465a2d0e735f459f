/* SPDX-License-Identifier: Apache-2.0 */
#include "kat.h"

#include <string.h>

#include "attributes.h"
#include "blocks.h"
#include "known.h"
#include "rv.h"

enum { KEY_LEN = 32 }; /* bytes: AES-256 */

bool pkcs11_kat_is_outage(enum kms_code rc)
{
    return rc == KMS_E_UNAVAILABLE || rc == KMS_E_BUSY || rc == KMS_E_DEADLINE;
}

/* --- the key to try with --- */

/* As KEKs are made: a module may refuse a mixture of rights. */
static void key_template(struct pkcs11_template *template, bool cipher)
{
    pkcs11_template_number(template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(template, CKA_KEY_TYPE, CKK_AES);
    pkcs11_template_bool(template, CKA_TOKEN, false);
    pkcs11_template_bool(template, CKA_PRIVATE, true);
    pkcs11_template_bool(template, CKA_SENSITIVE, true);
    pkcs11_template_bool(template, CKA_EXTRACTABLE, false);
    pkcs11_template_bool(template, CKA_WRAP, true);
    pkcs11_template_bool(template, CKA_UNWRAP, true);
    pkcs11_template_bool(template, CKA_ENCRYPT, cipher);
    pkcs11_template_bool(template, CKA_DECRYPT, cipher);
}

static CK_RV import_key(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, bool cipher,
                        CK_OBJECT_HANDLE *ret_key)
{
    struct pkcs11_template template = { 0 };
    key_template(&template, cipher);
    pkcs11_template_bytes(&template, CKA_VALUE,
                          (struct kms_bytes){ pkcs11_known_key, sizeof(pkcs11_known_key) });
    return fn->C_CreateObject(session, template.items, template.count, ret_key);
}

static CK_RV generate_key(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, bool cipher,
                          CK_OBJECT_HANDLE *ret_key)
{
    CK_MECHANISM mechanism = { CKM_AES_KEY_GEN, NULL, 0 };
    struct pkcs11_template template = { 0 };
    key_template(&template, cipher);
    pkcs11_template_number(&template, CKA_VALUE_LEN, KEY_LEN);
    return fn->C_GenerateKey(session, &mechanism, template.items, template.count, ret_key);
}

static bool is_refusal(CK_RV rv)
{
    enum pkcs11_class class = pkcs11_rv_class("C_CreateObject", rv);
    return class == PKCS11_CLASS_CONFIG || rv == CKR_TEMPLATE_INCONSISTENT;
}

enum kms_code pkcs11_test_key_make(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                                   bool cipher, struct pkcs11_test_key *ret_key,
                                   struct kms_error *err)
{
    struct pkcs11_test_key key = { CK_INVALID_HANDLE, true, CKR_OK };
    key.import_rv = import_key(fn, session->handle, cipher, &key.handle);
    if (key.import_rv != CKR_OK && !is_refusal(key.import_rv))
        return pkcs11_fail(err, "C_CreateObject", key.import_rv, "importing the test key");
    if (key.import_rv != CKR_OK) {
        key.imported = false;
        CK_RV rv = generate_key(fn, session->handle, cipher, &key.handle);
        if (rv != CKR_OK && !is_refusal(rv))
            return pkcs11_fail(err, "C_GenerateKey", rv, "generating a test key");
        if (rv != CKR_OK)
            key.handle = CK_INVALID_HANDLE;
    }
    *ret_key = key;
    return KMS_OK;
}

/* --- one way --- */

struct kat {
    CK_FUNCTION_LIST *fn;
    struct pkcs11_session *session;
    const struct pkcs11_test_key *key;
    struct pkcs11_way *way;
};

static const char bound_text[] = "known-answer test";

static struct pkcs11_use use_of(const struct kat *kat)
{
    return (struct pkcs11_use){ kat->fn, kat->way, kat->session, kat->key->handle,
                                kms_bytes_of(bound_text) };
}

/* A second value, which no module can know by heart. */
static struct kms_bytes other_data(uint8_t buffer[static KMS_SHA256_LEN])
{
    kms_sha256(kms_bytes_of(KMS_FINGERPRINT_SEED_TEXT), buffer);
    return (struct kms_bytes){ buffer, KMS_SHA256_LEN };
}

static enum kms_code wrong_answer(const struct kat *kat, struct kms_error *err)
{
    switch (kat->way->profile->algorithm) {
    case KMS_ALGORITHM_AES_KW:
        break;
    case KMS_ALGORITHM_AES_KWP:
        return kms_fail(err, KMS_E_PRECONDITION, "the answer isn't RFC 5649");
    case KMS_ALGORITHM_AES_GCM:
        return kms_fail(err, KMS_E_PRECONDITION, "the answer isn't AES-GCM");
    }
    return kms_fail(err, KMS_E_PRECONDITION, "the answer isn't RFC 3394");
}

/* AES key wrap of a generated key, where single blocks can be had; else the proof stays as it is. */
static bool compute(struct kat *kat, struct kms_bytes data, struct kms_wrapped *ret_computed)
{
    const struct pkcs11_wrap_profile *profile = kat->way->profile;
    struct kms_error ignored;
    if (!profile->cipher || profile->algorithm == KMS_ALGORITHM_AES_GCM ||
        pkcs11_blocks_wrap(kat->fn, kat->session, kat->key->handle, profile->algorithm, data,
                           ret_computed, &ignored) != KMS_OK)
        return false;
    kat->way->proof = PKCS11_PROOF_COMPUTED;
    return true;
}

static enum kms_code compare(struct kat *kat, struct kms_bytes data,
                             const struct kms_wrapped *wrapped, struct kms_error *err)
{
    struct kms_wrapped computed;
    bool right = true;
    if (kat->key->imported) {
        enum kms_code rc = pkcs11_known_check(wrapped, data, kms_bytes_of(bound_text), &right, err);
        if (rc != KMS_OK)
            return rc;
    } else if (data.data != pkcs11_known_data && compute(kat, data, &computed)) {
        right = kms_bytes_equal((struct kms_bytes){ wrapped->data, wrapped->len },
                                (struct kms_bytes){ computed.data, computed.len });
    }
    return right ? KMS_OK : wrong_answer(kat, err);
}

static enum kms_code check_wrap(struct kat *kat, struct kms_bytes data,
                                struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    struct pkcs11_use use = use_of(kat);
    enum kms_code rc = pkcs11_wrap_seed(&use, data, ret_wrapped, err);
    return rc == KMS_OK ? compare(kat, data, ret_wrapped, err) : rc;
}

static enum kms_code check_unwrap(const struct kat *kat, const struct kms_wrapped *wrapped,
                                  struct kms_bytes expected, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    struct pkcs11_use use = use_of(kat);
    struct kms_bytes input = { wrapped->data, wrapped->len };
    enum kms_code rc = pkcs11_unwrap_seed(&use, input, &seed, err);
    if (rc != KMS_OK)
        return rc;
    return kms_bytes_equal(kms_secret_bytes(&seed), expected) ? KMS_OK : wrong_answer(kat, err);
}

/* A profile that makes objects: without CKA_VALUE_LEN in the template, and if the module won't have
 * that, with it. */
static enum kms_code choose_template(struct kat *kat, const struct kms_wrapped *wrapped,
                                     struct kms_bytes expected, struct kms_error *err)
{
    kat->way->tell_value_len = false;
    enum kms_code rc = check_unwrap(kat, wrapped, expected, err);
    if (rc == KMS_OK || pkcs11_kat_is_outage(rc) || kat->way->profile->cipher)
        return rc;
    struct kms_error second;
    kat->way->tell_value_len = true;
    return check_unwrap(kat, wrapped, expected, &second) == KMS_OK ? KMS_OK : rc;
}

/* Whether C_UnwrapKey gives a key that stays inside. */
static bool unwraps_inside(const struct kat *kat, struct kms_wrapped wrapped, bool tell_value_len)
{
    struct pkcs11_template template = { 0 };
    key_template(&template, true);
    if (tell_value_len)
        pkcs11_template_number(&template, CKA_VALUE_LEN, KEY_LEN);
    CK_MECHANISM mechanism = { kat->way->mechanism, NULL, 0 };
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_RV rv = kat->fn->C_UnwrapKey(kat->session->handle, &mechanism, kat->key->handle,
                                    wrapped.data, wrapped.len, template.items, template.count,
                                    &object);
    if (rv == CKR_OK)
        pkcs11_wrap_destroy(kat->fn, kat->session, object);
    return rv == CKR_OK;
}

/* A cipher makes no objects; KEKs from elsewhere come in by C_UnwrapKey all the same. */
static void learn_template(const struct kat *kat, const struct kms_wrapped *wrapped)
{
    if (kat->way->profile->cipher && kat->way->profile->algorithm == KMS_ALGORITHM_AES_KW)
        kat->way->tell_value_len = !unwraps_inside(kat, *wrapped, false) &&
                                   unwraps_inside(kat, *wrapped, true);
}

/* What an authenticating algorithm must refuse, and never do twice.  What fails for another reason wasn't
 * refused for this one. */
static enum kms_code check_binding(const struct kat *kat, const struct kms_wrapped *first,
                                   const struct kms_wrapped *second, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    struct pkcs11_use use = use_of(kat);
    struct kms_bytes input = { second->data, second->len };
    if (use.way->profile->iv == PKCS11_IV_NONE)
        return KMS_OK;
    if (memcmp(first->data, second->data, KMS_GCM_IV_LEN) == 0)
        return kms_fail(err, KMS_E_PRECONDITION, "the module used one IV twice");
    use.bound = kms_bytes_of("another test");
    enum kms_code rc = pkcs11_unwrap_seed(&use, input, &seed, err);
    if (rc == KMS_OK)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the module doesn't check what a seed is bound to");
    bool refused = rc == KMS_E_CORRUPT || pkcs11_error_class(err) == PKCS11_CLASS_AMBIGUOUS;
    return refused ? KMS_OK : rc;
}

enum kms_code pkcs11_kat(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                         const struct pkcs11_test_key *key, struct pkcs11_way *way,
                         struct kms_error *err)
{
    struct kat kat = { fn, session, key, way };
    uint8_t buffer[KMS_SHA256_LEN];
    struct kms_bytes other = other_data(buffer);
    struct kms_bytes data = { pkcs11_known_data, sizeof(pkcs11_known_data) };
    struct kms_wrapped first = { 0 }, second = { 0 };
    way->proof = key->imported ? PKCS11_PROOF_KNOWN_ANSWER : PKCS11_PROOF_ROUND_TRIP;
    enum kms_code rc = check_wrap(&kat, data, &first, err);
    if (rc == KMS_OK)
        rc = choose_template(&kat, &first, data, err);
    if (rc == KMS_OK)
        rc = check_wrap(&kat, other, &second, err);
    if (rc == KMS_OK)
        rc = check_binding(&kat, &first, &second, err);
    if (rc == KMS_OK)
        learn_template(&kat, &second);
    return rc;
}

enum kms_code pkcs11_kat_blocks(CK_FUNCTION_LIST *fn, struct pkcs11_session *session,
                                const struct pkcs11_test_key *key, struct kms_error *err)
{
    struct kms_bytes data = { pkcs11_known_data, sizeof(pkcs11_known_data) };
    struct kms_wrapped wrapped;
    bool right = true;
    enum kms_code rc = pkcs11_blocks_wrap(fn, session, key->handle, KMS_ALGORITHM_AES_KW, data,
                                          &wrapped, err);
    if (rc == KMS_OK && key->imported)
        rc = pkcs11_known_check(&wrapped, data, (struct kms_bytes){ NULL, 0 }, &right, err);
    if (rc == KMS_OK && !right)
        return kms_fail(err, KMS_E_PRECONDITION, "C_Encrypt: the module's AES-ECB isn't AES");
    return rc;
}
