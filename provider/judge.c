/* SPDX-License-Identifier: Apache-2.0 */
#include "judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokens.h"

enum { SHORT_FINGERPRINT_LEN = 8, KEK_BYTES = 32 };

/* The first bytes of a fingerprint, as texts show it. */
struct short_fingerprint {
    char text[2 * SHORT_FINGERPRINT_LEN + 1];
};

static struct short_fingerprint shorten(const uint8_t *fingerprint)
{
    struct short_fingerprint head;
    kms_hex_encode((struct kms_bytes){ fingerprint, SHORT_FINGERPRINT_LEN }, head.text);
    return head;
}

static bool same_fingerprint(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, KMS_FINGERPRINT_LEN) == 0;
}

const struct kms_pin *kms_evidence_pin(const struct kms_evidence *evidence, uint32_t generation)
{
    const struct kms_pin *pin = kms_state_pin(evidence->state, generation);
    return pin != NULL ? pin : kms_vouched_pin(evidence->vouched, generation);
}

const struct kms_sighting *kms_evidence_sighting(const struct kms_evidence *evidence,
                                                 uint32_t generation, const uint8_t *fingerprint)
{
    for (size_t i = 0; i < evidence->sighting_count; i++) {
        const struct kms_sighting *seen = &evidence->sightings[i];
        if (seen->generation == generation && same_fingerprint(seen->fingerprint, fingerprint))
            return seen;
    }
    return NULL;
}

static bool is_true(const struct kms_kek_info *kek, enum kms_kek_attribute attribute)
{
    return (kek->known & kek->attributes & (uint32_t)attribute) != 0;
}

static bool is_false(const struct kms_kek_info *kek, enum kms_kek_attribute attribute)
{
    return (kek->known & ~kek->attributes & (uint32_t)attribute) != 0;
}

static void set_state(struct kms_ring_entry *entry, enum kms_kek_state state, const char *fmt, ...)
    KMS_PRINTF(3, 4);
static void set_state(struct kms_ring_entry *entry, enum kms_kek_state state, const char *fmt, ...)
{
    entry->state = state;
    va_list args;
    va_start(args, fmt);
    vsnprintf(entry->reason, sizeof entry->reason, fmt, args);
    va_end(args);
}

/* Another key with the same generation and no pin to choose by. */
static bool is_duplicated(const struct kms_snapshot *snapshot, const struct kms_ring_entry *entry)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *other = &snapshot->entries[i];
        if (other != entry && other->generation == entry->generation)
            return true;
    }
    return false;
}

/* All others of its generation are on other tokens, under the same label, and have no fingerprint. */
static bool is_doubted(const struct kms_snapshot *snapshot, const struct kms_ring_entry *entry)
{
    bool doubted = false;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *other = &snapshot->entries[i];
        if (other == entry || other->generation != entry->generation)
            continue;
        if (other->kek.fingerprinted || (other->kek.holders & entry->kek.holders) != 0 ||
            other->kek.holders == 0 || strcmp(other->kek.label, entry->kek.label) != 0)
            return false;
        doubted = true;
    }
    return doubted;
}

/* Label and CKA_ID, as an operator would write them in the configuration. */
struct title {
    char text[KMS_LABEL_MAX + 2 * KMS_CKA_ID_MAX + 16];
};

static struct title title_of(const char *label, const uint8_t *cka_id, size_t cka_id_len)
{
    struct title title;
    char digits[2 * KMS_CKA_ID_MAX + 1];
    kms_hex_encode((struct kms_bytes){ cka_id, cka_id_len }, digits);
    if (label[0] == '\0')
        snprintf(title.text, sizeof title.text, "with cka_id %s", digits);
    else if (cka_id_len == 0)
        snprintf(title.text, sizeof title.text, "'%s'", label);
    else
        snprintf(title.text, sizeof title.text, "'%s' with cka_id %s", label, digits);
    return title;
}

/* Appends @title to @entry's reason if that fits whole; *open: still nothing was left out. */
static void append_title(struct kms_ring_entry *entry, const struct title *title, bool first,
                         bool *open)
{
    static const char more[] = " and others";
    size_t len = strlen(entry->reason), left = sizeof entry->reason - len;
    if (!*open)
        return;
    *open = strlen(title->text) + strlen(", ") + sizeof more <= left;
    snprintf(entry->reason + len, left, "%s%s",
             !*open  ? more
             : first ? " "
                     : ", ",
             *open ? title->text : "");
}

/* Several keys have the name that the configuration adopts. */
static void explain_ambiguous(const struct kms_snapshot *snapshot, struct kms_ring_entry *entry)
{
    set_state(entry, KMS_KEK_REFUSED,
              "adopt: generation %u is ambiguous: name one key by its cka_id, of",
              (unsigned)entry->generation);
    bool first = true, open = true;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *other = &snapshot->entries[i];
        if (other->generation != entry->generation)
            continue;
        struct title title = title_of(other->kek.label, other->kek.cka_id, other->kek.cka_id_len);
        append_title(entry, &title, first, &open);
        first = false;
    }
}

/* What makes a KEK unfit to wrap whatever its pin says. True: @entry got its state. */
static bool refuse_by_attributes(struct kms_ring_entry *entry)
{
    const struct kms_kek_info *kek = &entry->kek;
    if (is_false(kek, KMS_KEK_WRAP) && is_false(kek, KMS_KEK_UNWRAP))
        set_state(entry, KMS_KEK_DISABLED, "CKA_WRAP and CKA_UNWRAP are false on the token");
    else if (is_false(kek, KMS_KEK_WRAP) || is_false(kek, KMS_KEK_UNWRAP))
        set_state(entry, KMS_KEK_REFUSED, "%s is false on the token",
                  is_false(kek, KMS_KEK_WRAP) ? "CKA_WRAP" : "CKA_UNWRAP");
    else if (is_true(kek, KMS_KEK_EXTRACTABLE))
        set_state(entry, KMS_KEK_REFUSED, "CKA_EXTRACTABLE is true: the key could leave the token");
    else if (is_false(kek, KMS_KEK_SENSITIVE))
        set_state(entry, KMS_KEK_REFUSED, "CKA_SENSITIVE is false: the key can be read");
    else if (kek->value_len != 0 && kek->value_len != KEK_BYTES)
        set_state(entry, KMS_KEK_REFUSED, "is AES-%zu, not AES-256", kek->value_len * 8);
    else if (!kek->fingerprinted)
        set_state(entry, KMS_KEK_REFUSED, "no fingerprint: %.150s", kek->problem);
    else
        return false;
    return true;
}

/* Whoever may write to the partition can give a key that he knows any label; what it unwraps would be
 * objects of his making.  So a key needs a pin, or to have been made on the token. */
static bool is_trusted(const struct kms_kek_info *kek, const struct kms_pin *pin)
{
    if (pin == NULL)
        return is_true(kek, KMS_KEK_LOCAL);
    return same_fingerprint(pin->fingerprint, kek->fingerprint);
}

/* What makes a KEK untrusted. True: @entry got its state. */
static bool refuse_by_trust(const struct kms_evidence *evidence, struct kms_snapshot *snapshot,
                            struct kms_ring_entry *entry, const struct kms_pin *pin)
{
    if (kms_state_is_buried(evidence->state, entry->generation)) {
        set_state(entry, KMS_KEK_REFUSED,
                  "generation %u was destroyed; its number is never used again",
                  (unsigned)entry->generation);
    } else if (pin != NULL && !same_fingerprint(pin->fingerprint, entry->kek.fingerprint)) {
        set_state(entry, KMS_KEK_REFUSED,
                  "substituted: generation %u is pinned to fingerprint %s, this key has %s",
                  (unsigned)entry->generation, shorten(pin->fingerprint).text,
                  shorten(entry->kek.fingerprint).text);
    } else if (pin == NULL && entry->adopted && is_duplicated(snapshot, entry)) {
        explain_ambiguous(snapshot, entry);
    } else if (pin == NULL && is_doubted(snapshot, entry)) {
        set_state(entry, KMS_KEK_REFUSED,
                  "another token can't prove that its key of this name is the same: see there");
    } else if (pin == NULL && is_duplicated(snapshot, entry)) {
        set_state(entry, KMS_KEK_REFUSED,
                  "duplicate: another key on the token has generation %u; destroy one of them",
                  (unsigned)entry->generation);
    } else if (pin == NULL && !is_true(&entry->kek, KMS_KEK_LOCAL)) {
        set_state(
            entry, KMS_KEK_REFUSED,
            "foreign origin (CKA_LOCAL is not true): trusted only by hsm-kms key accept, or by "
            "an entry under pins: in the configuration");
    } else {
        return false;
    }
    return true;
}

static void wait_for_tokens(const struct kms_snapshot *snapshot, struct kms_ring_entry *entry)
{
    entry->state = KMS_KEK_PREACTIVE;
    kms_tokens_explain(snapshot, entry, entry->reason, sizeof entry->reason);
}

static void judge_entry(const struct kms_evidence *evidence, struct kms_snapshot *snapshot,
                        struct kms_ring_entry *entry)
{
    const struct kms_kek_info *kek = &entry->kek;
    const struct kms_sighting *seen = NULL;
    if (kek->fingerprinted) {
        kms_key_id_format(evidence->ring, entry->generation, kek->fingerprint, entry->key_id);
        seen = kms_evidence_sighting(evidence, entry->generation, kek->fingerprint);
    }
    entry->lacking = kms_tokens_lacking(evidence, snapshot, entry);
    bool again = seen != NULL && seen->consecutive > 0;
    entry->seen_since_utc_s = again ? seen->since_utc_s : evidence->now_utc_s;
    const struct kms_pin *pin = kms_evidence_pin(evidence, entry->generation);
    const char *held = evidence->held != NULL ? evidence->held : "";
    /* Under a buried number, too: another node may not know that it is, and write under the key. */
    entry->may_unwrap = kek->fingerprinted && !is_false(kek, KMS_KEK_UNWRAP) &&
                        is_trusted(kek, pin);

    if (refuse_by_attributes(entry) || refuse_by_trust(evidence, snapshot, entry, pin))
        return;
    if (entry->generation == evidence->promoted)
        set_state(entry, KMS_KEK_ACTIVE, "%s", "");
    else if (entry->generation < evidence->promoted)
        set_state(entry, KMS_KEK_DECRYPT_ONLY, "%s", "");
    else if (seen != NULL && seen->distrust[0] != '\0')
        set_state(entry, KMS_KEK_REFUSED, "canary failed: %s", seen->distrust);
    else if (entry->generation == evidence->state->promoted)
        set_state(entry, KMS_KEK_PENDING, "promoted: the next Status announces it");
    else if (entry->lacking != 0)
        wait_for_tokens(snapshot, entry);
    else if (entry->activation_utc_s > evidence->now_utc_s)
        set_state(entry, KMS_KEK_PREACTIVE, "%s", held);
    else
        set_state(entry, KMS_KEK_PENDING, "%s", held);
}

/* Pinned generations of which no key on the token can be the pinned one. */
static bool is_missing(const struct kms_snapshot *snapshot, const struct kms_pin *pin)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->generation != pin->generation)
            continue;
        if (!entry->kek.fingerprinted || same_fingerprint(entry->kek.fingerprint, pin->fingerprint))
            return false;
    }
    return true;
}

/* The name under which the key of @generation would be found. */
static void set_name(const struct kms_evidence *evidence, struct kms_ring_entry *entry)
{
    const struct kms_vouched *vouched = evidence->vouched;
    size_t at = kms_vouched_adoption(vouched, entry->generation);
    entry->adopted = at < vouched->adoption_count;
    if (entry->adopted) {
        const struct kms_kek_name *name = &vouched->names[at];
        entry->activation_utc_s = vouched->adoptions[at].activation_utc_s;
        memcpy(entry->kek.label, name->label, sizeof entry->kek.label);
        memcpy(entry->kek.cka_id, name->cka_id, name->cka_id_len);
        entry->kek.cka_id_len = name->cka_id_len;
    }
    if (entry->kek.label[0] == '\0')
        snprintf(entry->kek.label, sizeof entry->kek.label, "%s.v%u", evidence->ring,
                 (unsigned)entry->generation);
}

static void explain_missing(const struct kms_snapshot *snapshot, struct kms_ring_entry *entry)
{
    struct short_fingerprint head = shorten(entry->kek.fingerprint);
    char away[KMS_TOKENS_MAX * (KMS_TOKEN_NAME_MAX + 4)];
    kms_tokens_name_away(snapshot, away, sizeof away);
    if (away[0] != '\0')
        set_state(entry, KMS_KEK_MISSING,
                  "the key with fingerprint %s is on no token that was reached; away: %s",
                  head.text, away);
    else
        set_state(entry, KMS_KEK_MISSING, "the key with fingerprint %s is not on %s", head.text,
                  snapshot->token_count > 0 ? "any of the tokens" : "the token");
}

static void add_missing(const struct kms_evidence *evidence, struct kms_snapshot *snapshot,
                        size_t listed)
{
    const struct kms_state *state = evidence->state;
    struct kms_snapshot view = { .entries = snapshot->entries, .count = listed };
    for (size_t i = 0; i < state->pin_count; i++) {
        const struct kms_pin *pin = &state->pins[i];
        if (kms_state_is_buried(state, pin->generation) || !is_missing(&view, pin))
            continue;
        struct kms_ring_entry *entry = &snapshot->entries[snapshot->count++];
        entry->generation = pin->generation;
        entry->kek.fingerprinted = true;
        memcpy(entry->kek.fingerprint, pin->fingerprint, KMS_FINGERPRINT_LEN);
        set_name(evidence, entry);
        kms_key_id_format(evidence->ring, pin->generation, pin->fingerprint, entry->key_id);
        explain_missing(snapshot, entry);
    }
}

/* The entry, of the first @count, that @name names; NULL if none. */
static const struct kms_ring_entry *find_named(const struct kms_snapshot *snapshot, size_t count,
                                               const struct kms_kek_name *name)
{
    for (size_t i = 0; i < count; i++) {
        if (kms_kek_has_name(&snapshot->entries[i].kek, name))
            return &snapshot->entries[i];
    }
    return NULL;
}

static void explain_unmatched(const struct kms_evidence *evidence, const struct kms_kek_name *name,
                              const struct kms_ring_entry *holder, struct kms_ring_entry *entry)
{
    struct title title = title_of(name->label, name->cka_id, name->cka_id_len);
    if (holder != NULL) {
        set_state(entry, KMS_KEK_MISSING, "adopt: %.180s is generation %u already: '%.80s'",
                  title.text, (unsigned)holder->generation, holder->kek.label);
        return;
    }
    const struct kms_inventory *inventory = evidence->inventory;
    set_state(entry, KMS_KEK_MISSING, "adopt: no AES key %.250s is on the token; %s", title.text,
              inventory->other_count > 0 ? "outside the ring there are" : "none but the ring's is");
    bool open = true;
    for (size_t i = 0; i < inventory->other_count; i++) {
        const struct kms_kek_name *other = &inventory->others[i];
        title = title_of(other->label, other->cka_id, other->cka_id_len);
        append_title(entry, &title, i == 0, &open);
    }
}

/* Adoptions of which no key is on the token, and no pin says so already. */
static void add_unmatched(const struct kms_evidence *evidence, struct kms_snapshot *snapshot,
                          size_t listed)
{
    const struct kms_vouched *vouched = evidence->vouched;
    for (size_t i = 0; i < vouched->adoption_count; i++) {
        uint32_t generation = vouched->adoptions[i].generation;
        bool known = kms_state_is_buried(evidence->state, generation);
        for (size_t k = 0; k < snapshot->count && !known; k++)
            known = snapshot->entries[k].generation == generation;
        if (known)
            continue;
        const struct kms_ring_entry *holder = find_named(snapshot, listed, &vouched->names[i]);
        struct kms_ring_entry *entry = &snapshot->entries[snapshot->count++];
        entry->generation = generation;
        set_name(evidence, entry);
        explain_unmatched(evidence, &vouched->names[i], holder, entry);
    }
}

static int compare_entries(const void *left, const void *right)
{
    const struct kms_ring_entry *a = left, *b = right;
    if (a->generation != b->generation)
        return a->generation < b->generation ? -1 : 1;
    return kms_kek_order_by_id(&a->kek, &b->kek);
}

/* The promoted generation's key, as pinned; NULL if it isn't there or isn't fit. */
static const struct kms_ring_entry *find_active(const struct kms_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        if (snapshot->entries[i].state == KMS_KEK_ACTIVE)
            return &snapshot->entries[i];
    }
    return NULL;
}

static void explain_nothing_promoted(const struct kms_evidence *evidence,
                                     struct kms_snapshot *snapshot)
{
    snapshot->code = kms_snapshot_is_partial(snapshot) ? KMS_E_UNAVAILABLE : KMS_E_PRECONDITION;
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->lacking != 0 && entry->state == KMS_KEK_PREACTIVE) {
            snprintf(snapshot->problem, sizeof snapshot->problem,
                     "no KEK is promoted yet: '%.60s' %s", entry->kek.label, entry->reason);
            return;
        }
        if (entry->state == KMS_KEK_REFUSED || entry->state == KMS_KEK_DISABLED ||
            entry->state == KMS_KEK_MISSING) {
            snprintf(snapshot->problem, sizeof snapshot->problem, "no usable KEK: '%.60s': %s",
                     entry->kek.label, entry->reason);
            return;
        }
    }
    if (snapshot->count > 0)
        snprintf(snapshot->problem, sizeof snapshot->problem,
                 "no KEK of ring '%s' is promoted yet: wait until it was listed twice",
                 evidence->ring);
    else
        snprintf(
            snapshot->problem, sizeof snapshot->problem,
            "no KEK with a label '%s.v<generation>@<activation>' is on the token: run hsm-kms key "
            "create",
            evidence->ring);
}

/* The promoted key vanished, changed or lost its rights: says so with label, generation and both
 * fingerprints. */
static void explain_promoted(const struct kms_evidence *evidence, struct kms_snapshot *snapshot,
                             const struct kms_pin *pin)
{
    snapshot->code = KMS_E_PRECONDITION;
    const struct kms_ring_entry *other = NULL;
    bool is_there = false; /* the very key, though it isn't fit */
    char name[64];
    snprintf(name, sizeof name, "%s.v%u", evidence->ring, (unsigned)evidence->promoted);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->generation != evidence->promoted)
            continue;
        if (entry->state == KMS_KEK_MISSING) {
            snprintf(name, sizeof name, "%.60s", entry->kek.label);
            continue;
        }
        other = entry;
        is_there |= pin != NULL && entry->kek.fingerprinted &&
                    same_fingerprint(pin->fingerprint, entry->kek.fingerprint);
    }
    struct short_fingerprint pinned = { "unknown" };
    if (pin != NULL)
        pinned = shorten(pin->fingerprint);
    char away[KMS_TOKENS_MAX * (KMS_TOKEN_NAME_MAX + 4)];
    kms_tokens_name_away(snapshot, away, sizeof away);
    if (!is_there && away[0] != '\0') {
        snapshot->code = KMS_E_UNAVAILABLE;
        snprintf(snapshot->problem, sizeof snapshot->problem,
                 "KEK '%s' (generation %u, fingerprint %s) is on no token that can be reached; "
                 "away: %s; do not delete objects",
                 name, (unsigned)evidence->promoted, pinned.text, away);
    } else if (other == NULL)
        snprintf(snapshot->problem, sizeof snapshot->problem,
                 "KEK '%s' (generation %u, fingerprint %s) is gone from the token: restore it, or "
                 "its entry under adopt: if it had one; "
                 "do not delete objects",
                 name, (unsigned)evidence->promoted, pinned.text);
    else
        snprintf(snapshot->problem, sizeof snapshot->problem, "KEK '%.60s' (generation %u): %s",
                 other->kek.label, (unsigned)evidence->promoted, other->reason);
}

static void conclude(const struct kms_evidence *evidence, struct kms_snapshot *snapshot)
{
    snapshot->promoted = evidence->promoted;
    if (evidence->promoted == 0) {
        explain_nothing_promoted(evidence, snapshot);
        return;
    }
    const struct kms_pin *pin = kms_evidence_pin(evidence, evidence->promoted);
    const struct kms_ring_entry *active = find_active(snapshot);
    if (pin == NULL || active == NULL) {
        explain_promoted(evidence, snapshot, pin);
        return;
    }
    memcpy(snapshot->fingerprint, pin->fingerprint, KMS_FINGERPRINT_LEN);
    memcpy(snapshot->label, active->kek.label, sizeof snapshot->label);
    kms_key_id_format(evidence->ring, evidence->promoted, pin->fingerprint, snapshot->key_id);
}

/* Generation and activation: from the label, or from the configuration if it adopts the key. */
static void identify(const struct kms_evidence *evidence, struct kms_ring_entry *entry)
{
    struct kms_membership member = { .generation = 0 };
    if (!kms_vouched_identify(evidence->vouched, evidence->ring, &entry->kek, &member))
        set_state(entry, KMS_KEK_REFUSED,
                  "the label is not '%s.v<generation>@<YYYYMMDD>T<HHMMSS>Z'", evidence->ring);
    entry->generation = member.generation;
    entry->activation_utc_s = member.activation_utc_s;
    entry->adopted = member.adopted;
}

enum kms_code kms_judge(const struct kms_evidence *evidence, struct kms_snapshot **ret_snapshot,
                        struct kms_error *err)
{
    KMS_CLEANUP(kms_snapshot_release_ptr)
    struct kms_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    atomic_init(&snapshot->refs, 1);
    const struct kms_inventory *inventory = evidence->inventory;
    size_t most = inventory->count + evidence->state->pin_count + evidence->vouched->adoption_count;
    snapshot->entries = calloc(most > 0 ? most : 1, sizeof *snapshot->entries);
    if (snapshot->entries == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");

    for (size_t i = 0; i < inventory->count; i++) {
        struct kms_ring_entry *entry = &snapshot->entries[snapshot->count];
        entry->kek = inventory->keks[i];
        snapshot->count++;
        identify(evidence, entry);
    }
    size_t listed = snapshot->count;
    kms_tokens_judge(evidence, snapshot);
    for (size_t i = 0; i < listed; i++) {
        if (snapshot->entries[i].generation != 0)
            judge_entry(evidence, snapshot, &snapshot->entries[i]);
    }
    add_missing(evidence, snapshot, listed);
    add_unmatched(evidence, snapshot, listed);
    qsort(snapshot->entries, snapshot->count, sizeof *snapshot->entries, compare_entries);
    conclude(evidence, snapshot);
    *ret_snapshot = snapshot;
    snapshot = NULL;
    return KMS_OK;
}
