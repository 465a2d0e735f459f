/* SPDX-License-Identifier: Apache-2.0 */
#include "dialect.h"

#include <stddef.h>

bool misbehave_is_luna(enum misbehave_personality personality)
{
    return personality == MISBEHAVE_LUNA || personality == MISBEHAVE_LUNA_CU;
}

bool misbehave_wraps_by_encrypting(enum misbehave_personality personality)
{
    return personality == MISBEHAVE_STRICT_FIPS || misbehave_is_luna(personality);
}

CK_MECHANISM_TYPE misbehave_key_wrap(enum misbehave_personality personality)
{
    if (misbehave_is_luna(personality))
        return MISBEHAVE_CKM_LUNA_KW;
    return personality == MISBEHAVE_CLOUDHSM ? MISBEHAVE_CKM_CLOUDHSM_KW : CKM_AES_KEY_WRAP;
}

bool misbehave_is_foreign(enum misbehave_personality personality, CK_MECHANISM_TYPE type)
{
    return misbehave_key_wrap(personality) != CKM_AES_KEY_WRAP &&
           (type == CKM_AES_KEY_WRAP || type == CKM_AES_KEY_WRAP_PAD);
}

const char *misbehave_manufacturer(enum misbehave_personality personality)
{
    if (misbehave_is_luna(personality))
        return "SafeNet";
    return personality == MISBEHAVE_CLOUDHSM ? "Cavium Networks" : NULL;
}

/* NSS FIPS, but that an unwrapped key is made sensitive in silence. */
static CK_RV adapt_strict(enum misbehave_making making, struct misbehave_template *template)
{
    if (making == MISBEHAVE_CREATE)
        return CKR_ATTRIBUTE_VALUE_INVALID;
    if (making != MISBEHAVE_UNWRAP && misbehave_template_says(template, CKA_SENSITIVE, false))
        return CKR_ATTRIBUTE_VALUE_INVALID;
    if (making != MISBEHAVE_COPY)
        misbehave_template_set_flag(template, CKA_SENSITIVE, true);
    return CKR_OK;
}

static CK_RV adapt_luna(enum misbehave_making making, struct misbehave_template *template)
{
    if (misbehave_template_says(template, CKA_SENSITIVE, false) ||
        misbehave_template_says(template, CKA_PRIVATE, false))
        return CKR_ATTRIBUTE_VALUE_INVALID;
    if (making == MISBEHAVE_COPY)
        return CKR_OK;
    misbehave_template_default(template, CKA_SENSITIVE, true);
    misbehave_template_default(template, CKA_PRIVATE, true);
    if (making != MISBEHAVE_UNWRAP)
        return CKR_OK;
    if (misbehave_template_find(template, CKA_VALUE_LEN) == NULL)
        return CKR_TEMPLATE_INCOMPLETE;
    misbehave_template_drop(template, CKA_VALUE_LEN);
    return CKR_OK;
}

static CK_RV adapt_cloudhsm(enum misbehave_making making, struct misbehave_template *template)
{
    if (misbehave_template_says(template, CKA_PRIVATE, false))
        return CKR_ATTRIBUTE_VALUE_INVALID;
    if ((making == MISBEHAVE_UNWRAP || making == MISBEHAVE_CREATE) &&
        misbehave_template_find(template, CKA_VALUE_LEN) != NULL)
        return CKR_TEMPLATE_INCONSISTENT;
    if (making == MISBEHAVE_COPY)
        return CKR_OK;
    misbehave_template_default(template, CKA_PRIVATE, true);
    if (making == MISBEHAVE_CREATE)
        return CKR_OK;
    misbehave_template_default(template, CKA_SENSITIVE, true);
    misbehave_template_default(template, CKA_EXTRACTABLE, true);
    misbehave_template_default(template, CKA_WRAP, false);
    misbehave_template_default(template, CKA_UNWRAP, false);
    return CKR_OK;
}

CK_RV misbehave_adapt(enum misbehave_personality personality, enum misbehave_making making,
                      struct misbehave_template *template)
{
    switch (personality) {
    case MISBEHAVE_STRICT_FIPS:
        return adapt_strict(making, template);
    case MISBEHAVE_LUNA:
        return adapt_luna(making, template);
    case MISBEHAVE_LUNA_CU:
        if (misbehave_template_says(template, CKA_TOKEN, true))
            return CKR_TOKEN_WRITE_PROTECTED;
        return adapt_luna(making, template);
    case MISBEHAVE_CLOUDHSM:
        return adapt_cloudhsm(making, template);
    case MISBEHAVE_PLAIN:
    case MISBEHAVE_NETWORK:
        break;
    }
    return CKR_OK;
}
