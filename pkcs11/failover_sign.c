/* SPDX-License-Identifier: Apache-2.0 */
/* Signatures for the audit log.  The key pair may be on any of the tokens, and each may have its own. */
#include "failover_state.h"
#include "kms/clock.h"

/* Those that may be asked: the drained ones aren't, and those that rest come last. */
static size_t gather(struct kms_failover *failover,
                     struct kms_failover_member *ret_members[KMS_TOKENS_MAX])
{
    size_t count = 0;
    (void)pthread_mutex_lock(&failover->lock);
    for (int resting = 0; resting <= 1; resting++) {
        for (size_t i = 0; i < failover->count; i++) {
            struct kms_failover_member *member = &failover->members[i];
            if (!member->drained && member->resting == (resting == 1))
                ret_members[count++] = member;
        }
    }
    (void)pthread_mutex_unlock(&failover->lock);
    return count;
}

/* A token that can't sign isn't left out of anything else: seeds don't depend on it. */
enum kms_code kms_failover_sign(struct kms_keystore *base, const char *label,
                                struct kms_bytes message, int64_t deadline_ms,
                                struct kms_signature *ret_signature, struct kms_error *err)
{
    struct kms_failover_member *members[KMS_TOKENS_MAX];
    struct kms_error best = { .code = KMS_OK };
    size_t count = gather((struct kms_failover *)base, members);
    if (count == 0)
        return kms_fail(err, KMS_E_UNAVAILABLE, "every token is drained by an operator");
    for (size_t i = 0; i < count; i++) {
        int64_t now_ms = kms_monotonic_ms();
        int64_t until_ms = now_ms + (deadline_ms - now_ms) / (int64_t)(count - i);
        struct kms_error own = { .code = KMS_OK };
        if (kms_keystore_sign(members[i]->keystore, label, message, until_ms, ret_signature,
                              &own) == KMS_OK)
            return KMS_OK;
        kms_failover_weigh(&best, members[i], &own);
    }
    if (err != NULL)
        *err = best;
    return kms_not_ok(best.code);
}
