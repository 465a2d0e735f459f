/* SPDX-License-Identifier: Apache-2.0 */
#include "key_settle.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "key_plan.h"
#include "keyid.h"
#include "kms/clock.h"

enum { PAUSE_MS = 200, MAKING_MS = 1000, TOKEN_TIMEOUT_MS = 10 * 1000, LIST_TRIES = 3 };

static void pause_a_little(void)
{
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000L * 1000L };
    (void)nanosleep(&pause, NULL);
}

/* Of several tokens those that have @own were there, and the first, which makes all keys: a rival
 * isn't seen without them. */
static enum kms_code check_listed(const struct kms_inventory *inventory,
                                  const struct kms_kek_info *own, struct kms_error *err)
{
    const uint32_t were_there = own->holders | 1;
    for (size_t i = 0; i < inventory->token_count; i++) {
        const struct kms_token_listing *token = &inventory->tokens[i];
        if ((were_there & UINT32_C(1) << i) != 0 && !token->listed)
            return kms_fail(err, KMS_E_UNAVAILABLE, "token '%s' can't be listed any more: %s",
                            token->name, token->problem);
    }
    return KMS_OK;
}

static enum kms_code list_once(struct kms_keystore *ks, const struct kms_kek_filter *filter,
                               const struct kms_kek_info *own, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_list(ks, filter, kms_monotonic_ms() + TOKEN_TIMEOUT_MS,
                                         &inventory, err);
    if (rc == KMS_OK && own != NULL)
        rc = check_listed(&inventory, own, err);
    if (rc != KMS_OK)
        return rc;
    *ret_inventory = inventory;
    inventory = (struct kms_inventory){ 0 };
    return KMS_OK;
}

/* Other commands log in and destroy keys at this very time, which may look like an outage: the
 * listing after it connects anew.  @own: NULL, or a key that was there. */
static enum kms_code list_filtered(struct kms_keystore *ks, const struct kms_kek_filter *filter,
                                   const struct kms_kek_info *own,
                                   struct kms_inventory *ret_inventory, struct kms_error *err)
{
    for (int tries = 1;; tries++) {
        enum kms_code rc = list_once(ks, filter, own, ret_inventory, err);
        if (rc != KMS_E_UNAVAILABLE || tries == LIST_TRIES)
            return rc;
        pause_a_little();
    }
}

/* All that can have made a key of the ring: its label says so. */
static enum kms_code list(struct kms_keystore *ks, const char *ring, const struct kms_kek_info *own,
                          struct kms_inventory *ret_inventory, struct kms_error *err)
{
    char prefix[KMS_RING_MAX + 3];
    (void)snprintf(prefix, sizeof(prefix), "%s.v", ring);
    const struct kms_kek_filter filter = { .label_prefix = prefix };
    return list_filtered(ks, &filter, own, ret_inventory, err);
}

enum kms_code kms_key_list_settled(struct kms_keystore *ks, const char *ring,
                                   const struct kms_kek_filter *filter, int64_t patience_ms,
                                   struct kms_inventory *ret_inventory, struct kms_error *err)
{
    int64_t begun_ms = kms_monotonic_ms();
    for (;;) {
        KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
        enum kms_code rc = list_filtered(ks, filter, NULL, &inventory, err);
        if (rc != KMS_OK)
            return rc;
        int64_t waited_ms = kms_monotonic_ms() - begun_ms;
        bool is_contended = kms_key_is_contended(ring, &inventory) && waited_ms < patience_ms;
        bool is_unfinished = kms_key_is_unfinished(ring, &inventory) && waited_ms < MAKING_MS &&
                             waited_ms < patience_ms;
        if (!is_contended && !is_unfinished) {
            *ret_inventory = inventory;
            inventory = (struct kms_inventory){ 0 };
            return KMS_OK;
        }
        pause_a_little();
    }
}

/* *ret_found: a rival, which is copied, was there when we stopped looking. */
static enum kms_code find_rival(struct kms_keystore *ks, const char *ring, int64_t patience_ms,
                                const struct kms_kek_info *own, bool *ret_found,
                                struct kms_kek_info *ret_rival, struct kms_error *err)
{
    int64_t give_up_ms = kms_monotonic_ms() + patience_ms;
    for (;;) {
        KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
        enum kms_code rc = list(ks, ring, own, &inventory, err);
        if (rc != KMS_OK)
            return rc;
        const struct kms_kek_info *rival = kms_key_rival(ring, &inventory, own);
        *ret_found = rival != NULL;
        if (rival == NULL)
            return KMS_OK;
        *ret_rival = *rival;
        if (kms_key_yields_to(own, rival) || kms_monotonic_ms() >= give_up_ms)
            return KMS_OK;
        pause_a_little();
    }
}

/* The rival may have yielded to us just when we yielded to it. */
static enum kms_code find_standing(struct kms_keystore *ks, const char *ring,
                                   const struct kms_kek_info *own, struct kms_kek_info *ret_kek,
                                   struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    struct kms_error why = { 0 };
    enum kms_code rc = list(ks, ring, own, &inventory, &why);
    if (rc != KMS_OK)
        return kms_fail(err, rc,
                        "'%s' was destroyed for another key of its generation, which can't be "
                        "listed now: %s; run key list",
                        own->label, why.msg);
    const struct kms_kek_info *standing = kms_key_rival(ring, &inventory, own);
    if (standing == NULL)
        return kms_fail(
            err, KMS_E_BUSY,
            "two commands made keys of one generation at once, and both withdrew: no key "
            "was added; run it again");
    *ret_kek = *standing;
    return KMS_OK;
}

enum kms_code kms_key_settle(struct kms_keystore *ks, const char *ring, int64_t patience_ms,
                             struct kms_kek_info *kek, bool *ret_yielded, struct kms_error *err)
{
    const struct kms_kek_info own = *kek;
    struct kms_kek_info rival = { .label = "" };
    struct kms_error why = { 0 };
    bool found = false;
    enum kms_code rc = find_rival(ks, ring, patience_ms, &own, &found, &rival, &why);
    if (rc != KMS_OK)
        return kms_fail(err, rc,
                        "'%s' was created, but the token can't be listed to see whether it is the "
                        "only one: %s; run key list",
                        own.label, why.msg);
    *ret_yielded = found;
    if (!found)
        return KMS_OK;
    const struct kms_bytes id = { own.cka_id, own.cka_id_len };
    rc = kms_keystore_destroy(ks, own.label, id, kms_monotonic_ms() + TOKEN_TIMEOUT_MS, &why);
    if (rc != KMS_OK)
        return kms_fail(err, rc,
                        "'%s' and '%s' have the same generation, so that neither will be used; "
                        "'%s' can't be destroyed: %s",
                        own.label, rival.label, own.label, why.msg);
    return find_standing(ks, ring, &own, kek, err);
}

static bool is_listed(const struct kms_inventory *inventory, const struct kms_kek_info *kek)
{
    struct kms_bytes label = kms_bytes_of(kek->label);
    for (size_t i = 0; i < inventory->count; i++) {
        const struct kms_kek_info *listed = &inventory->keks[i];
        if (kms_bytes_equal(kms_bytes_of(listed->label), label) && kms_key_is_same(listed, kek))
            return true;
    }
    return false;
}

enum kms_code kms_key_confirm(struct kms_keystore *ks, const char *ring, int64_t quiet_ms,
                              int64_t patience_ms, struct kms_kek_info *kek, struct kms_error *err)
{
    int64_t give_up_ms = kms_monotonic_ms() + patience_ms;
    int64_t alone_since_ms = 0;
    bool was_alone = false;
    for (;;) {
        KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
        enum kms_code rc = list(ks, ring, kek, &inventory, err);
        if (rc != KMS_OK)
            return rc;
        const struct kms_kek_info *rival = kms_key_rival(ring, &inventory, kek);
        bool is_there = is_listed(&inventory, kek);
        if (!is_there && rival == NULL)
            return kms_fail(err, KMS_E_BUSY,
                            "'%s' was made by another command and is gone again; run it again",
                            kek->label);
        int64_t now_ms = kms_monotonic_ms();
        bool is_alone = is_there && rival == NULL;
        if (!is_alone || !was_alone)
            alone_since_ms = now_ms;
        was_alone = is_alone;
        if (is_alone && now_ms - alone_since_ms >= quiet_ms)
            return KMS_OK;
        if (!is_there)
            *kek = *rival;
        if (now_ms >= give_up_ms)
            return KMS_OK;
        pause_a_little();
    }
}
