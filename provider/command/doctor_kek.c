/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the KEKs on the tokens. */
#include <inttypes.h>
#include <string.h>

#include "doctor.h"
#include "doctor_kek.h"
#include "keyid.h"
#include "kms/bytes.h"

enum { KEK_BYTES = 32 };

void kms_doctor_each_kek(const struct kms_doctor *doctor, struct kms_doctor_finding *finding,
                         void (*look)(const struct kms_doctor *doctor,
                                      const struct kms_doctor_token *token,
                                      const struct kms_ring_entry *entry,
                                      struct kms_doctor_finding *finding))
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_snapshot *snapshot = doctor->tokens[i].snapshot;
        for (size_t k = 0; snapshot != NULL && k < snapshot->count; k++) {
            if (snapshot->entries[k].state != KMS_KEK_MISSING)
                look(doctor, &doctor->tokens[i], &snapshot->entries[k], finding);
        }
    }
}

const struct kms_pin *kms_doctor_pin_of(const struct kms_doctor *doctor, uint32_t generation)
{
    const struct kms_pin *pin = kms_state_pin(&doctor->state, generation);
    return pin != NULL ? pin : kms_vouched_pin(&doctor->vouched, generation);
}

bool kms_doctor_is_pinned(const struct kms_doctor *doctor, const struct kms_ring_entry *entry)
{
    const struct kms_pin *pin = kms_doctor_pin_of(doctor, entry->generation);
    return pin != NULL && entry->kek.fingerprinted &&
           memcmp(pin->fingerprint, entry->kek.fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

static bool is(const struct kms_kek_info *kek, enum kms_kek_attribute bit, bool value)
{
    return (kek->known & (uint32_t)bit) != 0 && ((kek->attributes & (uint32_t)bit) != 0) == value;
}

/* NULL: as it should be. */
static const char *attribute_fault(const struct kms_kek_info *kek)
{
    if (is(kek, KMS_KEK_EXTRACTABLE, true))
        return "CKA_EXTRACTABLE is true: it could leave the token";
    if (is(kek, KMS_KEK_SENSITIVE, false))
        return "CKA_SENSITIVE is false: it can be read";
    if (kek->value_len != 0 && kek->value_len != KEK_BYTES)
        return "it isn't AES-256";
    if (is(kek, KMS_KEK_WRAP, false) != is(kek, KMS_KEK_UNWRAP, false))
        return "it may only wrap or only unwrap";
    return NULL;
}

static const char *attribute_doubt(const struct kms_kek_info *kek)
{
    if (is(kek, KMS_KEK_NEVER_EXTRACTABLE, false) || is(kek, KMS_KEK_ALWAYS_SENSITIVE, false))
        return "it could leave the token once, or came from elsewhere";
    if (is(kek, KMS_KEK_PRIVATE, false))
        return "CKA_PRIVATE is false: it is visible without a login";
    return NULL;
}

static void look_at_attributes(const struct kms_doctor *doctor,
                               const struct kms_doctor_token *token,
                               const struct kms_ring_entry *entry,
                               struct kms_doctor_finding *finding)
{
    const char *fault = attribute_fault(&entry->kek), *doubt = attribute_doubt(&entry->kek);
    (void)doctor;
    if (fault != NULL)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "rotate to a KEK of hsm-kms key create, then end it", "'%.80s' on %s: %s",
                       entry->kek.label, token->name, fault);
    else if (doubt != NULL)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "fine for a key that was imported or escrowed on purpose; hsm-kms key "
                       "describe says more",
                       "'%.80s' on %s: %s", entry->kek.label, token->name, doubt);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "AES-256, sensitive, not extractable, as far as the token tells");
}

static void check_kek_attributes(const struct kms_doctor *doctor,
                                 struct kms_doctor_finding *finding)
{
    kms_doctor_each_kek(doctor, finding, look_at_attributes);
    if (finding->reason[0] == '\0')
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "hsm-kms key create",
                       "there is no KEK of this ring");
}

static size_t count_of(const struct kms_snapshot *snapshot, uint32_t generation)
{
    size_t count = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        count += entry->generation == generation && entry->state != KMS_KEK_MISSING ? 1 : 0;
    }
    return count;
}

static void look_at_duplicates(const struct kms_doctor *doctor,
                               const struct kms_doctor_token *token,
                               const struct kms_ring_entry *entry,
                               struct kms_doctor_finding *finding)
{
    size_t count = count_of(token->snapshot, entry->generation);
    (void)doctor;
    if (entry->generation != 0 && count > 1)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "destroy all but the right one (hsm-kms key list shows their fingerprints)",
                       "%zu keys of generation %" PRIu32
                       " are on %s: the plugin uses none of them, "
                       "unless one is pinned",
                       count, entry->generation, token->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "each generation is one key");
}

static void check_duplicates(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    kms_doctor_each_kek(doctor, finding, look_at_duplicates);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "there is no KEK of this ring");
}

/* A pin that can't be compared, since a disabled KEK shows no fingerprint, is taken at its word: the
 * KEK does nothing. */
static bool is_vouched(const struct kms_doctor *doctor, const struct kms_ring_entry *entry)
{
    return kms_doctor_is_pinned(doctor, entry) ||
           (!entry->kek.fingerprinted && kms_doctor_pin_of(doctor, entry->generation) != NULL);
}

/* @entry's key, or a copy of it on another token, was made where it is: as the plugin judges it. */
static bool is_made_here(const struct kms_doctor *doctor, const struct kms_ring_entry *entry)
{
    bool made = is(&entry->kek, KMS_KEK_LOCAL, true);
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_inventory *inventory = &doctor->tokens[i].inventory;
        for (size_t k = 0; k < inventory->count; k++)
            made = made || (kms_kek_is_same(&inventory->keks[k], &entry->kek) &&
                            is(&inventory->keks[k], KMS_KEK_LOCAL, true));
    }
    return made;
}

/* Another key of @entry's generation on another token than @token; NULL if there is none. */
static const struct kms_ring_entry *rival_of(const struct kms_doctor *doctor,
                                             const struct kms_doctor_token *token,
                                             const struct kms_ring_entry *entry,
                                             const struct kms_doctor_token **ret_other)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_doctor_token *other = &doctor->tokens[i];
        for (size_t k = 0; other != token && other->snapshot != NULL && k < other->snapshot->count;
             k++) {
            const struct kms_ring_entry *rival = &other->snapshot->entries[k];
            *ret_other = other;
            if (rival->generation == entry->generation && rival->state != KMS_KEK_MISSING &&
                rival->kek.fingerprinted && entry->kek.fingerprinted &&
                memcmp(rival->kek.fingerprint, entry->kek.fingerprint, KMS_FINGERPRINT_LEN) != 0)
                return rival;
        }
    }
    return NULL;
}

/* Of two keys with one number at most one can be the ring's: a pin says which. */
static void look_at_rivals(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                           const struct kms_ring_entry *entry, struct kms_doctor_finding *finding)
{
    enum { SHOWN = 8 };
    char own[2 * SHOWN + 1], others[2 * SHOWN + 1];
    const struct kms_doctor_token *other = NULL;
    const struct kms_ring_entry *rival = rival_of(doctor, token, entry, &other);
    if (entry->generation == 0 || rival == NULL || kms_doctor_is_pinned(doctor, entry))
        return;
    kms_hex_encode((struct kms_bytes){ entry->kek.fingerprint, SHOWN }, own);
    kms_hex_encode((struct kms_bytes){ rival->kek.fingerprint, SHOWN }, others);
    kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                   "pin the right one in the configuration (hsm-kms key list --wide has whole "
                   "fingerprints), and remove the other on its HSM once verify shows that nothing "
                   "needs it",
                   "generation %" PRIu32 " is the key %s on %s and %s on %s: what the one wraps, "
                   "the other can't unwrap",
                   entry->generation, own, token->name, others, other->name);
}

static void look_at_origin(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                           const struct kms_ring_entry *entry, struct kms_doctor_finding *finding)
{
    look_at_rivals(doctor, token, entry, finding);
    if (entry->generation == 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "relabel or remove it on the HSM",
                       "'%.80s' on %s has a label that isn't a generation's", entry->kek.label,
                       token->name);
    else if (kms_state_is_buried(&doctor->state, entry->generation))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "find out who put it there; the number was destroyed and stays refused",
                       "generation %" PRIu32 " is on %s again", entry->generation, token->name);
    else if (!is_made_here(doctor, entry) && !is_vouched(doctor, entry))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "hsm-kms key accept if it is yours, else remove it and change the PIN",
                       "generation %" PRIu32 " on %s wasn't made there nor on another token, and "
                       "nobody vouches for it: who has a copy can read what it wraps",
                       entry->generation, token->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "every generation was made on a token of the ring, or is vouched for");
}

static void check_foreign(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    kms_doctor_each_kek(doctor, finding, look_at_origin);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "there is no KEK of this ring");
}

static void look_at_disabled(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                             const struct kms_ring_entry *entry, struct kms_doctor_finding *finding)
{
    (void)doctor;
    if (entry->state == KMS_KEK_DISABLED)
        kms_doctor_say(
            finding, KMS_DOCTOR_WARN,
            "hsm-kms verify --can-destroy proves what still needs it; enable it again if "
            "reads fail",
            "generation %" PRIu32 " on %s is disabled; quiet days prove nothing, since "
            "kube-apiserver serves the seeds that it has until it is restarted",
            entry->generation, token->name);
}

static void check_disabled(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    kms_doctor_each_kek(doctor, finding, look_at_disabled);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "no KEK is disabled");
}

/* The ring whose KEK has this label; "" if it is no ring's. */
static void ring_of(const char *label, char ret_ring[static KMS_RING_MAX + 1])
{
    const char *end = strstr(label, ".v");
    size_t len = end != NULL ? (size_t)(end - label) : 0;
    uint32_t generation;
    int64_t activation_utc_s;
    ret_ring[0] = '\0';
    if (len == 0 || len > KMS_RING_MAX)
        return;
    memcpy(ret_ring, label, len);
    ret_ring[len] = '\0';
    if (!kms_ring_name_is_valid(ret_ring) ||
        !kms_label_parse(ret_ring, label, &generation, &activation_utc_s))
        ret_ring[0] = '\0';
}

static void check_other_rings(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    char ring[KMS_RING_MAX + 1];
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_inventory *inventory = &doctor->tokens[i].inventory;
        for (size_t k = 0; k < inventory->other_count; k++) {
            ring_of(inventory->others[k].label, ring);
            if (ring[0] != '\0' && strcmp(ring, doctor->config.ring) != 0)
                kms_doctor_say(finding, KMS_DOCTOR_WARN,
                               "give each cluster a partition or a user of its own",
                               "%s shows this PIN a KEK of ring '%s': this host can unwrap that "
                               "cluster's seeds",
                               doctor->tokens[i].name, ring);
        }
    }
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "this PIN sees no other ring's KEK");
}

enum { RING = KMS_DOCTOR_CONFIG | KMS_DOCTOR_LISTING };
const struct kms_doctor_check kms_doctor_kek_checks[] = {
    { "kek-attributes", "size, and what the token says of sensitive, extractable, wrap, unwrap",
      RING, check_kek_attributes },
    { "duplicate-generations", "no generation is on a token twice", RING, check_duplicates },
    { "foreign-generations",
      "over all tokens: no KEK of unknown origin, with a buried number or an odd label, and no two "
      "keys of one generation",
      RING, check_foreign },
    { "disabled-keys", "no KEK is disabled; where one is, what a quiet time doesn't prove", RING,
      check_disabled },
    { "other-rings", "which other rings' KEKs the PIN shows", RING, check_other_rings },
    { NULL, NULL, 0, NULL },
};
