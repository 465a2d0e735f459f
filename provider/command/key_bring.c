/* SPDX-License-Identifier: Apache-2.0 */
#include "key_bring.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "key_plan.h"
#include "key_settle.h"
#include "kms/clock.h"
#include "rotation_rule.h"
#include "transport_names.h"

enum { TOKEN_TIMEOUT_MS = 10 * 1000 };

static int64_t token_deadline_ms(void)
{
    return kms_monotonic_ms() + TOKEN_TIMEOUT_MS;
}

static bool is_guest(const struct kms_kek_info *kek, const struct kms_key_guest *guest)
{
    return kek->fingerprinted &&
           memcmp(kek->fingerprint, guest->fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

/* A node that trusts the key promotes it at its activation, and another that doesn't can't unwrap what
 * that one wraps. */
static void say_how_to_trust(const struct kms_key_scene *scene, const struct kms_key_guest *guest,
                             uint32_t generation, int64_t activation_utc_s,
                             struct kms_key_outcome *outcome)
{
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1], stamp[KMS_RFC3339_LEN + 1], when[96];
    kms_hex_encode((struct kms_bytes){ guest->fingerprint, KMS_FINGERPRINT_LEN }, fingerprint);
    kms_rfc3339_format(activation_utc_s, stamp);
    bool is_late = activation_utc_s <=
                   scene->now_utc_s + kms_key_lead_s(scene->refresh_ms, scene->clock_skew_ms);
    (void)snprintf(when, sizeof(when),
                   is_late ? "at once and together (its activation is %s)"
                           : "before %s, its activation",
                   stamp);
    kms_key_next(
        outcome,
        "on every node, %s: hsm-kms key accept --generation %" PRIu32
        " --fingerprint %s, or the same under pins: of its configuration; then hsm-kms key "
        "ready --generation %" PRIu32
        ". From its activation on a node that accepted it writes under it, and one that "
        "didn't can't read that",
        when, generation, fingerprint, generation);
}

/* @label NULL: only tried.  *ret_rejected: @outcome says why the key isn't the expected one. */
static enum kms_code bring(const struct kms_key_scene *scene, const struct kms_key_guest *guest,
                           const char *label, struct kms_kek_info *ret_kek, bool *ret_rejected,
                           struct kms_key_outcome *outcome, struct kms_error *err)
{
    char transport_label[KMS_TRANSPORT_LABEL_LEN + 1];
    kms_transport_label(scene->ring, transport_label);
    const struct kms_transport_import import = {
        .transport_label = transport_label,
        .blob = guest->blob,
        .fingerprint = guest->fingerprint,
        .label = label,
    };
    struct kms_error why = { 0 };
    enum kms_code rc = kms_keystore_import(scene->keystore, &import, token_deadline_ms(), ret_kek,
                                           &why);
    *ret_rejected = rc == KMS_E_INVALID;
    if (*ret_rejected)
        return kms_key_refuse(outcome, "%s", why.msg);
    if (rc != KMS_OK)
        *err = why;
    return rc;
}

/* --- import --- */

/* The highest generation that has the key; NULL if none. */
static const struct kms_ring_entry *find_guest(const struct kms_key_scene *scene,
                                               const struct kms_key_guest *guest)
{
    for (size_t i = scene->snapshot->count; i > 0; i--) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i - 1];
        if (entry->state != KMS_KEK_MISSING && is_guest(&entry->kek, guest))
            return entry;
    }
    return NULL;
}

static enum kms_code report_there(const struct kms_key_scene *scene,
                                  const struct kms_key_guest *guest,
                                  const struct kms_ring_entry *entry,
                                  struct kms_key_outcome *outcome)
{
    uint32_t promoted = kms_key_promoted(scene);
    if (entry->generation < promoted)
        return kms_key_refuse(outcome,
                              "the key is on the token as generation %" PRIu32
                              ", which was in use before generation %" PRIu32
                              ": hsm-kms key revert --to %" PRIu32 " makes it active again",
                              entry->generation, promoted, entry->generation);
    outcome->kek = entry->kek;
    if (kms_key_is_usable(entry))
        kms_key_next(outcome, "hsm-kms status");
    else
        say_how_to_trust(scene, guest, entry->generation, entry->activation_utc_s, outcome);
    return kms_key_report(outcome, "there", false,
                          "the key is on the token as generation %" PRIu32 "; nothing was imported",
                          entry->generation);
}

/* True: @outcome is refused. */
static bool refuse_by_plan(const struct kms_key_plan *plan, struct kms_key_outcome *outcome)
{
    if (plan->kind == KMS_KEY_CREATE)
        return false;
    char earliest[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(plan->earliest_utc_s, earliest);
    if (plan->kind == KMS_KEY_TOO_EARLY)
        (void)kms_key_refuse(outcome,
                             "the activation is before %s (now + 2 x refresh + clock_skew): a node "
                             "could use the key while another doesn't know it yet; --force does it "
                             "all the same",
                             earliest);
    else
        (void)kms_key_refuse(outcome,
                             "generation %" PRIu32 " is there and not yet promoted: wait for it, "
                             "or key cancel %" PRIu32,
                             plan->generation, plan->generation);
    return true;
}

/* *ret_refused: @outcome says why. */
static enum kms_code make_plan(const struct kms_key_scene *scene,
                               const struct kms_key_timing *timing, struct kms_key_plan *plan,
                               bool *ret_refused, struct kms_key_outcome *outcome,
                               struct kms_error *err)
{
    const struct kms_key_plan_input input = {
        .ring = scene->ring,
        .snapshot = scene->snapshot,
        .state = scene->state,
        .state_known = scene->state_known,
        .activate = timing->activate,
        .force = timing->force,
        .now_utc_s = scene->now_utc_s,
        .refresh_ms = scene->refresh_ms,
        .clock_skew_ms = scene->clock_skew_ms,
    };
    enum kms_code rc = kms_key_plan(&input, plan, err);
    if (rc != KMS_OK)
        return rc;
    kms_key_leave_time_to_accept(&input, plan);
    char why[KMS_KEY_TEXT_MAX] = "";
    *ret_refused = true;
    if (!kms_rotation_allows(&timing->rule, KMS_ROTATION_COMMIT, &input, plan, why, sizeof(why)))
        return kms_key_refuse(outcome, "%.900s", why);
    *ret_refused = refuse_by_plan(plan, outcome);
    return KMS_OK;
}

static enum kms_code settle(const struct kms_key_scene *scene, const struct kms_key_guest *guest,
                            struct kms_kek_info *kek, const struct kms_key_plan *plan,
                            struct kms_key_outcome *outcome, struct kms_error *err)
{
    uint32_t generation = plan->generation;
    int64_t activation_utc_s = 0;
    bool yielded = false;
    enum kms_code rc = kms_key_settle(scene->keystore, scene->ring, KMS_KEY_PATIENCE_MS, kek,
                                      &yielded, err);
    if (rc != KMS_OK)
        return rc;
    if (yielded && !is_guest(kek, guest))
        return kms_fail(err, KMS_E_BUSY,
                        "another command made generation %" PRIu32
                        " at the same time, with another key: the imported one is destroyed again; "
                        "cancel that one, or run it again once it is promoted",
                        generation);
    outcome->kek = *kek;
    /* the one that stands may be another command's, with another activation */
    if (!kms_label_parse(scene->ring, kek->label, &generation, &activation_utc_s))
        activation_utc_s = plan->activation_utc_s;
    say_how_to_trust(scene, guest, generation, activation_utc_s, outcome);
    return kms_key_report(outcome, yielded ? "yielded" : "imported", !yielded,
                          "imported generation %" PRIu32
                          "; its origin stays visible for ever (CKA_LOCAL is false), so no node "
                          "uses it before it is told to trust it",
                          generation);
}

enum kms_code kms_key_import(const struct kms_key_scene *scene, const struct kms_key_guest *guest,
                             const struct kms_key_timing *timing, bool dry_run,
                             struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct kms_ring_entry *there = find_guest(scene, guest);
    if (there != NULL)
        return report_there(scene, guest, there, outcome);
    struct kms_key_plan plan;
    struct kms_kek_info kek = { .label = "" };
    bool refused = false;
    enum kms_code rc = make_plan(scene, timing, &plan, &refused, outcome, err);
    if (rc != KMS_OK || refused)
        return rc;
    rc = bring(scene, guest, dry_run ? NULL : plan.label, &kek, &refused, outcome, err);
    if (rc != KMS_OK || refused)
        return rc;
    if (!dry_run)
        return settle(scene, guest, &kek, &plan, outcome, err);
    outcome->kek = kek;
    memcpy(outcome->kek.label, plan.label, sizeof(outcome->kek.label));
    return kms_key_report(outcome, "planned", false,
                          "would import generation %" PRIu32
                          ": the key unwraps, and has the expected fingerprint",
                          plan.generation);
}

/* --- escrow import --- */

/* The number is free for this key; else @outcome is refused. */
static bool check_number(const struct kms_key_scene *scene, const struct kms_key_guest *guest,
                         uint32_t generation, struct kms_key_outcome *outcome)
{
    const struct kms_pin *pin = kms_state_pin(scene->state, generation);
    if (kms_state_is_buried(scene->state, generation) ||
        (pin != NULL && memcmp(pin->fingerprint, guest->fingerprint, KMS_FINGERPRINT_LEN) != 0)) {
        (void)kms_key_refuse(outcome,
                             "generation %" PRIu32 " was another key's on this node, and its "
                             "number is never used again",
                             generation);
        return false;
    }
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (entry->generation != generation || entry->state == KMS_KEK_MISSING)
            continue;
        (void)kms_key_refuse(outcome, "generation %" PRIu32 " is on this token already, as '%.80s'",
                             generation, entry->kek.label);
        return false;
    }
    return true;
}

/* The escrowed key on this token, under a label of the ring or a pending one. */
static enum kms_code find_escrowed(const struct kms_key_scene *scene,
                                   const struct kms_key_guest *guest, bool *ret_found,
                                   struct kms_kek_info *ret_kek, struct kms_error *err)
{
    char prefix[KMS_RING_MAX + 2];
    (void)snprintf(prefix, sizeof(prefix), "%s.", scene->ring);
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_inventory(scene->keystore, prefix, token_deadline_ms(),
                                              &inventory, err);
    if (rc != KMS_OK)
        return rc;
    for (size_t i = 0; i < inventory.count; i++) {
        if (!is_guest(&inventory.keks[i], guest))
            continue;
        *ret_kek = inventory.keks[i];
        *ret_found = true;
        return KMS_OK;
    }
    return KMS_OK;
}

/* What an operator does with the key under @label. */
static void say_what_follows(const struct kms_key_scene *scene, const struct kms_key_guest *guest,
                             const char *label, struct kms_key_outcome *outcome)
{
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    if (kms_label_parse(scene->ring, label, &generation, &activation_utc_s))
        say_how_to_trust(scene, guest, generation, activation_utc_s, outcome);
    else
        kms_key_next(outcome,
                     "commit it on the first token; then, here, the same command with --label-like "
                     "and the label that it has there");
}

/* It is on the token as @kek. */
static enum kms_code name_escrowed(const struct kms_key_scene *scene,
                                   const struct kms_key_guest *guest,
                                   const struct kms_kek_info *kek, const char *label, bool dry_run,
                                   struct kms_key_outcome *outcome, struct kms_error *err)
{
    bool is_pending = kms_pending_label_id(scene->ring, kek->label) != NULL;
    bool wants_pending = kms_pending_label_id(scene->ring, label) != NULL;
    outcome->kek = *kek;
    if (strcmp(kek->label, label) == 0 || wants_pending) {
        say_what_follows(scene, guest, kek->label, outcome);
        return kms_key_report(outcome, "there", false,
                              "the key is on this token already; nothing was done");
    }
    if (!is_pending)
        return kms_key_refuse(outcome, "the key is on this token already, as '%.80s'", kek->label);
    say_what_follows(scene, guest, label, outcome);
    memcpy(outcome->kek.label, label, strlen(label) + 1);
    if (dry_run)
        return kms_key_report(outcome, "planned", false, "would give the key its label");
    const struct kms_object object = { kek->label, { kek->cka_id, kek->cka_id_len } };
    enum kms_code rc = kms_keystore_relabel(scene->keystore, &object, label, token_deadline_ms(),
                                            err);
    if (rc != KMS_OK)
        return rc;
    return kms_key_report(outcome, "labelled", true, "the key has its label");
}

enum kms_code kms_key_adopt_escrow(const struct kms_key_scene *scene,
                                   const struct kms_key_guest *guest, const char *label,
                                   bool dry_run, struct kms_key_outcome *outcome,
                                   struct kms_error *err)
{
    struct kms_kek_info kek = { .label = "" };
    bool found = false, refused = false;
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    enum kms_code rc = find_escrowed(scene, guest, &found, &kek, err);
    if (rc != KMS_OK)
        return rc;
    if ((!found || strcmp(kek.label, label) != 0) &&
        kms_label_parse(scene->ring, label, &generation, &activation_utc_s) &&
        !check_number(scene, guest, generation, outcome))
        return KMS_OK;
    if (found)
        return name_escrowed(scene, guest, &kek, label, dry_run, outcome, err);
    rc = bring(scene, guest, dry_run ? NULL : label, &kek, &refused, outcome, err);
    if (rc != KMS_OK || refused)
        return rc;
    outcome->kek = kek;
    memcpy(outcome->kek.label, label, strlen(label) + 1);
    say_what_follows(scene, guest, label, outcome);
    if (dry_run)
        return kms_key_report(outcome, "planned", false,
                              "would put the key on this token: it unwraps, and has the expected "
                              "fingerprint");
    return kms_key_report(outcome, "imported", true,
                          "the escrowed key is on this token, with the same fingerprint");
}
