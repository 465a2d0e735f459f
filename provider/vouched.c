/* SPDX-License-Identifier: Apache-2.0 */
#include "vouched.h"

#include <stdlib.h>
#include <string.h>

#include "keyid.h"

void kms_vouched_done(struct kms_vouched *vouched)
{
    free(vouched->pins);
    free(vouched->adoptions);
    free(vouched->names);
    *vouched = (struct kms_vouched){ 0 };
}

/* *ret_to stays NULL without items. */
static enum kms_code copy_items(const void *items, size_t count, size_t size, void **ret_to,
                                struct kms_error *err)
{
    *ret_to = NULL;
    if (count == 0)
        return KMS_OK;
    *ret_to = calloc(count, size);
    if (*ret_to == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    memcpy(*ret_to, items, count * size);
    return KMS_OK;
}

enum kms_code kms_vouched_copy(const struct kms_vouched *from, struct kms_vouched *ret_to,
                               struct kms_error *err)
{
    void *pins = NULL, *adoptions = NULL, *names = NULL;
    enum kms_code rc = copy_items(from->pins, from->pin_count, sizeof *from->pins, &pins, err);
    if (rc == KMS_OK)
        rc = copy_items(from->adoptions, from->adoption_count, sizeof *from->adoptions, &adoptions,
                        err);
    if (rc == KMS_OK)
        rc = copy_items(from->names, from->adoption_count, sizeof *from->names, &names, err);
    struct kms_vouched copy = { pins,  from->pin_count,      adoptions,
                                names, from->adoption_count, from->mark };
    if (rc == KMS_OK)
        *ret_to = copy;
    else
        kms_vouched_done(&copy);
    return rc;
}

const struct kms_pin *kms_vouched_pin(const struct kms_vouched *vouched, uint32_t generation)
{
    for (size_t i = 0; i < vouched->pin_count; i++) {
        if (vouched->pins[i].generation == generation)
            return &vouched->pins[i];
    }
    return NULL;
}

size_t kms_vouched_adoption(const struct kms_vouched *vouched, uint32_t generation)
{
    size_t i = 0;
    while (i < vouched->adoption_count && vouched->adoptions[i].generation != generation)
        i++;
    return i;
}

bool kms_vouched_identify(const struct kms_vouched *vouched, const char *ring,
                          const struct kms_kek_info *kek, struct kms_membership *ret_membership)
{
    struct kms_membership member = { .adopted = false };
    if (kms_label_parse(ring, kek->label, &member.generation, &member.activation_utc_s)) {
        *ret_membership = member;
        return true;
    }
    for (size_t i = 0; i < vouched->adoption_count; i++) {
        if (!kms_kek_has_name(kek, &vouched->names[i]))
            continue;
        const struct kms_adoption *adoption = &vouched->adoptions[i];
        *ret_membership = (struct kms_membership){ adoption->generation, adoption->activation_utc_s,
                                                   true };
        return true;
    }
    return false;
}

struct kms_kek_filter kms_vouched_filter(const struct kms_vouched *vouched,
                                         const char *label_prefix)
{
    return (struct kms_kek_filter){
        .label_prefix = label_prefix,
        .names = vouched->names,
        .name_count = vouched->adoption_count,
    };
}
