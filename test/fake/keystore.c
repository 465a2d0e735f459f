/* SPDX-License-Identifier: Apache-2.0 */
#include "keystore.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

enum {
    KEKS_MAX = 250,            /* CKA_IDs and generated keys are told apart by one byte */
    FAKE_AES_KEY_GEN = 0x1080, /* CKM_AES_KEY_GEN */
};

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

/* As a token does: what may not wrap has no fingerprint. */
static void judge(struct kms_kek_info *kek, uint8_t fill)
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
static struct kms_kek_info *add(struct fake_keystore *fake, const char *label, uint8_t fill)
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
    judge(kek, fill);
    fake->fills[fake->count++] = fill;
    return kek;
}

/* Lock held. */
static void remove_at(struct fake_keystore *fake, size_t at)
{
    fake->count--;
    memmove(&fake->keks[at], &fake->keks[at + 1], (fake->count - at) * sizeof fake->keks[0]);
    memmove(&fake->fills[at], &fake->fills[at + 1], fake->count - at);
}

static enum kms_code inventory(struct kms_keystore *ks, const struct kms_kek_filter *filter,
                               int64_t deadline_ms, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_INVENTORY, err);
    if (rc != KMS_OK)
        return leave(fake, rc);
    struct kms_inventory list = { .keks = calloc(KEKS_MAX, sizeof *list.keks),
                                  .others = calloc(KMS_OTHERS_MAX, sizeof *list.others) };
    for (size_t i = 0; i < fake->count; i++) {
        if (kms_kek_filter_takes(filter, &fake->keks[i]))
            list.keks[list.count++] = fake->keks[i];
        else if (filter->name_count > 0 && list.other_count < KMS_OTHERS_MAX)
            memcpy(list.others[list.other_count++].label, fake->keks[i].label, KMS_LABEL_MAX + 1);
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
    if (rc == KMS_OK && (fake->keks[at].attributes & KMS_KEK_UNWRAP) == 0)
        rc = kms_fail(err, KMS_E_PRECONDITION, "CKA_UNWRAP is false");
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    if (rc == KMS_OK)
        rc = kms_secret_init(&seed, wrapped.len, err);
    if (rc == KMS_OK && !key_wrap(false, fake->fills[at], wrapped, seed.data, &seed.len))
        rc = kms_fail(err, KMS_E_CORRUPT, "integrity check failed");
    if (rc == KMS_OK)
        *ret_seed = kms_secret_take(&seed);
    return leave(fake, rc);
}

/* --- objects --- */

static enum kms_code generate(struct kms_keystore *ks, const char *label, int64_t deadline_ms,
                              struct kms_kek_info *ret_kek, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_GENERATE, err);
    if (rc == KMS_OK)
        *ret_kek = *add(fake, label, (uint8_t)(fake->next_id + 1));
    return leave(fake, rc);
}

/* The one KEK that @object names.  Lock held. */
static enum kms_code find_object(const struct fake_keystore *fake, const struct kms_object *object,
                                 size_t *ret_at, struct kms_error *err)
{
    size_t matches = 0;
    for (size_t i = 0; i < fake->count; i++) {
        struct kms_bytes id = { fake->keks[i].cka_id, fake->keks[i].cka_id_len };
        if (strcmp(fake->keks[i].label, object->label) != 0 || !kms_bytes_equal(id, object->cka_id))
            continue;
        *ret_at = i;
        matches++;
    }
    if (matches == 1)
        return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION, "%zu keys have label '%s' and this CKA_ID", matches,
                    object->label);
}

/* Enters, and finds.  Leaves the lock held. */
static enum kms_code enter_object(struct fake_keystore *fake, enum fake_op op,
                                  const struct kms_object *object, size_t *ret_at,
                                  struct kms_error *err)
{
    enum kms_code rc = enter(fake, op, err);
    return rc == KMS_OK ? find_object(fake, object, ret_at, err) : rc;
}

static enum kms_code destroy(struct kms_keystore *ks, const char *label, struct kms_bytes cka_id,
                             int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    struct kms_object object = { label, cka_id };
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_DESTROY, &object, &at, err);
    if (rc == KMS_OK)
        remove_at(fake, at);
    return leave(fake, rc);
}

static enum kms_code copy(struct kms_keystore *ks, const struct kms_object *from, const char *label,
                          int64_t deadline_ms, struct kms_kek_info *ret_kek, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_COPY, from, &at, err);
    if (rc == KMS_OK && (fake->keks[at].attributes & KMS_KEK_EXTRACTABLE) != 0)
        rc = kms_fail(err, KMS_E_PRECONDITION, "extractable");
    if (rc == KMS_OK) {
        struct kms_kek_info *kek = add(fake, label, fake->fills[at]);
        kek->attributes = fake->keks[at].attributes;
        judge(kek, fake->fills[at]);
        *ret_kek = *kek;
    }
    return leave(fake, rc);
}

static enum kms_code relabel(struct kms_keystore *ks, const struct kms_object *kek,
                             const char *label, int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_RELABEL, kek, &at, err);
    if (rc == KMS_OK)
        snprintf(fake->keks[at].label, sizeof fake->keks[at].label, "%s", label);
    return leave(fake, rc);
}

static enum kms_code set_usage(struct kms_keystore *ks, const struct kms_object *kek, bool usable,
                               int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_SET_USAGE, kek, &at, err);
    if (rc != KMS_OK)
        return leave(fake, rc);
    if (usable)
        fake->keks[at].attributes |= KMS_KEK_WRAP | KMS_KEK_UNWRAP;
    else
        fake->keks[at].attributes &= ~(uint32_t)(KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT |
                                                 KMS_KEK_DECRYPT);
    judge(&fake->keks[at], fake->fills[at]);
    return leave(fake, KMS_OK);
}

static enum kms_code inspect(struct kms_keystore *ks, const struct kms_object *kek,
                             int64_t deadline_ms, struct kms_kek_details *ret_details,
                             struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_INSPECT, kek, &at, err);
    if (rc == KMS_OK) {
        bool local = (fake->keks[at].attributes & KMS_KEK_LOCAL) != 0;
        uint8_t fill = fake->fills[at];
        *ret_details = (struct kms_kek_details){
            .info = fake->keks[at],
            .has_check_value = true,
            .check_value = { fill, fill, fill },
            .has_mechanism = true,
            .key_gen_mechanism = local ? FAKE_AES_KEY_GEN : ~0UL,
            .modifiable = true,
            .copyable = true,
            .destroyable = true,
        };
    }
    return leave(fake, rc);
}

/* --- transport --- */

static enum kms_code transport_key(struct kms_keystore *ks, const char *label, bool make,
                                   int64_t deadline_ms, struct kms_transport_key *ret_key,
                                   struct kms_error *err)
{
    (void)label;
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_TRANSPORT_KEY, err);
    if (rc == KMS_OK)
        *ret_key = (struct kms_transport_key){ .spki = { .data = { 1 }, .len = make ? 1 : 0 },
                                               .hash = KMS_OAEP_SHA256,
                                               .made = make };
    return leave(fake, rc);
}

/* Lock held. */
static enum kms_code bring_in(struct fake_keystore *fake, const struct kms_transport_import *import,
                              struct kms_kek_info *ret_kek, struct kms_error *err)
{
    struct kms_kek_info kek = { .fingerprinted = true, .value_len = FAKE_KEY_LEN };
    if (import->blob.len != FAKE_KEY_LEN)
        return kms_fail(err, KMS_E_CORRUPT, "it doesn't unwrap");
    fake_keystore_fingerprint(import->blob.data[0], kek.fingerprint);
    if (memcmp(kek.fingerprint, import->fingerprint, KMS_FINGERPRINT_LEN) != 0)
        return kms_fail(err, KMS_E_INVALID, "another key than expected");
    if (import->label != NULL) {
        struct kms_kek_info *kept = add(fake, import->label, import->blob.data[0]);
        kept->attributes &= ~(uint32_t)(KMS_KEK_LOCAL | KMS_KEK_ALWAYS_SENSITIVE |
                                        KMS_KEK_NEVER_EXTRACTABLE);
        kek = *kept;
    }
    *ret_kek = kek;
    return KMS_OK;
}

static enum kms_code import_key(struct kms_keystore *ks, const struct kms_transport_import *import,
                                int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_IMPORT, err);
    return leave(fake, rc == KMS_OK ? bring_in(fake, import, ret_kek, err) : rc);
}

static enum kms_code generate_for_escrow(struct kms_keystore *ks, const char *label,
                                         int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                         struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    enum kms_code rc = enter(fake, FAKE_GENERATE_FOR_ESCROW, err);
    if (rc == KMS_OK) {
        struct kms_kek_info *kek = add(fake, label, (uint8_t)(fake->next_id + 1));
        kek->attributes |= KMS_KEK_EXTRACTABLE;
        kek->attributes &= ~(uint32_t)KMS_KEK_NEVER_EXTRACTABLE;
        *ret_kek = *kek;
    }
    return leave(fake, rc);
}

static enum kms_code export_to(struct kms_keystore *ks, const struct kms_object *kek,
                               const struct kms_spki *recipient, enum kms_oaep_hash hash,
                               int64_t deadline_ms, struct kms_transport_blob *ret_blob,
                               struct kms_error *err)
{
    (void)recipient;
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_EXPORT, kek, &at, err);
    if (rc == KMS_OK && (fake->keks[at].attributes & KMS_KEK_EXTRACTABLE) == 0)
        rc = kms_fail(err, KMS_E_PRECONDITION, "not extractable");
    if (rc == KMS_OK) {
        *ret_blob = (struct kms_transport_blob){ .len = FAKE_KEY_LEN, .hash = hash };
        memset(ret_blob->data, fake->fills[at], FAKE_KEY_LEN);
    }
    return leave(fake, rc);
}

static enum kms_code seal(struct kms_keystore *ks, const struct kms_object *kek,
                          int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_SEAL, kek, &at, err);
    if (rc == KMS_OK)
        fake->keks[at].attributes &= ~(uint32_t)KMS_KEK_EXTRACTABLE;
    return leave(fake, rc);
}

/* --- the rest --- */

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

static const struct kms_manage_ops manage_ops = {
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
};

static const struct kms_keystore_ops fake_ops = {
    .inventory = inventory,
    .canary = canary,
    .wrap = wrap,
    .unwrap = unwrap,
    .describe = describe,
    .reload = reload,
    .close = close_fake,
    .manage = &manage_ops,
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
    (void)add(fake, label, fill);
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
    remove_at(fake, must_find(fake, label));
    pthread_mutex_unlock(&fake->lock);
}

void fake_keystore_set(struct fake_keystore *fake, const char *label, uint32_t set, uint32_t clear)
{
    pthread_mutex_lock(&fake->lock);
    size_t at = must_find(fake, label);
    struct kms_kek_info *kek = &fake->keks[at];
    kek->attributes = (kek->attributes | set) & ~clear;
    judge(kek, fake->fills[at]);
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
