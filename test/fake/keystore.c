/* SPDX-License-Identifier: Apache-2.0 */
#include "keystore.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "bound.h"
#include "keystore_state.h"
#include "kms/clock.h"

/* RFC 3394 with a key of 32 × @fill; true on success. */
static bool key_wrap(bool wrap, uint8_t fill, struct kms_bytes in, uint8_t *ret_out,
                     size_t *ret_len)
{
    uint8_t key[FAKE_KEY_LEN];
    memset(key, fill, sizeof key);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    int len = 0;
    bool good = EVP_CipherInit_ex(ctx, EVP_aes_256_wrap(), NULL, key, NULL, wrap ? 1 : 0) == 1 &&
                EVP_CipherUpdate(ctx, ret_out, &len, in.data, (int)in.len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    *ret_len = (size_t)len;
    return good;
}

void fake_keystore_fingerprint(uint8_t fill, uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN])
{
    uint8_t constant[KMS_SHA256_LEN];
    kms_sha256(kms_bytes_of(KMS_FINGERPRINT_SEED_TEXT), constant);
    uint8_t input[sizeof KMS_FINGERPRINT_DOMAIN - 1 + sizeof constant + KMS_WRAP_OVERHEAD + 8];
    size_t domain = sizeof KMS_FINGERPRINT_DOMAIN - 1, len;
    memcpy(input, KMS_FINGERPRINT_DOMAIN, domain);
    if (!key_wrap(true, fill, (struct kms_bytes){ constant, sizeof constant }, input + domain,
                  &len))
        abort();
    kms_sha256((struct kms_bytes){ input, domain + len }, ret_fingerprint);
}

struct fake_keystore *fake_of(struct kms_keystore *ks)
{
    return (struct fake_keystore *)ks;
}

enum kms_algorithm *fake_keystore_algorithm(struct fake_keystore *fake)
{
    return &fake->algorithm;
}

/* Index of the KEK with @label (and @fingerprint, unless NULL), count if none. Lock held. */
static size_t find(const struct fake_keystore *fake, const char *label, const uint8_t *fingerprint)
{
    size_t i = 0;
    while (i < fake->count &&
           (strcmp(fake->keks[i].label, label) != 0 ||
            (fingerprint != NULL &&
             memcmp(fake->keks[i].fingerprint, fingerprint, KMS_FINGERPRINT_LEN) != 0)))
        i++;
    return i;
}

/* Counts the call, waits while blocked or hung, and fails if so told.  Takes the lock; leaves it held. */
static enum kms_code enter_until(struct fake_keystore *fake, enum fake_op op, int64_t deadline_ms,
                                 struct kms_error *err)
{
    pthread_mutex_lock(&fake->lock);
    struct behaviour *behaviour = &fake->behaviours[op];
    behaviour->calls++;
    behaviour->waiting++;
    pthread_cond_broadcast(&fake->changed);
    while (behaviour->blocked)
        pthread_cond_wait(&fake->changed, &fake->lock);
    while (behaviour->hung && kms_cond_wait_until(&fake->changed, &fake->lock, deadline_ms))
        ;
    behaviour->waiting--;
    if (behaviour->hung)
        return kms_fail(err, KMS_E_DEADLINE, "fake hang");
    if (behaviour->count == 0)
        return KMS_OK;
    if (behaviour->count > 0)
        behaviour->count--;
    return kms_fail(err, behaviour->code, "fake failure: %s", kms_code_name(behaviour->code));
}

enum kms_code fake_enter(struct fake_keystore *fake, enum fake_op op, struct kms_error *err)
{
    return enter_until(fake, op, KMS_DEADLINE_NEVER, err);
}

enum kms_code fake_leave(struct fake_keystore *fake, enum kms_code rc)
{
    pthread_mutex_unlock(&fake->lock);
    return rc;
}

/* As a token does: what may not wrap has no fingerprint. */
void fake_judge(struct kms_kek_info *kek, uint8_t fill)
{
    kek->fingerprinted = (kek->attributes & KMS_KEK_WRAP) != 0;
    memset(kek->fingerprint, 0, sizeof kek->fingerprint);
    kek->problem[0] = '\0';
    if (kek->fingerprinted)
        fake_keystore_fingerprint(fill, kek->fingerprint);
    else
        snprintf(kek->problem, sizeof kek->problem, "disabled");
}

/* Lock held. */
struct kms_kek_info *fake_add(struct fake_keystore *fake, const char *label, uint8_t fill)
{
    if (fake->count == KEKS_MAX)
        abort();
    struct kms_kek_info *kek = &fake->keks[fake->count];
    *kek = (struct kms_kek_info){
        .cka_id = { ++fake->next_id },
        .cka_id_len = 1,
        .attributes = KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE | KMS_KEK_NEVER_EXTRACTABLE |
                      KMS_KEK_LOCAL | KMS_KEK_PRIVATE | KMS_KEK_WRAP | KMS_KEK_UNWRAP,
        .known = 0x3ff,
        .value_len = FAKE_KEY_LEN,
    };
    snprintf(kek->label, sizeof kek->label, "%s", label);
    fake_judge(kek, fill);
    fake->fills[fake->count++] = fill;
    return kek;
}

/* Lock held. */
void fake_remove_at(struct fake_keystore *fake, size_t at)
{
    fake->count--;
    memmove(&fake->keks[at], &fake->keks[at + 1], (fake->count - at) * sizeof fake->keks[0]);
    memmove(&fake->fills[at], &fake->fills[at + 1], fake->count - at);
}

static enum kms_code inventory(struct kms_keystore *ks, const struct kms_kek_filter *filter,
                               int64_t deadline_ms, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = enter_until(fake, FAKE_INVENTORY, deadline_ms, err);
    if (rc != KMS_OK)
        return fake_leave(fake, rc);
    struct kms_inventory list = { .keks = calloc(KEKS_MAX, sizeof *list.keks),
                                  .others = calloc(KMS_OTHERS_MAX, sizeof *list.others) };
    for (size_t i = 0; i < fake->count; i++) {
        if (kms_kek_filter_takes(filter, &fake->keks[i]))
            list.keks[list.count++] = fake->keks[i];
        else if (filter->name_count > 0 && list.other_count < KMS_OTHERS_MAX)
            memcpy(list.others[list.other_count++].label, fake->keks[i].label, KMS_LABEL_MAX + 1);
    }
    *ret_inventory = list;
    return fake_leave(fake, KMS_OK);
}

static enum kms_code canary(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            int64_t deadline_ms, struct kms_error *err)
{
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = enter_until(fake, FAKE_CANARY, deadline_ms, err);
    if (rc == KMS_OK && find(fake, kek->label, kek->fingerprint) == fake->count)
        rc = kms_fail(err, KMS_E_PRECONDITION, "no such key");
    return fake_leave(fake, rc);
}

static enum kms_code wrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                          struct kms_bytes seed, int64_t deadline_ms,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = enter_until(fake, FAKE_WRAP, deadline_ms, err);
    size_t at = find(fake, kek->label, kek->fingerprint);
    if (rc == KMS_OK && at == fake->count)
        rc = kms_fail(err, KMS_E_PRECONDITION, "no such key");
    if (rc == KMS_OK &&
        !key_wrap(true, fake->fills[at], seed, ret_wrapped->data, &ret_wrapped->len))
        rc = kms_fail(err, KMS_E_INVALID, "can't wrap");
    if (rc == KMS_OK)
        fake_bound_add(ret_wrapped, fake->algorithm, kek->key_id);
    return fake_leave(fake, rc);
}

static enum kms_code unwrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            enum kms_algorithm algorithm, struct kms_bytes wrapped,
                            int64_t deadline_ms, struct kms_secret *ret_seed, struct kms_error *err)
{
    wrapped = fake_bound_strip(algorithm, kek->key_id, wrapped);
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = enter_until(fake, FAKE_UNWRAP, deadline_ms, err);
    size_t at = find(fake, kek->label, kek->fingerprint);
    if (rc == KMS_OK && at == fake->count)
        rc = kms_fail(err, KMS_E_PRECONDITION, "no such key");
    if (rc == KMS_OK && (fake->keks[at].attributes & KMS_KEK_UNWRAP) == 0)
        rc = kms_fail(err, KMS_E_PRECONDITION, "CKA_UNWRAP is false");
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    if (rc == KMS_OK)
        rc = kms_secret_init(&seed, wrapped.len, err);
    if (rc == KMS_OK && !key_wrap(false, fake->fills[at], wrapped, seed.data, &seed.len))
        rc = kms_fail(err, KMS_E_CORRUPT, "integrity check failed");
    if (rc == KMS_OK)
        *ret_seed = kms_secret_take(&seed);
    return fake_leave(fake, rc);
}

/* --- the rest --- */

static size_t describe(struct kms_keystore *ks, struct kms_token_info *ret_infos)
{
    (void)ks;
    *ret_infos = (struct kms_token_info){
        .label = "fake", .serial = "0001", .profile = "aes-kw", .connected = true
    };
    return 1;
}

static void reload(struct kms_keystore *ks)
{
    (void)ks;
}

static void close_fake(struct kms_keystore *ks)
{
    struct fake_keystore *fake = fake_of(ks);
    pthread_mutex_destroy(&fake->lock);
    pthread_cond_destroy(&fake->changed);
    EVP_PKEY_free(fake->audit_key);
    free(fake);
}

static const struct kms_keystore_ops fake_ops = {
    .inventory = inventory,
    .canary = canary,
    .wrap = wrap,
    .unwrap = unwrap,
    .sign = fake_sign,
    .describe = describe,
    .reload = reload,
    .close = close_fake,
    .manage = &fake_manage_ops,
};

struct fake_keystore *fake_keystore_new(void)
{
    struct fake_keystore *fake = calloc(1, sizeof *fake);
    if (fake == NULL)
        abort();
    fake->base.ops = &fake_ops;
    pthread_mutex_init(&fake->lock, NULL);
    kms_cond_init(&fake->changed);
    return fake;
}

struct kms_keystore *fake_keystore_seam(struct fake_keystore *fake)
{
    return &fake->base;
}

void fake_keystore_add(struct fake_keystore *fake, const char *label, uint8_t fill)
{
    pthread_mutex_lock(&fake->lock);
    (void)fake_add(fake, label, fill);
    pthread_mutex_unlock(&fake->lock);
}

/* Lock held; aborts if there is no such KEK. */
static size_t must_find(const struct fake_keystore *fake, const char *label)
{
    size_t at = find(fake, label, NULL);
    if (at == fake->count)
        abort();
    return at;
}

void fake_keystore_remove(struct fake_keystore *fake, const char *label)
{
    pthread_mutex_lock(&fake->lock);
    fake_remove_at(fake, must_find(fake, label));
    pthread_mutex_unlock(&fake->lock);
}

void fake_keystore_set(struct fake_keystore *fake, const char *label, uint32_t set, uint32_t clear)
{
    pthread_mutex_lock(&fake->lock);
    size_t at = must_find(fake, label);
    struct kms_kek_info *kek = &fake->keks[at];
    kek->attributes = (kek->attributes | set) & ~clear;
    fake_judge(kek, fake->fills[at]);
    pthread_mutex_unlock(&fake->lock);
}

void fake_keystore_fail(struct fake_keystore *fake, enum fake_op op, enum kms_code code, int count)
{
    pthread_mutex_lock(&fake->lock);
    fake->behaviours[op].code = code;
    fake->behaviours[op].count = count;
    pthread_mutex_unlock(&fake->lock);
}

unsigned fake_keystore_calls(struct fake_keystore *fake, enum fake_op op)
{
    pthread_mutex_lock(&fake->lock);
    unsigned calls = fake->behaviours[op].calls;
    pthread_mutex_unlock(&fake->lock);
    return calls;
}

static void set_blocked(struct fake_keystore *fake, enum fake_op op, bool blocked)
{
    pthread_mutex_lock(&fake->lock);
    fake->behaviours[op].blocked = blocked;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

void fake_keystore_block(struct fake_keystore *fake, enum fake_op op)
{
    set_blocked(fake, op, true);
}

void fake_keystore_unblock(struct fake_keystore *fake, enum fake_op op)
{
    set_blocked(fake, op, false);
}

void fake_keystore_hang(struct fake_keystore *fake, enum fake_op op, bool hung)
{
    pthread_mutex_lock(&fake->lock);
    fake->behaviours[op].hung = hung;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

void fake_keystore_wait_blocked(struct fake_keystore *fake, enum fake_op op, unsigned count)
{
    pthread_mutex_lock(&fake->lock);
    while (!fake->behaviours[op].blocked || fake->behaviours[op].waiting < count)
        pthread_cond_wait(&fake->changed, &fake->lock);
    pthread_mutex_unlock(&fake->lock);
}
