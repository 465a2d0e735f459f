/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of an application's template that may be changed; the values stay the application's. */
#ifndef MISBEHAVE_TEMPLATE_H
#define MISBEHAVE_TEMPLATE_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

enum { MISBEHAVE_ATTRIBUTES = 64 };

struct misbehave_template {
    CK_ATTRIBUTE attributes[MISBEHAVE_ATTRIBUTES];
    CK_ULONG count;
};

/* CKR_ARGUMENTS_BAD: NULL with a count, or more than a template here holds. */
CK_RV misbehave_template_copy(struct misbehave_template *template, const CK_ATTRIBUTE *from,
                              CK_ULONG count);

const CK_ATTRIBUTE *misbehave_template_find(const struct misbehave_template *template,
                                            CK_ATTRIBUTE_TYPE type);
/* False if it isn't there, or isn't of that size. */
bool misbehave_template_number(const struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                               CK_ULONG *ret_number);
/* Is there, and is @value. */
bool misbehave_template_says(const struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                             bool value);

void misbehave_template_drop(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type);
/* Adds or replaces; @data is borrowed. */
void misbehave_template_set(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type, void *data,
                            CK_ULONG len);
void misbehave_template_set_flag(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                                 bool value);
/* Only if it isn't there. */
void misbehave_template_default(struct misbehave_template *template, CK_ATTRIBUTE_TYPE type,
                                bool value);

#endif
