/* SPDX-License-Identifier: Apache-2.0 */
/* What commands do with the keys of the fake keystore, and its signatures. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "keystore_state.h"

/* --- objects --- */

static enum kms_code generate(struct kms_keystore *ks, const char *label, int64_t deadline_ms,
                              struct kms_kek_info *ret_kek, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = fake_enter(fake, FAKE_GENERATE, err);
    if (rc == KMS_OK)
        *ret_kek = *fake_add(fake, label, (uint8_t)(fake->next_id + 1));
    return fake_leave(fake, rc);
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
    enum kms_code rc = fake_enter(fake, op, err);
    return rc == KMS_OK ? find_object(fake, object, ret_at, err) : rc;
}

static enum kms_code destroy(struct kms_keystore *ks, const char *label, struct kms_bytes cka_id,
                             int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    struct kms_object object = { label, cka_id };
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_DESTROY, &object, &at, err);
    if (rc == KMS_OK)
        fake_remove_at(fake, at);
    return fake_leave(fake, rc);
}

static enum kms_code copy(struct kms_keystore *ks, const struct kms_object *from, const char *label,
                          int64_t deadline_ms, struct kms_kek_info *ret_kek, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_COPY, from, &at, err);
    if (rc == KMS_OK && (fake->keks[at].attributes & KMS_KEK_EXTRACTABLE) != 0)
        rc = kms_fail(err, KMS_E_PRECONDITION, "extractable");
    if (rc == KMS_OK) {
        struct kms_kek_info *kek = fake_add(fake, label, fake->fills[at]);
        kek->attributes = fake->keks[at].attributes;
        fake_judge(kek, fake->fills[at]);
        *ret_kek = *kek;
    }
    return fake_leave(fake, rc);
}

static enum kms_code relabel(struct kms_keystore *ks, const struct kms_object *kek,
                             const char *label, int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_RELABEL, kek, &at, err);
    if (rc == KMS_OK)
        snprintf(fake->keks[at].label, sizeof fake->keks[at].label, "%s", label);
    return fake_leave(fake, rc);
}

static enum kms_code set_usage(struct kms_keystore *ks, const struct kms_object *kek, bool usable,
                               int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_SET_USAGE, kek, &at, err);
    if (rc != KMS_OK)
        return fake_leave(fake, rc);
    if (usable)
        fake->keks[at].attributes |= KMS_KEK_WRAP | KMS_KEK_UNWRAP;
    else
        fake->keks[at].attributes &= ~(uint32_t)(KMS_KEK_WRAP | KMS_KEK_UNWRAP | KMS_KEK_ENCRYPT |
                                                 KMS_KEK_DECRYPT);
    fake_judge(&fake->keks[at], fake->fills[at]);
    return fake_leave(fake, KMS_OK);
}

static enum kms_code inspect(struct kms_keystore *ks, const struct kms_object *kek,
                             int64_t deadline_ms, struct kms_kek_details *ret_details,
                             struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
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
    return fake_leave(fake, rc);
}

/* --- transport --- */

static enum kms_code transport_key(struct kms_keystore *ks, const char *label, bool make,
                                   int64_t deadline_ms, struct kms_transport_key *ret_key,
                                   struct kms_error *err)
{
    (void)label;
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = fake_enter(fake, FAKE_TRANSPORT_KEY, err);
    if (rc == KMS_OK)
        *ret_key = (struct kms_transport_key){ .spki = { .data = { 1 }, .len = make ? 1 : 0 },
                                               .hash = KMS_OAEP_SHA256,
                                               .made = make };
    return fake_leave(fake, rc);
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
        struct kms_kek_info *kept = fake_add(fake, import->label, import->blob.data[0]);
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
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = fake_enter(fake, FAKE_IMPORT, err);
    return fake_leave(fake, rc == KMS_OK ? bring_in(fake, import, ret_kek, err) : rc);
}

static enum kms_code generate_for_escrow(struct kms_keystore *ks, const char *label,
                                         int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                         struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    enum kms_code rc = fake_enter(fake, FAKE_GENERATE_FOR_ESCROW, err);
    if (rc == KMS_OK) {
        struct kms_kek_info *kek = fake_add(fake, label, (uint8_t)(fake->next_id + 1));
        kek->attributes |= KMS_KEK_EXTRACTABLE;
        kek->attributes &= ~(uint32_t)KMS_KEK_NEVER_EXTRACTABLE;
        *ret_kek = *kek;
    }
    return fake_leave(fake, rc);
}

static enum kms_code export_to(struct kms_keystore *ks, const struct kms_object *kek,
                               const struct kms_spki *recipient, enum kms_oaep_hash hash,
                               int64_t deadline_ms, struct kms_transport_blob *ret_blob,
                               struct kms_error *err)
{
    (void)recipient;
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_EXPORT, kek, &at, err);
    if (rc == KMS_OK && (fake->keks[at].attributes & KMS_KEK_EXTRACTABLE) == 0)
        rc = kms_fail(err, KMS_E_PRECONDITION, "not extractable");
    if (rc == KMS_OK) {
        *ret_blob = (struct kms_transport_blob){ .len = FAKE_KEY_LEN, .hash = hash };
        memset(ret_blob->data, fake->fills[at], FAKE_KEY_LEN);
    }
    return fake_leave(fake, rc);
}

static enum kms_code seal(struct kms_keystore *ks, const struct kms_object *kek,
                          int64_t deadline_ms, struct kms_error *err)
{
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    size_t at = 0;
    enum kms_code rc = enter_object(fake, FAKE_SEAL, kek, &at, err);
    if (rc == KMS_OK)
        fake->keks[at].attributes &= ~(uint32_t)KMS_KEK_EXTRACTABLE;
    return fake_leave(fake, rc);
}

/* --- signed --- */

static void tell_public(const struct fake_keystore *fake, struct kms_spki *ret_spki)
{
    uint8_t *at = ret_spki->data;
    int len = i2d_PUBKEY(fake->audit_key, &at);
    ret_spki->len = len > 0 ? (size_t)len : 0;
}

static enum kms_code audit_key(struct kms_keystore *ks, const char *label, bool make,
                               int64_t deadline_ms, struct kms_audit_key *ret_key,
                               struct kms_error *err)
{
    (void)label;
    (void)deadline_ms;
    struct fake_keystore *fake = fake_of(ks);
    struct kms_audit_key key = { .made = make && fake->audit_key == NULL };
    enum kms_code rc = fake_enter(fake, FAKE_AUDIT_KEY, err);
    if (rc == KMS_OK && key.made)
        fake->audit_key = EVP_EC_gen("prime256v1");
    if (rc == KMS_OK && fake->audit_key != NULL)
        tell_public(fake, &key.spki);
    if (rc == KMS_OK)
        *ret_key = key;
    return fake_leave(fake, rc);
}

enum kms_code fake_sign(struct kms_keystore *ks, const char *label, struct kms_bytes message,
                        int64_t deadline_ms, struct kms_signature *ret_signature,
                        struct kms_error *err)
{
    struct fake_keystore *fake = fake_of(ks);
    struct kms_signature signature = { .len = sizeof signature.data };
    struct kms_spki spki;
    (void)deadline_ms;
    enum kms_code rc = fake_enter(fake, FAKE_SIGN, err);
    if (rc == KMS_OK && fake->audit_key == NULL)
        rc = kms_fail(err, KMS_E_PRECONDITION, "no key pair '%s'", label);
    if (rc != KMS_OK)
        return fake_leave(fake, rc);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, fake->audit_key) != 1 ||
        EVP_DigestSign(ctx, signature.data, &signature.len, message.data, message.len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    tell_public(fake, &spki);
    kms_sha256((struct kms_bytes){ spki.data, spki.len }, signature.key_sha256);
    *ret_signature = signature;
    return fake_leave(fake, rc);
}

const struct kms_manage_ops fake_manage_ops = {
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
