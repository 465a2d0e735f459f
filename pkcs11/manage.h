/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of the keystore that commands use (keystore.c has those that serve).  Each is what
 * include/kms/keystore.h says of the function of its name. */
#ifndef PKCS11_MANAGE_H
#define PKCS11_MANAGE_H

#include "call.h"
#include "kms/keystore.h"

/* Of keystore.c: fills in connection and cache, and runs. */
KMS_MUST_CHECK enum kms_code pkcs11_keystore_run(struct kms_keystore *base, struct pkcs11_call call,
                                                 struct kms_error *err);

KMS_MUST_CHECK enum kms_code pkcs11_manage_generate(struct kms_keystore *base, const char *label,
                                                    int64_t deadline_ms,
                                                    struct kms_kek_info *ret_kek,
                                                    struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_manage_destroy(struct kms_keystore *base, const char *label,
                                                   struct kms_bytes cka_id, int64_t deadline_ms,
                                                   struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_manage_copy(struct kms_keystore *base,
                                                const struct kms_object *from, const char *label,
                                                int64_t deadline_ms, struct kms_kek_info *ret_kek,
                                                struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_manage_relabel(struct kms_keystore *base,
                                                   const struct kms_object *kek, const char *label,
                                                   int64_t deadline_ms, struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_manage_set_usage(struct kms_keystore *base,
                                                     const struct kms_object *kek, bool usable,
                                                     int64_t deadline_ms, struct kms_error *err);
KMS_MUST_CHECK enum kms_code pkcs11_manage_inspect(struct kms_keystore *base,
                                                   const struct kms_object *kek,
                                                   int64_t deadline_ms,
                                                   struct kms_kek_details *ret_details,
                                                   struct kms_error *err);

#endif
