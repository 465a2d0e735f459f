/* SPDX-License-Identifier: Apache-2.0 */
#include "token_cover.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "snapshot.h"

enum { MS_PER_S = 1000 };

const Hsmkms__Node__V1__Token *kms_token_find(const Hsmkms__Node__V1__DescribeResponse *description,
                                              const char *name)
{
    for (size_t i = 0; i < description->n_tokens; i++)
        if (strcmp(description->tokens[i]->name, name) == 0)
            return description->tokens[i];
    if (description->n_tokens == 1 && description->tokens[0]->name[0] == '\0')
        return description->tokens[0];
    return NULL;
}

static bool is_state(const Hsmkms__Node__V1__Kek *kek, enum kms_kek_state state)
{
    return strcmp(kek->state, kms_kek_state_name(state)) == 0;
}

bool kms_token_has(const Hsmkms__Node__V1__DescribeResponse *description,
                   const Hsmkms__Node__V1__Token *token, const Hsmkms__Node__V1__Kek *kek)
{
    if (description->n_tokens == 1)
        return !is_state(kek, KMS_KEK_MISSING);
    for (size_t i = 0; i < kek->n_holders; i++)
        if (strcmp(kek->holders[i], token->name) == 0)
            return true;
    return false;
}

/* Only tokens in use are tried by canaries. */
static bool can_step_in(const Hsmkms__Node__V1__DescribeResponse *description,
                        const struct kms_state *state, const Hsmkms__Node__V1__Token *token)
{
    return token->in_use && token->connected && !token->resting &&
           kms_state_drained_until(state, token->name) <= description->now / MS_PER_S;
}

/* Without a fingerprint a disabled key is one entry for each token. */
static bool is_same(const Hsmkms__Node__V1__Kek *a, const Hsmkms__Node__V1__Kek *b)
{
    return a == b || (a->generation == b->generation && strcmp(a->label, b->label) == 0 &&
                      a->fingerprint.len == 0 && b->fingerprint.len == 0);
}

static bool is_covered(const Hsmkms__Node__V1__DescribeResponse *description,
                       const struct kms_state *state, const Hsmkms__Node__V1__Token *token,
                       const Hsmkms__Node__V1__Kek *kek)
{
    for (size_t i = 0; i < description->n_tokens; i++) {
        const Hsmkms__Node__V1__Token *other = description->tokens[i];
        if (other == token || !can_step_in(description, state, other))
            continue;
        for (size_t k = 0; k < description->n_keks; k++)
            if (is_same(kek, description->keks[k]) &&
                kms_token_has(description, other, description->keks[k]))
                return true;
    }
    return false;
}

static bool any_can_step_in(const Hsmkms__Node__V1__DescribeResponse *description,
                            const struct kms_state *state, const Hsmkms__Node__V1__Token *token)
{
    for (size_t i = 0; i < description->n_tokens; i++)
        if (description->tokens[i] != token &&
            can_step_in(description, state, description->tokens[i]))
            return true;
    return false;
}

/* A refused key decrypts nothing, unless it is still trusted with old objects. */
static bool is_idle(const Hsmkms__Node__V1__Kek *kek)
{
    return is_state(kek, KMS_KEK_REFUSED) && !kek->may_unwrap;
}

/* What was listed long ago says nothing of now. */
static bool is_stale(const Hsmkms__Node__V1__DescribeResponse *description)
{
    int64_t pace_ms = description->canary > description->refresh ? description->canary
                                                                 : description->refresh;
    int64_t age_ms = description->now - description->listed * MS_PER_S;
    return description->listed == 0 || age_ms > 2 * pace_ms + MS_PER_S;
}

static bool say(char ret_why[static KMS_TOKEN_WHY_MAX], const char *text, const char *more)
{
    (void)snprintf(ret_why, KMS_TOKEN_WHY_MAX, "%s%.200s", text, more);
    return false;
}

static bool check_keks(const Hsmkms__Node__V1__DescribeResponse *description,
                       const struct kms_state *state, const Hsmkms__Node__V1__Token *token,
                       char ret_why[static KMS_TOKEN_WHY_MAX])
{
    for (size_t i = 0; i < description->n_keks; i++) {
        const Hsmkms__Node__V1__Kek *kek = description->keks[i];
        bool missing = is_state(kek, KMS_KEK_MISSING);
        if (!missing && (is_idle(kek) || !kms_token_has(description, token, kek) ||
                         is_covered(description, state, token, kek)))
            continue;
        (void)snprintf(ret_why, KMS_TOKEN_WHY_MAX, "generation %" PRIu32 " (%s) is on no %s",
                       kek->generation, kek->state,
                       missing ? "token that was reached, so that any other may be the only one "
                                 "that has it; see hsm-kms key list"
                               : "other token that is in use and passes its canary");
        return false;
    }
    return true;
}

bool kms_token_can_stop(const Hsmkms__Node__V1__DescribeResponse *description,
                        const struct kms_state *state, const char *name,
                        char ret_why[static KMS_TOKEN_WHY_MAX])
{
    const Hsmkms__Node__V1__Token *token = kms_token_find(description, name);
    if (token == NULL)
        return say(ret_why,
                   "the running plugin has no token of that name; was the configuration "
                   "changed since its start?",
                   "");
    if (description->n_tokens == 1)
        return say(ret_why, "the plugin has no other token", "");
    if (!description->health->ok)
        return say(ret_why, "the plugin isn't healthy: ", description->health->message);
    if (is_stale(description))
        return say(ret_why,
                   "the plugin hasn't listed its tokens for longer than 2 x canary; see "
                   "hsm-kms status",
                   "");
    if (!check_keks(description, state, token, ret_why))
        return false;
    if (!any_can_step_in(description, state, token))
        return say(ret_why, "no other token is in use and passes its canary", "");
    return true;
}
