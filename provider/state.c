/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kms_state_done(struct kms_state *state)
{
    free(state->pins);
    free(state->tombstones);
    free(state->waivers);
    *state = (struct kms_state){ 0 };
}

/* A copy of @count elements; an empty array is NULL. */
static enum kms_code copy_array(const void *from, size_t count, size_t size, void **ret_to,
                                struct kms_error *err)
{
    *ret_to = NULL;
    if (count == 0)
        return KMS_OK;
    *ret_to = calloc(count, size);
    if (*ret_to == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    memcpy(*ret_to, from, count * size);
    return KMS_OK;
}

enum kms_code kms_state_copy(const struct kms_state *from, struct kms_state *ret_to,
                             struct kms_error *err)
{
    KMS_CLEANUP(kms_state_done)
    struct kms_state copy = { .promoted = from->promoted, .drain_count = from->drain_count };
    memcpy(copy.drains, from->drains, sizeof copy.drains);
    enum kms_code rc = copy_array(from->pins, from->pin_count, sizeof *from->pins,
                                  (void **)&copy.pins, err);
    if (rc == KMS_OK)
        rc = copy_array(from->tombstones, from->tombstone_count, sizeof *from->tombstones,
                        (void **)&copy.tombstones, err);
    if (rc == KMS_OK)
        rc = copy_array(from->waivers, from->waiver_count, sizeof *from->waivers,
                        (void **)&copy.waivers, err);
    if (rc != KMS_OK)
        return rc;
    copy.pin_count = from->pin_count;
    copy.tombstone_count = from->tombstone_count;
    copy.waiver_count = from->waiver_count;
    *ret_to = copy;
    copy = (struct kms_state){ 0 };
    return KMS_OK;
}

const struct kms_pin *kms_state_pin(const struct kms_state *state, uint32_t generation)
{
    for (size_t i = 0; i < state->pin_count; i++) {
        if (state->pins[i].generation == generation)
            return &state->pins[i];
    }
    return NULL;
}

enum kms_code kms_state_add_pin(struct kms_state *state, uint32_t generation,
                                const uint8_t *fingerprint, struct kms_error *err)
{
    struct kms_pin *pins = reallocarray(state->pins, state->pin_count + 1, sizeof *pins);
    if (pins == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    state->pins = pins;

    size_t at = state->pin_count;
    while (at > 0 && pins[at - 1].generation > generation)
        at--;
    memmove(&pins[at + 1], &pins[at], (state->pin_count - at) * sizeof *pins);
    pins[at] = (struct kms_pin){ .generation = generation };
    memcpy(pins[at].fingerprint, fingerprint, KMS_FINGERPRINT_LEN);
    state->pin_count++;
    return KMS_OK;
}

enum kms_code kms_state_repin(struct kms_state *state, uint32_t generation,
                              const uint8_t *fingerprint, struct kms_error *err)
{
    for (size_t i = 0; i < state->pin_count; i++) {
        struct kms_pin *pin = &state->pins[i];
        if (pin->generation != generation)
            continue;
        *pin = (struct kms_pin){ .generation = generation }; /* no token confirmed this key yet */
        memcpy(pin->fingerprint, fingerprint, KMS_FINGERPRINT_LEN);
        return KMS_OK;
    }
    return kms_state_add_pin(state, generation, fingerprint, err);
}

/* The place of the token of this name among those that confirmed @pin, their count if it isn't there. */
static size_t find_confirmation(const struct kms_pin *pin, const char *name)
{
    size_t at = 0;
    while (at < pin->token_count && strcmp(pin->tokens[at].name, name) != 0)
        at++;
    return at;
}

const struct kms_confirmation *kms_pin_confirmation(const struct kms_pin *pin, const char *name)
{
    size_t at = find_confirmation(pin, name);
    return at < pin->token_count ? &pin->tokens[at] : NULL;
}

bool kms_state_confirm(struct kms_pin *pin, const char *name, const char *serial)
{
    struct kms_confirmation token = { 0 };
    snprintf(token.name, sizeof token.name, "%s", name);
    snprintf(token.serial, sizeof token.serial, "%s", serial);
    size_t at = find_confirmation(pin, token.name);
    if (at < pin->token_count && strcmp(pin->tokens[at].serial, token.serial) == 0)
        return false;
    if (at == KMS_TOKENS_MAX)
        at = 0;
    if (at < pin->token_count) {
        pin->token_count--;
        memmove(&pin->tokens[at], &pin->tokens[at + 1],
                (pin->token_count - at) * sizeof pin->tokens[0]);
    }
    pin->tokens[pin->token_count++] = token;
    return true;
}

bool kms_state_is_buried(const struct kms_state *state, uint32_t generation)
{
    for (size_t i = 0; i < state->tombstone_count; i++) {
        if (state->tombstones[i] == generation)
            return true;
    }
    return false;
}

static void remove_pin(struct kms_state *state, uint32_t generation)
{
    size_t kept = 0;
    for (size_t i = 0; i < state->pin_count; i++) {
        if (state->pins[i].generation != generation)
            state->pins[kept++] = state->pins[i];
    }
    state->pin_count = kept;
}

/* Keeps the waivers of generations from @first on, but not those of @except. */
static void keep_waivers(struct kms_state *state, uint32_t first, uint32_t except)
{
    size_t kept = 0;
    for (size_t i = 0; i < state->waiver_count; i++) {
        uint32_t generation = state->waivers[i].generation;
        if (generation >= first && generation != except)
            state->waivers[kept++] = state->waivers[i];
    }
    state->waiver_count = kept;
}

enum kms_code kms_state_bury(struct kms_state *state, uint32_t generation, struct kms_error *err)
{
    if (!kms_state_is_buried(state, generation)) {
        uint32_t *tombstones = reallocarray(state->tombstones, state->tombstone_count + 1,
                                            sizeof *tombstones);
        if (tombstones == NULL)
            return kms_fail(err, KMS_E_BUSY, "out of memory");
        state->tombstones = tombstones;
        size_t at = state->tombstone_count++;
        for (; at > 0 && tombstones[at - 1] > generation; at--)
            tombstones[at] = tombstones[at - 1];
        tombstones[at] = generation;
    }
    remove_pin(state, generation);
    keep_waivers(state, 0, generation);
    return KMS_OK;
}

uint32_t kms_state_highest(const struct kms_state *state)
{
    uint32_t highest = state->promoted;
    if (state->pin_count > 0 && state->pins[state->pin_count - 1].generation > highest)
        highest = state->pins[state->pin_count - 1].generation;
    if (state->tombstone_count > 0 && state->tombstones[state->tombstone_count - 1] > highest)
        highest = state->tombstones[state->tombstone_count - 1];
    return highest;
}

/* --- drained tokens --- */

static struct kms_drain *find_drain(struct kms_state *state, const char *token)
{
    for (size_t i = 0; i < state->drain_count; i++) {
        if (strcmp(state->drains[i].token, token) == 0)
            return &state->drains[i];
    }
    return NULL;
}

enum kms_code kms_state_drain(struct kms_state *state, const char *token, int64_t until_utc_s,
                              struct kms_error *err)
{
    struct kms_drain *drain = find_drain(state, token);
    if (drain == NULL && state->drain_count == KMS_TOKENS_MAX)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "%d other tokens are drained: resume one that isn't in use any more",
                        (int)KMS_TOKENS_MAX);
    if (drain == NULL)
        drain = &state->drains[state->drain_count++];
    *drain = (struct kms_drain){ .until_utc_s = until_utc_s };
    snprintf(drain->token, sizeof drain->token, "%s", token);
    return KMS_OK;
}

bool kms_state_resume(struct kms_state *state, const char *token)
{
    struct kms_drain *drain = find_drain(state, token);
    if (drain == NULL)
        return false;
    *drain = state->drains[--state->drain_count];
    return true;
}

int64_t kms_state_drained_until(const struct kms_state *state, const char *token)
{
    for (size_t i = 0; i < state->drain_count; i++) {
        if (strcmp(state->drains[i].token, token) == 0)
            return state->drains[i].until_utc_s;
    }
    return 0;
}

/* --- waivers --- */

int kms_waiver_order(const struct kms_waiver *a, const struct kms_waiver *b)
{
    if (a->generation != b->generation)
        return a->generation < b->generation ? -1 : 1;
    return strcmp(a->token, b->token);
}

bool kms_state_is_waived(const struct kms_state *state, uint32_t generation, const char *token)
{
    for (size_t i = 0; i < state->waiver_count; i++) {
        const struct kms_waiver *waiver = &state->waivers[i];
        if (waiver->generation == generation && strcmp(waiver->token, token) == 0)
            return true;
    }
    return false;
}

enum kms_code kms_state_waive(struct kms_state *state, uint32_t generation, const char *token,
                              struct kms_error *err)
{
    if (kms_state_is_waived(state, generation, token))
        return KMS_OK;
    struct kms_waiver *waivers = reallocarray(state->waivers, state->waiver_count + 1,
                                              sizeof *waivers);
    if (waivers == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    state->waivers = waivers;

    struct kms_waiver waiver = { .generation = generation };
    snprintf(waiver.token, sizeof waiver.token, "%s", token);
    size_t at = state->waiver_count++;
    for (; at > 0 && kms_waiver_order(&waivers[at - 1], &waiver) > 0; at--)
        waivers[at] = waivers[at - 1];
    waivers[at] = waiver;
    return KMS_OK;
}

void kms_state_tidy(struct kms_state *state, int64_t now_utc_s)
{
    keep_waivers(state, state->promoted + 1, 0);
    size_t kept = 0;
    for (size_t i = 0; i < state->drain_count; i++) {
        if (state->drains[i].until_utc_s > now_utc_s)
            state->drains[kept++] = state->drains[i];
    }
    state->drain_count = kept;
}
