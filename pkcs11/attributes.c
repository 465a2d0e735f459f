/* SPDX-License-Identifier: Apache-2.0 */
#include "attributes.h"

#include <assert.h>
#include <stdint.h>

#include "rv.h"

static CK_ATTRIBUTE *next_item(struct pkcs11_template *template, CK_ATTRIBUTE_TYPE type)
{
    assert(template->count < PKCS11_TEMPLATE_MAX);
    CK_ATTRIBUTE *item = &template->items[template->count++];
    item->type = type;
    return item;
}

void pkcs11_template_bool(struct pkcs11_template *template, CK_ATTRIBUTE_TYPE type, bool value)
{
    CK_BBOOL *place = &template->bools[template->count];
    CK_ATTRIBUTE *item = next_item(template, type);
    *place = value ? CK_TRUE : CK_FALSE;
    item->pValue = place;
    item->ulValueLen = sizeof(*place);
}

void pkcs11_template_number(struct pkcs11_template *template, CK_ATTRIBUTE_TYPE type,
                            CK_ULONG value)
{
    CK_ULONG *place = &template->numbers[template->count];
    CK_ATTRIBUTE *item = next_item(template, type);
    *place = value;
    item->pValue = place;
    item->ulValueLen = sizeof(*place);
}

void pkcs11_template_bytes(struct pkcs11_template *template, CK_ATTRIBUTE_TYPE type,
                           struct kms_bytes value)
{
    CK_ATTRIBUTE *item = next_item(template, type);
    /* Cryptoki's types have no const; a template is only read. */
    item->pValue = (void *)(uintptr_t)value.data;
    item->ulValueLen = value.len;
}

/* True with *rv == CKR_OK: told; true otherwise: the token doesn't tell; false: a failure. */
static bool is_an_answer(CK_RV rv)
{
    return rv == CKR_OK || rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_ATTRIBUTE_SENSITIVE ||
           rv == CKR_BUFFER_TOO_SMALL;
}

enum kms_code pkcs11_read_bytes(const struct pkcs11_object *object, CK_ATTRIBUTE_TYPE type,
                                uint8_t *ret_data, size_t cap, size_t *ret_len, bool *ret_known,
                                struct kms_error *err)
{
    CK_ATTRIBUTE item = { .type = type, .pValue = ret_data, .ulValueLen = cap };
    CK_RV rv = object->fn->C_GetAttributeValue(object->session, object->handle, &item, 1);
    if (!is_an_answer(rv))
        return pkcs11_fail(err, "C_GetAttributeValue", rv, "reading attribute 0x%lx", type);
    *ret_known = rv == CKR_OK && item.ulValueLen <= cap;
    *ret_len = *ret_known ? item.ulValueLen : 0;
    return KMS_OK;
}

enum kms_code pkcs11_read_bool(const struct pkcs11_object *object, CK_ATTRIBUTE_TYPE type,
                               bool *ret_value, bool *ret_known, struct kms_error *err)
{
    CK_BBOOL value = CK_FALSE;
    size_t len = 0;
    bool known = false;
    enum kms_code rc = pkcs11_read_bytes(object, type, &value, sizeof(value), &len, &known, err);
    if (rc != KMS_OK)
        return rc;
    *ret_known = known && len == sizeof(value);
    *ret_value = *ret_known && value != CK_FALSE;
    return KMS_OK;
}

enum kms_code pkcs11_read_number(const struct pkcs11_object *object, CK_ATTRIBUTE_TYPE type,
                                 CK_ULONG *ret_value, bool *ret_known, struct kms_error *err)
{
    union {
        CK_ULONG number;
        uint8_t bytes[sizeof(CK_ULONG)];
    } value = { 0 };
    size_t len = 0;
    bool known = false;
    enum kms_code rc = pkcs11_read_bytes(object, type, value.bytes, sizeof(value.bytes), &len,
                                         &known, err);
    if (rc != KMS_OK)
        return rc;
    *ret_known = known && len == sizeof(value.number) && value.number != CK_UNAVAILABLE_INFORMATION;
    *ret_value = *ret_known ? value.number : 0;
    return KMS_OK;
}
