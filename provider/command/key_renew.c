/* SPDX-License-Identifier: Apache-2.0 */
#include "key_renew.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sys/random.h>

#include "key_plan.h"
#include "key_settle.h"
#include "kms/clock.h"
#include "rotation_rule.h"

enum { TOKEN_TIMEOUT_MS = 10 * 1000, KEK_BYTES = 32 };

static int64_t token_deadline_ms(void)
{
    return kms_monotonic_ms() + TOKEN_TIMEOUT_MS;
}

/* --- names of prepared keys --- */

bool kms_pending_id_is_valid(const char *id)
{
    return strlen(id) == KMS_BACKUP_ID_LEN && strspn(id, "0123456789abcdef") == KMS_BACKUP_ID_LEN;
}

void kms_pending_label_format(const char *ring, const char *id,
                              char ret_label[static KMS_PENDING_LABEL_LEN + 1])
{
    (void)snprintf(ret_label, KMS_PENDING_LABEL_LEN + 1, "%s.pending.%s", ring, id);
}

const char *kms_pending_label_id(const char *ring, const char *label)
{
    char prefix[KMS_PENDING_LABEL_LEN + 1];
    kms_pending_label_format(ring, "", prefix);
    size_t len = strlen(prefix);
    if (strncmp(label, prefix, len) != 0 || !kms_pending_id_is_valid(label + len))
        return NULL;
    return label + len;
}

/* --- the next generation --- */

static enum kms_code make_plan(const struct kms_key_scene *scene,
                               const struct kms_key_timing *timing,
                               struct kms_key_plan_input *input, struct kms_key_plan *plan,
                               struct kms_error *err)
{
    *input = (struct kms_key_plan_input){
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
    return kms_key_plan(input, plan, err);
}

/* True: @outcome is refused. */
static bool refuse_by_plan(const struct kms_key_plan *plan, struct kms_key_outcome *outcome)
{
    if (plan->kind == KMS_KEY_CREATE)
        return false;
    char wanted[KMS_RFC3339_LEN + 1], earliest[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(plan->activation_utc_s, wanted);
    kms_rfc3339_format(plan->earliest_utc_s, earliest);
    if (plan->kind == KMS_KEY_TOO_EARLY)
        (void)kms_key_refuse(outcome,
                             "activation %s is before %s (now + 2 x refresh + clock_skew): a node "
                             "could use the key while another doesn't know it yet; --force does it "
                             "all the same",
                             wanted, earliest);
    else
        (void)kms_key_refuse(outcome,
                             "generation %" PRIu32 " (activation %s) is there and not yet "
                             "promoted: wait for it, or key cancel %" PRIu32,
                             plan->generation, wanted, plan->generation);
    return true;
}

static void say_when(const struct kms_key_scene *scene, int64_t activation_utc_s,
                     struct kms_key_outcome *outcome)
{
    char activation[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(activation_utc_s, activation);
    if (activation_utc_s <= scene->now_utc_s)
        kms_key_next(outcome,
                     "its activation, %s, has come: a node that hasn't promoted it yet does so at "
                     "its next refresh, and uses it from its next Status on; see hsm-kms status",
                     activation);
    else
        kms_key_next(outcome,
                     "after %s kube-apiserver's next Status, once a minute, activates it on each "
                     "node; see hsm-kms status",
                     activation);
}

static bool same_material(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    return a->fingerprinted && b->fingerprinted &&
           memcmp(a->fingerprint, b->fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

/* --- revert --- */

/* The copy of a key that was made elsewhere says so, too: no node trusts it by itself. */
static bool waits_for_accept(const struct kms_kek_info *kek)
{
    return (kek->known & kek->attributes & KMS_KEK_LOCAL) == 0;
}

static void say_what_the_copy_waits_for(const struct kms_key_scene *scene, uint32_t generation,
                                        const struct kms_kek_info *copy, int64_t activation_utc_s,
                                        struct kms_key_outcome *outcome)
{
    char activation[KMS_RFC3339_LEN + 1];
    if (!waits_for_accept(copy)) {
        say_when(scene, activation_utc_s, outcome);
        return;
    }
    kms_rfc3339_format(activation_utc_s, activation);
    kms_key_next(
        outcome,
        "on every node, before its activation at %s: hsm-kms key accept --generation %" PRIu32
        ": the material was made elsewhere, and no node uses it before; one that accepted it "
        "writes what the others can't read",
        activation, generation);
}

/* A generation above @old with its material that is promoted or will be; NULL if none. */
static const struct kms_ring_entry *find_copy(const struct kms_key_scene *scene,
                                              const struct kms_ring_entry *old)
{
    uint32_t promoted = kms_key_promoted(scene);
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (entry->state != KMS_KEK_MISSING && entry->generation > old->generation &&
            entry->generation >= promoted &&
            (kms_key_is_usable(entry) || waits_for_accept(&entry->kek)) &&
            same_material(&entry->kek, &old->kek))
            return entry;
    }
    return NULL;
}

static enum kms_code report_copy(const struct kms_key_scene *scene, uint32_t old,
                                 const struct kms_ring_entry *copy, struct kms_key_outcome *outcome)
{
    bool promoted = copy->generation == kms_key_promoted(scene);
    outcome->kek = copy->kek;
    if (promoted)
        kms_key_next(outcome, "hsm-kms status");
    else if (kms_key_is_usable(copy) && waits_for_accept(&copy->kek))
        kms_key_next(outcome,
                     "this node trusts it already; on every other node that doesn't, hsm-kms key "
                     "accept --generation %" PRIu32 "; then hsm-kms status",
                     copy->generation);
    else
        say_what_the_copy_waits_for(scene, copy->generation, &copy->kek, copy->activation_utc_s,
                                    outcome);
    return kms_key_report(outcome, promoted ? "promoted" : "pending", false,
                          "generation %" PRIu32 " has the material of generation %" PRIu32
                          " and %s; nothing was copied",
                          copy->generation, old,
                          promoted ? "is promoted" : "waits for its promotion");
}

/* True: @outcome is refused. */
static bool refuse_as_source(const struct kms_key_scene *scene, const struct kms_key_target *target,
                             const struct kms_ring_entry *entry, struct kms_key_outcome *outcome)
{
    uint32_t generation = target->generation;
    if (outcome->refused)
        return true;
    if (generation == kms_key_promoted(scene))
        (void)kms_key_refuse(outcome, "generation %" PRIu32 " is the promoted one", generation);
    else if (entry == NULL)
        (void)kms_key_refuse(outcome, "no such key of generation %" PRIu32 " is on the token",
                             generation);
    else if (!kms_key_is_usable(entry))
        (void)kms_key_refuse(outcome, "generation %" PRIu32 " is %s: %.200s", generation,
                             kms_kek_state_name(entry->state), entry->reason);
    else if (generation > kms_key_promoted(scene))
        (void)kms_key_refuse(outcome, "generation %" PRIu32 " waits for its own promotion",
                             generation);
    return outcome->refused;
}

static enum kms_code copy_key(const struct kms_key_scene *scene, const struct kms_ring_entry *old,
                              const struct kms_key_plan *plan, struct kms_key_outcome *outcome,
                              struct kms_error *err)
{
    const struct kms_object from = { old->kek.label, { old->kek.cka_id, old->kek.cka_id_len } };
    struct kms_kek_info copy = { .label = "" };
    enum kms_code rc = kms_keystore_copy(scene->keystore, &from, plan->label, token_deadline_ms(),
                                         &copy, err);
    if (rc != KMS_OK)
        return rc;
    bool yielded = false;
    rc = kms_key_settle(scene->keystore, scene->ring, KMS_KEY_PATIENCE_MS, &copy, &yielded, err);
    if (rc != KMS_OK)
        return rc;
    if (yielded && !same_material(&copy, &old->kek))
        return kms_fail(err, KMS_E_BUSY,
                        "another command made generation %" PRIu32
                        " at the same time, with other material: the copy is destroyed; cancel "
                        "that one, or run it again once it is promoted",
                        plan->generation);
    outcome->kek = copy;
    return kms_key_report(outcome, yielded ? "yielded" : "copied", !yielded,
                          "generation %" PRIu32 " is a copy of generation %" PRIu32
                          ", with the same material and another key_id",
                          plan->generation, old->generation);
}

/* Of several tokens some may lack the copy, after a run that was interrupted. */
static enum kms_code finish_copy(const struct kms_key_scene *scene,
                                 const struct kms_ring_entry *old,
                                 const struct kms_ring_entry *copy, bool dry_run,
                                 struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct kms_object from = { old->kek.label, { old->kek.cka_id, old->kek.cka_id_len } };
    struct kms_kek_info made;
    bool lacks = (old->kek.holders & ~copy->kek.holders) != 0;
    enum kms_code rc = KMS_OK;
    if (lacks && !dry_run)
        rc = kms_keystore_copy(scene->keystore, &from, copy->kek.label, token_deadline_ms(), &made,
                               err);
    if (rc != KMS_OK)
        return rc;
    rc = report_copy(scene, old->generation, copy, outcome);
    outcome->changed = lacks && !dry_run;
    return rc;
}

enum kms_code kms_key_revert(const struct kms_key_scene *scene, const struct kms_key_target *target,
                             const struct kms_key_timing *timing, bool dry_run,
                             struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct kms_ring_entry *old = kms_key_pick(scene, target, outcome);
    if (refuse_as_source(scene, target, old, outcome))
        return KMS_OK;
    const struct kms_ring_entry *copy = find_copy(scene, old);
    if (copy != NULL)
        return finish_copy(scene, old, copy, dry_run, outcome, err);
    struct kms_key_plan_input input;
    struct kms_key_plan plan;
    enum kms_code rc = make_plan(scene, timing, &input, &plan, err);
    if (rc != KMS_OK || refuse_by_plan(&plan, outcome))
        return rc;
    if (waits_for_accept(&old->kek))
        kms_key_leave_time_to_accept(&input, &plan);
    say_what_the_copy_waits_for(scene, plan.generation, &old->kek, plan.activation_utc_s, outcome);
    if (!dry_run)
        return copy_key(scene, old, &plan, outcome, err);
    outcome->kek = old->kek;
    memcpy(outcome->kek.label, plan.label, sizeof(outcome->kek.label));
    return kms_key_report(outcome, "planned", false,
                          "would copy generation %" PRIu32 " to generation %" PRIu32,
                          old->generation, plan.generation);
}

/* --- prepare --- */

static enum kms_code list_pending(const struct kms_key_scene *scene, const char *id,
                                  struct kms_inventory *ret_inventory, struct kms_error *err)
{
    char prefix[KMS_PENDING_LABEL_LEN + 1];
    kms_pending_label_format(scene->ring, id, prefix);
    return kms_keystore_inventory(scene->keystore, prefix, token_deadline_ms(), ret_inventory, err);
}

static void say_how_to_commit(const char *id, struct kms_key_outcome *outcome)
{
    kms_key_next(
        outcome,
        "back the key up with the HSM's own means, then hsm-kms key commit %s --backup-ref "
        "TEXT",
        id);
}

/* True: there are prepared keys, which @outcome names. */
static bool report_prepared(const struct kms_key_scene *scene,
                            const struct kms_inventory *inventory, struct kms_key_outcome *outcome)
{
    const char *first = NULL;
    size_t count = 0;
    for (size_t i = 0; i < inventory->count; i++) {
        const char *id = kms_pending_label_id(scene->ring, inventory->keks[i].label);
        if (id == NULL)
            continue;
        count++;
        if (first != NULL)
            continue;
        first = id;
        outcome->kek = inventory->keks[i];
    }
    if (first == NULL)
        return false;
    say_how_to_commit(first, outcome);
    (void)kms_key_report(outcome, "pending", false,
                         "%s is prepared and not yet committed%s; nothing was generated, --another "
                         "does it all the same",
                         first, count > 1 ? ", and it isn't the only one" : "");
    return true;
}

enum kms_code kms_key_prepare(const struct kms_key_scene *scene, bool another, bool dry_run,
                              struct kms_key_outcome *outcome, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = list_pending(scene, "", &inventory, err);
    if (rc != KMS_OK || (!another && report_prepared(scene, &inventory, outcome)))
        return rc;
    uint8_t random[KMS_BACKUP_ID_LEN / 2];
    char id[KMS_BACKUP_ID_LEN + 1], label[KMS_PENDING_LABEL_LEN + 1];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return kms_fail(err, KMS_E_INTERNAL, "no random bytes from the kernel");
    if (dry_run)
        return kms_key_report(outcome, "planned", false, "would prepare a key outside the ring");
    kms_hex_encode((struct kms_bytes){ random, sizeof(random) }, id);
    kms_pending_label_format(scene->ring, id, label);
    rc = kms_keystore_generate(scene->keystore, label, token_deadline_ms(), &outcome->kek, err);
    if (rc != KMS_OK)
        return rc;
    say_how_to_commit(id, outcome);
    return kms_key_report(outcome, "prepared", true, "prepared %s", id);
}

/* --- commit --- */

/* Why the key may not become a KEK; NULL if it may. */
static const char *find_flaw(const struct kms_kek_info *kek)
{
    uint32_t is = kek->known & kek->attributes, is_not = kek->known & ~kek->attributes;
    if ((is & KMS_KEK_LOCAL) == 0)
        return "wasn't generated on the token (CKA_LOCAL)";
    if ((is_not & KMS_KEK_SENSITIVE) != 0)
        return "can be read (CKA_SENSITIVE is false)";
    if ((is & KMS_KEK_EXTRACTABLE) != 0)
        return "could leave the token (CKA_EXTRACTABLE is true)";
    if ((is_not & (KMS_KEK_WRAP | KMS_KEK_UNWRAP)) != 0)
        return "may not wrap and unwrap";
    if (kek->value_len != 0 && kek->value_len != KEK_BYTES)
        return "is no AES-256 key";
    return kek->fingerprinted ? NULL : "has no fingerprint";
}

static void say_what_became_of_it(const struct kms_key_scene *scene,
                                  const struct kms_ring_entry *entry,
                                  struct kms_key_outcome *outcome)
{
    uint32_t promoted = kms_key_promoted(scene);
    if (!kms_key_is_usable(entry))
        kms_key_next(outcome,
                     "generation %" PRIu32 " is %s on this node: %.300s; see hsm-kms key list",
                     entry->generation, kms_kek_state_name(entry->state), entry->reason);
    else if (entry->generation < promoted)
        kms_key_next(outcome,
                     "nothing; generation %" PRIu32 " is promoted, and this one decrypts what it "
                     "wrapped",
                     promoted);
    else if (entry->generation == promoted)
        kms_key_next(outcome, "nothing; it is promoted; see hsm-kms status");
    else
        say_when(scene, entry->activation_utc_s, outcome);
}

/* A rerun after the commit: the record leads from the id to the material, which is in the ring. */
static enum kms_code find_committed(const struct kms_key_scene *scene, const char *id,
                                    struct kms_key_outcome *outcome, struct kms_error *err)
{
    struct kms_backup backup;
    bool found = false;
    enum kms_code rc = kms_backups_find(scene->state_dir, id, NULL, &found, &backup, err);
    if (rc != KMS_OK)
        return rc;
    for (size_t i = 0; i < scene->snapshot->count && found; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (entry->state == KMS_KEK_MISSING || !entry->kek.fingerprinted ||
            memcmp(entry->kek.fingerprint, backup.fingerprint, KMS_FINGERPRINT_LEN) != 0)
            continue;
        outcome->kek = entry->kek;
        say_what_became_of_it(scene, entry, outcome);
        return kms_key_report(outcome, "committed", false,
                              "%s is committed already, as generation %" PRIu32, id,
                              entry->generation);
    }
    return kms_fail(err, KMS_E_INVALID, "no prepared key %s is on the token", id);
}

/* Two commands may have chosen one generation.  A `key create` gives way to a key that stays, so a
 * second commit is all that can be left; both then step back, and nothing is lost. */
static enum kms_code settle(const struct kms_key_scene *scene, const struct kms_kek_info *own,
                            const char *pending_label, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    struct kms_error why = { 0 };
    char prefix[KMS_RING_MAX + 3];
    (void)snprintf(prefix, sizeof(prefix), "%s.v", scene->ring);
    const struct kms_kek_filter filter = { .label_prefix = prefix };
    enum kms_code rc = kms_key_list_settled(scene->keystore, scene->ring, &filter,
                                            2 * (int64_t)KMS_KEY_PATIENCE_MS, &inventory, &why);
    if (rc != KMS_OK)
        return kms_fail(err, rc,
                        "'%.60s' is committed, but the token can't be listed to see whether it is "
                        "the only one: %.250s; run key list",
                        own->label, why.msg);
    if (kms_key_rival(scene->ring, &inventory, own) == NULL)
        return KMS_OK;
    const struct kms_object object = { own->label, { own->cka_id, own->cka_id_len } };
    rc = kms_keystore_relabel(scene->keystore, &object, pending_label, token_deadline_ms(), &why);
    if (rc != KMS_OK)
        return kms_fail(err, rc,
                        "another key has the generation of '%.60s' too, so that neither will be "
                        "used, and it can't be withdrawn: %.250s",
                        own->label, why.msg);
    return kms_fail(err, KMS_E_BUSY,
                    "another command took the same generation at the same time; the key is "
                    "prepared as before: run it again");
}

static enum kms_code commit_key(const struct kms_key_scene *scene, const struct kms_kek_info *kek,
                                const struct kms_key_plan *plan, const struct kms_backup *backup,
                                struct kms_key_outcome *outcome, struct kms_error *err)
{
    enum kms_code rc = kms_backups_add(scene->state_dir, backup, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_kek_info own = *kek;
    const struct kms_object object = { kek->label, { kek->cka_id, kek->cka_id_len } };
    memcpy(own.label, plan->label, sizeof(own.label));
    rc = kms_keystore_relabel(scene->keystore, &object, own.label, token_deadline_ms(), err);
    if (rc == KMS_OK)
        rc = settle(scene, &own, kek->label, err);
    if (rc != KMS_OK)
        return rc;
    outcome->kek = own;
    return kms_key_report(outcome, "committed", true, "committed %s as generation %" PRIu32,
                          backup->id, plan->generation);
}

/* Another token has the key under its label already, after a run that was interrupted: then that is the
 * plan. */
static bool find_half(const struct kms_key_scene *scene, const struct kms_kek_info *kek,
                      struct kms_key_plan *plan)
{
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (entry->state == KMS_KEK_MISSING || !same_material(&entry->kek, kek) ||
            entry->kek.holders == 0 || (entry->kek.holders & kek->holders) != 0)
            continue;
        plan->generation = entry->generation;
        plan->activation_utc_s = entry->activation_utc_s;
        memcpy(plan->label, entry->kek.label, sizeof(plan->label));
        return true;
    }
    return false;
}

/* *outcome may be refused. */
static enum kms_code plan_commit(const struct kms_key_scene *scene, const struct kms_kek_info *kek,
                                 const struct kms_key_timing *timing, struct kms_key_plan *plan,
                                 struct kms_key_outcome *outcome, struct kms_error *err)
{
    struct kms_key_plan_input input;
    char why[KMS_KEY_TEXT_MAX] = "";
    if (find_half(scene, kek, plan))
        return KMS_OK;
    enum kms_code rc = make_plan(scene, timing, &input, plan, err);
    if (rc != KMS_OK)
        return rc;
    if (!kms_rotation_allows(&timing->rule, KMS_ROTATION_COMMIT, &input, plan, why, sizeof(why)))
        return kms_key_refuse(outcome, "%.900s", why);
    (void)refuse_by_plan(plan, outcome);
    return KMS_OK;
}

/* Plans, and does it unless @dry_run. */
static enum kms_code commit_sound(const struct kms_key_scene *scene, const struct kms_kek_info *kek,
                                  struct kms_backup *backup, const struct kms_key_timing *timing,
                                  bool dry_run, struct kms_key_outcome *outcome,
                                  struct kms_error *err)
{
    struct kms_key_plan plan;
    enum kms_code rc = plan_commit(scene, kek, timing, &plan, outcome, err);
    if (rc != KMS_OK || outcome->refused)
        return rc;
    say_when(scene, plan.activation_utc_s, outcome);
    memcpy(backup->fingerprint, kek->fingerprint, KMS_FINGERPRINT_LEN);
    if (!dry_run)
        return commit_key(scene, kek, &plan, backup, outcome, err);
    outcome->kek = *kek;
    memcpy(outcome->kek.label, plan.label, sizeof(outcome->kek.label));
    return kms_key_report(outcome, "planned", false, "would commit %s as generation %" PRIu32,
                          backup->id, plan.generation);
}

static enum kms_code check_words(const char *id, const char *reference, struct kms_error *err)
{
    if (!kms_pending_id_is_valid(id))
        return kms_fail(err, KMS_E_INVALID, "the id of a prepared key is 16 hexadecimal digits");
    if (reference[0] == '\0' || strlen(reference) > KMS_BACKUP_REFERENCE_MAX ||
        !kms_text_is_clean(kms_bytes_of(reference)))
        return kms_fail(err, KMS_E_INVALID,
                        "--backup-ref is a text of 1 to %d bytes that leads to the backup",
                        (int)KMS_BACKUP_REFERENCE_MAX);
    return KMS_OK;
}

enum kms_code kms_key_commit(const struct kms_key_scene *scene, const char *id,
                             const char *reference, const struct kms_key_timing *timing,
                             bool dry_run, struct kms_key_outcome *outcome, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = check_words(id, reference, err);
    if (rc == KMS_OK)
        rc = list_pending(scene, id, &inventory, err);
    if (rc != KMS_OK)
        return rc;
    if (inventory.count == 0)
        return find_committed(scene, id, outcome, err);
    if (inventory.count > 1)
        return kms_key_refuse(outcome, "several keys on the token have the label '%.60s'",
                              inventory.keks[0].label);
    const char *flaw = find_flaw(&inventory.keks[0]);
    if (flaw != NULL)
        return kms_key_refuse(outcome, "the prepared key %s %s: it can't become a KEK", id, flaw);
    struct kms_backup backup = { .recorded_utc_s = scene->now_utc_s };
    (void)snprintf(backup.id, sizeof(backup.id), "%s", id);
    (void)snprintf(backup.reference, sizeof(backup.reference), "%s", reference);
    return commit_sound(scene, &inventory.keks[0], &backup, timing, dry_run, outcome, err);
}
