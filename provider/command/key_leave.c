/* SPDX-License-Identifier: Apache-2.0 */
#include "key_leave.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sys/random.h>

#include "escrow_file.h"
#include "key_renew.h"
#include "kms/clock.h"
#include "transport_names.h"

enum { TOKEN_TIMEOUT_MS = 10 * 1000 };

static int64_t token_deadline_ms(void)
{
    return kms_monotonic_ms() + TOKEN_TIMEOUT_MS;
}

static bool is_extractable(const struct kms_kek_info *kek)
{
    return (kek->known & kek->attributes & KMS_KEK_EXTRACTABLE) != 0;
}

static struct kms_object object_of(const struct kms_kek_info *kek)
{
    return (struct kms_object){ kek->label, { kek->cka_id, kek->cka_id_len } };
}

static bool has_fingerprint_of(const struct kms_kek_info *kek, const struct kms_escrow *escrow)
{
    return kek->fingerprinted &&
           memcmp(kek->fingerprint, escrow->fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

static enum kms_code list_pending(const struct kms_key_scene *scene, const char *id,
                                  struct kms_inventory *ret_inventory, struct kms_error *err)
{
    char prefix[KMS_PENDING_LABEL_LEN + 1];
    kms_pending_label_format(scene->ring, id, prefix);
    return kms_keystore_inventory(scene->keystore, prefix, token_deadline_ms(), ret_inventory, err);
}

/* --- the file --- */

static bool refuse_file(const struct kms_key_scene *scene,
                        const struct kms_key_departure *departure, const struct kms_escrow *escrow,
                        struct kms_key_outcome *outcome)
{
    uint8_t recipient[KMS_SHA256_LEN];
    kms_sha256((struct kms_bytes){ departure->recipient->data, departure->recipient->len },
               recipient);
    if (strcmp(escrow->ring, scene->ring) == 0 &&
        memcmp(escrow->recipient, recipient, sizeof(recipient)) == 0)
        return false;
    (void)kms_key_refuse(outcome,
                         "%.200s is there, for another ring or another recipient: name another "
                         "--out",
                         departure->path);
    return true;
}

/* What others left: whoever has the PIN can take such a key out. */
static enum kms_code clear_strays(const struct kms_key_scene *scene,
                                  const struct kms_key_departure *departure, bool dry_run,
                                  struct kms_key_outcome *outcome, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = list_pending(scene, "", &inventory, err);
    for (size_t i = 0; i < inventory.count && rc == KMS_OK; i++) {
        const struct kms_kek_info *kek = &inventory.keks[i];
        const char *id = kms_pending_label_id(scene->ring, kek->label);
        if (id == NULL || !is_extractable(kek))
            continue;
        if (!departure->discard)
            return kms_key_refuse(outcome,
                                  "an unfinished export left the prepared key %s extractable: run "
                                  "that one again with its own --out, or destroy the key by "
                                  "--discard-unfinished",
                                  id);
        if (!dry_run)
            rc = kms_keystore_destroy(scene->keystore, kek->label, object_of(kek).cka_id,
                                      token_deadline_ms(), err);
    }
    return rc;
}

static enum kms_code begin(const struct kms_key_scene *scene,
                           const struct kms_key_departure *departure, struct kms_escrow *ret_escrow,
                           struct kms_error *err)
{
    struct kms_escrow escrow = { .complete = false };
    uint8_t random[KMS_BACKUP_ID_LEN / 2];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return kms_fail(err, KMS_E_INTERNAL, "no random bytes from the kernel");
    kms_hex_encode((struct kms_bytes){ random, sizeof(random) }, escrow.id);
    (void)snprintf(escrow.ring, sizeof(escrow.ring), "%s", scene->ring);
    kms_sha256((struct kms_bytes){ departure->recipient->data, departure->recipient->len },
               escrow.recipient);
    enum kms_code rc = kms_escrow_write(departure->path, &escrow, err);
    if (rc == KMS_OK)
        *ret_escrow = escrow;
    return rc;
}

/* --- the key --- */

static void say_what_follows(const struct kms_escrow *escrow, struct kms_key_outcome *outcome)
{
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1];
    kms_hex_encode((struct kms_bytes){ escrow->fingerprint, KMS_FINGERPRINT_LEN }, fingerprint);
    kms_key_next(outcome,
                 "on the other token: hsm-kms key escrow import --in FILE --expect-fingerprint %s; "
                 "once it is there: hsm-kms key commit %s --backup-ref TEXT, here",
                 fingerprint, escrow->id);
}

static enum kms_code seal(const struct kms_key_scene *scene, const struct kms_escrow *escrow,
                          const struct kms_kek_info *kek, struct kms_key_outcome *outcome,
                          struct kms_error *err)
{
    const struct kms_object object = object_of(kek);
    enum kms_code rc = kms_keystore_seal(scene->keystore, &object, token_deadline_ms(), err);
    if (rc != KMS_OK)
        return rc;
    outcome->kek = *kek;
    outcome->kek.attributes &= ~(uint32_t)KMS_KEK_EXTRACTABLE;
    say_what_follows(escrow, outcome);
    return kms_key_report(outcome, "exported", true,
                          "prepared %s, whose copy for the other token is in the file (RSA-OAEP "
                          "with %s); it can't leave this token any more",
                          escrow->id, escrow->blob.hash == KMS_OAEP_SHA256 ? "SHA-256" : "SHA-1");
}

static enum kms_code export_new(const struct kms_key_scene *scene,
                                const struct kms_key_departure *departure,
                                struct kms_escrow *escrow, struct kms_key_outcome *outcome,
                                struct kms_error *err)
{
    char label[KMS_PENDING_LABEL_LEN + 1];
    struct kms_kek_info kek = { .label = "" };
    kms_pending_label_format(scene->ring, escrow->id, label);
    enum kms_code rc = kms_keystore_generate_for_escrow(scene->keystore, label, token_deadline_ms(),
                                                        &kek, err);
    if (rc != KMS_OK)
        return rc;
    if (!kek.fingerprinted)
        return kms_fail(err, KMS_E_PRECONDITION, "the new key can't be fingerprinted: %.160s",
                        kek.problem);
    const struct kms_object object = object_of(&kek);
    rc = kms_keystore_export_to(scene->keystore, &object, departure->recipient, departure->hash,
                                token_deadline_ms(), &escrow->blob, err);
    if (rc != KMS_OK)
        return rc;
    memcpy(escrow->fingerprint, kek.fingerprint, KMS_FINGERPRINT_LEN);
    escrow->complete = true;
    rc = kms_escrow_write(departure->path, escrow, err);
    return rc == KMS_OK ? seal(scene, escrow, &kek, outcome, err) : rc;
}

/* Its blob never reached the file, and may be anywhere. */
static enum kms_code make_anew(const struct kms_key_scene *scene,
                               const struct kms_key_departure *departure, struct kms_escrow *escrow,
                               const struct kms_kek_info *unfinished,
                               struct kms_key_outcome *outcome, struct kms_error *err)
{
    if (unfinished != NULL) {
        enum kms_code rc = kms_keystore_destroy(scene->keystore, unfinished->label,
                                                object_of(unfinished).cka_id, token_deadline_ms(),
                                                err);
        if (rc != KMS_OK)
            return rc;
    }
    return export_new(scene, departure, escrow, outcome, err);
}

/* The file is whole, and no key has its pending label. */
static enum kms_code find_committed(const struct kms_key_scene *scene,
                                    const struct kms_escrow *escrow,
                                    struct kms_key_outcome *outcome)
{
    for (size_t i = scene->snapshot->count; i > 0; i--) {
        const struct kms_ring_entry *entry = &scene->snapshot->entries[i - 1];
        if (entry->state == KMS_KEK_MISSING || !has_fingerprint_of(&entry->kek, escrow))
            continue;
        outcome->kek = entry->kek;
        kms_key_next(outcome,
                     "on the other token: hsm-kms key escrow import --in FILE --label-like %s",
                     entry->kek.label);
        return kms_key_report(outcome, "committed", false,
                              "%s is committed already, as generation %" PRIu32, escrow->id,
                              entry->generation);
    }
    return kms_key_refuse(outcome,
                          "the file holds the prepared key %s, which isn't on this token any more: "
                          "keep the file, and name another --out for a new key",
                          escrow->id);
}

/* There is a key under the file's pending label. */
static enum kms_code go_on(const struct kms_key_scene *scene,
                           const struct kms_key_departure *departure, struct kms_escrow *escrow,
                           const struct kms_kek_info *kek, bool dry_run,
                           struct kms_key_outcome *outcome, struct kms_error *err)
{
    outcome->kek = *kek;
    if (escrow->complete && !has_fingerprint_of(kek, escrow))
        return kms_key_refuse(
            outcome,
            "the prepared key %s is another key than the file holds: name another "
            "--out",
            escrow->id);
    if (escrow->complete && !is_extractable(kek)) {
        say_what_follows(escrow, outcome);
        return kms_key_report(outcome, "there", false, "%s is exported already", escrow->id);
    }
    if (!is_extractable(kek))
        return kms_key_refuse(outcome,
                              "the prepared key %s can't leave the token: it isn't this export's; "
                              "name another --out",
                              escrow->id);
    if (dry_run)
        return kms_key_report(outcome, "planned", false, "would finish the export of %s",
                              escrow->id);
    if (escrow->complete)
        return seal(scene, escrow, kek, outcome, err);
    return make_anew(scene, departure, escrow, kek, outcome, err);
}

static enum kms_code export_by_file(const struct kms_key_scene *scene,
                                    const struct kms_key_departure *departure,
                                    struct kms_escrow *escrow, bool dry_run,
                                    struct kms_key_outcome *outcome, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = list_pending(scene, escrow->id, &inventory, err);
    if (rc != KMS_OK)
        return rc;
    if (inventory.count > 1)
        return kms_key_refuse(outcome, "several keys on the token have the label '%.60s'",
                              inventory.keks[0].label);
    if (inventory.count == 1)
        return go_on(scene, departure, escrow, &inventory.keks[0], dry_run, outcome, err);
    if (escrow->complete)
        return find_committed(scene, escrow, outcome);
    if (dry_run)
        return kms_key_report(outcome, "planned", false, "would finish the export of %s",
                              escrow->id);
    return make_anew(scene, departure, escrow, NULL, outcome, err);
}

/* For JSON: whose key it is, and by which hash once that is settled. */
static void state_facts(const struct kms_key_departure *departure, const struct kms_escrow *escrow,
                        struct kms_key_outcome *outcome)
{
    outcome->facts[0].name = "recipient";
    kms_spki_digest(departure->recipient, outcome->facts[0].value);
    outcome->facts[1].name = "oaep_hash";
    if (escrow->complete)
        (void)snprintf(outcome->facts[1].value, sizeof(outcome->facts[1].value), "%s",
                       kms_oaep_hash_name(escrow->blob.hash));
}

enum kms_code kms_key_escrow(const struct kms_key_scene *scene,
                             const struct kms_key_departure *departure, bool dry_run,
                             struct kms_key_outcome *outcome, struct kms_error *err)
{
    struct kms_escrow escrow = { .complete = false };
    bool found = false;
    enum kms_code rc = kms_escrow_read(departure->path, &found, &escrow, err);
    if (rc != KMS_OK || (found && refuse_file(scene, departure, &escrow, outcome)))
        return rc;
    state_facts(departure, &escrow, outcome);
    if (!found) {
        rc = clear_strays(scene, departure, dry_run, outcome, err);
        if (rc != KMS_OK || outcome->refused)
            return rc;
        if (dry_run)
            return kms_key_report(outcome, "planned", false,
                                  "would prepare a key, with a copy for the other token");
        rc = begin(scene, departure, &escrow, err);
    }
    if (rc == KMS_OK)
        rc = export_by_file(scene, departure, &escrow, dry_run, outcome, err);
    if (rc == KMS_OK)
        state_facts(departure, &escrow, outcome);
    return rc;
}
