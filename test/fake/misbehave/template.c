/* SPDX-License-Identifier: Apache-2.0 */
#include "template.h"

#include <stddef.h>
#include <string.h>

#include "state.h"

CK_RV misbehave_template_copy(struct misbehave_template *template, const CK_ATTRIBUTE *from,
                              CK_ULONG count)
{
    /* Some are added later. */
    if (count > MISBEHAVE_ATTRIBUTES / 2 || (from == NULL && count > 0))
        return CKR_ARGUMENTS_BAD;
    if (count > 0)
        memcpy(template->attributes, from, count * sizeof(*from));
    template->count = count;
    return CKR_OK;
}

static CK_ATTRIBUTE *find(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type)
{
    for (CK_ULONG i = 0; i < template->count; i++) {
        if (template->attributes[i].type == type)
            return &template->attributes[i];
    }
    return NULL;
}

const CK_ATTRIBUTE *misbehave_template_find(const struct misbehave_template *template,
                                            CK_ATTRIBUTE_TYPE type)
{
    for (CK_ULONG i = 0; i < template->count; i++) {
        if (template->attributes[i].type == type)
            return &template->attributes[i];
    }
    return NULL;
}

bool misbehave_template_number(const struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                               CK_ULONG *ret_number)
{
    const CK_ATTRIBUTE *attribute = misbehave_template_find(template, type);
    if (attribute == NULL || attribute->pValue == NULL ||
        attribute->ulValueLen != sizeof(*ret_number))
        return false;
    memcpy(ret_number, attribute->pValue, sizeof(*ret_number));
    return true;
}

bool misbehave_template_says(const struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                             bool value)
{
    const CK_ATTRIBUTE *attribute = misbehave_template_find(template, type);
    return attribute != NULL && attribute->pValue != NULL &&
           attribute->ulValueLen == sizeof(CK_BBOOL) &&
           (*(const CK_BBOOL *)attribute->pValue != CK_FALSE) == value;
}

void misbehave_template_drop(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type)
{
    CK_ATTRIBUTE *attribute = find(template, type);
    if (attribute != NULL)
        *attribute = template->attributes[--template->count];
}

void misbehave_template_set(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type, void *data,
                            CK_ULONG len)
{
    CK_ATTRIBUTE *attribute = find(template, type);
    if (attribute == NULL && template->count == MISBEHAVE_ATTRIBUTES)
        misbehave_die("", "more than %d attributes", MISBEHAVE_ATTRIBUTES);
    if (attribute == NULL)
        attribute = &template->attributes[template->count++];
    *attribute = (CK_ATTRIBUTE){ type, data, len };
}

void misbehave_template_set_flag(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                                 bool value)
{
    static CK_BBOOL no = CK_FALSE, yes = CK_TRUE; /* nobody writes to them */
    misbehave_template_set(template, type, value ? &yes : &no, sizeof(CK_BBOOL));
}

void misbehave_template_default(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                                bool value)
{
    if (misbehave_template_find(template, type) == NULL)
        misbehave_template_set_flag(template, type, value);
}
