/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of what this node remembers of its KEKs and does with them, and of the running plugin. */
#include <inttypes.h>
#include <string.h>

#include "doctor.h"
#include "doctor_kek.h"
#include "kms/clock.h"

static const int64_t day_s = INT64_C(86400);
enum { MAX_AGE_DAYS = 90 };

/* As pinned, on any token that was listed. */
static bool is_somewhere(const struct kms_doctor *doctor, uint32_t generation)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_snapshot *snapshot = doctor->tokens[i].snapshot;
        for (size_t k = 0; snapshot != NULL && k < snapshot->count; k++) {
            const struct kms_ring_entry *entry = &snapshot->entries[k];
            if (entry->generation == generation && entry->state != KMS_KEK_MISSING &&
                entry->kek.fingerprinted && kms_doctor_is_pinned(doctor, entry))
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

/* Another key in the place of a pinned one; then the pinned one is missing, too. */
static void look_at_substitutes(const struct kms_doctor *doctor,
                                const struct kms_doctor_token *token,
                                const struct kms_ring_entry *entry,
                                struct kms_doctor_finding *finding)
{
    bool pinned = entry->generation != 0 && kms_doctor_pin_of(doctor, entry->generation) != NULL;
    if (pinned && entry->kek.fingerprinted && !kms_doctor_is_pinned(doctor, entry))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "restore the pinned key; do not delete objects (docs/operations.md, The KEK "
                       "was substituted)",
                       "generation %" PRIu32 " on %s has another fingerprint than its pin: it "
                       "isn't the key that wrapped what is stored",
                       entry->generation, token->name);
}

static void look_at_missing(const struct kms_doctor *doctor, const struct kms_doctor_token *token,
                            struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < token->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &token->snapshot->entries[i];
        if (entry->state == KMS_KEK_MISSING && entry->generation != 0 &&
            kms_doctor_pin_of(doctor, entry->generation) != NULL)
            say_missing(doctor, token, entry, finding);
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
    kms_doctor_each_kek(doctor, finding, look_at_substitutes);
    for (size_t i = 0; i < doctor->token_count; i++) {
        if (doctor->tokens[i].snapshot != NULL)
            look_at_missing(doctor, &doctor->tokens[i], finding);
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
    kms_doctor_each_kek(doctor, finding, look_at_waiting);
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
        kms_doctor_say(
            finding, KMS_DOCTOR_WARN, "run chrony or systemd-timesyncd",
            "it is %s here, and the kernel doesn't say that anything keeps that right: by the "
            "clock a node knows when to use a new KEK",
            now);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s, and kept right", now);
}

static void check_key_age(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_ring_entry *promoted = promoted_of(doctor);
    int64_t option_ms = doctor->options.max_age_ms, policy_ms = doctor->config.policy.max_age_ms;
    int64_t most_ms = option_ms > 0 ? option_ms : policy_ms;
    int64_t most_s = most_ms > 0 ? most_ms / 1000 : MAX_AGE_DAYS * day_s;
    if (promoted == NULL) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the checks 'activation' and 'pins'",
                       "there is no promoted KEK whose age could be told");
        return;
    }
    int64_t age_s = doctor->now_utc_s - promoted->activation_utc_s;
    if (age_s < 0) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the check 'clock'",
                       "by the clock here the promoted generation %" PRIu32 " isn't active yet",
                       promoted->generation);
        return;
    }
    bool old = age_s > most_s;
    enum kms_doctor_status bad = most_ms > 0 ? KMS_DOCTOR_FAIL : KMS_DOCTOR_WARN;
    kms_doctor_say(finding, old ? bad : KMS_DOCTOR_OK,
                   old ? "hsm-kms key rotate; until then the plugin serves on" : "",
                   "generation %" PRIu32 " has been active for %" PRId64 " days; %" PRId64
                   " are allowed%s",
                   promoted->generation, age_s / day_s, most_s / day_s,
                   option_ms > 0   ? " by --max-age"
                   : policy_ms > 0 ? " by policy.max_age"
                                   : ", for want of a policy.max_age");
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
                       "of %zu KEK(s) no backup is recorded, generation %" PRIu32
                       " among them: if the HSM is lost without one, so is all that is encrypted",
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
                       "the plugin doesn't answer: %s", doctor->node_fault.msg);
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
    else if (node->tells_configuration &&
             memcmp(node->settings, doctor->config.settings.sha256, sizeof(node->settings)) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "restart it: pins and adopt alone are reloaded",
                       "the running plugin uses another configuration than the file");
    else if (node->tells_configuration &&
             memcmp(node->vouched, doctor->config.vouched.sha256, sizeof(node->vouched)) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "systemctl reload hsm-kms, or send it SIGHUP, and see its log",
                       "the running plugin uses other pins and adoptions than the file");
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "healthy, version %s, key_id %s", node->version,
                       node->key_id);
}

enum { RING = KMS_DOCTOR_CONFIG | KMS_DOCTOR_LISTING };
const struct kms_doctor_check kms_doctor_ring_checks[] = {
    { "pins", "ring.json can be read, and every pinned KEK is there and unchanged", RING,
      check_pins },
    { "activation", "a generation is promoted and usable, and none waits longer than it should",
      RING, check_activation },
    { "clock", "the clock is kept right, and not behind the promoted generation", RING,
      check_clock },
    { "key-age", "age of the promoted KEK against `--max-age`, else `policy.max_age`, else 90 days",
      RING, check_key_age },
    { "backup", "a backup is recorded for every KEK that serves", RING, check_backup },
    { "instance",
      "the running plugin answers, is healthy, and has this ring, version and configuration",
      KMS_DOCTOR_CONFIG, check_instance },
    { NULL, NULL, 0, NULL },
};
