/* SPDX-License-Identifier: Apache-2.0 */
#include "intern.h"

#include <stdlib.h>
#include <string.h>

static enum kms_code fail_memory(struct kms_error *err)
{
    return kms_fail(err, KMS_E_BUSY, "out of memory");
}

enum kms_code kms_intern_init(struct kms_intern *intern, uint32_t max, struct kms_error *err)
{
    struct kms_intern made = { .count = 1, .max = max, .slot_count = 4 };
    while (made.slot_count < 2 * max)
        made.slot_count *= 2;
    made.items = calloc(max, sizeof *made.items);
    made.slots = calloc(made.slot_count, sizeof *made.slots);
    *intern = made;
    if (made.items != NULL && made.slots != NULL)
        return KMS_OK;
    kms_intern_done(intern);
    return fail_memory(err);
}

static void free_bytes(struct kms_bytes bytes)
{
    union {
        const uint8_t *in;
        void *out;
    } same = { .in = bytes.data };
    free(same.out);
}

void kms_intern_done(struct kms_intern *intern)
{
    for (uint32_t i = 1; intern->items != NULL && i < intern->count; i++)
        free_bytes(intern->items[i]);
    free(intern->items);
    free(intern->slots);
    *intern = (struct kms_intern){ 0 };
}

/* FNV-1a.  Somebody who makes strings collide makes the table slow, no slower than its size. */
static uint64_t hash(struct kms_bytes bytes)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes.len; i++)
        value = (value ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    return value;
}

/* Where @bytes stands, or the free slot where it would. */
static uint32_t *find_slot(const struct kms_intern *intern, struct kms_bytes bytes)
{
    uint32_t at = (uint32_t)hash(bytes) & (intern->slot_count - 1);
    while (intern->slots[at] != 0 && !kms_bytes_equal(intern->items[intern->slots[at]], bytes))
        at = (at + 1) & (intern->slot_count - 1);
    return &intern->slots[at];
}

enum kms_code kms_intern_number(struct kms_intern *intern, struct kms_bytes bytes, size_t longest,
                                uint32_t *ret_number, struct kms_error *err)
{
    if (bytes.len > longest) {
        *ret_number = 0;
        return KMS_OK;
    }
    uint32_t *slot = find_slot(intern, bytes);
    if (*slot != 0 || intern->count == intern->max) {
        *ret_number = *slot;
        return KMS_OK;
    }
    uint8_t *copy = malloc(bytes.len + 1); /* never of 0 bytes */
    if (copy == NULL)
        return fail_memory(err);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    intern->items[intern->count] = (struct kms_bytes){ .data = copy, .len = bytes.len };
    *slot = intern->count++;
    *ret_number = *slot;
    return KMS_OK;
}
