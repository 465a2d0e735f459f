/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_signer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "audit_checkpoint.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "kms/signature.h"

enum {
    EVERY_MS = 55 * 1000, /* with a slow signature still less than a minute */
    RETRY_MS = 5 * 1000,  /* doubled with each failure */
    SIGN_MS = 3 * 1000,   /* also what a stop waits for */
};

struct kms_audit_signer {
    struct kms_audit_signer_options options;
    pthread_t thread;

    /* the thread's alone */
    struct kms_audit_chain last, last_admin; /* what was signed last */
    bool has_told;
    enum kms_code told; /* how signing went, as the service's log has it */
    int64_t retry_ms;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    uint64_t rotations; /* as a tick saw them */
    bool wanted, stopping;
};

/* --- the thread --- */

/* The line behind the one that was signed is its checkpoint, which needs none of its own. */
static bool is_signed(const struct kms_audit_chain *last, const struct kms_audit_chain *now)
{
    return now->seq == 0 || (strcmp(last->id, now->id) == 0 && now->seq <= last->seq + 1);
}

static enum kms_code sign(struct kms_audit_signer *signer, const struct kms_audit_chain *at,
                          struct kms_signature *ret_signature, struct kms_error *err)
{
    const struct kms_audit_signer_options *options = &signer->options;
    char text[KMS_AUDIT_SIGNED_MAX];
    size_t len = kms_audit_checkpoint_text(at, text);
    return kms_keystore_sign(options->keystore, options->label,
                             (struct kms_bytes){ (const uint8_t *)text, len },
                             kms_monotonic_ms() + SIGN_MS, ret_signature, err);
}

/* A token that is away is told by others, and comes back by itself. */
static bool passes(enum kms_code code)
{
    return code == KMS_E_UNAVAILABLE || code == KMS_E_BUSY || code == KMS_E_DEADLINE;
}

static void tell(struct kms_audit_signer *signer, enum kms_code rc,
                 const struct kms_signature *signature, const struct kms_error *err)
{
    if (passes(rc) || (signer->has_told && signer->told == rc))
        return;
    signer->has_told = true;
    signer->told = rc;
    if (rc != KMS_OK) {
        kms_log_error(KMS_LOG_WARN, "audit checkpoints are not signed", err, NULL, 0);
        return;
    }
    char key[2 * KMS_SHA256_LEN + 1];
    kms_hex_encode((struct kms_bytes){ signature->key_sha256, sizeof(signature->key_sha256) }, key);
    kms_log(KMS_LOG_INFO, "audit checkpoints are signed",
            KMS_F_TEXT("alg", kms_signing_name(signature->signing)), KMS_F_TEXT("key_sha256", key));
}

static enum kms_code sign_and_tell(struct kms_audit_signer *signer,
                                   const struct kms_audit_chain *at,
                                   struct kms_signature *ret_signature)
{
    struct kms_error err = { .code = KMS_OK };
    enum kms_code rc = sign(signer, at, ret_signature, &err);
    tell(signer, rc, ret_signature, &err);
    return rc;
}

static enum kms_code sign_own(struct kms_audit_signer *signer)
{
    struct kms_audit_chain now = kms_audit_where(signer->options.audit).chain;
    struct kms_signature signature = { .len = 0 };
    if (is_signed(&signer->last, &now))
        return KMS_OK;
    enum kms_code rc = sign_and_tell(signer, &now, &signature);
    if (rc != KMS_OK)
        return rc;
    struct kms_error ignored; /* the log has said why; the next round signs again */
    if (kms_audit_write_checkpoint(signer->options.audit, &now, &signature, &ignored) == KMS_OK)
        signer->last = now;
    return KMS_OK;
}

/* Opened for each step, so that no command waits for the token.  NULL: there is none, it can't be
 * written (who writes it says so), or a command has it now: the next round tries again. */
static struct kms_audit *open_admin(const struct kms_audit_signer *signer)
{
    const struct kms_audit_options *admin = signer->options.admin;
    struct kms_audit *audit = NULL;
    struct kms_error ignored;
    if (kms_audit_open(admin, &audit, &ignored) != KMS_OK)
        return NULL;
    if (kms_audit_where(audit).chain.seq != 0)
        return audit;
    kms_audit_close(audit);
    return NULL;
}

static enum kms_code sign_admin(struct kms_audit_signer *signer)
{
    struct kms_signature signature = { .len = 0 };
    struct kms_audit *audit = open_admin(signer);
    struct kms_audit_chain now = kms_audit_where(audit).chain;
    kms_audit_close(audit);
    if (is_signed(&signer->last_admin, &now))
        return KMS_OK;
    enum kms_code rc = sign_and_tell(signer, &now, &signature);
    if (rc != KMS_OK)
        return rc;
    struct kms_error ignored;
    audit = open_admin(signer);
    if (audit != NULL && kms_audit_write_checkpoint(audit, &now, &signature, &ignored) == KMS_OK)
        signer->last_admin = now;
    kms_audit_close(audit);
    return KMS_OK;
}

/* Returns after how long the next is due. */
static int64_t sign_all(struct kms_audit_signer *signer)
{
    int64_t every_ms = signer->options.every_ms != 0 ? signer->options.every_ms : EVERY_MS;
    enum kms_code rc = sign_own(signer);
    bool hung = kms_audit_where(signer->options.audit).hung; /* then so may the other's disk */
    if (rc == KMS_OK && !hung)
        rc = sign_admin(signer);
    if (!passes(rc)) {
        signer->retry_ms = RETRY_MS;
        return every_ms;
    }
    int64_t retry_ms = signer->retry_ms < every_ms ? signer->retry_ms : every_ms;
    signer->retry_ms = 2 * retry_ms;
    return retry_ms;
}

static void *run(void *arg)
{
    struct kms_audit_signer *signer = arg;
    bool stopping = false;
    do {
        int64_t due_ms = kms_monotonic_ms() + sign_all(signer);
        (void)pthread_mutex_lock(&signer->lock);
        while (!signer->wanted && !signer->stopping &&
               kms_cond_wait_until(&signer->changed, &signer->lock, due_ms))
            continue;
        signer->wanted = false;
        stopping = signer->stopping;
        (void)pthread_mutex_unlock(&signer->lock);
    } while (!stopping);
    (void)sign_all(signer);
    return NULL;
}

/* --- others --- */

void kms_audit_signer_tick(struct kms_audit_signer *signer)
{
    if (signer == NULL)
        return;
    uint64_t rotations = kms_audit_where(signer->options.audit).rotations;
    (void)pthread_mutex_lock(&signer->lock);
    if (rotations != signer->rotations) {
        signer->rotations = rotations;
        signer->wanted = true;
        (void)pthread_cond_signal(&signer->changed);
    }
    (void)pthread_mutex_unlock(&signer->lock);
}

static void free_signer(struct kms_audit_signer *signer)
{
    (void)pthread_cond_destroy(&signer->changed);
    (void)pthread_mutex_destroy(&signer->lock);
    free(signer);
}

enum kms_code kms_audit_signer_open(const struct kms_audit_signer_options *options,
                                    struct kms_audit_signer **ret_signer, struct kms_error *err)
{
    struct kms_audit_signer *signer = calloc(1, sizeof(*signer));
    if (signer == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    signer->options = *options;
    signer->retry_ms = RETRY_MS;
    (void)pthread_mutex_init(&signer->lock, NULL);
    kms_cond_init(&signer->changed);
    if (pthread_create(&signer->thread, NULL, run, signer) != 0) {
        free_signer(signer);
        return kms_fail(err, KMS_E_BUSY, "no thread for the audit log's checkpoints");
    }
    *ret_signer = signer;
    return KMS_OK;
}

void kms_audit_signer_close(struct kms_audit_signer *signer)
{
    if (signer == NULL)
        return;
    (void)pthread_mutex_lock(&signer->lock);
    signer->stopping = true;
    (void)pthread_cond_signal(&signer->changed);
    (void)pthread_mutex_unlock(&signer->lock);
    (void)pthread_join(signer->thread, NULL);
    free_signer(signer);
}
