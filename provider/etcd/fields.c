/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/fields.h"

#include <stddef.h>

enum {
    VARINT_MAX = 10,                  /* bytes of 64 bits */
    FIELD_NUMBER_MAX = (1 << 29) - 1, /* of the encoding */
};

static struct kms_bytes skip(struct kms_bytes bytes, size_t len)
{
    return (struct kms_bytes){ .data = bytes.data + len, .len = bytes.len - len };
}

static const char *read_varint(struct kms_bytes *rest, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < rest->len; i++) {
        uint8_t byte = rest->data[i];
        if (i == VARINT_MAX - 1 && byte > 1)
            return "a number is longer than 64 bits";
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte >= 0x80)
            continue;
        if (byte == 0 && i > 0)
            return "a number is written longer than it is";
        *rest = skip(*rest, i + 1);
        *ret_value = value;
        return NULL;
    }
    return "a number is cut short";
}

static const char *read_bytes(struct kms_bytes *rest, uint64_t len, struct kms_bytes *ret_bytes)
{
    if (len > rest->len)
        return "a field is cut short";
    *ret_bytes = (struct kms_bytes){ .data = rest->data, .len = (size_t)len };
    *rest = skip(*rest, (size_t)len);
    return NULL;
}

static const char *read_content(struct kms_bytes *rest, uint64_t type, struct kms_field *field)
{
    uint64_t len = 0;
    switch (type) {
    case KMS_WIRE_VARINT:
        return read_varint(rest, &field->varint);
    case KMS_WIRE_I64:
        return read_bytes(rest, sizeof(uint64_t), &field->bytes);
    case KMS_WIRE_I32:
        return read_bytes(rest, sizeof(uint32_t), &field->bytes);
    case KMS_WIRE_LEN: {
        const char *wrong = read_varint(rest, &len);
        return wrong != NULL ? wrong : read_bytes(rest, len, &field->bytes);
    }
    default: /* not an enum of ours: three bits from outside */
        return "a field is of a wire type that isn't in use";
    }
}

const char *kms_field_next(struct kms_bytes *rest, struct kms_field *ret_field)
{
    struct kms_bytes at = *rest;
    uint64_t tag = 0;
    const char *wrong = read_varint(&at, &tag);
    if (wrong != NULL)
        return wrong;
    if (tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        return "a field has a number that can't be";

    struct kms_field field = { .number = (uint32_t)(tag >> 3), .type = tag & 7 };
    wrong = read_content(&at, tag & 7, &field);
    if (wrong != NULL)
        return wrong;
    *rest = at;
    *ret_field = field;
    return NULL;
}
