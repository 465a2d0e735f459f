/* SPDX-License-Identifier: Apache-2.0 */
#include "key_plan.h"

#include <string.h>

#include "keyid.h"
#include "kms/clock.h"

enum {
    MS_PER_S = 1000,
    ACCEPT_S = 24 * 3600, /* for an operator who goes from node to node */
};

static int64_t seconds_up(int64_t ms)
{
    return (ms + MS_PER_S - 1) / MS_PER_S;
}

int64_t kms_key_lead_s(int64_t refresh_ms, int64_t clock_skew_ms)
{
    return seconds_up(2 * refresh_ms + clock_skew_ms);
}

static bool is_listed(const struct kms_key_plan_input *input, uint32_t generation)
{
    for (size_t i = 0; i < input->snapshot->count; i++)
        if (input->snapshot->entries[i].generation == generation)
            return true;
    return false;
}

/* A key made elsewhere doesn't count before somebody vouches for it: its label may have any number,
 * the last one too. */
static uint32_t highest_generation(const struct kms_key_plan_input *input)
{
    uint32_t highest = kms_state_highest(input->state);
    for (size_t i = 0; i < input->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &input->snapshot->entries[i];
        bool foreign = entry->state == KMS_KEK_REFUSED && !entry->may_unwrap &&
                       (entry->kek.known & entry->kek.attributes & KMS_KEK_LOCAL) == 0;
        if (!foreign && entry->generation > highest)
            highest = entry->generation;
    }
    return highest;
}

/* The first number above @highest that no key has, whoever made it; 0: there is none. */
static uint32_t next_generation(const struct kms_key_plan_input *input, uint32_t highest)
{
    uint32_t next = highest + 1;
    while (is_listed(input, next))
        next++;
    return next <= KMS_GENERATION_MAX ? next : 0;
}

bool kms_key_is_usable(const struct kms_ring_entry *entry)
{
    return entry->state == KMS_KEK_ACTIVE || entry->state == KMS_KEK_PREACTIVE ||
           entry->state == KMS_KEK_PENDING || entry->state == KMS_KEK_DECRYPT_ONLY;
}

/* Without a memory of promotions, a key counts as promoted once every node had the time to: before
 * this command began, or of several at the same time the last would make one more generation. */
static bool is_pending(const struct kms_key_plan_input *input, const struct kms_ring_entry *entry)
{
    if (!kms_key_is_usable(entry))
        return false;
    if (input->state_known)
        return entry->generation > input->state->promoted;
    int64_t begun_utc_s = input->begun_utc_s != 0 ? input->begun_utc_s : input->now_utc_s;
    return begun_utc_s <
           entry->activation_utc_s + kms_key_lead_s(input->refresh_ms, input->clock_skew_ms);
}

static const struct kms_ring_entry *find_pending(const struct kms_key_plan_input *input)
{
    const struct kms_ring_entry *pending = NULL;
    for (size_t i = 0; i < input->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &input->snapshot->entries[i];
        if (is_pending(input, entry) &&
            (pending == NULL || entry->generation > pending->generation))
            pending = entry;
    }
    return pending;
}

static bool read_activation(const struct kms_key_plan_input *input, int64_t fallback_utc_s,
                            int64_t *ret_utc_s)
{
    int64_t ms = 0;
    if (input->activate == NULL)
        *ret_utc_s = fallback_utc_s;
    else if (strcmp(input->activate, "now") == 0)
        *ret_utc_s = input->now_utc_s;
    else if (input->activate[0] != '+')
        return kms_rfc3339_parse(input->activate, ret_utc_s);
    else if (kms_duration_parse(input->activate + 1, &ms))
        return !__builtin_add_overflow(input->now_utc_s, seconds_up(ms), ret_utc_s);
    else
        return false;
    return true;
}

/* The year 9999 is where stamps end. */
static bool fits_a_label(int64_t utc_s)
{
    const int64_t last_utc_s = INT64_C(253402300799);
    return utc_s > 0 && utc_s <= last_utc_s;
}

static uint32_t promoted_generation(const struct kms_key_plan_input *input)
{
    if (input->state_known)
        return input->state->promoted;
    uint32_t highest = 0;
    for (size_t i = 0; i < input->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &input->snapshot->entries[i];
        if (kms_key_is_usable(entry) && !is_pending(input, entry) && entry->generation > highest)
            highest = entry->generation;
    }
    return highest;
}

/* A promoted one counts even if it has gone meanwhile: it was there. */
static const struct kms_ring_entry *find_successor(const struct kms_key_plan_input *input,
                                                   uint32_t promoted)
{
    uint32_t wanted = input->from + 1;
    for (size_t i = 0; i < input->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &input->snapshot->entries[i];
        if (entry->generation == wanted && (kms_key_is_usable(entry) || promoted == wanted))
            return entry;
    }
    return NULL;
}

/* The compare of --from's compare-and-swap.  True: the plan is made, and nothing is created. */
static bool settle_from(const struct kms_key_plan_input *input, struct kms_key_plan *plan)
{
    if (input->from == 0)
        return false;
    if (plan->promoted != input->from && plan->promoted != input->from + 1) {
        plan->kind = KMS_KEY_MOVED_ON;
        return true;
    }
    plan->standing = find_successor(input, plan->promoted);
    if (plan->standing != NULL)
        plan->kind = KMS_KEY_IS_THERE;
    else if (plan->promoted != input->from)
        plan->kind = KMS_KEY_MOVED_ON;
    return plan->kind != KMS_KEY_CREATE;
}

static void describe_standing(struct kms_key_plan *plan)
{
    plan->generation = plan->standing->generation;
    plan->activation_utc_s = plan->standing->activation_utc_s;
    memcpy(plan->label, plan->standing->kek.label, sizeof(plan->label));
}

enum kms_code kms_key_plan(const struct kms_key_plan_input *input, struct kms_key_plan *ret_plan,
                           struct kms_error *err)
{
    uint32_t highest = highest_generation(input);
    int64_t earliest_utc_s = input->now_utc_s;
    if (highest > 0) /* nobody uses the first key before it is there */
        earliest_utc_s += kms_key_lead_s(input->refresh_ms, input->clock_skew_ms);
    int64_t activation_utc_s = 0;
    if (!read_activation(input, earliest_utc_s, &activation_utc_s) ||
        !fits_a_label(activation_utc_s))
        return kms_fail(err, KMS_E_INVALID,
                        "--activate is now, +DURATION (+1h) or a UTC time (2026-12-01T12:00:00Z)");

    struct kms_key_plan plan = { .kind = KMS_KEY_CREATE,
                                 .earliest_utc_s = earliest_utc_s,
                                 .is_first = highest == 0,
                                 .promoted = promoted_generation(input) };
    if (!settle_from(input, &plan)) {
        plan.standing = find_pending(input);
        plan.kind = plan.standing != NULL ? KMS_KEY_IS_PENDING : KMS_KEY_CREATE;
    }
    if (plan.standing != NULL)
        describe_standing(&plan);
    if (plan.kind != KMS_KEY_CREATE) {
        *ret_plan = plan;
        return KMS_OK;
    }
    plan.generation = next_generation(input, highest);
    if (plan.generation == 0)
        return kms_fail(err, KMS_E_INVALID, "generation %u is the last that there can be",
                        (unsigned)KMS_GENERATION_MAX);
    plan.activation_utc_s = activation_utc_s;
    if (!plan.is_first && activation_utc_s < earliest_utc_s && !input->force)
        plan.kind = KMS_KEY_TOO_EARLY;
    kms_label_format(input->ring, plan.generation, activation_utc_s, plan.label);
    *ret_plan = plan;
    return KMS_OK;
}

void kms_key_leave_time_to_accept(const struct kms_key_plan_input *input, struct kms_key_plan *plan)
{
    int64_t least_utc_s = input->now_utc_s + ACCEPT_S;
    if (plan->kind != KMS_KEY_CREATE || plan->is_first || input->activate != NULL ||
        plan->activation_utc_s >= least_utc_s)
        return;
    plan->activation_utc_s = least_utc_s;
    kms_label_format(input->ring, plan->generation, least_utc_s, plan->label);
}

bool kms_key_is_same(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    return kms_kek_order_by_id(a, b) == 0 || kms_kek_is_same(a, b);
}

const struct kms_kek_info *kms_key_rival(const char *ring, const struct kms_inventory *inventory,
                                         const struct kms_kek_info *own)
{
    uint32_t own_generation = 0, generation = 0;
    int64_t activation_utc_s = 0;
    if (!kms_label_parse(ring, own->label, &own_generation, &activation_utc_s))
        return NULL;
    const struct kms_kek_info *rival = NULL;
    for (size_t i = 0; i < inventory->count; i++) {
        const struct kms_kek_info *kek = &inventory->keks[i];
        if (!kms_label_parse(ring, kek->label, &generation, &activation_utc_s) ||
            generation != own_generation)
            continue;
        if (!kms_key_is_same(kek, own) && (rival == NULL || kms_kek_order_by_id(kek, rival) < 0))
            rival = kek;
    }
    return rival;
}

bool kms_key_is_contended(const char *ring, const struct kms_inventory *inventory)
{
    uint32_t highest = 0, generation = 0;
    int64_t activation_utc_s = 0;
    size_t holders = 0;
    for (size_t i = 0; i < inventory->count; i++) {
        if (!kms_label_parse(ring, inventory->keks[i].label, &generation, &activation_utc_s) ||
            generation < highest)
            continue;
        holders = generation == highest ? holders + 1 : 1;
        highest = generation;
    }
    return holders > 1;
}

bool kms_key_is_unfinished(const char *ring, const struct kms_inventory *inventory)
{
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    for (size_t i = 0; i < inventory->count; i++) {
        const struct kms_kek_info *kek = &inventory->keks[i];
        uint32_t attributes = kek->known & kek->attributes;
        if (!kms_label_parse(ring, kek->label, &generation, &activation_utc_s))
            continue;
        if ((attributes & KMS_KEK_WRAP) == 0) /* disabled: it has no fingerprint, and won't have */
            continue;
        if (!kek->fingerprinted || (attributes & KMS_KEK_LOCAL) == 0)
            return true;
    }
    return false;
}

bool kms_key_yields_to(const struct kms_kek_info *own, const struct kms_kek_info *rival)
{
    return kms_kek_order_by_id(own, rival) > 0;
}
