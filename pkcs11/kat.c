/* SPDX-License-Identifier: Apache-2.0 */
/* The known-answer test: a module's word for what CKM_AES_KEY_WRAP does is not taken. */
#include "profile.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "attributes.h"
#include "blocks.h"
#include "kms/log.h"
#include "rv.h"
#include "vendor.h"

enum { KEY_LEN = 32, ANSWER_MAX = 72, REFUSED_MAX = 256 };

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
    return kms_fail(err, KMS_E_PRECONDITION, "the answer isn't RFC 3394");
}

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

/* The token is away or full: nothing that it said about a profile. */
static bool is_outage(enum kms_code rc)
{
    return rc == KMS_E_UNAVAILABLE || rc == KMS_E_BUSY || rc == KMS_E_DEADLINE;
}

/* A profile that makes objects: without CKA_VALUE_LEN in the template, and if the module won't have
 * that, with it. */
static enum kms_code choose_template(struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                                     CK_OBJECT_HANDLE key, const struct kms_wrapped *wrapped,
                                     struct kms_bytes expected, struct kms_error *err)
{
    wrap->tell_value_len = false;
    enum kms_code rc = check_unwrap(wrap, session, key, wrapped, expected, err);
    if (rc == KMS_OK || is_outage(rc) || wrap->profile->cipher)
        return rc;
    struct kms_error second;
    wrap->tell_value_len = true;
    return check_unwrap(wrap, session, key, wrapped, expected, &second) == KMS_OK ? KMS_OK : rc;
}

/* Whether C_UnwrapKey gives a key that stays inside. */
static bool unwraps_inside(const struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                           CK_OBJECT_HANDLE key, struct kms_wrapped wrapped, bool tell_value_len)
{
    struct pkcs11_template template = { 0 };
    key_template(&template, true);
    if (tell_value_len)
        pkcs11_template_number(&template, CKA_VALUE_LEN, KEY_LEN);
    CK_MECHANISM mechanism = { wrap->mechanism, NULL, 0 };
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_RV rv = wrap->fn->C_UnwrapKey(session->handle, &mechanism, key, wrapped.data, wrapped.len,
                                     template.items, template.count, &object);
    if (rv == CKR_OK)
        pkcs11_wrap_destroy(wrap->fn, session, object);
    return rv == CKR_OK;
}

/* A cipher makes no objects; KEKs from elsewhere come in by C_UnwrapKey all the same. */
static void learn_template(struct pkcs11_wrap *wrap, struct pkcs11_session *session,
                           CK_OBJECT_HANDLE key, const struct kms_wrapped *wrapped)
{
    wrap->tell_value_len = !unwraps_inside(wrap, session, key, *wrapped, false) &&
                           unwraps_inside(wrap, session, key, *wrapped, true);
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
    struct kms_wrapped computed, wrapped = { 0 };
    wrap->proof = imported ? PKCS11_PROOF_KNOWN_ANSWER : PKCS11_PROOF_ROUND_TRIP;
    if (!imported && wrap->profile->cipher &&
        pkcs11_blocks_wrap(wrap->fn, session, key, other, &computed)) {
        wrap->proof = PKCS11_PROOF_COMPUTED;
        expected_other = (struct kms_bytes){ computed.data, computed.len };
    }
    enum kms_code rc = check_wrap(wrap, session, key, data, expected, &wrapped, err);
    if (rc == KMS_OK)
        rc = choose_template(wrap, session, key, &wrapped, data, err);
    if (rc == KMS_OK)
        rc = check_wrap(wrap, session, key, other, expected_other, &wrapped, err);
    if (rc == KMS_OK && wrap->profile->cipher)
        learn_template(wrap, session, key, &wrapped);
    return rc;
}

/* --- the key to try with --- */

struct test_key {
    CK_OBJECT_HANDLE handle; /* CK_INVALID_HANDLE: the module makes none, which is its right */
    bool imported;           /* it is the RFC's */
    CK_RV import_rv;         /* else why not */
};

static CK_RV import_key(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, bool cipher,
                        CK_OBJECT_HANDLE *ret_key)
{
    struct pkcs11_template template = { 0 };
    key_template(&template, cipher);
    pkcs11_template_bytes(&template, CKA_VALUE, (struct kms_bytes){ rfc_kek, sizeof(rfc_kek) });
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

static enum kms_code make_key(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, bool cipher,
                              struct test_key *ret_key, struct kms_error *err)
{
    struct test_key key = { CK_INVALID_HANDLE, true, CKR_OK };
    key.import_rv = import_key(fn, session, cipher, &key.handle);
    if (key.import_rv != CKR_OK && !is_refusal(key.import_rv))
        return pkcs11_fail(err, "C_CreateObject", key.import_rv, "importing the test key");
    if (key.import_rv != CKR_OK) {
        key.imported = false;
        CK_RV rv = generate_key(fn, session, cipher, &key.handle);
        if (rv != CKR_OK && !is_refusal(rv))
            return pkcs11_fail(err, "C_GenerateKey", rv, "generating a test key");
        if (rv != CKR_OK)
            key.handle = CK_INVALID_HANDLE;
    }
    *ret_key = key;
    return KMS_OK;
}

/* --- the search --- */

struct search {
    CK_FUNCTION_LIST *fn;
    const struct pkcs11_token *token;
    struct pkcs11_session *session;
    const struct pkcs11_vendor *vendor;
    CK_MECHANISM_TYPE numbers[PKCS11_KEY_WRAP_NUMBERS_MAX];
    size_t number_count;
    bool tried; /* at least one key could be made */
    bool found; /* @wrap is the answer */
    struct pkcs11_wrap wrap;
    char refused[REFUSED_MAX]; /* what each profile before it answered */
};

/* "aes-kw (0x2109): C_WrapKey: CKR_MECHANISM_INVALID"; what has no room is left out. */
static void note_refusal(struct search *search, const struct pkcs11_wrap *wrap,
                         const struct kms_error *err)
{
    size_t used = strlen(search->refused);
    char answer[ANSWER_MAX];
    if (err->ckr != CKR_OK)
        (void)snprintf(answer, sizeof(answer), "%s: %s", err->op, pkcs11_rv_name(err->ckr));
    else
        (void)snprintf(answer, sizeof(answer), "%.*s", ANSWER_MAX - 1, err->msg);
    int len = snprintf(search->refused + used, sizeof(search->refused) - used, "%s%s (0x%lx): %s",
                       used > 0 ? "; " : "", wrap->profile->name, wrap->mechanism, answer);
    if (len < 0 || (size_t)len >= sizeof(search->refused) - used)
        search->refused[used] = '\0';
}

static void explain(struct search *search, const struct test_key *key)
{
    struct pkcs11_wrap *wrap = &search->wrap;
    const char *before = search->refused[0] != '\0' ? "; before it " : "";
    if (wrap->proof == PKCS11_PROOF_KNOWN_ANSWER)
        (void)snprintf(wrap->reason, sizeof(wrap->reason),
                       "it gave the known answer of RFC 3394%s%s", before, search->refused);
    else
        (void)snprintf(wrap->reason, sizeof(wrap->reason),
                       "a round trip by a generated key went well, and the answer %s; the module "
                       "imports no test key (%s)%s%s",
                       wrap->proof == PKCS11_PROOF_COMPUTED
                           ? "is RFC 3394 as computed from AES blocks of that key"
                           : "couldn't be compared with RFC 3394",
                       pkcs11_rv_name(key->import_rv), before, search->refused);
}

/* KMS_OK with nothing found: refused, or answered wrongly. */
static enum kms_code try_numbers(struct search *search, const struct pkcs11_wrap_profile *profile,
                                 const struct test_key *key, struct kms_error *err)
{
    for (size_t i = 0; i < search->number_count; i++) {
        struct pkcs11_wrap wrap = { .fn = search->fn, .profile = profile };
        wrap.mechanism = search->numbers[i];
        enum kms_code rc = round_trips(&wrap, search->session, key->handle, key->imported, err);
        if (is_outage(rc))
            return rc;
        if (rc == KMS_OK) {
            search->found = true;
            search->wrap = wrap;
            explain(search, key);
            return KMS_OK;
        }
        note_refusal(search, &wrap, err);
    }
    return KMS_OK;
}

static enum kms_code try_profile(struct search *search, const struct pkcs11_wrap_profile *profile,
                                 struct kms_error *err)
{
    struct test_key key = { 0 };
    enum kms_code rc = make_key(search->fn, search->session->handle, profile->cipher, &key, err);
    if (rc != KMS_OK || key.handle == CK_INVALID_HANDLE)
        return rc;
    search->tried = true;
    rc = try_numbers(search, profile, &key, err);
    pkcs11_wrap_destroy(search->fn, search->session, key.handle);
    return rc;
}

/* --- nothing to try with --- */

static bool is_told_possible(const struct search *search, const struct pkcs11_wrap *wrap)
{
    CK_MECHANISM_INFO info = { 0 };
    CK_FLAGS flags = wrap->profile->flags;
    return search->fn->C_GetMechanismInfo(search->token->slot, wrap->mechanism, &info) == CKR_OK &&
           (info.flags & flags) == flags;
}

/* The module's word has to do; the first profile if it gives none. */
static void choose_by_word(struct search *search)
{
    struct pkcs11_wrap first = { .fn = search->fn, .profile = &pkcs11_wrap_profiles[0] };
    first.mechanism = search->numbers[0];
    bool told = false;
    search->wrap = first;
    for (size_t i = 0; i < pkcs11_wrap_profile_count * search->number_count && !told; i++) {
        struct pkcs11_wrap wrap = first;
        wrap.profile = &pkcs11_wrap_profiles[i / search->number_count];
        wrap.mechanism = search->numbers[i % search->number_count];
        told = is_told_possible(search, &wrap);
        if (told)
            search->wrap = wrap;
    }
    search->found = true;
    (void)snprintf(search->wrap.reason, sizeof(search->wrap.reason),
                   "%s; the module makes no key to try it with",
                   told ? "C_GetMechanismInfo offers it" : "it is the usual one");
}

static void log_choice(const struct pkcs11_wrap *wrap)
{
    char number[24];
    (void)snprintf(number, sizeof(number), "0x%lx", wrap->mechanism);
    kms_log(wrap->proof >= PKCS11_PROOF_COMPUTED ? KMS_LOG_INFO : KMS_LOG_WARN,
            "wrap profile chosen", KMS_F_TEXT("profile", wrap->profile->name),
            KMS_F_TEXT("mechanism", number), KMS_F_TEXT("reason", wrap->reason));
}

enum kms_code pkcs11_wrap_select(CK_FUNCTION_LIST *fn, const struct pkcs11_token *token,
                                 struct pkcs11_session *session, struct pkcs11_wrap *ret_wrap,
                                 struct kms_error *err)
{
    struct search search = { .fn = fn, .token = token, .session = session };
    search.vendor = pkcs11_vendor_of(token);
    search.number_count = pkcs11_vendor_numbers(search.vendor, search.numbers);
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; i < pkcs11_wrap_profile_count && rc == KMS_OK && !search.found; i++)
        rc = try_profile(&search, &pkcs11_wrap_profiles[i], err);
    if (rc != KMS_OK)
        return rc;
    if (!search.tried)
        choose_by_word(&search);
    if (!search.found)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "known-answer test: this module wraps in no way that is known here; allow "
                        "CKM_AES_KEY_WRAP on the HSM: %s",
                        search.refused);
    log_choice(&search.wrap);
    *ret_wrap = search.wrap;
    return KMS_OK;
}
