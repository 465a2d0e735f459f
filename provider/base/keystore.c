/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/keystore.h"

#include <stdlib.h>

void kms_inventory_done(struct kms_inventory *inventory)
{
    free(inventory->keks);
    *inventory = (struct kms_inventory){ 0 };
}

enum kms_code kms_keystore_inventory(struct kms_keystore *ks, const char *label_prefix,
                                     int64_t deadline_ms, struct kms_inventory *ret_inventory,
                                     struct kms_error *err)
{
    return ks->ops->inventory(ks, label_prefix, deadline_ms, ret_inventory, err);
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
                                  struct kms_bytes wrapped, int64_t deadline_ms,
                                  struct kms_secret *ret_seed, struct kms_error *err)
{
    return ks->ops->unwrap(ks, kek, wrapped, deadline_ms, ret_seed, err);
}

enum kms_code kms_keystore_generate(struct kms_keystore *ks, const char *label, int64_t deadline_ms,
                                    struct kms_kek_info *ret_kek, struct kms_error *err)
{
    return ks->ops->generate(ks, label, deadline_ms, ret_kek, err);
}

enum kms_code kms_keystore_destroy(struct kms_keystore *ks, const char *label,
                                   struct kms_bytes cka_id, int64_t deadline_ms,
                                   struct kms_error *err)
{
    return ks->ops->destroy(ks, label, cka_id, deadline_ms, err);
}

void kms_keystore_describe(struct kms_keystore *ks, struct kms_token_info *ret_info)
{
    ks->ops->describe(ks, ret_info);
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
