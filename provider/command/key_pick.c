/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "key_act.h"

static bool is_on_token(const struct kms_ring_entry *entry, uint32_t generation)
{
    return entry->generation == generation && entry->state != KMS_KEK_MISSING;
}

static bool starts_with(struct kms_bytes bytes, const char *digits)
{
    char text[2 * KMS_CKA_ID_MAX + 1];
    kms_hex_encode(bytes, text);
    return digits == NULL || strncasecmp(text, digits, strlen(digits)) == 0;
}

/* Without a fingerprint there is nothing that @target could contradict. */
static bool is_meant(const struct kms_ring_entry *entry, const struct kms_key_target *target)
{
    const struct kms_kek_info *kek = &entry->kek;
    const struct kms_bytes id = { kek->cka_id, kek->cka_id_len };
    const struct kms_bytes fingerprint = { kek->fingerprint, sizeof(kek->fingerprint) };
    return is_on_token(entry, target->generation) && starts_with(id, target->cka_id) &&
           (!kek->fingerprinted || starts_with(fingerprint, target->fingerprint));
}

static void refuse_several(const struct kms_key_scene *scene, const struct kms_key_target *target,
                           struct kms_key_outcome *outcome)
{
    (void)kms_key_refuse(
        outcome, "several keys have generation %" PRIu32 "; choose by --fingerprint or --cka-id:",
        target->generation);
    size_t len = strlen(outcome->text);
    for (size_t i = 0; i < scene->snapshot->count && len < sizeof(outcome->text); i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (!is_meant(entry, target))
            continue;
        const struct kms_kek_info *kek = &entry->kek;
        char id[2 * KMS_CKA_ID_MAX + 1], digits[2 * KMS_FINGERPRINT_LEN + 1] = "unknown";
        kms_hex_encode((struct kms_bytes){ kek->cka_id, kek->cka_id_len }, id);
        if (kek->fingerprinted)
            kms_hex_encode((struct kms_bytes){ kek->fingerprint, KMS_FINGERPRINT_LEN }, digits);
        len += (size_t)snprintf(outcome->text + len, sizeof(outcome->text) - len,
                                " '%.60s' cka_id %.32s fingerprint %.16s;", kek->label, id, digits);
    }
}

/* Two tokens that show no fingerprint of a disabled key can't tell that it is one. */
static bool is_twin(const struct kms_ring_entry *entry, const struct kms_ring_entry *other)
{
    const struct kms_kek_info *a = &entry->kek, *b = &other->kek;
    return entry != other && a->holders != 0 && b->holders != 0 && (a->holders & b->holders) == 0 &&
           strcmp(a->label, b->label) == 0 && !(a->fingerprinted && b->fingerprinted);
}

/* All that @target names are one key on several tokens. */
static bool are_twins(const struct kms_key_scene *scene, const struct kms_key_target *target,
                      const struct kms_ring_entry *entry)
{
    uint32_t holders = entry->kek.holders;
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *other = &scene->snapshot->entries[i];
        if (other == entry || !is_meant(other, target))
            continue;
        if (!is_twin(entry, other) || (holders & other->kek.holders) != 0)
            return false;
        holders |= other->kek.holders;
    }
    return true;
}

size_t kms_key_twins(const struct kms_key_scene *scene, const struct kms_key_target *target,
                     const struct kms_ring_entry *entry,
                     const struct kms_ring_entry *ret_twins[KMS_TOKENS_MAX])
{
    size_t count = 0;
    ret_twins[count++] = entry;
    for (size_t i = 0; i < scene->snapshot->count && count < KMS_TOKENS_MAX; i++) {
        const struct kms_ring_entry *other = &scene->snapshot->entries[i];
        if (is_meant(other, target) && is_twin(entry, other))
            ret_twins[count++] = other;
    }
    return count;
}

const struct kms_ring_entry *kms_key_pick(const struct kms_key_scene *scene,
                                          const struct kms_key_target *target,
                                          struct kms_key_outcome *outcome)
{
    const struct kms_ring_entry *known = NULL, *any = NULL;
    size_t known_count = 0, count = 0;
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (!is_meant(entry, target))
            continue;
        any = entry;
        count++;
        if (!entry->kek.fingerprinted)
            continue;
        known = entry;
        known_count++;
    }
    if (target->fingerprint != NULL && known_count == 1)
        return known;
    if (count <= 1)
        return any;
    if (are_twins(scene, target, known != NULL ? known : any))
        return known != NULL ? known : any;
    refuse_several(scene, target, outcome);
    return NULL;
}
