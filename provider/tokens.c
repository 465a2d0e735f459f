/* SPDX-License-Identifier: Apache-2.0 */
#include "tokens.h"

#include <stdio.h>
#include <string.h>

static bool has_bit(uint32_t mask, size_t i)
{
    return (mask & UINT32_C(1) << i) != 0;
}

static uint32_t bit(size_t i)
{
    return UINT32_C(1) << i;
}

uint32_t kms_tokens_drained(const struct kms_token_rules *rules, const struct kms_state *state,
                            int64_t now_utc_s)
{
    uint32_t drained = 0;
    bool any_left = false;
    for (size_t i = 0; i < rules->count; i++) {
        if (kms_state_drained_until(state, rules->items[i].name) > now_utc_s)
            drained |= bit(i);
        else
            any_left = true;
    }
    return any_left ? drained : 0;
}

/* --- what a token is --- */

static bool is_required(const struct kms_token_rules *rules, const char *name)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (strcmp(rules->items[i].name, name) == 0)
            return rules->items[i].required;
    }
    return false;
}

/* Bit i: the i-th token has the promoted generation, as pinned. */
static uint32_t holders_of_promoted(const struct kms_evidence *evidence,
                                    const struct kms_snapshot *snapshot)
{
    const struct kms_pin *pin = kms_evidence_pin(evidence, evidence->promoted);
    uint32_t holders = 0;
    for (size_t i = 0; i < snapshot->count && pin != NULL; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->generation == evidence->promoted && entry->kek.fingerprinted &&
            memcmp(entry->kek.fingerprint, pin->fingerprint, KMS_FINGERPRINT_LEN) == 0)
            holders |= entry->kek.holders;
    }
    return holders;
}

static void explain(const struct kms_evidence *evidence, const struct kms_token_listing *listing,
                    struct kms_ring_token *token)
{
    if (token->drained)
        snprintf(token->problem, sizeof token->problem, "drained by an operator");
    else if (!token->listed)
        snprintf(token->problem, sizeof token->problem, "away: %.180s", listing->problem);
    else
        snprintf(token->problem, sizeof token->problem,
                 "not in use: it hasn't generation %u, which is promoted",
                 (unsigned)evidence->promoted);
}

void kms_tokens_judge(const struct kms_evidence *evidence, struct kms_snapshot *snapshot)
{
    const struct kms_inventory *inventory = evidence->inventory;
    uint32_t holders = holders_of_promoted(evidence, snapshot);
    snapshot->token_count = inventory->token_count;
    for (size_t i = 0; i < inventory->token_count; i++) {
        const struct kms_token_listing *listing = &inventory->tokens[i];
        struct kms_ring_token *token = &snapshot->tokens[i];
        memcpy(token->name, listing->name, sizeof token->name);
        memcpy(token->serial, listing->serial, sizeof token->serial);
        token->required = is_required(evidence->tokens, listing->name);
        token->listed = listing->listed;
        token->drained = listing->drained;
        if (token->drained)
            token->drained_until_utc_s = kms_state_drained_until(evidence->state, listing->name);
        token->in_use = token->listed && (evidence->promoted == 0 || has_bit(holders, i));
        if (!token->in_use)
            explain(evidence, listing, token);
    }
}

/* --- what a generation waits for --- */

/* By the very token: one that took its name since has confirmed nothing. */
static bool is_confirmed(const struct kms_evidence *evidence, const struct kms_ring_entry *entry,
                         const struct kms_ring_token *token)
{
    const struct kms_pin *pin = kms_state_pin(evidence->state, entry->generation);
    if (pin == NULL || memcmp(pin->fingerprint, entry->kek.fingerprint, KMS_FINGERPRINT_LEN) != 0)
        return false;
    const struct kms_confirmation *confirmed = kms_pin_confirmation(pin, token->name);
    return confirmed != NULL && (!token->listed || strcmp(confirmed->serial, token->serial) == 0);
}

static bool must_have(const struct kms_evidence *evidence, const struct kms_ring_token *token,
                      const struct kms_ring_entry *entry)
{
    if (kms_state_is_waived(evidence->state, entry->generation, token->name))
        return false;
    if (evidence->promoted == 0)
        return token->required && token->listed;
    return token->in_use || (token->required && !is_confirmed(evidence, entry, token));
}

uint32_t kms_tokens_lacking(const struct kms_evidence *evidence,
                            const struct kms_snapshot *snapshot, const struct kms_ring_entry *entry)
{
    uint32_t lacking = 0;
    for (size_t i = 0; i < snapshot->token_count; i++) {
        if (!has_bit(entry->kek.holders, i) && must_have(evidence, &snapshot->tokens[i], entry))
            lacking |= bit(i);
    }
    return lacking;
}

static void append(char *text, size_t size, const char *more)
{
    size_t len = strlen(text);
    snprintf(text + len, size - len, "%s", more);
}

static void append_name(char *text, size_t size, const char *name)
{
    char quoted[KMS_TOKEN_NAME_MAX + 8];
    snprintf(quoted, sizeof quoted, "%s'%s'", text[0] != '\0' ? ", " : "", name);
    append(text, size, quoted);
}

void kms_tokens_explain(const struct kms_snapshot *snapshot, const struct kms_ring_entry *entry,
                        char *ret_text, size_t size)
{
    char names[KMS_TOKENS_MAX * (KMS_TOKEN_NAME_MAX + 4)] = "";
    const char *away = "";
    for (size_t i = 0; i < snapshot->token_count; i++) {
        const struct kms_ring_token *token = &snapshot->tokens[i];
        if (!has_bit(entry->lacking, i))
            continue;
        append_name(names, sizeof names, token->name);
        if (!token->listed)
            away = ", as soon as all of them can be reached; without one: hsm-kms key rotate "
                   "--without";
    }
    snprintf(ret_text, size, "waits for the key on token %s%s", names, away);
}

void kms_tokens_name_away(const struct kms_snapshot *snapshot, char *ret_text, size_t size)
{
    ret_text[0] = '\0';
    for (size_t i = 0; i < snapshot->token_count; i++) {
        if (!snapshot->tokens[i].listed)
            append_name(ret_text, size, snapshot->tokens[i].name);
    }
}

/* --- what is remembered --- */

bool kms_tokens_confirm(const struct kms_evidence *evidence, const struct kms_kek_info *kek,
                        const char *serial, struct kms_pin *pin)
{
    const struct kms_inventory *inventory = evidence->inventory;
    if (inventory->token_count == 0)
        return kms_state_confirm(pin, evidence->tokens->items[0].name, serial);
    bool news = false;
    for (size_t i = 0; i < inventory->token_count; i++) {
        const struct kms_token_listing *listing = &inventory->tokens[i];
        if (listing->listed && has_bit(kek->holders, i))
            news |= kms_state_confirm(pin, listing->name, listing->serial);
    }
    return news;
}
