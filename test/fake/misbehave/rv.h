/* SPDX-License-Identifier: Apache-2.0 */
/* Return values as people write them. */
#ifndef MISBEHAVE_RV_H
#define MISBEHAVE_RV_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

/* "CKR_DEVICE_ERROR", "DEVICE_ERROR", "0x30" or "48"; false: none of these. */
bool misbehave_rv_parse(const char *text, CK_RV *ret_rv);

/* "CKR_?" for one without a name. */
const char *misbehave_rv_name(CK_RV rv);

#endif
