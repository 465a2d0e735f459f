/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/keystore.h"

#include <stdlib.h>
#include <string.h>

void kms_inventory_done(struct kms_inventory *inventory)
{
    free(inventory->keks);
    free(inventory->others);
    *inventory = (struct kms_inventory){ 0 };
}

bool kms_kek_has_name(const struct kms_kek_info *kek, const struct kms_kek_name *name)
{
    const struct kms_bytes id = { kek->cka_id, kek->cka_id_len };
    const struct kms_bytes wanted_id = { name->cka_id, name->cka_id_len };
    return (name->label[0] == '\0' || strcmp(kek->label, name->label) == 0) &&
           (wanted_id.len == 0 || kms_bytes_equal(id, wanted_id));
}

bool kms_kek_is(const struct kms_kek_info *kek, const struct kms_kek_ref *ref)
{
    return kek->fingerprinted && strcmp(kek->label, ref->label) == 0 &&
           memcmp(kek->fingerprint, ref->fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

bool kms_kek_is_same(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    const struct kms_kek_ref ref = { .label = b->label, .fingerprint = b->fingerprint };
    return b->fingerprinted && kms_kek_is(a, &ref);
}

int kms_kek_order_by_id(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    size_t len = a->cka_id_len < b->cka_id_len ? a->cka_id_len : b->cka_id_len;
    int order = memcmp(a->cka_id, b->cka_id, len);
    return order != 0 ? order : (a->cka_id_len > len) - (b->cka_id_len > len);
}

int kms_kek_order(const struct kms_kek_info *a, const struct kms_kek_info *b)
{
    int order = strcmp(a->label, b->label);
    return order != 0 ? order : kms_kek_order_by_id(a, b);
}

bool kms_kek_filter_takes(const struct kms_kek_filter *filter, const struct kms_kek_info *kek)
{
    if (strncmp(kek->label, filter->label_prefix, strlen(filter->label_prefix)) == 0)
        return true;
    for (size_t i = 0; i < filter->name_count; i++) {
        if (kms_kek_has_name(kek, &filter->names[i]))
            return true;
    }
    return false;
}

enum kms_code kms_keystore_list(struct kms_keystore *ks, const struct kms_kek_filter *filter,
                                int64_t deadline_ms, struct kms_inventory *ret_inventory,
                                struct kms_error *err)
{
    return ks->ops->inventory(ks, filter, deadline_ms, ret_inventory, err);
}

enum kms_code kms_keystore_inventory(struct kms_keystore *ks, const char *label_prefix,
                                     int64_t deadline_ms, struct kms_inventory *ret_inventory,
                                     struct kms_error *err)
{
    const struct kms_kek_filter filter = { .label_prefix = label_prefix };
    return kms_keystore_list(ks, &filter, deadline_ms, ret_inventory, err);
}

enum kms_code kms_keystore_canary(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                                  int64_t deadline_ms, struct kms_error *err)
{
    return ks->ops->canary(ks, kek, deadline_ms, err);
}

enum kms_code kms_keystore_wrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                                struct kms_bytes seed, int64_t deadline_ms,
                                struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    return ks->ops->wrap(ks, kek, seed, deadline_ms, ret_wrapped, err);
}

enum kms_code kms_keystore_unwrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                                  enum kms_algorithm algorithm, struct kms_bytes wrapped,
                                  int64_t deadline_ms, struct kms_secret *ret_seed,
                                  struct kms_error *err)
{
    return ks->ops->unwrap(ks, kek, algorithm, wrapped, deadline_ms, ret_seed, err);
}

enum kms_code kms_keystore_sign(struct kms_keystore *ks, const char *label,
                                struct kms_bytes message, int64_t deadline_ms,
                                struct kms_signature *ret_signature, struct kms_error *err)
{
    return ks->ops->sign(ks, label, message, deadline_ms, ret_signature, err);
}

static enum kms_code only_serves(struct kms_error *err)
{
    return kms_fail(err, KMS_E_PRECONDITION,
                    "keys are managed by commands, which open the token themselves");
}

enum kms_code kms_keystore_generate(struct kms_keystore *ks, const char *label, int64_t deadline_ms,
                                    struct kms_kek_info *ret_kek, struct kms_error *err)
{
    return ks->ops->manage != NULL ? ks->ops->manage->generate(ks, label, deadline_ms, ret_kek, err)
                                   : only_serves(err);
}

enum kms_code kms_keystore_destroy(struct kms_keystore *ks, const char *label,
                                   struct kms_bytes cka_id, int64_t deadline_ms,
                                   struct kms_error *err)
{
    return ks->ops->manage != NULL ? ks->ops->manage->destroy(ks, label, cka_id, deadline_ms, err)
                                   : only_serves(err);
}

enum kms_code kms_keystore_copy(struct kms_keystore *ks, const struct kms_object *from,
                                const char *label, int64_t deadline_ms,
                                struct kms_kek_info *ret_kek, struct kms_error *err)
{
    return ks->ops->manage != NULL
               ? ks->ops->manage->copy(ks, from, label, deadline_ms, ret_kek, err)
               : only_serves(err);
}

enum kms_code kms_keystore_relabel(struct kms_keystore *ks, const struct kms_object *kek,
                                   const char *label, int64_t deadline_ms, struct kms_error *err)
{
    return ks->ops->manage != NULL ? ks->ops->manage->relabel(ks, kek, label, deadline_ms, err)
                                   : only_serves(err);
}

enum kms_code kms_keystore_set_usage(struct kms_keystore *ks, const struct kms_object *kek,
                                     bool usable, int64_t deadline_ms, struct kms_error *err)
{
    return ks->ops->manage != NULL ? ks->ops->manage->set_usage(ks, kek, usable, deadline_ms, err)
                                   : only_serves(err);
}

enum kms_code kms_keystore_inspect(struct kms_keystore *ks, const struct kms_object *kek,
                                   int64_t deadline_ms, struct kms_kek_details *ret_details,
                                   struct kms_error *err)
{
    return ks->ops->manage != NULL
               ? ks->ops->manage->inspect(ks, kek, deadline_ms, ret_details, err)
               : only_serves(err);
}

enum kms_code kms_keystore_transport_key(struct kms_keystore *ks, const char *label, bool make,
                                         int64_t deadline_ms, struct kms_transport_key *ret_key,
                                         struct kms_error *err)
{
    return ks->ops->manage != NULL
               ? ks->ops->manage->transport_key(ks, label, make, deadline_ms, ret_key, err)
               : only_serves(err);
}

enum kms_code kms_keystore_import(struct kms_keystore *ks,
                                  const struct kms_transport_import *import, int64_t deadline_ms,
                                  struct kms_kek_info *ret_kek, struct kms_error *err)
{
    return ks->ops->manage != NULL ? ks->ops->manage->import(ks, import, deadline_ms, ret_kek, err)
                                   : only_serves(err);
}

enum kms_code kms_keystore_generate_for_escrow(struct kms_keystore *ks, const char *label,
                                               int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                               struct kms_error *err)
{
    return ks->ops->manage != NULL
               ? ks->ops->manage->generate_for_escrow(ks, label, deadline_ms, ret_kek, err)
               : only_serves(err);
}

enum kms_code kms_keystore_export_to(struct kms_keystore *ks, const struct kms_object *kek,
                                     const struct kms_spki *recipient, enum kms_oaep_hash hash,
                                     int64_t deadline_ms, struct kms_transport_blob *ret_blob,
                                     struct kms_error *err)
{
    return ks->ops->manage != NULL
               ? ks->ops->manage->export_to(ks, kek, recipient, hash, deadline_ms, ret_blob, err)
               : only_serves(err);
}

enum kms_code kms_keystore_seal(struct kms_keystore *ks, const struct kms_object *kek,
                                int64_t deadline_ms, struct kms_error *err)
{
    return ks->ops->manage != NULL ? ks->ops->manage->seal(ks, kek, deadline_ms, err)
                                   : only_serves(err);
}

enum kms_code kms_keystore_audit_key(struct kms_keystore *ks, const char *label, bool make,
                                     int64_t deadline_ms, struct kms_audit_key *ret_key,
                                     struct kms_error *err)
{
    return ks->ops->manage != NULL
               ? ks->ops->manage->audit_key(ks, label, make, deadline_ms, ret_key, err)
               : only_serves(err);
}

size_t kms_keystore_describe(struct kms_keystore *ks,
                             struct kms_token_info ret_infos[KMS_TOKENS_MAX])
{
    return ks->ops->describe(ks, ret_infos);
}

void kms_keystore_reload(struct kms_keystore *ks)
{
    ks->ops->reload(ks);
}

void kms_keystore_close(struct kms_keystore *ks)
{
    if (ks != NULL)
        ks->ops->close(ks);
}
