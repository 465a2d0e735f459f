/* SPDX-License-Identifier: Apache-2.0 */
#include "keystore.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

enum { KEKS_MAX = 64 };

struct behaviour {
    enum kms_code code;
    int count; /* calls that still fail; -1: all */
    unsigned calls;
    bool blocked;
    unsigned waiting;
};

struct fake_keystore {
    struct kms_keystore base;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct kms_kek_info keks[KEKS_MAX];
    uint8_t fills[KEKS_MAX];
    size_t count;
    uint8_t next_id;
    struct behaviour behaviours[FAKE_OP_COUNT];
};

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

static struct fake_keystore *of(struct kms_keystore *ks)
{
    return (struct fake_keystore *)ks;
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

/* Counts the call, waits while blocked, and fails if so told.  Takes the lock; leaves it held. */
static enum kms_code enter(struct fake_keystore *fake, enum fake_op op, struct kms_error *err)
{
    pthread_mutex_lock(&fake->lock);
    struct behaviour *behaviour = &fake->behaviours[op];
    behaviour->calls++;
    behaviour->waiting++;
    pthread_cond_broadcast(&fake->changed);
    while (behaviour->blocked)
        pthread_cond_wait(&fake->changed, &fake->lock);
    behaviour->waiting--;
    if (behaviour->count == 0)
        return KMS_OK;
    if (behaviour->count > 0)
        behaviour->count--;
    return kms_fail(err, behaviour->code, "fake failure: %s", kms_code_name(behaviour->code));
}

static enum kms_code leave(struct fake_keystore *fake, enum kms_code rc)
{
    pthread_mutex_unlock(&fake->lock);
    return rc;
}

static enum kms_code inventory(struct kms_keystore *ks, const char *label_prefix,
                               int64_t deadline_ms, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_INVENTORY, err);
    if (rc != KMS_OK)
        return leave(fake, rc);
    struct kms_inventory list = { .keks = calloc(KEKS_MAX, sizeof *list.keks) };
    for (size_t i = 0; i < fake->count; i++) {
        if (strncmp(fake->keks[i].label, label_prefix, strlen(label_prefix)) == 0)
            list.keks[list.count++] = fake->keks[i];
    }
    *ret_inventory = list;
    return leave(fake, KMS_OK);
}

static enum kms_code canary(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_CANARY, err);
    if (rc == KMS_OK && find(fake, kek->label, kek->fingerprint) == fake->count)
        rc = kms_fail(err, KMS_E_PRECONDITION, "no such key");
    return leave(fake, rc);
}

static enum kms_code wrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                          struct kms_bytes seed, int64_t deadline_ms,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_WRAP, err);
    size_t at = find(fake, kek->label, kek->fingerprint);
    if (rc == KMS_OK && at == fake->count)
        rc = kms_fail(err, KMS_E_PRECONDITION, "no such key");
    if (rc == KMS_OK &&
        !key_wrap(true, fake->fills[at], seed, ret_wrapped->data, &ret_wrapped->len))
        rc = kms_fail(err, KMS_E_INVALID, "can't wrap");
    return leave(fake, rc);
}

static enum kms_code unwrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            struct kms_bytes wrapped, int64_t deadline_ms,
                            struct kms_secret *ret_seed, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_UNWRAP, err);
    size_t at = find(fake, kek->label, kek->fingerprint);
    if (rc == KMS_OK && at == fake->count)
        rc = kms_fail(err, KMS_E_PRECONDITION, "no such key");
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    if (rc == KMS_OK)
        rc = kms_secret_init(&seed, wrapped.len, err);
    if (rc == KMS_OK && !key_wrap(false, fake->fills[at], wrapped, seed.data, &seed.len))
        rc = kms_fail(err, KMS_E_CORRUPT, "integrity check failed");
    if (rc == KMS_OK)
        *ret_seed = kms_secret_take(&seed);
    return leave(fake, rc);
}

static enum kms_code generate(struct kms_keystore *ks, const char *label, int64_t deadline_ms,
                              struct kms_kek_info *ret_kek, struct kms_error *err)
{
    (void)deadline_ms;
    (void)err;
    struct fake_keystore *fake = of(ks);
    fake_keystore_add(fake, label, (uint8_t)(fake->count + 1));
    *ret_kek = fake->keks[fake->count - 1];
    return KMS_OK;
}

static enum kms_code destroy(struct kms_keystore *ks, const char *label, struct kms_bytes cka_id,
                             int64_t deadline_ms, struct kms_error *err)
{
    (void)cka_id;
    (void)deadline_ms;
    (void)err;
    fake_keystore_remove(of(ks), label);
    return KMS_OK;
}

static void describe(struct kms_keystore *ks, struct kms_token_info *ret_info)
{
    (void)ks;
    *ret_info = (struct kms_token_info){
        .label = "fake", .serial = "0001", .profile = "aes-kw", .connected = true
    };
}

static void reload(struct kms_keystore *ks)
{
    (void)ks;
}

static void close_fake(struct kms_keystore *ks)
{
    struct fake_keystore *fake = of(ks);
    pthread_mutex_destroy(&fake->lock);
    pthread_cond_destroy(&fake->changed);
    free(fake);
}

static const struct kms_keystore_ops fake_ops = {
    .inventory = inventory,
    .canary = canary,
    .wrap = wrap,
    .unwrap = unwrap,
    .generate = generate,
    .destroy = destroy,
    .describe = describe,
    .reload = reload,
    .close = close_fake,
};

struct fake_keystore *fake_keystore_new(void)
{
    struct fake_keystore *fake = calloc(1, sizeof *fake);
    if (fake == NULL)
        abort();
    fake->base.ops = &fake_ops;
    pthread_mutex_init(&fake->lock, NULL);
    pthread_cond_init(&fake->changed, NULL);
    return fake;
}

struct kms_keystore *fake_keystore_seam(struct fake_keystore *fake)
{
    return &fake->base;
}

void fake_keystore_add(struct fake_keystore *fake, const char *label, uint8_t fill)
{
    pthread_mutex_lock(&fake->lock);
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
        .fingerprinted = true,
    };
    snprintf(kek->label, sizeof kek->label, "%s", label);
    fake_keystore_fingerprint(fill, kek->fingerprint);
    fake->fills[fake->count++] = fill;
    pthread_mutex_unlock(&fake->lock);
}

void fake_keystore_remove(struct fake_keystore *fake, const char *label)
{
    pthread_mutex_lock(&fake->lock);
    size_t at = find(fake, label, NULL);
    if (at == fake->count)
        abort();
    fake->count--;
    memmove(&fake->keks[at], &fake->keks[at + 1], (fake->count - at) * sizeof fake->keks[0]);
    memmove(&fake->fills[at], &fake->fills[at + 1], fake->count - at);
    pthread_mutex_unlock(&fake->lock);
}

void fake_keystore_set(struct fake_keystore *fake, const char *label, uint32_t set, uint32_t clear)
{
    pthread_mutex_lock(&fake->lock);
    size_t at = find(fake, label, NULL);
    if (at == fake->count)
        abort();
    struct kms_kek_info *kek = &fake->keks[at];
    kek->attributes = (kek->attributes | set) & ~clear;
    kek->fingerprinted = (kek->attributes & KMS_KEK_WRAP) != 0;
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

void fake_keystore_wait_blocked(struct fake_keystore *fake, enum fake_op op, unsigned count)
{
    pthread_mutex_lock(&fake->lock);
    while (!fake->behaviours[op].blocked || fake->behaviours[op].waiting < count)
        pthread_cond_wait(&fake->changed, &fake->lock);
    pthread_mutex_unlock(&fake->lock);
}
