/* SPDX-License-Identifier: Apache-2.0 */
/* Templates for Cryptoki calls, and single attributes read back. */
#ifndef PKCS11_ATTRIBUTES_H
#define PKCS11_ATTRIBUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "cryptoki.h"
#include "kms/bytes.h"
#include "kms/error.h"

enum { PKCS11_TEMPLATE_MAX = 16 };

/* A zeroed one is empty.  Values of type bool and number live inside, so it must not be copied;
 * bytes are borrowed. */
struct pkcs11_template {
    CK_ATTRIBUTE items[PKCS11_TEMPLATE_MAX];
    CK_ULONG count;
    CK_ULONG numbers[PKCS11_TEMPLATE_MAX];
    CK_BBOOL bools[PKCS11_TEMPLATE_MAX];
};
void pkcs11_template_bool(struct pkcs11_template *template, CK_ATTRIBUTE_TYPE type, bool value);
void pkcs11_template_number(struct pkcs11_template *template, CK_ATTRIBUTE_TYPE type,
                            CK_ULONG value);
void pkcs11_template_bytes(struct pkcs11_template *template, CK_ATTRIBUTE_TYPE type,
                           struct kms_bytes value);

/* An object as seen through a session. */
struct pkcs11_object {
    CK_FUNCTION_LIST *fn;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE handle;
};

/* Optional attributes, read one by one: a token that doesn't tell one (CKR_ATTRIBUTE_TYPE_INVALID,
 * _SENSITIVE, or a wrong length) is no failure, *ret_known is false.  Anything else fails as
 * pkcs11_fail() does. */
KMS_MUST_CHECK enum kms_code pkcs11_read_bool(const struct pkcs11_object *object,
                                              CK_ATTRIBUTE_TYPE type, bool *ret_value,
                                              bool *ret_known, struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_read_number(const struct pkcs11_object *object,
                                                CK_ATTRIBUTE_TYPE type, CK_ULONG *ret_value,
                                                bool *ret_known, struct kms_error *err);
/* At most @cap bytes; a longer value counts as not told. */
KMS_MUST_CHECK enum kms_code pkcs11_read_bytes(const struct pkcs11_object *object,
                                               CK_ATTRIBUTE_TYPE type, uint8_t *ret_data,
                                               size_t cap, size_t *ret_len, bool *ret_known,
                                               struct kms_error *err);

#endif
