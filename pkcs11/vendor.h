/* SPDX-License-Identifier: Apache-2.0 */
/* By which mechanism numbers a vendor's module knows RFC 3394. */
#ifndef PKCS11_VENDOR_H
#define PKCS11_VENDOR_H

#include <stdbool.h>

#include "cryptoki.h"
#include "token.h"

/* Of Cryptoki's range for vendors: each means something only at its vendor's. */
#define PKCS11_CKM_LUNA_AES_KW (CKM_VENDOR_DEFINED | 0x170UL)
#define PKCS11_CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD (CKM_VENDOR_DEFINED | 0x2109UL)

struct pkcs11_vendor {
    const char *name;           /* for people */
    CK_MECHANISM_TYPE key_wrap; /* beside CKM_AES_KEY_WRAP, or in place of it */
    bool other_standard;  /* CKM_AES_KEY_WRAP meant something else in some release: never tried */
    const char *marks[6]; /* one of these, in any case, is in what module and token say */
};

/* The vendor of @token and its module, by manufacturer, library and model; NULL: one that needs no
 * special number. */
const struct pkcs11_vendor *pkcs11_vendor_of(const struct pkcs11_token *token);

enum { PKCS11_KEY_WRAP_NUMBERS_MAX = 2 };

/* The numbers to try, in order; returns how many.  @vendor may be NULL. */
size_t pkcs11_vendor_numbers(const struct pkcs11_vendor *vendor,
                             CK_MECHANISM_TYPE ret_numbers[static PKCS11_KEY_WRAP_NUMBERS_MAX]);

#endif
