/* SPDX-License-Identifier: Apache-2.0 */
#include "token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rv.h"

enum {
    SLOTS_MAX = 4096,  /* more is a module gone mad */
    LIST_ATTEMPTS = 4, /* slots may come between the two calls */
};

struct slot_list {
    CK_SLOT_ID *ids; /* owned */
    CK_ULONG count;
};

static void slot_list_done(struct slot_list *slots)
{
    free(slots->ids);
    *slots = (struct slot_list){ 0 };
}

static CK_RV fetch_slots(CK_FUNCTION_LIST *fn, struct slot_list *slots)
{
    CK_ULONG count = 0;
    CK_RV rv = fn->C_GetSlotList(CK_TRUE, NULL, &count);
    if (rv != CKR_OK)
        return rv;
    if (count > SLOTS_MAX)
        return CKR_GENERAL_ERROR;
    slot_list_done(slots);
    slots->ids = calloc(count + 1, sizeof(*slots->ids));
    if (slots->ids == NULL)
        return CKR_HOST_MEMORY;
    slots->count = count;
    return count == 0 ? CKR_OK : fn->C_GetSlotList(CK_TRUE, slots->ids, &slots->count);
}

static enum kms_code list_slots(CK_FUNCTION_LIST *fn, struct slot_list *ret_slots,
                                struct kms_error *err)
{
    CK_RV rv = CKR_BUFFER_TOO_SMALL;
    for (int i = 0; i < LIST_ATTEMPTS && rv == CKR_BUFFER_TOO_SMALL; i++)
        rv = fetch_slots(fn, ret_slots);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_GetSlotList", rv, "listing the module's tokens");
    return KMS_OK;
}

static void copy_trimmed(const unsigned char *text, size_t text_len, char *ret_text)
{
    size_t len = text_len;
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\0'))
        len--;
    memcpy(ret_text, text, len);
    ret_text[len] = '\0';
    if (kms_text_is_clean((struct kms_bytes){ text, len }))
        return;
    for (size_t i = 0; i < len; i++) {
        if (ret_text[i] < ' ' || ret_text[i] > '~')
            ret_text[i] = '?';
    }
}

/* The texts for "which tokens are there". */
struct candidates {
    char text[256];
    size_t used;
    unsigned matches;
};

static void note_candidate(struct candidates *candidates, const CK_TOKEN_INFO *info)
{
    char label[sizeof(info->label) + 1];
    char serial[sizeof(info->serialNumber) + 1];
    copy_trimmed(info->label, sizeof(info->label), label);
    copy_trimmed(info->serialNumber, sizeof(info->serialNumber), serial);
    size_t room = sizeof(candidates->text) - candidates->used;
    int len = snprintf(candidates->text + candidates->used, room, "%s'%s' (serial %s)",
                       candidates->used == 0 ? "" : ", ", label, serial);
    if (len > 0 && (size_t)len < room)
        candidates->used += (size_t)len;
    else
        candidates->text[candidates->used] = '\0'; /* no half entries */
}

static enum kms_code verdict(const struct candidates *candidates, struct kms_error *err)
{
    if (candidates->matches == 1)
        return KMS_OK;
    if (candidates->matches > 1)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the uri matches %u tokens, add serial= to it; tokens there: %s",
                        candidates->matches, candidates->text);
    if (candidates->used == 0)
        return kms_fail(err, KMS_E_UNAVAILABLE,
                        "the module shows no token at all: the HSM is away, or the token is not "
                        "made yet; do not delete objects");
    return kms_fail(err, KMS_E_UNAVAILABLE,
                    "no token matches the uri; do not delete objects; tokens there: %s",
                    candidates->text);
}

/* A slot whose token went away meanwhile is no candidate. */
static void judge_slot(CK_FUNCTION_LIST *fn, const struct pkcs11_uri *uri, CK_SLOT_ID slot,
                       struct candidates *candidates, struct pkcs11_token *found)
{
    CK_TOKEN_INFO info;
    if (fn->C_GetTokenInfo(slot, &info) != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0)
        return;
    note_candidate(candidates, &info);
    if (!pkcs11_uri_matches(uri, &found->library, &info))
        return;
    candidates->matches++;
    found->slot = slot;
    found->info = info;
}

enum kms_code pkcs11_token_find(CK_FUNCTION_LIST *fn, const struct pkcs11_uri *uri,
                                struct pkcs11_token *ret_token, struct kms_error *err)
{
    struct pkcs11_token found = { 0 };
    CK_RV rv = fn->C_GetInfo(&found.library);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_GetInfo", rv, "asking the module for its name");
    KMS_CLEANUP(slot_list_done) struct slot_list slots = { 0 };
    enum kms_code rc = list_slots(fn, &slots, err);
    if (rc != KMS_OK)
        return rc;

    struct candidates candidates = { 0 };
    for (CK_ULONG i = 0; i < slots.count; i++)
        judge_slot(fn, uri, slots.ids[i], &candidates, &found);
    rc = verdict(&candidates, err);
    if (rc == KMS_OK)
        *ret_token = found;
    return rc;
}

/* The fields have fixed lengths, so that no two tokens give the same bytes. */
static void identify(const CK_TOKEN_INFO *info, uint8_t ret_identity[static KMS_SHA256_LEN])
{
    uint8_t fields[sizeof(info->label) + sizeof(info->manufacturerID) + sizeof(info->model) +
                   sizeof(info->serialNumber)];
    uint8_t *at = fields;
    memcpy(at, info->label, sizeof(info->label));
    at += sizeof(info->label);
    memcpy(at, info->manufacturerID, sizeof(info->manufacturerID));
    at += sizeof(info->manufacturerID);
    memcpy(at, info->model, sizeof(info->model));
    at += sizeof(info->model);
    memcpy(at, info->serialNumber, sizeof(info->serialNumber));
    kms_sha256((struct kms_bytes){ fields, sizeof(fields) }, ret_identity);
}

enum kms_code pkcs11_token_attempts(CK_FUNCTION_LIST *fn, CK_SLOT_ID slot,
                                    struct pkcs11_attempts *ret_attempts, struct kms_error *err)
{
    CK_TOKEN_INFO info;
    CK_RV rv = fn->C_GetTokenInfo(slot, &info);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_GetTokenInfo", rv, "asking how many PIN attempts are left");
    copy_trimmed(info.label, sizeof(info.label), ret_attempts->label);
    copy_trimmed(info.serialNumber, sizeof(info.serialNumber), ret_attempts->serial);
    identify(&info, ret_attempts->identity);
    ret_attempts->flags = (struct pkcs11_pin_flags){
        .count_low = (info.flags & CKF_USER_PIN_COUNT_LOW) != 0,
        .final_try = (info.flags & CKF_USER_PIN_FINAL_TRY) != 0,
        .locked = (info.flags & CKF_USER_PIN_LOCKED) != 0,
    };
    return KMS_OK;
}

enum kms_code pkcs11_token_check_attempts(const struct pkcs11_attempts *attempts,
                                          struct kms_error *err)
{
    if (attempts->flags.locked)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the user PIN of token '%s' is locked: the HSM's security officer must "
                        "unlock it",
                        attempts->label);
    if (attempts->flags.final_try)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "one PIN attempt is left on token '%s' and is not spent by the plugin: "
                        "spend it by hand, hsm-kms pin check --last-attempt, with the right PIN",
                        attempts->label);
    return KMS_OK;
}

enum kms_code pkcs11_token_login(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, CK_USER_TYPE user,
                                 const struct pkcs11_attempts *attempts,
                                 const struct kms_secret *pin, bool *ret_proved,
                                 struct kms_error *err)
{
    CK_RV rv = fn->C_Login(session, user, pin->data, pin->len);
    if (rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN)
        return pkcs11_fail(err, "C_Login", rv, "token '%s'", attempts->label);
    *ret_proved = rv == CKR_OK;
    return KMS_OK;
}

enum kms_code pkcs11_token_check_login(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                       const struct pkcs11_token *token, struct kms_error *err)
{
    if ((token->info.flags & CKF_LOGIN_REQUIRED) == 0)
        return KMS_OK;
    CK_SESSION_INFO info;
    CK_RV rv = fn->C_GetSessionInfo(session, &info);
    if (rv == CKR_OK && info.state != CKS_RW_USER_FUNCTIONS && info.state != CKS_RO_USER_FUNCTIONS)
        rv = CKR_USER_NOT_LOGGED_IN;
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_GetSessionInfo", rv, "the login was lost");
    return KMS_OK;
}

void pkcs11_token_describe(const struct pkcs11_token *token, struct kms_token_info *ret_info)
{
    const CK_TOKEN_INFO *info = &token->info;
    char library[sizeof(token->library.libraryDescription) + 1];
    copy_trimmed(info->label, sizeof(info->label), ret_info->label);
    copy_trimmed(info->serialNumber, sizeof(info->serialNumber), ret_info->serial);
    copy_trimmed(info->model, sizeof(info->model), ret_info->model);
    copy_trimmed(info->manufacturerID, sizeof(info->manufacturerID), ret_info->manufacturer);
    copy_trimmed(token->library.libraryDescription, sizeof(token->library.libraryDescription),
                 library);
    (void)snprintf(ret_info->firmware, sizeof(ret_info->firmware), "%u.%u",
                   info->firmwareVersion.major, info->firmwareVersion.minor);
    (void)snprintf(ret_info->library, sizeof(ret_info->library), "%s %u.%u", library,
                   token->library.libraryVersion.major, token->library.libraryVersion.minor);
}
