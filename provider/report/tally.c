/* SPDX-License-Identifier: Apache-2.0 */
#include "tally.h"

#include <stdlib.h>
#include <string.h>

#include "report/intern.h"

/* Interned: lengths in front, so that no two are the same bytes. */
enum {
    LEN_BYTES = sizeof(uint32_t),
    NAME_BYTES = LEN_BYTES + 2 * KMS_TALLY_NAME_MAX,
    KEY_BYTES = 2 * LEN_BYTES + KMS_TALLY_NAME_MAX + KMS_VALUE_KEY_ID_MAX,
};

struct kms_tally {
    struct kms_intern resource_names, key_names, pairs;
    struct kms_tally_resource *resources; /* owned; one for each name */
    struct kms_tally_key *keys;           /* owned */
    struct kms_tally_row *rows;           /* owned */
};

enum kms_code kms_tally_open(struct kms_tally **ret_tally, struct kms_error *err)
{
    KMS_CLEANUP(kms_tally_close_ptr) struct kms_tally *tally = calloc(1, sizeof *tally);
    if (tally == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    tally->resources = calloc(KMS_TALLY_RESOURCES_MAX, sizeof *tally->resources);
    tally->keys = calloc(KMS_TALLY_KEYS_MAX, sizeof *tally->keys);
    tally->rows = calloc(KMS_TALLY_ROWS_MAX, sizeof *tally->rows);
    if (tally->resources == NULL || tally->keys == NULL || tally->rows == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    enum kms_code rc = kms_intern_init(&tally->resource_names, KMS_TALLY_RESOURCES_MAX, err);
    if (rc == KMS_OK)
        rc = kms_intern_init(&tally->key_names, KMS_TALLY_KEYS_MAX, err);
    if (rc == KMS_OK)
        rc = kms_intern_init(&tally->pairs, KMS_TALLY_ROWS_MAX, err);
    if (rc != KMS_OK)
        return rc;
    tally->resources[0].others = true;
    tally->keys[0].others = true;
    *ret_tally = tally;
    tally = NULL;
    return KMS_OK;
}

void kms_tally_close(struct kms_tally *tally)
{
    if (tally == NULL)
        return;
    kms_intern_done(&tally->resource_names);
    kms_intern_done(&tally->key_names);
    kms_intern_done(&tally->pairs);
    free(tally->resources);
    free(tally->keys);
    free(tally->rows);
    free(tally);
}

/* --- finding --- */

static size_t put(uint8_t *at, const void *data, size_t len)
{
    if (len > 0)
        memcpy(at, data, len);
    return len;
}

/* The spans within the interned copy. */
static struct kms_bytes part(struct kms_bytes whole, size_t from, size_t len)
{
    return (struct kms_bytes){ .data = whole.data + from, .len = len };
}

static enum kms_code find_resource(struct kms_tally *tally, const struct kms_registry_name *name,
                                   uint32_t *ret_number, struct kms_error *err)
{
    uint8_t text[NAME_BYTES];
    *ret_number = 0;
    if (name->group.len > KMS_TALLY_NAME_MAX || name->resource.len > KMS_TALLY_NAME_MAX)
        return KMS_OK;
    uint32_t group_len = (uint32_t)name->group.len;
    size_t len = put(text, &group_len, sizeof group_len);
    len += put(text + len, name->group.data, name->group.len);
    len += put(text + len, name->resource.data, name->resource.len);
    uint32_t before = tally->resource_names.count;
    enum kms_code rc = kms_intern_number(&tally->resource_names, (struct kms_bytes){ text, len },
                                         sizeof text, ret_number, err);
    if (rc != KMS_OK || tally->resource_names.count == before)
        return rc;
    struct kms_bytes copy = tally->resource_names.items[*ret_number];
    tally->resources[*ret_number] = (struct kms_tally_resource){
        .group = part(copy, LEN_BYTES, group_len),
        .resource = part(copy, LEN_BYTES + group_len, name->resource.len),
    };
    return KMS_OK;
}

static enum kms_code find_key(struct kms_tally *tally, const struct kms_value *value,
                              uint32_t *ret_number, struct kms_error *err)
{
    uint8_t text[KEY_BYTES];
    *ret_number = 0;
    if (value->provider.len > KMS_TALLY_NAME_MAX || value->key_id.len > KMS_VALUE_KEY_ID_MAX)
        return KMS_OK;
    uint32_t class = (uint32_t)value->class, provider_len = (uint32_t)value->provider.len;
    size_t len = put(text, &class, sizeof class);
    len += put(text + len, &provider_len, sizeof provider_len);
    len += put(text + len, value->provider.data, value->provider.len);
    len += put(text + len, value->key_id.data, value->key_id.len);
    uint32_t before = tally->key_names.count;
    enum kms_code rc = kms_intern_number(&tally->key_names, (struct kms_bytes){ text, len },
                                         sizeof text, ret_number, err);
    if (rc != KMS_OK || tally->key_names.count == before)
        return rc;
    struct kms_bytes copy = tally->key_names.items[*ret_number];
    tally->keys[*ret_number] = (struct kms_tally_key){
        .class = value->class,
        .provider = part(copy, 2 * LEN_BYTES, provider_len),
        .key_id = part(copy, 2 * LEN_BYTES + provider_len, value->key_id.len),
    };
    return KMS_OK;
}

/* A row that finds no room is row 0: of the others, under the others. */
static enum kms_code find_row(struct kms_tally *tally, uint32_t resource, uint32_t key,
                              struct kms_tally_row **ret_row, struct kms_error *err)
{
    const uint32_t pair[2] = { resource, key };
    uint32_t number = 0;
    enum kms_code rc = KMS_OK;
    if (resource != 0 || key != 0)
        rc = kms_intern_number(&tally->pairs,
                               (struct kms_bytes){ (const uint8_t *)pair, sizeof pair },
                               sizeof pair, &number, err);
    if (rc != KMS_OK)
        return rc;
    *ret_row = &tally->rows[number];
    if (number != 0) {
        (*ret_row)->resource = resource;
        (*ret_row)->key = key;
    }
    return KMS_OK;
}

static void count(struct kms_count *values, bool current)
{
    values->current += current;
    values->history += !current;
}

enum kms_code kms_tally_add(struct kms_tally *tally, const struct kms_registry_name *name,
                            const struct kms_value *value, bool current,
                            struct kms_tally_place *ret_place, struct kms_error *err)
{
    uint32_t resource, key;
    struct kms_tally_row *row;
    enum kms_code rc = find_resource(tally, name, &resource, err);
    if (rc == KMS_OK)
        rc = find_key(tally, value, &key, err);
    if (rc == KMS_OK)
        rc = find_row(tally, resource, key, &row, err);
    if (rc != KMS_OK)
        return rc;
    const struct kms_tally_place place = { .key = &tally->keys[key],
                                           .resource = &tally->resources[resource] };
    count(&row->values, current);
    count(&place.key->values, current);
    count(&place.resource->values, current);
    place.resource->openable += current && value->class == KMS_VALUE_KMS_V2;
    *ret_place = place;
    return KMS_OK;
}

/* --- reading --- */

const struct kms_tally_key *kms_tally_keys(const struct kms_tally *tally, size_t *ret_count)
{
    *ret_count = tally->key_names.count;
    return tally->keys;
}

const struct kms_tally_resource *kms_tally_resources(const struct kms_tally *tally,
                                                     size_t *ret_count)
{
    *ret_count = tally->resource_names.count;
    return tally->resources;
}

static int compare_bytes(struct kms_bytes a, struct kms_bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_rows(const void *a, const void *b, void *context)
{
    const struct kms_tally *tally = context;
    const struct kms_tally_row *x = a, *y = b;
    const struct kms_tally_resource *of_x = &tally->resources[x->resource];
    const struct kms_tally_resource *of_y = &tally->resources[y->resource];
    int order = compare_bytes(of_x->group, of_y->group);
    if (order == 0)
        order = compare_bytes(of_x->resource, of_y->resource);
    if (order == 0)
        order = (x->resource > y->resource) - (x->resource < y->resource);
    return order != 0 ? order : (x->key > y->key) - (x->key < y->key);
}

const struct kms_tally_row *kms_tally_rows(struct kms_tally *tally, size_t *ret_count)
{
    *ret_count = tally->pairs.count;
    qsort_r(tally->rows, tally->pairs.count, sizeof *tally->rows, compare_rows, tally);
    return tally->rows;
}
