/* SPDX-License-Identifier: Apache-2.0 */
/* A KEK that leaves the token once, under another token's transport key, and then never again.  The
 * operations of the keystore, as include/kms/keystore.h says. */
#ifndef PKCS11_ESCROW_H
#define PKCS11_ESCROW_H

#include "kms/error.h"
#include "kms/keystore.h"

KMS_MUST_CHECK enum kms_code pkcs11_escrow_generate(struct kms_keystore *base, const char *label,
                                                    int64_t deadline_ms,
                                                    struct kms_kek_info *ret_kek,
                                                    struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_escrow_export(struct kms_keystore *base,
                                                  const struct kms_object *kek,
                                                  const struct kms_spki *recipient,
                                                  enum kms_oaep_hash hash, int64_t deadline_ms,
                                                  struct kms_transport_blob *ret_blob,
                                                  struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_escrow_seal(struct kms_keystore *base,
                                                const struct kms_object *kek, int64_t deadline_ms,
                                                struct kms_error *err);

#endif
