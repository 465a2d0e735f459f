/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the KEKs on the tokens, of what this node remembers, and of the running plugin. */
#include <inttypes.h>
#include <string.h>

#include "doctor.h"
#include "keyid.h"
#include "kms/bytes.h"
#include "kms/clock.h"

static const int64_t day_s = INT64_C(86400);
enum { MAX_AGE_DAYS = 90, KEK_BYTES = 32 };

/* Calls @look for each KEK that is on a token. */
static void for_each_kek(const struct kms_doctor *doctor, struct kms_doctor_finding *finding,
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
    for_each_kek(doctor, finding, look_at_attributes);
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
                       "%zu keys of generation %" PRIu32 " are on %s", count, entry->generation,
                       token->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "each generation is one key");
}

static void check_duplicates(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for_each_kek(doctor, finding, look_at_duplicates);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "there is no KEK of this ring");
}

static const struct kms_pin *pin_of(const struct kms_doctor *doctor, uint32_t generation)
{
    const struct kms_pin *pin = kms_state_pin(&doctor->state, generation);
    return pin != NULL ? pin : kms_vouched_pin(&doctor->vouched, generation);
}

static bool is_pinned(const struct kms_doctor *doctor, const struct kms_ring_entry *entry)
{
    const struct kms_pin *pin = pin_of(doctor, entry->generation);
    return pin != NULL && entry->kek.fingerprinted &&
           memcmp(pin->fingerprint, entry->kek.fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

static void look_at_origin(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                           const struct kms_ring_entry *entry, struct kms_doctor_finding *finding)
{
    if (entry->generation == 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "relabel or remove it on the HSM",
                       "'%.80s' on %s has a label that isn't a generation's", entry->kek.label,
                       token->name);
    else if (kms_state_is_buried(&doctor->state, entry->generation))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "find out who put it there; the number was destroyed and stays refused",
                       "generation %" PRIu32 " is on %s again", entry->generation, token->name);
    else if (!is(&entry->kek, KMS_KEK_LOCAL, true) && !is_pinned(doctor, entry))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "hsm-kms key accept if it is yours, else remove it and change the PIN",
                       "generation %" PRIu32 " on %s wasn't made there, and nobody vouches for it",
                       entry->generation, token->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "every generation was made on the token, or is vouched for");
}

static void check_foreign(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for_each_kek(doctor, finding, look_at_origin);
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
    for_each_kek(doctor, finding, look_at_disabled);
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

/* As pinned, on any token that was listed. */
static bool is_somewhere(const struct kms_doctor *doctor, uint32_t generation)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_snapshot *snapshot = doctor->tokens[i].snapshot;
        for (size_t k = 0; snapshot != NULL && k < snapshot->count; k++) {
            const struct kms_ring_entry *entry = &snapshot->entries[k];
            if (entry->generation == generation && entry->state != KMS_KEK_MISSING &&
                entry->kek.fingerprinted && is_pinned(doctor, entry))
                return true;
        }
    }
    return false;
}

/* Of several tokens one may lack a KEK: it isn't in use until it has it. */
static void say_missing(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                        const struct kms_ring_entry *entry, struct kms_doctor_finding *finding)
{
    if (is_somewhere(doctor, entry->generation))
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "bring it there (sync), or drain that token; see hsm-kms token list",
                       "generation %" PRIu32 " is pinned and isn't on %s, but on another token",
                       entry->generation, token->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "restore it from the HSM's backup; do not delete objects",
                       "generation %" PRIu32 " is pinned and isn't on %s: %.300s",
                       entry->generation, token->name, entry->reason);
}

static void look_at_pins(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                         struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < token->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &token->snapshot->entries[i];
        bool pinned = entry->generation != 0 && pin_of(doctor, entry->generation) != NULL;
        if (pinned && entry->state == KMS_KEK_MISSING)
            say_missing(doctor, token, entry, finding);
        else if (pinned && entry->kek.fingerprinted && !is_pinned(doctor, entry))
            kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                           "restore the pinned key; do not delete objects (docs/operations.md, The "
                           "KEK was substituted)",
                           "generation %" PRIu32 " on %s has another fingerprint than its pin",
                           entry->generation, token->name);
    }
}

static void check_pins(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (doctor->state_fault.code != KMS_OK) {
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "see docs/operations.md, ring.json is damaged or lost",
                       "this node's memory can't be used: %s", doctor->state_fault.msg);
        return;
    }
    for (size_t i = 0; i < doctor->token_count; i++) {
        if (doctor->tokens[i].snapshot != NULL)
            look_at_pins(doctor, &doctor->tokens[i], finding);
    }
    if (doctor->state_is_new)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "start the plugin here, or pin fingerprints in the configuration before",
                       "this node has pinned nothing yet: it will trust what it sees first");
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "every one of %zu pinned generations is as pinned",
                   doctor->state.pin_count);
}

static void look_at_waiting(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                            const struct kms_ring_entry *entry, struct kms_doctor_finding *finding)
{
    int64_t late_s = doctor->now_utc_s - entry->activation_utc_s;
    int64_t allowed_s = (3 * doctor->config.refresh_ms + doctor->config.clock_skew_ms) / 1000;
    if (entry->generation > doctor->state.promoted && !doctor->state_is_new &&
        entry->state == KMS_KEK_PENDING && late_s > allowed_s)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see hsm-kms status and the plugin's log",
                       "generation %" PRIu32 " on %s was to be active %" PRId64
                       " s ago and isn't promoted here",
                       entry->generation, token->name, late_s);
}

static bool any_serves(const struct kms_doctor *doctor)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_snapshot *snapshot = doctor->tokens[i].snapshot;
        if (snapshot != NULL && snapshot->code == KMS_OK)
            return true;
    }
    return false;
}

static void check_activation(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for_each_kek(doctor, finding, look_at_waiting);
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_snapshot *snapshot = doctor->tokens[i].snapshot;
        if (snapshot == NULL || doctor->state.promoted == 0)
            continue;
        if (snapshot->code != KMS_OK && any_serves(doctor))
            kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the check 'pins'",
                           "%s can't serve generation %" PRIu32 ", which another token has",
                           doctor->tokens[i].name, doctor->state.promoted);
        else if (snapshot->code != KMS_OK)
            kms_doctor_say(finding, KMS_DOCTOR_FAIL, "see hsm-kms key list; do not delete objects",
                           "%s: %s", doctor->tokens[i].name, snapshot->problem);
    }
    if (doctor->state.promoted == 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "hsm-kms key create, and start the plugin",
                       "this node has promoted no generation yet");
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "generation %" PRIu32 " is promoted and usable",
                   doctor->state.promoted);
}

/* NULL: it is on no token that was listed. */
static const struct kms_ring_entry *promoted_of(const struct kms_doctor *doctor)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_snapshot *snapshot = doctor->tokens[i].snapshot;
        for (size_t k = 0; snapshot != NULL && k < snapshot->count; k++) {
            const struct kms_ring_entry *entry = &snapshot->entries[k];
            if (doctor->state.promoted != 0 && entry->generation == doctor->state.promoted &&
                entry->state != KMS_KEK_MISSING)
                return entry;
        }
    }
    return NULL;
}

static void check_clock(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_ring_entry *promoted = promoted_of(doctor);
    char now[KMS_RFC3339_LEN + 1], then[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(doctor->now_utc_s, now);
    if (promoted != NULL &&
        promoted->activation_utc_s > doctor->now_utc_s + doctor->config.clock_skew_ms / 1000) {
        kms_rfc3339_format(promoted->activation_utc_s, then);
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "set the clock (chrony, systemd-timesyncd)",
                       "it is %s here, but the promoted generation is active from %s on", now,
                       then);
    }
    if (!doctor->clock_is_synchronised)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "run chrony or systemd-timesyncd",
                       "it is %s here, and the kernel doesn't say that anything keeps that right",
                       now);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s, and kept right", now);
}

static void check_key_age(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_ring_entry *promoted = promoted_of(doctor);
    bool asked = doctor->options.max_age_ms > 0;
    int64_t most_s = asked ? doctor->options.max_age_ms / 1000 : MAX_AGE_DAYS * day_s;
    if (promoted == NULL) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the checks 'activation' and 'pins'",
                       "there is no promoted KEK whose age could be told");
        return;
    }
    int64_t age_s = doctor->now_utc_s - promoted->activation_utc_s;
    bool old = age_s > most_s;
    enum kms_doctor_status bad = asked ? KMS_DOCTOR_FAIL : KMS_DOCTOR_WARN;
    kms_doctor_say(finding, old ? bad : KMS_DOCTOR_OK, old ? "hsm-kms key rotate" : "",
                   "generation %" PRIu32 " has been active for %" PRId64 " days; %" PRId64
                   " are allowed%s",
                   promoted->generation, age_s / day_s, most_s / day_s,
                   asked ? "" : " (--max-age says another number)");
}

static void check_backup(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (doctor->backups_fault.code != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "mend or restore state_dir/backups.json", "%s",
                       doctor->backups_fault.msg);
    else if (doctor->without_backup > 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "see that the HSM's backup has it; keys of hsm-kms key prepare and commit "
                       "come with a record",
                       "of %zu KEK(s) no backup is recorded, generation %" PRIu32 " among them",
                       doctor->without_backup, doctor->first_without_backup);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "a backup is recorded for every KEK that serves");
}

static void check_instance(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_node *node = &doctor->node;
    if (!node->reached)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "systemctl status hsm-kms, or the Pod's log, says why it doesn't run",
                       "nobody answers on %s: %s", doctor->config.socket.path,
                       doctor->node_fault.msg);
    else if (strcmp(node->ring, doctor->config.ring) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "restart it with this configuration",
                       "the plugin that answers serves ring '%s', not '%s'", node->ring,
                       doctor->config.ring);
    else if (!node->healthy)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "hsm-kms status says what to do",
                       "the plugin isn't healthy: %s", node->health);
    else if (strcmp(node->version, KMS_VERSION) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "restart it after an upgrade",
                       "the plugin is version %s, this is %s", node->version, KMS_VERSION);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "healthy, version %s, key_id %s", node->version,
                       node->key_id);
}

enum { RING = KMS_DOCTOR_CONFIG | KMS_DOCTOR_LISTING };
const struct kms_doctor_check kms_doctor_ring_checks[] = {
    { "kek-attributes", "size, and what the token says of sensitive, extractable, wrap, unwrap",
      RING, check_kek_attributes },
    { "duplicate-generations", "no generation is on a token twice", RING, check_duplicates },
    { "foreign-generations", "no KEK of unknown origin, with a buried number or an odd label", RING,
      check_foreign },
    { "disabled-keys", "no KEK is disabled; where one is, what a quiet time doesn't prove", RING,
      check_disabled },
    { "other-rings", "which other rings' KEKs the PIN shows", RING, check_other_rings },
    { "pins", "ring.json can be read, and every pinned KEK is there and unchanged", RING,
      check_pins },
    { "activation", "a generation is promoted and usable, and none waits longer than it should",
      RING, check_activation },
    { "clock", "the clock is kept right, and not behind the promoted generation", RING,
      check_clock },
    { "key-age", "age of the promoted KEK against `--max-age` (90 days)", RING, check_key_age },
    { "backup", "a backup is recorded for every KEK that serves", RING, check_backup },
    { "instance", "the running plugin answers, is healthy, and has this ring and version",
      KMS_DOCTOR_CONFIG, check_instance },
    { NULL, NULL, 0, NULL },
};
