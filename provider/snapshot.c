/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

const char *kms_kek_state_name(enum kms_kek_state state)
{
    switch (state) {
    case KMS_KEK_ACTIVE:
        return "active";
    case KMS_KEK_PREACTIVE:
        return "pre-active";
    case KMS_KEK_PENDING:
        return "pending";
    case KMS_KEK_DECRYPT_ONLY:
        return "decrypt-only";
    case KMS_KEK_DISABLED:
        return "disabled";
    case KMS_KEK_REFUSED:
        return "refused";
    case KMS_KEK_MISSING:
        return "missing";
    }
    return "refused";
}

void kms_snapshot_release(struct kms_snapshot *snapshot)
{
    if (snapshot == NULL || atomic_fetch_sub(&snapshot->refs, 1) != 1)
        return;
    free(snapshot->entries);
    free(snapshot);
}

struct kms_snapshot *kms_snapshot_acquire(struct kms_snapshot *snapshot)
{
    atomic_fetch_add(&snapshot->refs, 1);
    return snapshot;
}

bool kms_snapshot_is_partial(const struct kms_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->token_count; i++) {
        if (!snapshot->tokens[i].listed)
            return true;
    }
    return false;
}

/* --- finding the KEK of a key_id --- */

static bool head_matches(const struct kms_ring_entry *entry, const struct kms_key_id *key_id)
{
    return entry->kek.fingerprinted && memcmp(entry->kek.fingerprint, key_id->fingerprint_head,
                                              KMS_KEY_ID_FINGERPRINT_LEN) == 0;
}

/* Why the one entry that @key_id could mean can't be used; KMS_OK: it isn't meant. */
static enum kms_code explain_unusable(const struct kms_snapshot *snapshot,
                                      const struct kms_ring_entry *entry,
                                      const struct kms_key_id *key_id, struct kms_error *err)
{
    bool meant = head_matches(entry, key_id) || !entry->kek.fingerprinted;
    if (!meant || entry->may_unwrap)
        return KMS_OK;
    bool elsewhere = entry->state == KMS_KEK_MISSING || !entry->kek.fingerprinted;
    if (elsewhere && kms_snapshot_is_partial(snapshot)) /* another token may have it, and well */
        return kms_fail(err, KMS_E_UNAVAILABLE, "KEK '%.60s': %s; do not delete objects",
                        entry->kek.label, entry->reason);
    const char *advice = entry->state == KMS_KEK_MISSING ? "restore the KEK; " : "";
    return kms_fail(err, KMS_E_PRECONDITION, "KEK '%.60s' is %s: %s; %sdo not delete objects",
                    entry->kek.label, kms_kek_state_name(entry->state), entry->reason, advice);
}

const struct kms_ring_entry *kms_snapshot_find(const struct kms_snapshot *snapshot,
                                               const struct kms_key_id *key_id,
                                               struct kms_error *err)
{
    if (!snapshot->complete) {
        kms_fail(err, KMS_E_UNAVAILABLE, "no token was listed yet; do not delete objects");
        return NULL;
    }
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->generation == key_id->generation && entry->may_unwrap &&
            head_matches(entry, key_id))
            return entry;
    }
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (entry->generation == key_id->generation &&
            explain_unusable(snapshot, entry, key_id, err) != KMS_OK)
            return NULL;
    }
    if (kms_snapshot_is_partial(snapshot)) {
        kms_fail(err, KMS_E_UNAVAILABLE,
                 "no KEK of generation %u with this fingerprint is on a token that can be reached, "
                 "and not all can; do not delete objects",
                 (unsigned)key_id->generation);
        return NULL;
    }
    kms_fail(
        err, KMS_E_KEY_UNKNOWN,
        "no KEK of generation %u with this fingerprint is on the token or pinned here: restore "
        "it; do not delete objects",
        (unsigned)key_id->generation);
    return NULL;
}
