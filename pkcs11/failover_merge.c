/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "failover_state.h"

enum {
    /* true only if true on every token; the others are true if true on one */
    TRUE_ON_ALL = KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE | KMS_KEK_NEVER_EXTRACTABLE |
                  KMS_KEK_PRIVATE,
};

static void join(struct kms_kek_info *kek, const struct kms_kek_info *more)
{
    uint32_t all = TRUE_ON_ALL;
    uint32_t yes = (kek->attributes & kek->known) | (more->attributes & more->known);
    uint32_t no = (~kek->attributes & kek->known) | (~more->attributes & more->known);
    kek->known = (kek->known & more->known) | (no & all) | (yes & ~all);
    kek->attributes = kek->known & ((yes & ~no & all) | (yes & ~all));
    if (kek->value_len == 0)
        kek->value_len = more->value_len;
}

static void add_kek(struct kms_inventory *merged, const struct kms_kek_info *kek, const char *token,
                    uint32_t holder)
{
    for (size_t i = 0; i < merged->count; i++) {
        struct kms_kek_info *have = &merged->keks[i];
        if (!kms_kek_is_same(have, kek) || (have->holders & holder) != 0)
            continue;
        join(have, kek);
        have->holders |= holder;
        return;
    }
    struct kms_kek_info *added = &merged->keks[merged->count++];
    *added = *kek;
    added->holders = holder;
    if (!kek->fingerprinted)
        (void)snprintf(added->problem, sizeof(added->problem), "token '%s': %.110s", token,
                       kek->problem);
}

static bool same_name(const struct kms_kek_name *a, const struct kms_kek_name *b)
{
    const struct kms_bytes id_a = { a->cka_id, a->cka_id_len }, id_b = { b->cka_id, b->cka_id_len };
    return strcmp(a->label, b->label) == 0 && kms_bytes_equal(id_a, id_b);
}

static void add_other(struct kms_inventory *merged, const struct kms_kek_name *other)
{
    for (size_t i = 0; i < merged->other_count; i++)
        if (same_name(&merged->others[i], other))
            return;
    if (merged->other_count < KMS_OTHERS_MAX)
        merged->others[merged->other_count++] = *other;
}

/* As every inventory is sorted; equal names by their first holder. */
static int compare(const void *left, const void *right)
{
    const struct kms_kek_info *a = left, *b = right;
    int order = kms_kek_order(a, b);
    if (order != 0)
        return order;
    uint32_t first_a = a->holders & -a->holders, first_b = b->holders & -b->holders;
    return (first_a > first_b) - (first_a < first_b);
}

enum kms_code kms_failover_merge(const struct kms_failover_part *parts, size_t count,
                                 struct kms_inventory *ret_inventory, struct kms_error *err)
{
    size_t kek_count = 0;
    for (size_t i = 0; i < count; i++)
        kek_count += parts[i].inventory != NULL ? parts[i].inventory->count : 0;
    KMS_CLEANUP(kms_inventory_done)
    struct kms_inventory merged = { .keks = calloc(kek_count + 1, sizeof(*merged.keks)),
                                    .others = calloc(KMS_OTHERS_MAX, sizeof(*merged.others)) };
    if (merged.keks == NULL || merged.others == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for %zu KEKs", kek_count);
    for (size_t i = 0; i < count; i++) {
        const struct kms_inventory *inventory = parts[i].inventory;
        for (size_t k = 0; inventory != NULL && k < inventory->count; k++)
            add_kek(&merged, &inventory->keks[k], parts[i].name, UINT32_C(1) << i);
        for (size_t k = 0; inventory != NULL && k < inventory->other_count; k++)
            add_other(&merged, &inventory->others[k]);
    }
    qsort(merged.keks, merged.count, sizeof(*merged.keks), compare);
    *ret_inventory = merged;
    merged = (struct kms_inventory){ 0 };
    return KMS_OK;
}
