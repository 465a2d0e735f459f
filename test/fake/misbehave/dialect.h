/* SPDX-License-Identifier: Apache-2.0 */
/* What a personality asks of templates and mechanisms.  Pure functions. */
#ifndef MISBEHAVE_DIALECT_H
#define MISBEHAVE_DIALECT_H

#include <stdbool.h>

#include "control.h"
#include "template.h"

#define MISBEHAVE_CKM_LUNA_KW 0x80000170ul
#define MISBEHAVE_CKM_CLOUDHSM_KW 0x80002109ul

enum misbehave_making { MISBEHAVE_CREATE, MISBEHAVE_GENERATE, MISBEHAVE_UNWRAP, MISBEHAVE_COPY };

/* Changes a secret key's template from what the personality takes to what the module behind does.
 * CKR_OK, or what the personality answers to it. */
CK_RV misbehave_adapt(enum misbehave_personality personality, enum misbehave_making making,
                      struct misbehave_template *template);

/* The number by which the personality knows RFC 3394. */
CK_MECHANISM_TYPE misbehave_key_wrap(enum misbehave_personality personality);
/* The personality refuses it, or means something else by it. */
bool misbehave_is_foreign(enum misbehave_personality personality, CK_MECHANISM_TYPE type);
/* Key wrap is a cipher, too. */
bool misbehave_wraps_by_encrypting(enum misbehave_personality personality);
bool misbehave_is_luna(enum misbehave_personality personality);

/* CK_INFO.manufacturerID; NULL: that of the module behind. */
const char *misbehave_manufacturer(enum misbehave_personality personality);

#endif
