/* SPDX-License-Identifier: Apache-2.0 */
#include "key_act.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "key_plan.h"
#include "kms/clock.h"
#include "request.h"

enum { TOKEN_TIMEOUT_MS = 10 * 1000, MS_PER_S = 1000 };

static const uint32_t all_usages = KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT |
                                   KMS_KEK_DECRYPT;
static const uint32_t needed_usages = KMS_KEK_WRAP | KMS_KEK_UNWRAP;

/* clang-tidy 14 reads a file once for each target that has it, and from the second time on takes any
 * va_list for uninitialized. */
static void KMS_PRINTF(2, 0)
    put_text(char ret_text[static KMS_KEY_TEXT_MAX], const char *fmt, va_list args)
{
    (void)vsnprintf(ret_text, KMS_KEY_TEXT_MAX, fmt, args);
}

enum kms_code kms_key_refuse(struct kms_key_outcome *outcome, const char *fmt, ...)
{
    outcome->name = "refused";
    outcome->refused = true;
    va_list args;
    va_start(args, fmt);
    put_text(outcome->text, fmt, args);
    va_end(args);
    return KMS_OK;
}

enum kms_code kms_key_report(struct kms_key_outcome *outcome, const char *name, bool changed,
                             const char *fmt, ...)
{
    outcome->name = name;
    outcome->changed = changed;
    va_list args;
    va_start(args, fmt);
    put_text(outcome->text, fmt, args);
    va_end(args);
    return KMS_OK;
}

void kms_key_next(struct kms_key_outcome *outcome, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    put_text(outcome->next, fmt, args);
    va_end(args);
}

/* --- what stands on the token --- */

bool kms_key_is_activated(const struct kms_key_scene *scene, const struct kms_ring_entry *entry)
{
    int64_t skew_s = (scene->clock_skew_ms + MS_PER_S - 1) / MS_PER_S;
    return entry->activation_utc_s <= scene->now_utc_s + skew_s;
}

static uint32_t guess_promoted(const struct kms_key_scene *scene)
{
    uint32_t highest = 0, lowest = 0;
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (!kms_key_is_usable(entry))
            continue;
        if (lowest == 0)
            lowest = entry->generation;
        if (kms_key_is_activated(scene, entry))
            highest = entry->generation;
    }
    return highest != 0 ? highest : lowest;
}

uint32_t kms_key_promoted(const struct kms_key_scene *scene)
{
    uint32_t promoted = scene->state_known ? scene->state->promoted : guess_promoted(scene);
    return scene->node_promoted > promoted ? scene->node_promoted : promoted;
}

static size_t count_of(const struct kms_key_scene *scene, uint32_t generation)
{
    size_t count = 0;
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        count += entry->generation == generation && entry->state != KMS_KEK_MISSING ? 1 : 0;
    }
    return count;
}

static enum kms_code fail_absent(const struct kms_key_target *target, struct kms_error *err)
{
    bool narrowed = target->fingerprint != NULL || target->cka_id != NULL;
    return kms_fail(err, KMS_E_INVALID, "no key of generation %" PRIu32 "%s is on the token",
                    target->generation, narrowed ? " with these digits" : "");
}

/* --- other nodes --- */

/* False: @outcome is refused.  @entry NULL: only a number is to be buried. */
static bool ask_peers(const struct kms_key_scene *scene, uint32_t generation,
                      const struct kms_ring_entry *entry, bool is_new,
                      struct kms_key_outcome *outcome)
{
    const struct kms_key_ending ending = {
        .ring = scene->ring,
        .generation = generation,
        .is_new = is_new,
        .on_token = entry != NULL,
        .activation_utc_s = entry != NULL ? entry->activation_utc_s : 0,
        .now_utc_s = scene->now_utc_s,
        .clock_skew_ms = scene->clock_skew_ms,
    };
    for (size_t i = 0; i < scene->peer_count; i++) {
        char why[KMS_KEY_PEER_TEXT_MAX];
        if (kms_key_peer_allows(&scene->peers[i], &ending, why))
            continue;
        (void)kms_key_refuse(outcome, "generation %" PRIu32 ": %s", generation, why);
        return false;
    }
    return true;
}

/* What this node knows is no proof for the others. */
static const char *unasked(const struct kms_key_scene *scene)
{
    return scene->peer_count > 0 ? "" : KMS_KEY_UNASKED;
}

/* --- destroying --- */

static bool is_buried(const struct kms_key_scene *scene, uint32_t generation)
{
    for (size_t i = 0; i < scene->state->tombstone_count; i++)
        if (scene->state->tombstones[i] == generation)
            return true;
    return false;
}

static enum kms_code find_request(const struct kms_key_scene *scene, uint32_t generation,
                                  bool *ret_found, struct kms_error *err)
{
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    enum kms_code rc = kms_request_read(scene->state_dir, &list, err);
    if (rc != KMS_OK)
        return rc;
    *ret_found = false;
    for (size_t i = 0; i < list.count; i++) {
        const struct kms_request_file *file = &list.files[i];
        if (file->fault.code == KMS_OK && file->request.kind == KMS_REQUEST_TOMBSTONE &&
            file->request.generation == generation)
            *ret_found = true;
    }
    return KMS_OK;
}

/* A number that nobody ever saw is a slip of the finger, and would be lost. */
static uint32_t highest_known(const struct kms_key_scene *scene)
{
    uint32_t highest = kms_state_highest(scene->state);
    for (size_t i = 0; i < scene->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i];
        if (kms_key_is_usable(entry) && entry->generation > highest)
            highest = entry->generation;
    }
    return highest;
}

/* After a kill between the key's end and its tombstone only the number is left to do.  @used: it is
 * known that there was such a key. */
static enum kms_code bury_absent(const struct kms_key_scene *scene,
                                 const struct kms_key_target *target, bool used, bool dry_run,
                                 struct kms_key_outcome *outcome, struct kms_error *err)
{
    uint32_t generation = target->generation;
    bool asked = false;
    enum kms_code rc = KMS_OK;
    if (count_of(scene, generation) > 0)
        return fail_absent(target, err);
    if (!is_buried(scene, generation))
        rc = find_request(scene, generation, &asked, err);
    if (rc != KMS_OK)
        return rc;
    if (asked || is_buried(scene, generation))
        return kms_key_report(outcome, "gone", false,
                              "generation %" PRIu32 " is gone and its number buried already",
                              generation);
    if (!used && generation > highest_known(scene) + 1)
        return fail_absent(target, err);
    if (!dry_run)
        rc = kms_request_tombstone(scene->state_dir, generation, err);
    if (rc != KMS_OK)
        return rc;
    return kms_key_report(outcome, dry_run ? "planned" : "buried", !dry_run,
                          "generation %" PRIu32 " is not on the token; its number %s", generation,
                          dry_run ? "would be buried" : "is buried: it is never used again");
}

/* Before anything is destroyed: a number that can't be buried could come back. */
static enum kms_code check_state_dir(const struct kms_key_scene *scene, struct kms_error *err)
{
    if (access(scene->state_dir, W_OK | X_OK) == 0)
        return KMS_OK;
    return kms_fail_errno(err, KMS_E_PRECONDITION, "access", errno,
                          "nothing was destroyed: state_dir %s, which must remember the number",
                          scene->state_dir);
}

static bool is_local(const struct kms_ring_entry *entry)
{
    return (entry->kek.known & entry->kek.attributes & KMS_KEK_LOCAL) != 0;
}

/* Nobody ever used a key that was made elsewhere and isn't pinned: its number is anybody's choice. */
static bool was_never_trusted(const struct kms_key_scene *scene,
                              const struct kms_ring_entry *const *twins, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (is_local(twins[i]))
            return false;
    return kms_state_pin(scene->state, twins[0]->generation) == NULL;
}

/* Copies first: after a kill in between the one that was made here still tells a rerun that the number
 * is to be buried. */
static void put_local_last(const struct kms_ring_entry **twins, size_t count)
{
    const struct kms_ring_entry *ordered[KMS_TOKENS_MAX];
    size_t at = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_local(twins[i]))
            ordered[at++] = twins[i];
    for (size_t i = 0; i < count; i++)
        if (is_local(twins[i]))
            ordered[at++] = twins[i];
    for (size_t i = 0; i < count; i++)
        twins[i] = ordered[i];
}

/* One of @twins before the @at'th has the same name, so that what was done to it was done to this one. */
static bool is_done(const struct kms_ring_entry *const *twins, size_t at)
{
    const struct kms_kek_info *kek = &twins[at]->kek;
    for (size_t i = 0; i < at; i++)
        if (kms_bytes_equal((struct kms_bytes){ kek->cka_id, kek->cka_id_len },
                            (struct kms_bytes){ twins[i]->kek.cka_id, twins[i]->kek.cka_id_len }))
            return true;
    return false;
}

static enum kms_code destroy_twins(const struct kms_key_scene *scene,
                                   const struct kms_ring_entry *const *twins, size_t count,
                                   int64_t deadline_ms, struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; i < count && rc == KMS_OK; i++) {
        const struct kms_kek_info *kek = &twins[i]->kek;
        const struct kms_bytes id = { kek->cka_id, kek->cka_id_len };
        if (!is_done(twins, i))
            rc = kms_keystore_destroy(scene->keystore, kek->label, id, deadline_ms, err);
    }
    return rc;
}

static enum kms_code remove_key(const struct kms_key_scene *scene,
                                const struct kms_key_target *target,
                                const struct kms_ring_entry *entry, int64_t deadline_ms,
                                bool dry_run, struct kms_key_outcome *outcome,
                                struct kms_error *err)
{
    const struct kms_kek_info *kek = &entry->kek;
    const struct kms_ring_entry *twins[KMS_TOKENS_MAX];
    size_t twin_count = kms_key_twins(scene, target, entry, twins);
    put_local_last(twins, twin_count);
    /* the number belongs to the one that stays, too */
    bool twin = count_of(scene, entry->generation) > twin_count;
    outcome->kek = *kek;
    enum kms_code rc = check_state_dir(scene, err);
    if (rc != KMS_OK)
        return rc;
    if (dry_run)
        return kms_key_report(outcome, "planned", false, "would destroy generation %" PRIu32,
                              entry->generation);
    rc = destroy_twins(scene, twins, twin_count, deadline_ms, err);
    if (rc != KMS_OK)
        return rc;
    if (twin)
        return kms_key_report(outcome, "destroyed", true,
                              "destroyed one key of generation %" PRIu32
                              "; another one has the number, which is not buried",
                              entry->generation);
    if (was_never_trusted(scene, twins, twin_count))
        return kms_key_report(outcome, "destroyed", true,
                              "destroyed generation %" PRIu32
                              ", which was made elsewhere and never trusted on this node; its "
                              "number is not buried",
                              entry->generation);
    struct kms_error why = { 0 };
    rc = kms_request_tombstone(scene->state_dir, entry->generation, &why);
    if (rc != KMS_OK)
        return kms_fail(err, rc,
                        "'%.60s' is destroyed, but its number isn't buried: %.300s; run it again",
                        kek->label, why.msg);
    return kms_key_report(outcome, "destroyed", true,
                          "destroyed generation %" PRIu32 "; its number is never used again",
                          entry->generation);
}

enum kms_code kms_key_cancel(const struct kms_key_scene *scene, const struct kms_key_target *target,
                             bool dry_run, struct kms_key_outcome *outcome, struct kms_error *err)
{
    uint32_t promoted = kms_key_promoted(scene);
    if (target->generation <= promoted)
        return kms_key_refuse(
            outcome,
            "generation %" PRIu32 " can't be cancelled: generation %" PRIu32
            " is promoted%s; take old material back with key revert, end an old generation with "
            "key disable and key destroy",
            target->generation, promoted,
            scene->state_known || scene->node_promoted != 0 ? "" : ", or would be on a new node");
    const struct kms_ring_entry *entry = kms_key_pick(scene, target, outcome);
    if (outcome->refused || !ask_peers(scene, target->generation, entry, true, outcome))
        return KMS_OK;
    kms_key_next(outcome,
                 "the same on every other node, whose create could else use the number again; then "
                 "hsm-kms key create%s",
                 unasked(scene));
    if (entry == NULL)
        return bury_absent(scene, target, false, dry_run, outcome, err);
    if (entry->adopted)
        return kms_key_refuse(outcome,
                              "generation %" PRIu32
                              " is adopted: its key may serve others. Take its entry out of adopt: "
                              "on every node and reload (SIGHUP), then cancel the number",
                              target->generation);
    if (kms_key_is_activated(scene, entry))
        return kms_key_refuse(outcome,
                              "the activation of generation %" PRIu32
                              " has passed, or may have by another node's clock (clock_skew), so "
                              "that a node may have "
                              "promoted it: key revert --to an older one once it is promoted",
                              target->generation);
    /* a token that is slow must not destroy it after its activation */
    int64_t left_ms = (entry->activation_utc_s - scene->now_utc_s) * MS_PER_S;
    int64_t deadline_ms = kms_monotonic_ms() +
                          (left_ms < TOKEN_TIMEOUT_MS ? left_ms : TOKEN_TIMEOUT_MS);
    return remove_key(scene, target, entry, deadline_ms, dry_run, outcome, err);
}

static bool is_disabled(const struct kms_kek_info *kek)
{
    return (kek->known & needed_usages) == needed_usages &&
           (kek->known & kek->attributes & all_usages) == 0;
}

/* On every token. */
static bool are_disabled(const struct kms_key_scene *scene, const struct kms_key_target *target,
                         const struct kms_ring_entry *entry)
{
    const struct kms_ring_entry *twins[KMS_TOKENS_MAX];
    size_t count = kms_key_twins(scene, target, entry, twins);
    for (size_t i = 0; i < count; i++)
        if (!is_disabled(&twins[i]->kek))
            return false;
    return true;
}

/* The operator answers for it, so he names what he means. */
static bool is_typed(const struct kms_key_scene *scene, uint32_t generation, const char *verified,
                     struct kms_key_outcome *outcome)
{
    char expected[KMS_RING_MAX + 16];
    (void)snprintf(expected, sizeof(expected), "%s.v%" PRIu32, scene->ring, generation);
    if (verified != NULL && strcmp(verified, expected) == 0)
        return true;
    (void)kms_key_refuse(
        outcome,
        "it is lost for ever. Let it be proven that nothing needs it: --etcd URL, with --cacert, "
        "--cert and --key, and --backup FILE for each etcd backup that you keep. If etcd is lost: "
        "verify yourself that every node has promoted a later generation (--socket and --nodes ask "
        "them), that no object and no etcd backup that you keep names %s, and that no "
        "kube-apiserver has read one since key disable; then --i-have-verified %s",
        expected, expected);
    return false;
}

/* False: @outcome is refused. */
static bool is_warranted(const struct kms_key_scene *scene, uint32_t generation, bool on_token,
                         const struct kms_key_warrant *warrant, struct kms_key_outcome *outcome)
{
    if (warrant->prove == NULL)
        return is_typed(scene, generation, warrant->verified, outcome);
    if (on_token && warrant->wait != NULL && !warrant->wait(warrant->context, outcome))
        return false;
    return warrant->prove(warrant->context, false, outcome);
}

enum kms_code kms_key_destroy(const struct kms_key_scene *scene,
                              const struct kms_key_target *target,
                              const struct kms_key_warrant *warrant, bool dry_run,
                              struct kms_key_outcome *outcome, struct kms_error *err)
{
    uint32_t generation = target->generation;
    if (generation == kms_key_promoted(scene))
        return kms_key_refuse(outcome, "generation %" PRIu32 " is the promoted one", generation);
    const struct kms_ring_entry *entry = kms_key_pick(scene, target, outcome);
    if (outcome->refused || !ask_peers(scene, generation, entry, false, outcome))
        return KMS_OK;
    if (entry != NULL && !are_disabled(scene, target, entry))
        return kms_key_refuse(outcome,
                              "generation %" PRIu32 " is in use: hsm-kms key disable %" PRIu32
                              " first, and wait for calls that miss it; key enable undoes that",
                              generation, generation);
    if (!is_warranted(scene, generation, entry != NULL, warrant, outcome))
        return KMS_OK;
    kms_key_next(outcome,
                 "the same on every other node, which remembers its numbers for itself; hsm-kms "
                 "status shows there that nothing is missed%s",
                 unasked(scene));
    if (entry == NULL)
        return bury_absent(scene, target, warrant->disabled_here, dry_run, outcome, err);
    if (!dry_run && warrant->prove != NULL && !warrant->prove(warrant->context, true, outcome))
        return KMS_OK;
    return remove_key(scene, target, entry, kms_monotonic_ms() + TOKEN_TIMEOUT_MS, dry_run, outcome,
                      err);
}

/* --- disabling --- */

static bool is_already(const struct kms_kek_info *kek, bool usable)
{
    if (!usable)
        return is_disabled(kek);
    /* a wrap profile may need more rights: without them there is no fingerprint */
    return kek->fingerprinted && (kek->known & kek->attributes & needed_usages) == needed_usages;
}

static void say_what_follows(const struct kms_key_scene *scene, uint32_t generation, bool usable,
                             struct kms_key_outcome *outcome)
{
    if (!usable)
        kms_key_next(outcome,
                     "every plugin stops using it at its next refresh; key enable %" PRIu32
                     " undoes it. It is a safety catch, no defence against a thief of a PIN that "
                     "may modify keys%s",
                     generation, unasked(scene));
    else if (generation > kms_key_promoted(scene))
        kms_key_next(outcome, "every plugin takes it up at its next refresh, and promotes it once "
                              "its activation has passed");
    else
        kms_key_next(outcome, "every plugin uses it again from its next refresh on");
}

/* *ret_changed: it wasn't so on every token. */
static enum kms_code set_twins(const struct kms_key_scene *scene,
                               const struct kms_key_target *target,
                               const struct kms_ring_entry *entry, bool usable, bool dry_run,
                               bool *ret_changed, struct kms_error *err)
{
    const struct kms_ring_entry *twins[KMS_TOKENS_MAX];
    size_t count = kms_key_twins(scene, target, entry, twins);
    enum kms_code rc = KMS_OK;
    *ret_changed = false;
    for (size_t i = 0; i < count && rc == KMS_OK; i++) {
        const struct kms_kek_info *kek = &twins[i]->kek;
        const struct kms_object object = { kek->label, { kek->cka_id, kek->cka_id_len } };
        if (is_already(kek, usable))
            continue;
        *ret_changed = true;
        if (!dry_run && !is_done(twins, i))
            rc = kms_keystore_set_usage(scene->keystore, &object, usable,
                                        kms_monotonic_ms() + TOKEN_TIMEOUT_MS, err);
    }
    return rc;
}

enum kms_code kms_key_set_usable(const struct kms_key_scene *scene,
                                 const struct kms_key_target *target, bool usable, bool dry_run,
                                 struct kms_key_outcome *outcome, struct kms_error *err)
{
    uint32_t generation = target->generation, promoted = kms_key_promoted(scene);
    if (!usable && generation == promoted)
        return kms_key_refuse(outcome,
                              "generation %" PRIu32
                              " is the promoted one: rotate first, or key revert --to another",
                              generation);
    const struct kms_ring_entry *entry = kms_key_pick(scene, target, outcome);
    if (outcome->refused)
        return KMS_OK;
    if (entry == NULL)
        return fail_absent(target, err);
    if (!usable && !ask_peers(scene, generation, entry, false, outcome))
        return KMS_OK;
    if (!usable && generation > promoted && kms_key_is_usable(entry) &&
        kms_key_is_activated(scene, entry))
        return kms_key_refuse(outcome,
                              "the activation of generation %" PRIu32
                              " has passed, so that another node may have promoted it already",
                              generation);
    outcome->kek = entry->kek;
    say_what_follows(scene, generation, usable, outcome);
    const char *name = usable ? "enabled" : "disabled";
    bool changed = false;
    enum kms_code rc = set_twins(scene, target, entry, usable, dry_run, &changed, err);
    if (rc != KMS_OK)
        return rc;
    if (!changed)
        return kms_key_report(outcome, name, false, "generation %" PRIu32 " is %s already",
                              generation, name);
    if (dry_run)
        return kms_key_report(outcome, "planned", false, "would %s generation %" PRIu32,
                              usable ? "enable" : "disable", generation);
    outcome->kek.attributes &= ~all_usages;
    outcome->kek.attributes |= usable ? needed_usages : 0;
    return kms_key_report(outcome, name, true, "%s generation %" PRIu32, name, generation);
}
