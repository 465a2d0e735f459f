/* SPDX-License-Identifier: Apache-2.0 */
/* KEKs made, changed and destroyed, and one looked at closely.  What a call that failed may have done
 * all the same is looked for when it is tried again: hence the @tried flags. */
#ifndef PKCS11_EDIT_H
#define PKCS11_EDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "cryptoki.h"
#include "kek.h"
#include "kms/error.h"
#include "kms/keystore.h"

enum { PKCS11_NEW_ID_LEN = 16 }; /* bytes */

/* A KEK to be made under this name. */
struct pkcs11_new_kek {
    const char *label; /* borrowed */
    uint8_t cka_id[PKCS11_NEW_ID_LEN];
    bool extractable; /* of generate: for an escrow that seals it afterwards */
    bool tried;
};
/* Chooses a CKA_ID.  KMS_E_INVALID: the label's length; KMS_E_INTERNAL. */
KMS_MUST_CHECK enum kms_code pkcs11_new_kek_init(struct pkcs11_new_kek *new_kek, const char *label,
                                                 struct kms_error *err);

/* The functions below find the one key that has the object's label and CKA_ID; none or several:
 * KMS_E_PRECONDITION, nothing done. */

KMS_MUST_CHECK enum kms_code pkcs11_kek_generate(const struct pkcs11_place *place,
                                                 struct pkcs11_new_kek *new_kek,
                                                 struct pkcs11_kek *ret_kek, struct kms_error *err);

/* By C_CopyObject.  An extractable key or one that isn't sensitive is not copied, and a copy that came
 * out so is destroyed again: KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_copy(const struct pkcs11_place *place,
                                             const struct kms_object *from,
                                             struct pkcs11_new_kek *new_kek,
                                             struct pkcs11_kek *ret_kek, struct kms_error *err);

/* The same of a session object that the caller has just made from @new_kek's material. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_keep(const struct pkcs11_place *place,
                                             CK_OBJECT_HANDLE session_object,
                                             struct pkcs11_new_kek *new_kek,
                                             struct pkcs11_kek *ret_kek, struct kms_error *err);

KMS_MUST_CHECK enum kms_code pkcs11_kek_relabel(const struct pkcs11_place *place,
                                                const struct kms_object *kek, const char *label,
                                                bool *tried, struct kms_error *err);

/* KMS_E_PRECONDITION too if the token said yes and changed nothing. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_set_usage(const struct pkcs11_place *place,
                                                  const struct kms_object *kek, bool usable,
                                                  struct kms_error *err);

KMS_MUST_CHECK enum kms_code pkcs11_kek_destroy(const struct pkcs11_place *place,
                                                const struct kms_object *kek, bool *tried,
                                                struct kms_error *err);

KMS_MUST_CHECK enum kms_code pkcs11_kek_inspect(const struct pkcs11_place *place,
                                                const struct kms_object *kek,
                                                struct kms_kek_details *ret_details,
                                                struct kms_error *err);

#endif
