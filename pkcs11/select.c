/* SPDX-License-Identifier: Apache-2.0 */
/* Which profile, and by which number. */
#include <stdio.h>
#include <string.h>

#include "kat.h"
#include "kms/log.h"
#include "rv.h"
#include "vendor.h"

enum { REFUSED_MAX = 256 };

struct search {
    const struct pkcs11_probe *probe;
    const struct pkcs11_vendor *vendor;
    enum kms_algorithm target; /* what new seeds shall be wrapped by */
    CK_RV import_rv;           /* why the test key had to be generated */
    bool tried;                /* at least one key could be made */
    struct pkcs11_wrap wrap;
    struct pkcs11_trials trials;
};

static struct pkcs11_way *slot_of(struct pkcs11_wrap *wrap,
                                  const struct pkcs11_wrap_profile *profile)
{
    if (profile->algorithm != KMS_ALGORITHM_AES_KW)
        return &wrap->others[profile->algorithm];
    return profile->cipher ? &wrap->cipher : &wrap->objects;
}

static bool has(const struct pkcs11_wrap *wrap, enum kms_algorithm algorithm)
{
    if (algorithm != KMS_ALGORITHM_AES_KW)
        return wrap->others[algorithm].profile != NULL;
    return wrap->objects.profile != NULL || wrap->cipher.profile != NULL;
}

static size_t numbers_of(const struct search *search, const struct pkcs11_wrap_profile *profile,
                         CK_MECHANISM_TYPE ret_numbers[static PKCS11_NUMBERS_MAX])
{
    return pkcs11_vendor_numbers(search->vendor, profile->algorithm,
                                 profile->iv == PKCS11_IV_PREPENDED, ret_numbers);
}

/* --- trying --- */

/* Without a way by this the token can't be used: an outage must not pass for a refusal. */
static bool is_essential(const struct search *search, enum kms_algorithm algorithm)
{
    bool wanted = algorithm == KMS_ALGORITHM_AES_KW || algorithm == search->target;
    return wanted && !has(&search->wrap, algorithm);
}

static void note(struct search *search, const struct pkcs11_way *way, enum kms_code rc,
                 const struct kms_error *err)
{
    if (search->trials.count == PKCS11_TRIALS_MAX)
        return;
    struct pkcs11_trial *trial = &search->trials.list[search->trials.count++];
    *trial = (struct pkcs11_trial){ way->profile, way->mechanism, rc == KMS_OK, way->proof, "" };
    if (rc == KMS_OK)
        return;
    trial->proof = PKCS11_PROOF_NONE;
    if (err->ckr != CKR_OK)
        (void)snprintf(trial->answer, sizeof(trial->answer), "%s: %s", err->op,
                       pkcs11_rv_name(err->ckr));
    else
        (void)snprintf(trial->answer, sizeof(trial->answer), "%.*s", PKCS11_ANSWER_MAX - 1,
                       err->msg);
}

/* KMS_OK with nothing found: refused, or answered wrongly. */
static enum kms_code try_numbers(struct search *search, const struct pkcs11_wrap_profile *profile,
                                 const struct pkcs11_test_key *key, struct kms_error *err)
{
    CK_MECHANISM_TYPE numbers[PKCS11_NUMBERS_MAX];
    struct pkcs11_way *slot = slot_of(&search->wrap, profile);
    size_t count = numbers_of(search, profile, numbers);
    for (size_t i = 0; i < count && slot->profile == NULL; i++) {
        struct pkcs11_way way = { .profile = profile, .mechanism = numbers[i] };
        enum kms_code rc = pkcs11_kat(search->probe->fn, search->probe->session, key, &way, err);
        if (pkcs11_kat_is_outage(rc) && is_essential(search, profile->algorithm))
            return rc;
        note(search, &way, rc, err);
        if (rc == KMS_OK)
            *slot = way;
    }
    return KMS_OK;
}

/* An outage while a key is made says nothing of a profile that isn't needed. */
static enum kms_code try_profile(struct search *search, const struct pkcs11_wrap_profile *profile,
                                 struct kms_error *err)
{
    struct pkcs11_test_key key = { 0 };
    const struct pkcs11_probe *probe = search->probe;
    enum kms_code rc = pkcs11_test_key_make(probe->fn, probe->session, profile->cipher, &key, err);
    if (rc != KMS_OK)
        return is_essential(search, profile->algorithm) ? rc : KMS_OK;
    if (key.handle == CK_INVALID_HANDLE)
        return KMS_OK;
    search->tried = true;
    search->import_rv = key.import_rv;
    rc = try_numbers(search, profile, &key, err);
    pkcs11_wrap_destroy(probe->fn, probe->session, key.handle);
    return rc;
}

static enum kms_code try_algorithm(struct search *search, enum kms_algorithm algorithm,
                                   struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; i < pkcs11_wrap_profile_count && rc == KMS_OK; i++) {
        const struct pkcs11_wrap_profile *profile = &pkcs11_wrap_profiles[i];
        CK_MECHANISM_TYPE numbers[PKCS11_NUMBERS_MAX];
        if (profile->algorithm == algorithm && slot_of(&search->wrap, profile)->profile == NULL &&
            numbers_of(search, profile, numbers) > 0)
            rc = try_profile(search, profile, err);
    }
    return rc;
}

/* AES key wrap always: fingerprints are by it.  Others where they are asked for, or are what is left. */
static enum kms_code try_needed(struct search *search, bool all, struct kms_error *err)
{
    bool any = search->probe->profile == KMS_PROFILE_AUTO;
    enum kms_code rc = try_algorithm(search, KMS_ALGORITHM_AES_KW, err);
    for (int i = KMS_ALGORITHM_AES_KWP; i < KMS_ALGORITHM_COUNT && rc == KMS_OK; i++) {
        enum kms_algorithm algorithm = (enum kms_algorithm)i;
        if (any && search->tried && !has(&search->wrap, search->target))
            search->target = algorithm;
        if (all || search->target == algorithm)
            rc = try_algorithm(search, algorithm, err);
    }
    return rc;
}

static enum kms_code try_blocks(struct search *search, struct kms_error *err)
{
    struct pkcs11_test_key key = { 0 };
    const struct pkcs11_probe *probe = search->probe;
    enum kms_code rc = pkcs11_test_key_make(probe->fn, probe->session, true, &key, err);
    if (rc != KMS_OK || key.handle == CK_INVALID_HANDLE)
        return rc;
    rc = pkcs11_kat_blocks(probe->fn, probe->session, &key, err);
    pkcs11_wrap_destroy(probe->fn, probe->session, key.handle);
    return rc;
}

/* --- nothing to try with --- */

static bool is_told_possible(const struct search *search, const struct pkcs11_way *way)
{
    CK_MECHANISM_INFO info = { 0 };
    CK_FLAGS flags = way->profile->flags;
    return search->probe->fn->C_GetMechanismInfo(search->probe->token->slot, way->mechanism,
                                                 &info) == CKR_OK &&
           (info.flags & flags) == flags;
}

/* Each algorithm has a profile that no vendor is without. */
static struct pkcs11_way usual_way(const struct search *search, enum kms_algorithm algorithm)
{
    CK_MECHANISM_TYPE numbers[PKCS11_NUMBERS_MAX];
    const struct pkcs11_wrap_profile *profile = pkcs11_wrap_profiles;
    while (profile->algorithm != algorithm || numbers_of(search, profile, numbers) == 0)
        profile++;
    return (struct pkcs11_way){ .profile = profile,
                                .mechanism = numbers[0],
                                .tell_value_len = search->wrap.tell_value_len };
}

/* The module's word has to do; the usual way if it gives none.  True: it gave it. */
static bool choose_by_word(const struct search *search, enum kms_algorithm algorithm,
                           struct pkcs11_way *ret_way)
{
    struct pkcs11_way way = usual_way(search, algorithm);
    *ret_way = way;
    for (size_t i = 0; i < pkcs11_wrap_profile_count; i++) {
        CK_MECHANISM_TYPE numbers[PKCS11_NUMBERS_MAX];
        way.profile = &pkcs11_wrap_profiles[i];
        size_t count = numbers_of(search, way.profile, numbers);
        for (size_t k = 0; k < count && way.profile->algorithm == algorithm; k++) {
            way.mechanism = numbers[k];
            if (is_told_possible(search, &way)) {
                *ret_way = way;
                return true;
            }
        }
    }
    return false;
}

static void choose_untried(struct search *search)
{
    struct pkcs11_way way, key_wrap;
    bool told = choose_by_word(search, search->target, &way);
    *slot_of(&search->wrap, way.profile) = way;
    if (search->target != KMS_ALGORITHM_AES_KW &&
        choose_by_word(search, KMS_ALGORITHM_AES_KW, &key_wrap))
        *slot_of(&search->wrap, key_wrap.profile) = key_wrap;
    search->wrap.blocks = !has(&search->wrap, KMS_ALGORITHM_AES_KW);
    (void)snprintf(search->wrap.reason, sizeof(search->wrap.reason),
                   "%s; the module makes no key to try it with",
                   told ? "C_GetMechanismInfo offers it" : "it is the usual one");
}

/* What isn't used for new seeds may be needed to read old ones.  A wrong guess does no harm: the
 * module refuses. */
static void guess_others(struct search *search)
{
    for (int i = KMS_ALGORITHM_AES_KWP; i < KMS_ALGORITHM_COUNT; i++) {
        struct pkcs11_way *way = &search->wrap.others[i];
        if (way->profile == NULL)
            (void)choose_by_word(search, (enum kms_algorithm)i, way);
    }
}

/* --- told --- */

/* "aes-kw (0x2109): C_WrapKey: CKR_MECHANISM_INVALID; …", of what was tried before @chosen; what has no
 * room is left out. */
static void list_refusals(const struct search *search, const struct pkcs11_way *chosen,
                          char ret_text[static REFUSED_MAX])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < search->trials.count; i++) {
        const struct pkcs11_trial *trial = &search->trials.list[i];
        if (chosen != NULL && trial->profile == chosen->profile &&
            trial->mechanism == chosen->mechanism)
            return;
        if (trial->works)
            continue;
        int len = snprintf(ret_text + used, REFUSED_MAX - used, "%s%s (0x%lx): %s",
                           used > 0 ? "; " : "", trial->profile->name, trial->mechanism,
                           trial->answer);
        if (len < 0 || (size_t)len >= REFUSED_MAX - used)
            ret_text[used] = '\0';
        used = strlen(ret_text);
    }
}

static const char *standard_of(enum kms_algorithm algorithm)
{
    switch (algorithm) {
    case KMS_ALGORITHM_AES_KW:
        break;
    case KMS_ALGORITHM_AES_KWP:
        return "RFC 5649";
    case KMS_ALGORITHM_AES_GCM:
        return "AES-GCM";
    }
    return "RFC 3394";
}

static const char *asked_text(const struct pkcs11_probe *probe)
{
    if (probe->kept)
        return "as before: ";
    return probe->profile == KMS_PROFILE_AUTO ? "" : "asked for: ";
}

static void explain(struct search *search)
{
    struct pkcs11_wrap *wrap = &search->wrap;
    const struct pkcs11_way *way = pkcs11_wrap_chosen(wrap);
    const char *standard = standard_of(wrap->algorithm);
    const char *asked = asked_text(search->probe);
    const char *blocks = wrap->blocks ? "; fingerprints are by AES blocks" : "";
    char refused[REFUSED_MAX];
    list_refusals(search, way, refused);
    const char *before = refused[0] != '\0' ? "; before it " : "";
    if (way->proof == PKCS11_PROOF_KNOWN_ANSWER)
        (void)snprintf(wrap->reason, sizeof(wrap->reason), "%sit gave the known answer of %s%s%s%s",
                       asked, standard, blocks, before, refused);
    else if (way->proof == PKCS11_PROOF_COMPUTED)
        (void)snprintf(wrap->reason, sizeof(wrap->reason),
                       "%sa round trip by a generated key went well, and the answer is %s as "
                       "computed from AES blocks of that key; the module imports no test key "
                       "(%s)%s%s%s",
                       asked, standard, pkcs11_rv_name(search->import_rv), blocks, before, refused);
    else
        (void)snprintf(wrap->reason, sizeof(wrap->reason),
                       "%sa round trip by a generated key went well, and the answer couldn't be "
                       "compared with %s; the module imports no test key (%s)%s%s%s",
                       asked, standard, pkcs11_rv_name(search->import_rv), blocks, before, refused);
}

static void log_choice(const struct pkcs11_wrap *wrap)
{
    const struct pkcs11_way *way = pkcs11_wrap_chosen(wrap);
    char number[24];
    (void)snprintf(number, sizeof(number), "0x%lx", way->mechanism);
    kms_log(way->proof >= PKCS11_PROOF_COMPUTED ? KMS_LOG_INFO : KMS_LOG_WARN,
            "wrap profile chosen", KMS_F_TEXT("profile", way->profile->name),
            KMS_F_TEXT("mechanism", number), KMS_F_TEXT("reason", wrap->reason));
}

/* --- the choice --- */

static enum kms_code nothing_found(const struct search *search, struct kms_error *err)
{
    char refused[REFUSED_MAX];
    list_refusals(search, NULL, refused);
    if (search->probe->profile == KMS_PROFILE_AUTO)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "known-answer test: this module wraps in no way that is known here; allow "
                        "CKM_AES_KEY_WRAP on the HSM: %s",
                        refused);
    return kms_fail(err, KMS_E_PRECONDITION,
                    "known-answer test: this module doesn't wrap by %s; allow it on the HSM, or "
                    "set profile: auto: %s",
                    kms_profile_name(search->probe->profile), refused);
}

static enum kms_code conclude(struct search *search, struct kms_error *err)
{
    struct pkcs11_wrap *wrap = &search->wrap;
    wrap->algorithm = search->target;
    if (!search->tried) {
        choose_untried(search);
        return KMS_OK;
    }
    if (!has(wrap, search->target))
        return nothing_found(search, err);
    wrap->blocks = !has(wrap, KMS_ALGORITHM_AES_KW);
    if (wrap->blocks) {
        struct kms_error why;
        enum kms_code rc = try_blocks(search, &why);
        if (rc != KMS_OK)
            return kms_fail(err, pkcs11_kat_is_outage(rc) ? rc : KMS_E_PRECONDITION,
                            "a KEK's fingerprint needs AES key wrap or CKM_AES_ECB, and this "
                            "module has neither: %.150s",
                            why.msg);
    }
    wrap->tell_value_len = wrap->objects.profile != NULL
                               ? wrap->objects.tell_value_len
                               : wrap->cipher.tell_value_len ||
                                     pkcs11_wrap_chosen(wrap)->tell_value_len;
    explain(search);
    return KMS_OK;
}

static enum kms_algorithm target_of(enum kms_profile profile)
{
    switch (profile) {
    case KMS_PROFILE_AUTO:
    case KMS_PROFILE_AES_KW:
        break;
    case KMS_PROFILE_AES_KWP:
        return KMS_ALGORITHM_AES_KWP;
    case KMS_PROFILE_AES_GCM:
        return KMS_ALGORITHM_AES_GCM;
    }
    return KMS_ALGORITHM_AES_KW;
}

enum kms_code pkcs11_wrap_select(const struct pkcs11_probe *probe, struct pkcs11_wrap *ret_wrap,
                                 struct pkcs11_trials *ret_trials, struct kms_error *err)
{
    struct search search = { .probe = probe, .wrap.fn = probe->fn };
    search.vendor = pkcs11_vendor_of(probe->token);
    search.target = target_of(probe->profile);
    enum kms_code rc = try_needed(&search, ret_trials != NULL, err);
    if (rc == KMS_OK)
        rc = conclude(&search, err);
    if (ret_trials != NULL)
        *ret_trials = search.trials;
    if (rc != KMS_OK)
        return rc;
    guess_others(&search);
    log_choice(&search.wrap);
    *ret_wrap = search.wrap;
    return KMS_OK;
}
