/* SPDX-License-Identifier: Apache-2.0 */
#include "key_spread.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "keyid.h"
#include "kms/clock.h"
#include "transport_names.h"

enum {
    TOKEN_TIMEOUT_MS = 10 * 1000,
    MAKING_MS = 2 * 60 * 1000, /* HSMs take their time for RSA keys */
    PAUSE_MS = 200,
    PENDING_LABEL_LEN = KMS_KEK_LABEL_LEN + 8, /* "pending." */
};

static int64_t token_deadline_ms(void)
{
    return kms_monotonic_ms() + TOKEN_TIMEOUT_MS;
}

static struct kms_object object_of(const struct kms_kek_info *kek)
{
    return (struct kms_object){ kek->label, { kek->cka_id, kek->cka_id_len } };
}

static bool is_extractable(const struct kms_kek_info *kek)
{
    return (kek->known & kek->attributes & KMS_KEK_EXTRACTABLE) != 0;
}

static enum kms_code blame(const struct kms_spread_token *token, enum kms_code rc,
                           const struct kms_error *why, struct kms_error *err)
{
    return kms_fail(err, rc, "token '%s': %.400s", token->name, why->msg);
}

bool kms_spread_is_needed(const struct kms_spread *spread)
{
    for (size_t i = 1; i < spread->count; i++)
        if (spread->tokens[i].escrow)
            return true;
    return false;
}

/* --- pending labels --- */

/* @label is the one that the key is to have. */
static void format_pending(const char *ring, const char *label,
                           char ret_pending[static PENDING_LABEL_LEN + 1])
{
    (void)snprintf(ret_pending, PENDING_LABEL_LEN + 1, "%s.pending.%s", ring,
                   label + strlen(ring) + 1);
}

/* The label that the key under @pending is to have; false: it is no such key. */
static bool parse_pending(const char *ring, const char *pending,
                          char ret_label[static KMS_KEK_LABEL_LEN + 1], uint32_t *ret_generation,
                          int64_t *ret_activation_utc_s)
{
    char prefix[KMS_RING_MAX + 10];
    int len = snprintf(prefix, sizeof(prefix), "%s.pending.", ring);
    if (strncmp(pending, prefix, (size_t)len) != 0)
        return false;
    (void)snprintf(ret_label, KMS_KEK_LABEL_LEN + 1, "%s.%.40s", ring, pending + len);
    return kms_label_parse(ring, ret_label, ret_generation, ret_activation_utc_s);
}

static bool is_pending(const char *ring, const struct kms_kek_info *kek)
{
    char label[KMS_KEK_LABEL_LEN + 1];
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    return parse_pending(ring, kek->label, label, &generation, &activation_utc_s);
}

/* --- one token --- */

static enum kms_code list(const struct kms_spread_token *token, const char *prefix,
                          struct kms_inventory *ret_inventory, struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_inventory(token->keystore, prefix, token_deadline_ms(),
                                              ret_inventory, &why);
    return rc == KMS_OK ? rc : blame(token, rc, &why, err);
}

static enum kms_code destroy(const struct kms_spread_token *token, const struct kms_kek_info *kek,
                             struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_destroy(token->keystore, kek->label, object_of(kek).cka_id,
                                            token_deadline_ms(), &why);
    return rc == KMS_OK ? rc : blame(token, rc, &why, err);
}

static enum kms_code seal_on(const struct kms_spread_token *token, const struct kms_kek_info *kek,
                             struct kms_error *err)
{
    const struct kms_object object = object_of(kek);
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_seal(token->keystore, &object, token_deadline_ms(), &why);
    return rc == KMS_OK ? rc : blame(token, rc, &why, err);
}

/* Never under a label of the ring before it can't leave the token any more. */
static enum kms_code finish(const struct kms_spread_token *token, const struct kms_kek_info *kek,
                            const char *label, struct kms_error *err)
{
    const struct kms_object object = object_of(kek);
    struct kms_error why = { .code = KMS_OK };
    if (is_extractable(kek) && seal_on(token, kek, err) != KMS_OK)
        return kms_not_ok(err->code);
    enum kms_code rc = kms_keystore_relabel(token->keystore, &object, label, token_deadline_ms(),
                                            &why);
    return rc == KMS_OK ? rc : blame(token, rc, &why, err);
}

static bool is_same_key(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    return a->fingerprinted && b->fingerprinted &&
           memcmp(a->fingerprint, b->fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

/* --- making --- */

/* One key on its way. */
struct journey {
    const struct kms_spread *spread;
    const char *label;
    char pending[PENDING_LABEL_LEN + 1];
    char transport[KMS_TRANSPORT_LABEL_LEN + 1];
    struct kms_transport_key recipients[KMS_TOKENS_MAX];
    struct kms_kek_info keks[KMS_TOKENS_MAX];
};

/* Before the key is made: until it is sealed it could leave for elsewhere, too. */
static enum kms_code get_recipients(struct journey *journey, struct kms_error *err)
{
    const struct kms_spread *spread = journey->spread;
    for (size_t i = 1; i < spread->count; i++) {
        const struct kms_spread_token *token = &spread->tokens[i];
        struct kms_error why = { .code = KMS_OK };
        if (!token->escrow)
            continue;
        enum kms_code rc = kms_keystore_transport_key(token->keystore, journey->transport, true,
                                                      kms_monotonic_ms() + MAKING_MS,
                                                      &journey->recipients[i], &why);
        if (rc != KMS_OK)
            return blame(token, rc, &why, err);
    }
    return KMS_OK;
}

static enum kms_code generate(struct journey *journey, struct kms_error *err)
{
    const struct kms_spread_token *first = &journey->spread->tokens[0];
    struct kms_kek_info *kek = &journey->keks[0];
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_generate_for_escrow(first->keystore, journey->pending,
                                                        token_deadline_ms(), kek, &why);
    if (rc != KMS_OK)
        return blame(first, rc, &why, err);
    if (!kek->fingerprinted)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "token '%s': the new key can't be fingerprinted: %.160s", first->name,
                        kek->problem);
    return KMS_OK;
}

static enum kms_code bring(struct journey *journey, size_t to, struct kms_error *err)
{
    const struct kms_spread_token *first = &journey->spread->tokens[0];
    const struct kms_spread_token *token = &journey->spread->tokens[to];
    const struct kms_transport_key *recipient = &journey->recipients[to];
    const struct kms_object object = object_of(&journey->keks[0]);
    struct kms_transport_blob blob = { .len = 0 };
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_keystore_export_to(first->keystore, &object, &recipient->spki,
                                              recipient->hash, token_deadline_ms(), &blob, &why);
    if (rc != KMS_OK)
        return blame(first, rc, &why, err);
    const struct kms_transport_import import = {
        .transport_label = journey->transport,
        .blob = { blob.data, blob.len },
        .fingerprint = journey->keks[0].fingerprint,
        .label = journey->pending,
    };
    rc = kms_keystore_import(token->keystore, &import, token_deadline_ms(), &journey->keks[to],
                             &why);
    return rc == KMS_OK ? rc : blame(token, rc, &why, err);
}

static enum kms_code seal(struct journey *journey, struct kms_error *err)
{
    enum kms_code rc = seal_on(&journey->spread->tokens[0], &journey->keks[0], err);
    if (rc != KMS_OK)
        return rc;
    journey->keks[0].attributes &= ~(uint32_t)KMS_KEK_EXTRACTABLE;
    return KMS_OK;
}

static enum kms_code prepare(struct journey *journey, struct kms_error *err)
{
    const struct kms_spread *spread = journey->spread;
    enum kms_code rc = get_recipients(journey, err);
    if (rc == KMS_OK)
        rc = generate(journey, err);
    for (size_t i = 1; i < spread->count && rc == KMS_OK; i++)
        if (spread->tokens[i].escrow)
            rc = bring(journey, i, err);
    return rc == KMS_OK ? seal(journey, err) : rc;
}

static enum kms_code withdraw_from(const struct kms_spread_token *token, const char *pending,
                                   struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = list(token, pending, &inventory, err);
    for (size_t i = 0; i < inventory.count && rc == KMS_OK; i++)
        if (strcmp(inventory.keks[i].label, pending) == 0)
            rc = destroy(token, &inventory.keks[i], err);
    return rc;
}

/* *err says why the key was given up. */
static enum kms_code withdraw(const struct journey *journey, struct kms_error *err)
{
    const struct kms_spread *spread = journey->spread;
    const struct kms_error why = *err;
    for (size_t i = 0; i < spread->count; i++) {
        struct kms_error left = { .code = KMS_OK };
        if (withdraw_from(&spread->tokens[i], journey->pending, &left) == KMS_OK)
            continue;
        return kms_fail(err, why.code,
                        "%.250s; and '%.80s' can't be taken away again (%.120s): the next key "
                        "create or key cancel does it",
                        why.msg, journey->pending, left.msg);
    }
    return kms_not_ok(why.code);
}

/* Vendors differ in whether a copy follows its original's label. */
static enum kms_code label_copies(const struct journey *journey,
                                  const struct kms_spread_token *token, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = list(token, journey->pending, &inventory, err);
    for (size_t i = 0; i < inventory.count && rc == KMS_OK; i++)
        if (strcmp(inventory.keks[i].label, journey->pending) == 0)
            rc = finish(token, &inventory.keks[i], journey->label, err);
    return rc;
}

/* … and when they copy: it may have been while the key could leave. */
static enum kms_code seal_copies(const struct journey *journey,
                                 const struct kms_spread_token *token, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = list(token, journey->label, &inventory, err);
    for (size_t i = 0; i < inventory.count && rc == KMS_OK; i++) {
        const struct kms_kek_info *kek = &inventory.keks[i];
        if (strcmp(kek->label, journey->label) == 0 && is_extractable(kek) &&
            is_same_key(kek, &journey->keks[0]))
            rc = seal_on(token, kek, err);
    }
    return rc;
}

static enum kms_code tidy_copies(const struct journey *journey, struct kms_error *err)
{
    const struct kms_spread *spread = journey->spread;
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = KMS_OK;
    for (size_t i = 1; i < spread->count && rc == KMS_OK; i++) {
        if (spread->tokens[i].escrow)
            continue;
        rc = label_copies(journey, &spread->tokens[i], &why);
        if (rc == KMS_OK)
            rc = seal_copies(journey, &spread->tokens[i], &why);
    }
    if (rc == KMS_OK)
        return rc;
    return kms_fail(
        err, rc,
        "%.300s; '%.60s' is made, but it is outstanding that a copy there is sealed and "
        "has its label: run it again to finish",
        why.msg, journey->label);
}

static enum kms_code label_all(const struct journey *journey, struct kms_error *err)
{
    const struct kms_spread *spread = journey->spread;
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = KMS_OK;
    for (size_t i = 1; i < spread->count && rc == KMS_OK; i++)
        if (spread->tokens[i].escrow)
            rc = finish(&spread->tokens[i], &journey->keks[i], journey->label, &why);
    if (rc == KMS_OK)
        rc = finish(&spread->tokens[0], &journey->keks[0], journey->label, &why);
    if (rc == KMS_OK)
        return tidy_copies(journey, err);
    return kms_fail(
        err, rc,
        "%.300s; the key is on all tokens, but not under '%.60s' on all: no node uses it "
        "yet, run it again to finish",
        why.msg, journey->label);
}

enum kms_code kms_spread_make(const struct kms_spread *spread, const char *label,
                              int64_t give_up_utc_s, struct kms_kek_info *ret_kek,
                              struct kms_error *err)
{
    struct journey journey = { .spread = spread, .label = label };
    struct kms_error why = { .code = KMS_OK };
    format_pending(spread->ring, label, journey.pending);
    kms_transport_label(spread->ring, journey.transport);
    enum kms_code rc = prepare(&journey, &why);
    if (rc == KMS_OK && kms_utc_s() > give_up_utc_s)
        rc = kms_fail(&why, KMS_E_BUSY,
                      "half of the time before the activation had passed when the key was on all "
                      "tokens, so that some nodes may see it too late: it is given up; see which "
                      "token is slow, or give a later --activate");
    if (rc != KMS_OK)
        rc = withdraw(&journey, &why);
    if (rc == KMS_OK)
        rc = label_all(&journey, &why);
    if (rc != KMS_OK) {
        if (err != NULL)
            *err = why;
        return kms_not_ok(rc);
    }
    *ret_kek = journey.keks[0];
    memcpy(ret_kek->label, label, strlen(label) + 1);
    return KMS_OK;
}

/* --- what was left --- */

struct leftovers {
    struct kms_inventory lists[KMS_TOKENS_MAX];
};

static void leftovers_done(struct leftovers *leftovers)
{
    for (size_t i = 0; i < KMS_TOKENS_MAX; i++)
        kms_inventory_done(&leftovers->lists[i]);
}

/* The key of @inventory under the same label. */
static const struct kms_kek_info *find_same(const struct kms_inventory *inventory,
                                            const struct kms_kek_info *kek)
{
    for (size_t i = 0; i < inventory->count; i++)
        if (strcmp(inventory->keks[i].label, kek->label) == 0 &&
            is_same_key(&inventory->keks[i], kek))
            return &inventory->keks[i];
    return NULL;
}

/* A copy that could leave its token, of a key that can't leave the first one any more.  What somebody
 * else made is not ours to seal: it would look as if it were sound. */
static bool is_unsealed(const struct kms_inventory *on_first, const struct kms_kek_info *kek)
{
    const struct kms_kek_info *made = find_same(on_first, kek);
    return is_extractable(kek) && made != NULL && !is_extractable(made);
}

/* @on_first: NULL for the first token itself. */
static void keep_leftovers(const char *ring, const struct kms_inventory *on_first,
                           struct kms_inventory *inventory)
{
    size_t kept = 0;
    for (size_t i = 0; i < inventory->count; i++)
        if (is_pending(ring, &inventory->keks[i]) ||
            (on_first != NULL && is_unsealed(on_first, &inventory->keks[i])))
            inventory->keks[kept++] = inventory->keks[i];
    inventory->count = kept;
}

static enum kms_code find_leftovers(const struct kms_spread *spread, struct leftovers *ret_found,
                                    struct kms_error *err)
{
    char prefix[KMS_RING_MAX + 2];
    (void)snprintf(prefix, sizeof(prefix), "%s.", spread->ring);
    for (size_t i = 0; i < spread->count; i++) {
        enum kms_code rc = list(&spread->tokens[i], prefix, &ret_found->lists[i], err);
        if (rc != KMS_OK)
            return rc;
    }
    for (size_t i = spread->count; i > 0; i--) /* the first last */
        keep_leftovers(spread->ring, i > 1 ? &ret_found->lists[0] : NULL, &ret_found->lists[i - 1]);
    return KMS_OK;
}

static size_t count_leftovers(const struct leftovers *leftovers)
{
    size_t count = 0;
    for (size_t i = 0; i < KMS_TOKENS_MAX; i++)
        count += leftovers->lists[i].count;
    return count;
}

enum kms_code kms_spread_count(const struct kms_spread *spread, size_t *ret_count,
                               struct kms_error *err)
{
    KMS_CLEANUP(leftovers_done) struct leftovers found = { 0 };
    enum kms_code rc = find_leftovers(spread, &found, err);
    if (rc == KMS_OK)
        *ret_count = count_leftovers(&found);
    return rc;
}

static bool same_key(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    return strcmp(a->label, b->label) == 0 && is_extractable(a) == is_extractable(b) &&
           kms_bytes_equal(object_of(a).cka_id, object_of(b).cka_id);
}

static bool same_leftovers(const struct leftovers *a, const struct leftovers *b)
{
    for (size_t i = 0; i < KMS_TOKENS_MAX; i++) {
        if (a->lists[i].count != b->lists[i].count)
            return false;
        for (size_t k = 0; k < a->lists[i].count; k++)
            if (!same_key(&a->lists[i].keks[k], &b->lists[i].keks[k]))
                return false;
    }
    return true;
}

/* Keeps what is @kek under the label that it is to have. */
static enum kms_code keep_labelled(const struct kms_kek_info *kek, const char *label,
                                   struct kms_inventory *inventory, struct kms_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < inventory->count; i++) {
        const struct kms_kek_info *other = &inventory->keks[i];
        if (strcmp(other->label, label) != 0)
            continue;
        if (!kek->fingerprinted || !other->fingerprinted)
            return kms_fail(err, KMS_E_PRECONDITION,
                            "'%.80s' and '%.60s' can't be compared for want of a fingerprint: "
                            "hsm-kms key cancel that generation",
                            kek->label, label);
        if (is_same_key(kek, other))
            inventory->keks[kept++] = *other;
    }
    inventory->count = kept;
    return KMS_OK;
}

static enum kms_code find_labelled(const struct kms_spread *spread, const struct kms_kek_info *kek,
                                   const char *label, struct leftovers *ret_found,
                                   struct kms_error *err)
{
    for (size_t i = 0; i < spread->count; i++) {
        enum kms_code rc = list(&spread->tokens[i], label, &ret_found->lists[i], err);
        if (rc == KMS_OK)
            rc = keep_labelled(kek, label, &ret_found->lists[i], err);
        if (rc != KMS_OK)
            return rc;
    }
    return KMS_OK;
}

/* The other tokens' copies, before the prepared key itself: nobody trusts them without the first's. */
static enum kms_code withdraw_labelled(const struct kms_spread *spread, uint32_t generation,
                                       const struct leftovers *labelled,
                                       struct kms_spread_mended *mended, struct kms_error *err)
{
    if (spread->state != NULL && kms_state_pin(spread->state, generation) != NULL)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "an interrupted command left generation %" PRIu32 " without its label on "
                        "token '%s', too near to its activation or after it, and this node has it "
                        "pinned: --force finishes it all the same, hsm-kms key cancel ends it",
                        generation, spread->tokens[0].name);
    for (size_t i = 1; i < spread->count; i++)
        for (size_t k = 0; k < labelled->lists[i].count; k++) {
            enum kms_code rc = destroy(&spread->tokens[i], &labelled->lists[i].keks[k], err);
            if (rc != KMS_OK)
                return rc;
            mended->withdrawn++;
        }
    return KMS_OK;
}

static enum kms_code mend_pending(const struct kms_spread *spread,
                                  const struct kms_spread_token *token,
                                  const struct kms_kek_info *kek, struct kms_spread_mended *mended,
                                  struct kms_error *err)
{
    KMS_CLEANUP(leftovers_done) struct leftovers labelled = { 0 };
    char label[KMS_KEK_LABEL_LEN + 1] = "";
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    (void)!parse_pending(spread->ring, kek->label, label, &generation, &activation_utc_s);
    enum kms_code rc = find_labelled(spread, kek, label, &labelled, err);
    if (rc != KMS_OK)
        return rc;
    bool finished = count_leftovers(&labelled) > 0;
    if (finished && labelled.lists[0].count == 0 && activation_utc_s < spread->finish_from_utc_s) {
        finished = false;
        rc = withdraw_labelled(spread, generation, &labelled, mended, err);
    }
    if (rc == KMS_OK)
        rc = finished ? finish(token, kek, label, err) : destroy(token, kek, err);
    if (rc != KMS_OK)
        return rc;
    mended->finished += finished ? 1 : 0;
    mended->withdrawn += finished ? 0 : 1;
    return KMS_OK;
}

static enum kms_code mend_key(const struct kms_spread *spread, const struct kms_spread_token *token,
                              const struct kms_kek_info *kek, struct kms_spread_mended *mended,
                              struct kms_error *err)
{
    if (is_pending(spread->ring, kek))
        return mend_pending(spread, token, kek, mended, err);
    enum kms_code rc = seal_on(token, kek, err);
    mended->finished += rc == KMS_OK ? 1 : 0;
    return rc;
}

static enum kms_code wait_until_quiet(const struct kms_spread *spread, int64_t patience_ms,
                                      const struct leftovers *found, struct kms_error *err)
{
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000L * 1000L };
    int64_t until_ms = kms_monotonic_ms() + patience_ms;
    while (kms_monotonic_ms() < until_ms) {
        KMS_CLEANUP(leftovers_done) struct leftovers again = { 0 };
        (void)nanosleep(&pause, NULL);
        enum kms_code rc = find_leftovers(spread, &again, err);
        if (rc != KMS_OK)
            return rc;
        if (!same_leftovers(found, &again))
            return kms_fail(
                err, KMS_E_BUSY,
                "another command is making a key at this time: nothing was done, run it "
                "again later");
    }
    return KMS_OK;
}

enum kms_code kms_spread_mend(const struct kms_spread *spread, int64_t patience_ms,
                              struct kms_spread_mended *ret_mended, struct kms_error *err)
{
    KMS_CLEANUP(leftovers_done) struct leftovers found = { 0 };
    struct kms_spread_mended mended = { 0 };
    enum kms_code rc = find_leftovers(spread, &found, err);
    if (rc == KMS_OK && count_leftovers(&found) > 0 && spread->partial)
        return kms_fail(
            err, KMS_E_PRECONDITION,
            "an interrupted command left a prepared key, which a token that is left out "
            "may have under its label already: bring that back, or hsm-kms key cancel "
            "the generation with the same --without");
    if (rc == KMS_OK && count_leftovers(&found) > 0)
        rc = wait_until_quiet(spread, patience_ms, &found, err);
    for (size_t i = spread->count; i > 0; i--) { /* the first token last */
        const struct kms_inventory *inventory = &found.lists[i - 1];
        for (size_t k = 0; k < inventory->count && rc == KMS_OK; k++)
            rc = mend_key(spread, &spread->tokens[i - 1], &inventory->keks[k], &mended, err);
    }
    if (rc == KMS_OK)
        *ret_mended = mended;
    return rc;
}

enum kms_code kms_spread_discard(const struct kms_spread *spread, uint32_t generation, bool dry_run,
                                 size_t *ret_count, struct kms_error *err)
{
    KMS_CLEANUP(leftovers_done) struct leftovers found = { 0 };
    char label[KMS_KEK_LABEL_LEN + 1];
    size_t count = 0;
    enum kms_code rc = find_leftovers(spread, &found, err);
    for (size_t i = 0; i < spread->count; i++) {
        const struct kms_inventory *inventory = &found.lists[i];
        for (size_t k = 0; k < inventory->count && rc == KMS_OK; k++) {
            uint32_t other = 0;
            int64_t activation_utc_s = 0;
            if (!parse_pending(spread->ring, inventory->keks[k].label, label, &other,
                               &activation_utc_s) ||
                other != generation)
                continue;
            count++;
            if (!dry_run)
                rc = destroy(&spread->tokens[i], &inventory->keks[k], err);
        }
    }
    if (rc == KMS_OK)
        *ret_count = count;
    return rc;
}
