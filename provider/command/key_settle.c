/* SPDX-License-Identifier: Apache-2.0 */
#include "key_settle.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "key_plan.h"
#include "keyid.h"
#include "kms/clock.h"

enum { PAUSE_MS = 200, TOKEN_TIMEOUT_MS = 10 * 1000 };

static enum kms_code list(struct kms_keystore *ks, const char *ring,
                          struct kms_inventory *ret_inventory, struct kms_error *err)
{
    char prefix[KMS_RING_MAX + 3];
    (void)snprintf(prefix, sizeof(prefix), "%s.v", ring);
    return kms_keystore_inventory(ks, prefix, kms_monotonic_ms() + TOKEN_TIMEOUT_MS, ret_inventory,
                                  err);
}

static void pause_a_little(void)
{
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000L * 1000L };
    (void)nanosleep(&pause, NULL);
}

enum kms_code kms_key_list_settled(struct kms_keystore *ks, const char *ring, int64_t patience_ms,
                                   struct kms_inventory *ret_inventory, struct kms_error *err)
{
    int64_t give_up_ms = kms_monotonic_ms() + patience_ms;
    for (;;) {
        KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
        enum kms_code rc = list(ks, ring, &inventory, err);
        if (rc != KMS_OK)
            return rc;
        if (!kms_key_is_contended(ring, &inventory) || kms_monotonic_ms() >= give_up_ms) {
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
        enum kms_code rc = list(ks, ring, &inventory, err);
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
    enum kms_code rc = list(ks, ring, &inventory, &why);
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
