/* SPDX-License-Identifier: Apache-2.0 */
#include "padded.h"

#include <stdint.h>
#include <string.h>

#include "state.h"

enum { BLOCK = 8, VALUE_MAX = 512 };

static CK_MECHANISM key_wrap = { CKM_AES_KEY_WRAP, NULL, 0 };

/* A readable session object of the module behind. */
static void describe(struct misbehave_template *template)
{
    static CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    static CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    template->count = 0;
    misbehave_template_set(template, CKA_CLASS, &class, sizeof(class));
    misbehave_template_set(template, CKA_KEY_TYPE, &type, sizeof(type));
    misbehave_template_set_flag(template, CKA_TOKEN, false);
    misbehave_template_set_flag(template, CKA_SENSITIVE, false);
    misbehave_template_set_flag(template, CKA_EXTRACTABLE, true);
}

static CK_RV read_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, uint8_t *value,
                        CK_ULONG size, CK_ULONG *ret_len)
{
    CK_ATTRIBUTE attribute = { CKA_VALUE, value, size };
    CK_RV rv = misbehave_real->C_GetAttributeValue(session, object, &attribute, 1);
    *ret_len = rv == CKR_OK ? attribute.ulValueLen : 0;
    return rv;
}

CK_RV misbehave_padded_wrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE wrapping,
                            CK_OBJECT_HANDLE key, CK_BYTE *wrapped, CK_ULONG *wrapped_len)
{
    uint8_t value[VALUE_MAX + BLOCK];
    CK_ULONG len = 0;
    CK_OBJECT_HANDLE padded = CK_INVALID_HANDLE;
    struct misbehave_template template;
    CK_RV rv = read_value(session, key, value, VALUE_MAX, &len);
    if (rv != CKR_OK)
        return CKR_FUNCTION_FAILED;
    uint8_t pad = (uint8_t)(BLOCK - len % BLOCK);
    memset(value + len, pad, pad);
    describe(&template);
    misbehave_template_set(&template, CKA_VALUE, value, len + pad);
    rv = misbehave_real->C_CreateObject(session, template.attributes, template.count, &padded);
    explicit_bzero(value, sizeof(value));
    if (rv != CKR_OK)
        return rv;
    rv = misbehave_real->C_WrapKey(session, &key_wrap, wrapping, padded, wrapped, wrapped_len);
    (void)misbehave_real->C_DestroyObject(session, padded);
    return rv;
}

static CK_RV unwrap_padded(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE unwrapping, CK_BYTE *wrapped,
                           CK_ULONG wrapped_len, uint8_t value[static VALUE_MAX], CK_ULONG *ret_len)
{
    CK_OBJECT_HANDLE padded = CK_INVALID_HANDLE;
    struct misbehave_template template;
    describe(&template);
    CK_RV rv = misbehave_real->C_UnwrapKey(session, &key_wrap, unwrapping, wrapped, wrapped_len,
                                           template.attributes, template.count, &padded);
    if (rv != CKR_OK)
        return rv;
    rv = read_value(session, padded, value, VALUE_MAX, ret_len);
    (void)misbehave_real->C_DestroyObject(session, padded);
    return rv;
}

CK_RV misbehave_padded_unwrap(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE unwrapping,
                              CK_BYTE *wrapped, CK_ULONG wrapped_len,
                              struct misbehave_template *template, CK_OBJECT_HANDLE *ret)
{
    uint8_t value[VALUE_MAX];
    CK_ULONG len = 0;
    CK_RV rv = unwrap_padded(session, unwrapping, wrapped, wrapped_len, value, &len);
    if (rv != CKR_OK)
        return rv;
    uint8_t pad = len > 0 ? value[len - 1] : 0;
    if (pad == 0 || pad > BLOCK || pad >= len)
        rv = CKR_WRAPPED_KEY_INVALID;
    for (CK_ULONG i = 0; rv == CKR_OK && i < pad; i++) {
        if (value[len - 1 - i] != pad)
            rv = CKR_WRAPPED_KEY_INVALID;
    }
    if (rv == CKR_OK) {
        misbehave_template_set(template, CKA_VALUE, value, len - pad);
        rv = misbehave_real->C_CreateObject(session, template->attributes, template->count, ret);
    }
    explicit_bzero(value, sizeof(value));
    return rv;
}
