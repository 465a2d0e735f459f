/* SPDX-License-Identifier: Apache-2.0 */
/* Object handles by template, and the whole of one KEK's attributes. */
#ifndef PKCS11_FIND_H
#define PKCS11_FIND_H

#include <stdbool.h>

#include "attributes.h"
#include "cryptoki.h"
#include "kek.h"
#include "kms/error.h"

struct pkcs11_handles {
    CK_OBJECT_HANDLE *handles; /* owned */
    size_t count;
};
void pkcs11_handles_done(struct pkcs11_handles *handles);

/* What @template describes; @what says in a failure's text what was looked for. */
KMS_MUST_CHECK enum kms_code pkcs11_find(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                         struct pkcs11_template *template, const char *what,
                                         struct pkcs11_handles *ret_handles, struct kms_error *err);

/* AES secret keys on the token; @label and @cka_id narrow the search unless NULL. */
KMS_MUST_CHECK enum kms_code pkcs11_find_keys(CK_FUNCTION_LIST *fn, CK_SESSION_HANDLE session,
                                              const char *label, const struct kms_bytes *cka_id,
                                              struct pkcs11_handles *ret_handles,
                                              struct kms_error *err);

/* The label if it can be shown and looked for (clean text of 0..KMS_LABEL_MAX bytes), else *ret_usable
 * is false. */
KMS_MUST_CHECK enum kms_code pkcs11_read_label(const struct pkcs11_object *object,
                                               char ret_label[static KMS_LABEL_MAX + 1],
                                               bool *ret_usable, struct kms_error *err);

/* Fills CKA_ID alone. */
KMS_MUST_CHECK enum kms_code pkcs11_read_id(const struct pkcs11_object *object,
                                            struct kms_kek_info *info, struct kms_error *err);

/* All attributes but the label, one by one; fills info but label, fingerprint and problem. */
KMS_MUST_CHECK enum kms_code pkcs11_read_attributes(const struct pkcs11_object *object,
                                                    struct kms_kek_info *info,
                                                    struct kms_error *err);

/* In one call, what may change on a known key.  *ret_same is false if the label is another now or
 * the token won't tell: then the key must be read anew. */
KMS_MUST_CHECK enum kms_code pkcs11_reread_attributes(const struct pkcs11_object *object,
                                                      struct kms_kek_info *info, bool *ret_same,
                                                      struct kms_error *err);

#endif
