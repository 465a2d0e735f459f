/* SPDX-License-Identifier: Apache-2.0 */
/* By which mechanism numbers a vendor's module knows what seeds are wrapped by. */
#ifndef PKCS11_VENDOR_H
#define PKCS11_VENDOR_H

#include <stdbool.h>

#include "cryptoki.h"
#include "kms/algorithm.h"
#include "token.h"

/* RFC 5649, newer than p11-kit's headers.  CKM_AES_KEY_WRAP_PAD is never used: it means RFC 5649 at
 * one vendor, PKCS#7 and then RFC 3394 at another, and zeros and then RFC 5649 at a third. */
#ifndef CKM_AES_KEY_WRAP_KWP
#define CKM_AES_KEY_WRAP_KWP 0x210BUL
#endif

/* Of Cryptoki's range for vendors: each means something only at its vendor's. */
#define PKCS11_CKM_LUNA_AES_KW (CKM_VENDOR_DEFINED | 0x170UL)
#define PKCS11_CKM_LUNA_AES_KWP (CKM_VENDOR_DEFINED | 0x171UL)
#define PKCS11_CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD (CKM_VENDOR_DEFINED | 0x2109UL)
#define PKCS11_CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD (CKM_VENDOR_DEFINED | 0x216FUL)
#define PKCS11_CKM_CLOUDHSM_AES_GCM (CKM_VENDOR_DEFINED | 0x1087UL)
#define PKCS11_CKU_LUNA_LIMITED_USER (0x80000001UL)

struct pkcs11_vendor {
    const char *name;           /* for people */
    CK_MECHANISM_TYPE key_wrap; /* beside CKM_AES_KEY_WRAP, or in place of it */
    CK_MECHANISM_TYPE padded;   /* the same of CKM_AES_KEY_WRAP_KWP */
    CK_MECHANISM_TYPE gcm;      /* that makes its IV itself, and prepends it; 0: none */
    CK_USER_TYPE crypto_user;   /* of C_Login: who can use keys, and neither make nor change them */
    bool has_crypto_user;
    bool other_standard;  /* CKM_AES_KEY_WRAP meant something else in some release: never tried */
    const char *marks[6]; /* one of these, in any case, is in what module and token say */
};

/* The vendor of @token and its module, by manufacturer, library and model; NULL: one that needs no
 * special number. */
const struct pkcs11_vendor *pkcs11_vendor_of(const struct pkcs11_token *token);

enum { PKCS11_NUMBERS_MAX = 2 };

/* The numbers to try for @algorithm, in order; returns how many.  @prepends: for AES-GCM with an IV
 * that the module makes and prepends.  @vendor may be NULL. */
size_t pkcs11_vendor_numbers(const struct pkcs11_vendor *vendor, enum kms_algorithm algorithm,
                             bool prepends,
                             CK_MECHANISM_TYPE ret_numbers[static PKCS11_NUMBERS_MAX]);

#endif
