/* SPDX-License-Identifier: Apache-2.0 */
#include "survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "rv.h"
#include "vendor.h"
#include "wrap.h"

enum { LIST_MAX = 4096 }; /* more is a module gone mad */

static const struct {
    const char *name;
    CK_MECHANISM_TYPE number;
} mechanisms[] = {
    { "AES_KEY_WRAP", CKM_AES_KEY_WRAP },
    { "AES_KEY_WRAP_PAD", CKM_AES_KEY_WRAP_PAD },
    { "AES_KEY_WRAP_KWP", CKM_AES_KEY_WRAP_KWP },
    { "AES_GCM", CKM_AES_GCM },
    { "AES_ECB", CKM_AES_ECB },
    { "AES_KEY_GEN", CKM_AES_KEY_GEN },
    { "RSA_PKCS_KEY_PAIR_GEN", CKM_RSA_PKCS_KEY_PAIR_GEN },
    { "RSA_PKCS_OAEP", CKM_RSA_PKCS_OAEP },
};
enum { MECHANISM_COUNT = sizeof(mechanisms) / sizeof(mechanisms[0]) };
enum { VENDORS_OWN = 3 };
_Static_assert(MECHANISM_COUNT + VENDORS_OWN <= PKCS11_SURVEY_MECHANISMS_MAX, "with the vendor's");
_Static_assert((int)PKCS11_TRIALS_MAX <= (int)PKCS11_SURVEY_PROFILES_MAX, "each has a row");
_Static_assert((int)PKCS11_ANSWER_MAX <= (int)PKCS11_SURVEY_ANSWER, "answers are copied whole");

struct listed {
    CK_MECHANISM_TYPE *numbers; /* owned */
    CK_ULONG count;
};

static void listed_done(struct listed *listed)
{
    free(listed->numbers);
    *listed = (struct listed){ 0 };
}

/* What can't be had isn't listed: C_GetMechanismInfo has its own word. */
static void fetch_list(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, struct listed *ret_listed)
{
    CK_ULONG count = 0;
    if (fn->C_GetMechanismList(slot, NULL, &count) != CKR_OK || count == 0 || count > LIST_MAX)
        return;
    ret_listed->numbers = calloc(count, sizeof(*ret_listed->numbers));
    if (ret_listed->numbers != NULL &&
        fn->C_GetMechanismList(slot, ret_listed->numbers, &count) == CKR_OK)
        ret_listed->count = count;
}

static bool is_listed(const struct listed *listed, CK_MECHANISM_TYPE number)
{
    for (CK_ULONG i = 0; i < listed->count; i++) {
        if (listed->numbers[i] == number)
            return true;
    }
    return false;
}

static void ask(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot, const struct listed *listed,
                const char *name, CK_MECHANISM_TYPE number, struct pkcs11_survey *survey)
{
    CK_MECHANISM_INFO info = { 0 };
    CK_RV rv = fn->C_GetMechanismInfo(slot, number, &info);
    struct pkcs11_survey_mechanism *row = &survey->mechanisms[survey->mechanism_count++];
    *row = (struct pkcs11_survey_mechanism){ .name = name, .number = number };
    row->listed = is_listed(listed, number);
    row->told = rv == CKR_OK;
    row->refusal = row->told ? "" : pkcs11_rv_name(rv);
    if (!row->told)
        return;
    row->wraps = (info.flags & CKF_WRAP) != 0;
    row->unwraps = (info.flags & CKF_UNWRAP) != 0;
    row->encrypts = (info.flags & CKF_ENCRYPT) != 0;
    row->decrypts = (info.flags & CKF_DECRYPT) != 0;
    row->generates = (info.flags & (CKF_GENERATE | CKF_GENERATE_KEY_PAIR)) != 0;
    row->hardware = (info.flags & CKF_HW) != 0;
    row->min_size = info.ulMinKeySize;
    row->max_size = info.ulMaxKeySize;
}

static void ask_all(CK_FUNCTION_LIST *fn, const struct pkcs11_token *token,
                    struct pkcs11_survey *survey)
{
    KMS_CLEANUP(listed_done) struct listed listed = { 0 };
    fetch_list(fn, token->slot, &listed);
    for (size_t i = 0; i < MECHANISM_COUNT; i++)
        ask(fn, token->slot, &listed, mechanisms[i].name, mechanisms[i].number, survey);
    const struct pkcs11_vendor *vendor = pkcs11_vendor_of(token);
    survey->vendor = vendor != NULL ? vendor->name : "";
    if (vendor == NULL)
        return;
    ask(fn, token->slot, &listed, "the vendor's AES key wrap", vendor->key_wrap, survey);
    ask(fn, token->slot, &listed, "the vendor's AES key wrap, padded", vendor->padded, survey);
    if (vendor->gcm != 0)
        ask(fn, token->slot, &listed, "the vendor's AES-GCM", vendor->gcm, survey);
}

static void describe_token(const struct pkcs11_token *token, struct pkcs11_survey *survey)
{
    const CK_TOKEN_INFO *info = &token->info;
    pkcs11_token_describe(token, &survey->token);
    survey->token.connected = true;
    survey->login_required = (info->flags & CKF_LOGIN_REQUIRED) != 0;
    survey->pin_initialized = (info->flags & CKF_USER_PIN_INITIALIZED) != 0;
    survey->write_protected = (info->flags & CKF_WRITE_PROTECTED) != 0;
    survey->pin.count_low = (info->flags & CKF_USER_PIN_COUNT_LOW) != 0;
    survey->pin.final_try = (info->flags & CKF_USER_PIN_FINAL_TRY) != 0;
    survey->pin.locked = (info->flags & CKF_USER_PIN_LOCKED) != 0;
    survey->pin_min = info->ulMinPinLen;
    survey->pin_max = info->ulMaxPinLen;
    survey->sessions_max = info->ulMaxSessionCount;
    survey->sessions_open = info->ulSessionCount;
}

static const char *test_key_of(enum pkcs11_wrap_proof proof)
{
    switch (proof) {
    case PKCS11_PROOF_NONE:
        break;
    case PKCS11_PROOF_ROUND_TRIP:
    case PKCS11_PROOF_COMPUTED:
        return "generated";
    case PKCS11_PROOF_KNOWN_ANSWER:
        return "imported";
    }
    return "none";
}

static const char *proof_text(enum pkcs11_wrap_proof proof)
{
    switch (proof) {
    case PKCS11_PROOF_NONE:
        break;
    case PKCS11_PROOF_ROUND_TRIP:
        return "goes round";
    case PKCS11_PROOF_COMPUTED:
        return "right, by AES blocks";
    case PKCS11_PROOF_KNOWN_ANSWER:
        return "right, by OpenSSL";
    }
    return "";
}

static void take_trials(const struct pkcs11_trials *trials, struct pkcs11_survey *survey)
{
    for (size_t i = 0; i < trials->count; i++) {
        const struct pkcs11_trial *trial = &trials->list[i];
        struct pkcs11_survey_profile *row = &survey->profiles[survey->profile_count++];
        *row = (struct pkcs11_survey_profile){
            .name = pkcs11_profile_name(trial->profile),
            .number = trial->mechanism,
            .works = trial->works,
            .proof = proof_text(trial->proof),
        };
        memcpy(row->answer, trial->answer, sizeof(trial->answer));
    }
}

static void mark_chosen(const struct pkcs11_way *way, struct pkcs11_survey *survey)
{
    const char *name = pkcs11_profile_name(way->profile);
    for (size_t i = 0; i < survey->profile_count; i++) {
        struct pkcs11_survey_profile *row = &survey->profiles[i];
        row->chosen = row->number == way->mechanism && strcmp(row->name, name) == 0;
    }
}

static void take_choice(const struct pkcs11_wrap *wrap, struct pkcs11_survey *survey)
{
    const struct pkcs11_way *way = pkcs11_wrap_chosen(wrap);
    mark_chosen(way, survey);
    survey->usable = true;
    survey->cipher = pkcs11_wrap_is_cipher(wrap);
    survey->tell_value_len = wrap->tell_value_len;
    survey->number = way->mechanism;
    survey->test_key = test_key_of(way->proof);
    survey->compared = way->proof >= PKCS11_PROOF_COMPUTED;
    (void)snprintf(survey->token.profile, sizeof(survey->token.profile), "%s",
                   pkcs11_wrap_name(wrap));
    (void)snprintf(survey->reason, sizeof(survey->reason), "%s", wrap->reason);
}

struct look {
    struct pkcs11_survey *survey;
    enum kms_profile profile;
};

static enum kms_code look_at(void *arg, CK_FUNCTION_LIST *fn, const struct pkcs11_token *token,
                             struct pkcs11_session *session, struct kms_error *err)
{
    struct look *look = arg;
    struct pkcs11_survey *survey = look->survey;
    const struct pkcs11_probe probe = { fn, token, session, look->profile, false };
    struct pkcs11_trials trials = { .count = 0 };
    describe_token(token, survey);
    ask_all(fn, token, survey);
    struct pkcs11_wrap wrap;
    enum kms_code rc = pkcs11_wrap_select(&probe, &wrap, &trials, err);
    take_trials(&trials, survey);
    if (rc == KMS_OK)
        take_choice(&wrap, survey);
    if (rc != KMS_E_PRECONDITION)
        return rc;
    (void)snprintf(survey->reason, sizeof(survey->reason), "%s", err->msg);
    return KMS_OK;
}

enum kms_code pkcs11_survey(const struct pkcs11_keystore_options *options,
                            const struct pkcs11_seam *seam, int64_t deadline_ms,
                            struct pkcs11_survey *ret_survey, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_connection_close_ptr) struct pkcs11_connection *connection = NULL;
    struct pkcs11_survey survey = { .vendor = "", .test_key = "none" };
    struct look look = { &survey, options->profile };
    struct kms_error own; /* read even where the caller wants none */
    enum kms_code rc = pkcs11_connection_open(options, seam, &connection, &own);
    if (rc == KMS_OK)
        rc = pkcs11_connection_look(connection, deadline_ms, look_at, &look, &own);
    if (rc == KMS_OK)
        *ret_survey = survey;
    else if (err != NULL)
        *err = own;
    return rc;
}
