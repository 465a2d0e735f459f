/* SPDX-License-Identifier: Apache-2.0 */
/* KEKs on the token: AES secret keys found by label, their attributes, their fingerprints. */
#ifndef PKCS11_KEK_H
#define PKCS11_KEK_H

#include <stdbool.h>
#include <stdint.h>

#include "cryptoki.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "session.h"
#include "wrap.h"

struct pkcs11_kek {
    CK_OBJECT_HANDLE handle;
    enum pkcs11_rung
        rung; /* by which it was fingerprinted, and is used as long as it has @handle */
    struct kms_kek_info info;
};

struct pkcs11_kek_list {
    struct pkcs11_kek *keks; /* owned; sorted by label, then CKA_ID */
    size_t count;
    struct kms_kek_name *others; /* owned; as in kms_inventory */
    size_t other_count;
    size_t
        denied; /* found, and then unknown to the token: destroyed meanwhile, or the token errs */
};
void pkcs11_kek_list_done(struct pkcs11_kek_list *list);
KMS_MUST_CHECK enum kms_code pkcs11_kek_list_add(struct pkcs11_kek_list *list,
                                                 const struct pkcs11_kek *kek,
                                                 struct kms_error *err);

/* Where the functions below work: a session that the caller holds, until the caller's deadline. */
struct pkcs11_place {
    const struct pkcs11_wrap *wrap;
    struct pkcs11_session *session;
    int64_t deadline_ms;
    enum pkcs11_rung rung; /* of the one KEK that the work is about, where it is known */
};

/* KMS_E_DEADLINE if @deadline_ms has passed. */
KMS_MUST_CHECK enum kms_code pkcs11_check_deadline(int64_t deadline_ms, struct kms_error *err);

/* Lists the KEKs that @filter takes: one find; one C_GetAttributeValue for each KEK that @known holds
 * already (same handle and label); attributes and fingerprint of the others. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_list_read(const struct pkcs11_place *place,
                                                  const struct kms_kek_filter *filter,
                                                  const struct pkcs11_kek_list *known,
                                                  struct pkcs11_kek_list *ret_list,
                                                  struct kms_error *err);

/* All of the KEK behind @handle; if @filter doesn't take it, *ret_wanted is false, and only its label
 * and CKA_ID are filled. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_read(const struct pkcs11_place *place,
                                             CK_OBJECT_HANDLE handle,
                                             const struct kms_kek_filter *filter,
                                             struct pkcs11_kek *ret_kek, bool *ret_wanted,
                                             struct kms_error *err);

/* Finds the KEK with this label and fingerprint.  KMS_E_PRECONDITION: no such label (*ret_absent), or
 * the label is another key's. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_find(const struct pkcs11_place *place,
                                             const struct kms_kek_ref *ref,
                                             struct pkcs11_kek *ret_kek, bool *ret_absent,
                                             struct kms_error *err);

/* The failure that says so. */
enum kms_code pkcs11_kek_substituted(const struct kms_kek_ref *ref, struct kms_error *err);

/* SHA-256(KMS_FINGERPRINT_DOMAIN ‖ RFC3394(KEK, C)) by one wrap of C, on the first rung that this key
 * isn't refused: it tells which. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_fingerprint(
    const struct pkcs11_place *place, CK_OBJECT_HANDLE handle, enum pkcs11_rung *ret_rung,
    uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN], struct kms_error *err);

/* What a failure to do so says of the key, rather than of the connection. */
bool pkcs11_kek_is_to_blame(const struct kms_error *err);

/* The key behind @handle still has @ref's fingerprint; KMS_E_PRECONDITION and *ret_substituted if it
 * is another. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_verify(const struct pkcs11_place *place,
                                               const struct kms_kek_ref *ref,
                                               CK_OBJECT_HANDLE handle, bool *ret_substituted,
                                               struct kms_error *err);

/* The same, and C goes round by @algorithm. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_canary(const struct pkcs11_place *place,
                                               const struct kms_kek_ref *ref,
                                               CK_OBJECT_HANDLE handle,
                                               enum kms_algorithm algorithm, bool *ret_substituted,
                                               struct kms_error *err);

/* How the key behind @handle, which @place->rung is of, carries seeds by @algorithm, bound to
 * @ref's key_id.  KMS_E_PRECONDITION: not at all. */
KMS_MUST_CHECK enum kms_code pkcs11_kek_use(const struct pkcs11_place *place,
                                            CK_OBJECT_HANDLE handle, enum kms_algorithm algorithm,
                                            const struct kms_kek_ref *ref,
                                            struct pkcs11_use *ret_use, struct kms_error *err);

#endif
