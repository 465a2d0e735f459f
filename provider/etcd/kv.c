/* SPDX-License-Identifier: Apache-2.0 */
#include "kv.h"

#include <stddef.h>

#include "etcd/fields.h"

enum {
    FIELD_KEY = 1,
    FIELD_CREATE_REVISION = 2,
    FIELD_MOD_REVISION = 3,
    FIELD_VERSION = 4,
    FIELD_VALUE = 5,
};

static struct kms_bytes *bytes_of(struct kms_etcd_kv *kv, uint32_t field)
{
    if (field == FIELD_KEY)
        return &kv->key;
    return field == FIELD_VALUE ? &kv->value : NULL;
}

static int64_t *number_of(struct kms_etcd_kv *kv, uint32_t field)
{
    if (field == FIELD_CREATE_REVISION)
        return &kv->create_revision;
    if (field == FIELD_MOD_REVISION)
        return &kv->mod_revision;
    return field == FIELD_VERSION ? &kv->version : NULL;
}

/* False: a field that we know has another type than etcd's. */
static bool set_field(struct kms_etcd_kv *kv, const struct kms_field *field)
{
    struct kms_bytes *bytes = bytes_of(kv, field->number);
    int64_t *number = number_of(kv, field->number);
    if (bytes != NULL)
        *bytes = field->bytes;
    if (number != NULL)
        *number = (int64_t)field->varint;
    return (bytes == NULL || field->type == KMS_WIRE_LEN) &&
           (number == NULL || field->type == KMS_WIRE_VARINT);
}

bool kms_etcd_kv_parse(struct kms_bytes message, struct kms_etcd_kv *ret_kv)
{
    struct kms_etcd_kv kv = { 0 };
    while (message.len > 0) {
        struct kms_field field;
        if (kms_field_next(&message, &field) != NULL || !set_field(&kv, &field))
            return false;
    }
    if (kv.key.len == 0)
        return false;
    *ret_kv = kv;
    return true;
}
