/* SPDX-License-Identifier: Apache-2.0 */
/* What commands do with keys of several tokens.  Keys are made and brought to the first token; a change
 * is made on each that has the key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover_state.h"

static struct kms_failover *failover_of(struct kms_keystore *base)
{
    return (struct kms_failover *)base;
}

/* The text names the token. */
static enum kms_code blame(const struct kms_failover_member *member, const struct kms_error *why,
                           struct kms_error *err)
{
    struct kms_error best = { .code = KMS_OK };
    kms_failover_weigh(&best, member, why);
    if (err != NULL)
        *err = best;
    return kms_not_ok(best.code);
}

/* --- which keys are one --- */

/* One change of a key. */
struct change {
    enum { DESTROY, RELABEL, SET_USAGE, SEAL } kind;
    const char *label; /* of RELABEL: the new one */
    bool usable;       /* of SET_USAGE */
};

/* The key on one token, under its own CKA_ID there. */
struct place {
    struct kms_failover_member *member;
    bool has; /* it is there */
    struct kms_kek_info kek;
};

/* A key as the caller names it: by the label and CKA_ID that its first holder has for it. */
struct subject {
    struct kms_failover *failover;
    const struct kms_object *object;
    int64_t deadline_ms;
    bool fingerprinted;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    size_t rank; /* among equal keys on one token */
    struct place places[KMS_TOKENS_MAX];
    size_t count;
    size_t first; /* the first place that has it; @count if none */
};

static struct kms_bytes id_of(const struct kms_kek_info *kek)
{
    return (struct kms_bytes){ kek->cka_id, kek->cka_id_len };
}

static bool is_named(const struct kms_kek_info *kek, const struct kms_object *object)
{
    return strcmp(kek->label, object->label) == 0 && kms_bytes_equal(id_of(kek), object->cka_id);
}

static bool is_equal(const struct kms_kek_info *kek, const struct subject *subject)
{
    const struct kms_kek_ref ref = { .label = subject->object->label,
                                     .fingerprint = subject->fingerprint };
    return subject->fingerprinted && kms_kek_is(kek, &ref);
}

static void identify(struct subject *subject, const struct kms_inventory *inventory, size_t at)
{
    const struct kms_kek_info *kek = &inventory->keks[at];
    subject->fingerprinted = kek->fingerprinted;
    memcpy(subject->fingerprint, kek->fingerprint, KMS_FINGERPRINT_LEN);
    for (size_t i = 0; i < at; i++)
        subject->rank += is_equal(&inventory->keks[i], subject) ? 1 : 0;
}

/* A copy that the vendor made has the same CKA_ID, one that was brought there has another. */
static void find_on(struct subject *subject, const struct kms_inventory *inventory,
                    struct place *place)
{
    size_t rank = 0;
    for (size_t i = 0; i < inventory->count; i++) {
        const struct kms_kek_info *kek = &inventory->keks[i];
        bool named = is_named(kek, subject->object);
        if (named && subject->first == subject->count) {
            identify(subject, inventory, i);
            subject->first = (size_t)(place - subject->places);
        }
        bool contradicts = subject->fingerprinted && kek->fingerprinted && !is_equal(kek, subject);
        bool equal = is_equal(kek, subject) && rank++ == subject->rank;
        if ((!named || contradicts) && !equal)
            continue;
        place->has = true;
        place->kek = *kek;
        if (named)
            return;
    }
}

static enum kms_code list_place(const struct subject *subject, const struct place *place,
                                struct kms_inventory *ret_inventory, struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_inventory(place->member->keystore, subject->object->label,
                                              subject->deadline_ms, ret_inventory, &why);
    return rc == KMS_OK ? rc : blame(place->member, &why, err);
}

/* Tokens that the last listing didn't reach are left out: the caller knows of them. */
static void gather_places(struct kms_failover *failover, struct subject *subject)
{
    (void)pthread_mutex_lock(&failover->lock);
    for (size_t i = 0; i < failover->count; i++) {
        if (failover->members[i].listed)
            subject->places[subject->count++].member = &failover->members[i];
    }
    (void)pthread_mutex_unlock(&failover->lock);
    subject->first = subject->count;
}

static void inventories_done(struct kms_inventory (*inventories)[KMS_TOKENS_MAX])
{
    for (size_t i = 0; i < KMS_TOKENS_MAX; i++)
        kms_inventory_done(&(*inventories)[i]);
}

/* Looks on every token, since what was listed last may be older or was listed by another filter.
 * KMS_E_PRECONDITION: no token has the key. */
static enum kms_code find_subject(struct kms_keystore *base, const struct kms_object *object,
                                  int64_t deadline_ms, struct subject *ret_subject,
                                  struct kms_error *err)
{
    KMS_CLEANUP(inventories_done) struct kms_inventory inventories[KMS_TOKENS_MAX] = { 0 };
    struct subject *subject = ret_subject;
    *subject = (struct subject){ .failover = failover_of(base),
                                 .object = object,
                                 .deadline_ms = deadline_ms };
    gather_places(subject->failover, subject);
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; i < subject->count && rc == KMS_OK; i++)
        rc = list_place(subject, &subject->places[i], &inventories[i], err);
    if (rc != KMS_OK)
        return rc;
    for (size_t i = 0; i < subject->count; i++)
        find_on(subject, &inventories[i], &subject->places[i]);
    if (subject->first == subject->count)
        return kms_fail(
            err, KMS_E_PRECONDITION,
            "no key has label '%.80s' and this CKA_ID on any of the tokens: nothing was "
            "changed",
            object->label);
    for (size_t i = 0; i < subject->first; i++) /* equal ones under another CKA_ID */
        find_on(subject, &inventories[i], &subject->places[i]);
    return KMS_OK;
}

/* --- changes --- */

static enum kms_code apply(const struct subject *subject, const struct place *place,
                           const struct change *change, struct kms_error *err)
{
    struct kms_keystore *keystore = place->member->keystore;
    const struct kms_object object = { place->kek.label, id_of(&place->kek) };
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = KMS_OK;
    switch (change->kind) {
    case DESTROY:
        rc = kms_keystore_destroy(keystore, object.label, object.cka_id, subject->deadline_ms,
                                  &why);
        break;
    case RELABEL:
        rc = kms_keystore_relabel(keystore, &object, change->label, subject->deadline_ms, &why);
        break;
    case SET_USAGE:
        rc = kms_keystore_set_usage(keystore, &object, change->usable, subject->deadline_ms, &why);
        break;
    case SEAL:
        rc = kms_keystore_seal(keystore, &object, subject->deadline_ms, &why);
        break;
    }
    return rc == KMS_OK ? rc : blame(place->member, &why, err);
}

/* Of a key that is still there under its label. */
static bool is_so(const struct kms_kek_info *kek, const struct change *change)
{
    const uint32_t usages = KMS_KEK_WRAP | KMS_KEK_UNWRAP;
    const uint32_t is = kek->known & kek->attributes;
    switch (change->kind) {
    case DESTROY:
    case RELABEL:
        return false;
    case SET_USAGE:
        return change->usable ? kek->fingerprinted && (is & usages) == usages : (is & usages) == 0;
    case SEAL:
        return (kek->known & ~kek->attributes & KMS_KEK_EXTRACTABLE) != 0;
    }
    return false;
}

/* A token that copies by itself may have got the change by now. */
static enum kms_code look_again(struct subject *subject, struct place *place,
                                const struct change *change, bool *ret_wanted,
                                struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = list_place(subject, place, &inventory, err);
    *ret_wanted = false;
    for (size_t i = 0; i < inventory.count && rc == KMS_OK; i++) {
        const struct kms_object object = { place->kek.label, id_of(&place->kek) };
        if (is_named(&inventory.keks[i], &object) && !is_so(&inventory.keks[i], change))
            *ret_wanted = true;
    }
    return rc;
}

static enum kms_code apply_to(struct subject *subject, struct place *place,
                              const struct change *change, struct kms_error *err)
{
    bool wanted = place->has;
    enum kms_code rc = KMS_OK;
    if (wanted && place->member->copies_itself && place != &subject->places[subject->first])
        rc = look_again(subject, place, change, &wanted, err);
    return rc == KMS_OK && wanted ? apply(subject, place, change, err) : rc;
}

/* The first holder comes after those that don't copy from it: until then its name finds the key again,
 * and a rerun finishes. */
static enum kms_code change_all(struct kms_keystore *base, const struct kms_object *object,
                                const struct change *change, int64_t deadline_ms,
                                struct kms_error *err)
{
    struct subject subject;
    enum kms_code rc = find_subject(base, object, deadline_ms, &subject, err);
    for (size_t i = 0; rc == KMS_OK && i < subject.count; i++) {
        struct place *place = &subject.places[i];
        if (i != subject.first && !place->member->copies_itself)
            rc = apply_to(&subject, place, change, err);
    }
    if (rc == KMS_OK)
        rc = apply_to(&subject, &subject.places[subject.first], change, err);
    for (size_t i = 0; rc == KMS_OK && i < subject.count; i++) {
        struct place *place = &subject.places[i];
        if (i != subject.first && place->member->copies_itself)
            rc = apply_to(&subject, place, change, err);
    }
    return rc;
}

static enum kms_code destroy(struct kms_keystore *base, const char *label, struct kms_bytes cka_id,
                             int64_t deadline_ms, struct kms_error *err)
{
    const struct kms_object object = { label, cka_id };
    const struct change change = { .kind = DESTROY };
    return change_all(base, &object, &change, deadline_ms, err);
}

static enum kms_code relabel(struct kms_keystore *base, const struct kms_object *kek,
                             const char *label, int64_t deadline_ms, struct kms_error *err)
{
    const struct change change = { .kind = RELABEL, .label = label };
    return change_all(base, kek, &change, deadline_ms, err);
}

static enum kms_code set_usage(struct kms_keystore *base, const struct kms_object *kek, bool usable,
                               int64_t deadline_ms, struct kms_error *err)
{
    const struct change change = { .kind = SET_USAGE, .usable = usable };
    return change_all(base, kek, &change, deadline_ms, err);
}

static enum kms_code seal(struct kms_keystore *base, const struct kms_object *kek,
                          int64_t deadline_ms, struct kms_error *err)
{
    const struct change change = { .kind = SEAL };
    return change_all(base, kek, &change, deadline_ms, err);
}

/* --- copies --- */

static enum kms_code copy_at(const struct subject *subject, const struct place *place,
                             const char *label, struct kms_kek_info *ret_kek, struct kms_error *err)
{
    const struct kms_object from = { place->kek.label, id_of(&place->kek) };
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_copy(place->member->keystore, &from, label,
                                         subject->deadline_ms, ret_kek, &why);
    return rc == KMS_OK ? rc : blame(place->member, &why, err);
}

/* A copy that an earlier run made there must not get a twin. */
static enum kms_code copy_once(const struct subject *subject, const struct place *place,
                               const char *label, struct kms_kek_info *ret_kek,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    const struct kms_kek_ref ref = { .label = label, .fingerprint = subject->fingerprint };
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_inventory(place->member->keystore, label, subject->deadline_ms,
                                              &inventory, &why);
    if (rc != KMS_OK)
        return blame(place->member, &why, err);
    for (size_t i = 0; i < inventory.count; i++) {
        if (!subject->fingerprinted || !kms_kek_is(&inventory.keks[i], &ref))
            continue;
        *ret_kek = inventory.keks[i];
        return KMS_OK;
    }
    return copy_at(subject, place, label, ret_kek, err);
}

static enum kms_code copy(struct kms_keystore *base, const struct kms_object *from,
                          const char *label, int64_t deadline_ms, struct kms_kek_info *ret_kek,
                          struct kms_error *err)
{
    struct subject subject;
    struct kms_kek_info made;
    enum kms_code rc = find_subject(base, from, deadline_ms, &subject, err);
    for (size_t i = 0; rc == KMS_OK && i < subject.count; i++) {
        const struct place *place = &subject.places[i];
        if (place->has && i != subject.first && !place->member->copies_itself)
            rc = copy_once(&subject, place, label, &made, err);
    }
    return rc == KMS_OK ? copy_once(&subject, &subject.places[subject.first], label, ret_kek, err)
                        : rc;
}

/* --- on one token --- */

/* The key on its first holder. */
static enum kms_code find_first(struct kms_keystore *base, const struct kms_object *kek,
                                int64_t deadline_ms, struct place *ret_place, struct kms_error *err)
{
    struct subject subject;
    enum kms_code rc = find_subject(base, kek, deadline_ms, &subject, err);
    if (rc == KMS_OK)
        *ret_place = subject.places[subject.first];
    return rc;
}

static enum kms_code inspect(struct kms_keystore *base, const struct kms_object *kek,
                             int64_t deadline_ms, struct kms_kek_details *ret_details,
                             struct kms_error *err)
{
    struct place place;
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = find_first(base, kek, deadline_ms, &place, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_object object = { place.kek.label, id_of(&place.kek) };
    rc = kms_keystore_inspect(place.member->keystore, &object, deadline_ms, ret_details, &why);
    return rc == KMS_OK ? rc : blame(place.member, &why, err);
}

static enum kms_code export_to(struct kms_keystore *base, const struct kms_object *kek,
                               const struct kms_spki *recipient, enum kms_oaep_hash hash,
                               int64_t deadline_ms, struct kms_transport_blob *ret_blob,
                               struct kms_error *err)
{
    struct place place;
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = find_first(base, kek, deadline_ms, &place, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_object object = { place.kek.label, id_of(&place.kek) };
    rc = kms_keystore_export_to(place.member->keystore, &object, recipient, hash, deadline_ms,
                                ret_blob, &why);
    return rc == KMS_OK ? rc : blame(place.member, &why, err);
}

static enum kms_code generate(struct kms_keystore *base, const char *label, int64_t deadline_ms,
                              struct kms_kek_info *ret_kek, struct kms_error *err)
{
    struct kms_failover_member *first = &failover_of(base)->members[0];
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_generate(first->keystore, label, deadline_ms, ret_kek, &why);
    return rc == KMS_OK ? rc : blame(first, &why, err);
}

static enum kms_code generate_for_escrow(struct kms_keystore *base, const char *label,
                                         int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                         struct kms_error *err)
{
    struct kms_failover_member *first = &failover_of(base)->members[0];
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_generate_for_escrow(first->keystore, label, deadline_ms,
                                                        ret_kek, &why);
    return rc == KMS_OK ? rc : blame(first, &why, err);
}

static enum kms_code transport_key(struct kms_keystore *base, const char *label, bool make,
                                   int64_t deadline_ms, struct kms_transport_key *ret_key,
                                   struct kms_error *err)
{
    struct kms_failover_member *first = &failover_of(base)->members[0];
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_transport_key(first->keystore, label, make, deadline_ms,
                                                  ret_key, &why);
    return rc == KMS_OK ? rc : blame(first, &why, err);
}

static enum kms_code import_key(struct kms_keystore *base,
                                const struct kms_transport_import *import, int64_t deadline_ms,
                                struct kms_kek_info *ret_kek, struct kms_error *err)
{
    struct kms_failover_member *first = &failover_of(base)->members[0];
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_import(first->keystore, import, deadline_ms, ret_kek, &why);
    return rc == KMS_OK ? rc : blame(first, &why, err);
}

static enum kms_code audit_key(struct kms_keystore *base, const char *label, bool make,
                               int64_t deadline_ms, struct kms_audit_key *ret_key,
                               struct kms_error *err)
{
    struct kms_failover_member *first = &failover_of(base)->members[0];
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_audit_key(first->keystore, label, make, deadline_ms, ret_key,
                                              &why);
    return rc == KMS_OK ? rc : blame(first, &why, err);
}

const struct kms_manage_ops kms_failover_manage = {
    .generate = generate,
    .destroy = destroy,
    .copy = copy,
    .relabel = relabel,
    .set_usage = set_usage,
    .inspect = inspect,
    .transport_key = transport_key,
    .import = import_key,
    .generate_for_escrow = generate_for_escrow,
    .export_to = export_to,
    .seal = seal,
    .audit_key = audit_key,
};
