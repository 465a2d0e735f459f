/* SPDX-License-Identifier: Apache-2.0 */
#include "find.h"

#include <stdlib.h>
#include <string.h>

#include "rv.h"

enum {
    BATCH = 64,          /* handles a call */
    HANDLES_MAX = 16384, /* more is a module gone mad */
};

void pkcs11_handles_done(struct pkcs11_handles *handles)
{
    free(handles->handles);
    *handles = (struct pkcs11_handles){ 0 };
}

static CK_RV fetch_handles(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                           struct pkcs11_handles *found)
{
    for (;;) {
        if (found->count > HANDLES_MAX)
            return CKR_GENERAL_ERROR;
        CK_OBJECT_HANDLE *grown = reallocarray(found->handles, found->count + BATCH,
                                               sizeof(*found->handles));
        if (grown == NULL)
            return CKR_HOST_MEMORY;
        found->handles = grown;
        CK_ULONG count = 0;
        CK_RV rv = fn->C_FindObjects(session, grown + found->count, BATCH, &count);
        if (rv != CKR_OK || count == 0)
            return rv;
        found->count += count < BATCH ? count : BATCH;
    }
}

enum kms_code pkcs11_find(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                          struct pkcs11_template *template, const char *what,
                          struct pkcs11_handles *ret_handles, struct kms_error *err)
{
    CK_RV rv = fn->C_FindObjectsInit(session, template->items, template->count);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_FindObjectsInit", rv, "looking for %s", what);
    KMS_CLEANUP(pkcs11_handles_done) struct pkcs11_handles found = { 0 };
    rv = fetch_handles(fn, session, &found);
    CK_RV final_rv = fn->C_FindObjectsFinal(session);
    if (rv != CKR_OK)
        return pkcs11_fail(err, "C_FindObjects", rv, "looking for %s", what);
    if (final_rv != CKR_OK)
        return pkcs11_fail(err, "C_FindObjectsFinal", final_rv, "looking for %s", what);
    *ret_handles = found;
    found = (struct pkcs11_handles){ 0 };
    return KMS_OK;
}

enum kms_code pkcs11_find_keys(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session, const char *label,
                               const struct kms_bytes *cka_id, struct pkcs11_handles *ret_handles,
                               struct kms_error *err)
{
    struct pkcs11_template template = { 0 };
    pkcs11_template_number(&template, CKA_CLASS, CKO_SECRET_KEY);
    pkcs11_template_number(&template, CKA_KEY_TYPE, CKK_AES);
    pkcs11_template_bool(&template, CKA_TOKEN, true);
    if (label != NULL)
        pkcs11_template_bytes(&template, CKA_LABEL, kms_bytes_of(label));
    if (cka_id != NULL)
        pkcs11_template_bytes(&template, CKA_ID, *cka_id);
    return pkcs11_find(fn, session, &template, "KEKs", ret_handles, err);
}

/* False if it can't be shown. */
static bool take_label(const uint8_t *data, size_t len, char ret_label[static KMS_LABEL_MAX + 1])
{
    if (len > KMS_LABEL_MAX || !kms_text_is_clean((struct kms_bytes){ data, len }))
        return false;
    memcpy(ret_label, data, len);
    ret_label[len] = '\0';
    return true;
}

enum kms_code pkcs11_read_label(const struct pkcs11_object *object,
                                char ret_label[static KMS_LABEL_MAX + 1], bool *ret_usable,
                                struct kms_error *err)
{
    uint8_t data[KMS_LABEL_MAX];
    size_t len = 0;
    bool known = false;
    enum kms_code rc = pkcs11_read_bytes(object, CKA_LABEL, data, sizeof(data), &len, &known, err);
    if (rc == KMS_OK)
        *ret_usable = known && take_label(data, len, ret_label);
    return rc;
}

static const struct {
    CK_ATTRIBUTE_TYPE type;
    uint32_t bit;
} bits[] = {
    { CKA_SENSITIVE, KMS_KEK_SENSITIVE },
    { CKA_ALWAYS_SENSITIVE, KMS_KEK_ALWAYS_SENSITIVE },
    { CKA_EXTRACTABLE, KMS_KEK_EXTRACTABLE },
    { CKA_NEVER_EXTRACTABLE, KMS_KEK_NEVER_EXTRACTABLE },
    { CKA_LOCAL, KMS_KEK_LOCAL },
    { CKA_PRIVATE, KMS_KEK_PRIVATE },
    { CKA_WRAP, KMS_KEK_WRAP },
    { CKA_UNWRAP, KMS_KEK_UNWRAP },
    { CKA_ENCRYPT, KMS_KEK_ENCRYPT },
    { CKA_DECRYPT, KMS_KEK_DECRYPT },
};

static enum kms_code read_bits(const struct pkcs11_object *object, struct kms_kek_info *info,
                               struct kms_error *err)
{
    info->attributes = 0;
    info->known = 0;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        bool value = false;
        bool known = false;
        enum kms_code rc = pkcs11_read_bool(object, bits[i].type, &value, &known, err);
        if (rc != KMS_OK)
            return rc;
        info->known |= known ? bits[i].bit : 0;
        info->attributes |= value ? bits[i].bit : 0;
    }
    return KMS_OK;
}

/* Cut at KMS_CKA_ID_MAX, as documented; so it is read with room for any sensible length. */
enum kms_code pkcs11_read_id(const struct pkcs11_object *object, struct kms_kek_info *info,
                             struct kms_error *err)
{
    uint8_t id[1024];
    size_t len = 0;
    bool known = false;
    enum kms_code rc = pkcs11_read_bytes(object, CKA_ID, id, sizeof(id), &len, &known, err);
    if (rc != KMS_OK)
        return rc;
    info->cka_id_len = len < KMS_CKA_ID_MAX ? len : KMS_CKA_ID_MAX;
    memcpy(info->cka_id, id, info->cka_id_len);
    return KMS_OK;
}

enum kms_code pkcs11_read_attributes(const struct pkcs11_object *object, struct kms_kek_info *info,
                                     struct kms_error *err)
{
    enum kms_code rc = read_bits(object, info, err);
    if (rc == KMS_OK)
        rc = pkcs11_read_id(object, info, err);
    if (rc != KMS_OK)
        return rc;
    CK_ULONG value_len = 0;
    bool known = false;
    rc = pkcs11_read_number(object, CKA_VALUE_LEN, &value_len, &known, err);
    if (rc == KMS_OK)
        info->value_len = value_len;
    return rc;
}

enum { REREAD = 5 };
static const struct {
    CK_ATTRIBUTE_TYPE type;
    uint32_t bit;
} mutable_bits[REREAD] = {
    { CKA_WRAP, KMS_KEK_WRAP },
    { CKA_UNWRAP, KMS_KEK_UNWRAP },
    { CKA_ENCRYPT, KMS_KEK_ENCRYPT },
    { CKA_DECRYPT, KMS_KEK_DECRYPT },
    { CKA_EXTRACTABLE, KMS_KEK_EXTRACTABLE },
};

enum kms_code pkcs11_reread_attributes(const struct pkcs11_object *object,
                                       struct kms_kek_info *info, bool *ret_same,
                                       struct kms_error *err)
{
    uint8_t label[KMS_LABEL_MAX];
    CK_BBOOL values[REREAD] = { 0 };
    CK_ATTRIBUTE items[REREAD + 1] = { { CKA_LABEL, label, sizeof(label) } };
    for (size_t i = 0; i < REREAD; i++)
        items[i + 1] = (CK_ATTRIBUTE){ mutable_bits[i].type, &values[i], sizeof(values[i]) };

    CK_RV rv = object->fn->C_GetAttributeValue(object->session, object->handle, items, REREAD + 1);
    enum pkcs11_class class = pkcs11_rv_class("C_GetAttributeValue", rv);
    *ret_same = false;
    if (rv != CKR_OK && class != PKCS11_CLASS_CONFIG)
        return pkcs11_fail(err, "C_GetAttributeValue", rv, "reading KEK '%s'", info->label);
    struct kms_bytes read_label = { label, items[0].ulValueLen };
    if (rv != CKR_OK || !kms_bytes_equal(read_label, kms_bytes_of(info->label)))
        return KMS_OK;
    for (size_t i = 0; i < REREAD; i++) {
        info->attributes &= ~mutable_bits[i].bit;
        info->attributes |= values[i] != CK_FALSE ? mutable_bits[i].bit : 0;
    }
    *ret_same = true;
    return KMS_OK;
}
