/* SPDX-License-Identifier: Apache-2.0 */
/* What audit_seal.c and audit_opener.c share: how a line is sealed. */
#ifndef KMS_AUDIT_SEALED_H
#define KMS_AUDIT_SEALED_H

#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/compiler.h"
#include "kms/secret.h"

enum {
    KMS_AUDIT_SEAL_ID_LEN = 16,      /* hexadecimal digits that name a data key */
    KMS_AUDIT_SEAL_KEY_LEN = 32,     /* bytes */
    KMS_AUDIT_SEAL_TAG_LEN = 16,     /* bytes */
    KMS_AUDIT_SEALED_KEY_MAX = 8192, /* bytes of CMS */
};

/* Which line of a data key it is; @number is its nonce, and never comes twice. */
struct kms_audit_sealed {
    char id[KMS_AUDIT_SEAL_ID_LEN + 1];
    uint64_t number;
};

/* Writes @plain.len + KMS_AUDIT_SEAL_TAG_LEN bytes.  Returns how many; 0: no memory. */
KMS_MUST_CHECK size_t kms_audit_gcm_seal(const struct kms_secret *key,
                                         const struct kms_audit_sealed *at, struct kms_bytes plain,
                                         uint8_t *ret_data);
/* The opposite; 0: it was changed, isn't of @key, or there is no memory. */
KMS_MUST_CHECK size_t kms_audit_gcm_open(const struct kms_secret *key,
                                         const struct kms_audit_sealed *at, struct kms_bytes data,
                                         uint8_t *ret_plain);

/* free().  NULL: out of memory, or @text isn't base64. */
char *kms_audit_base64(struct kms_bytes bytes);
uint8_t *kms_audit_unbase64(const char *text, size_t *ret_len);

#endif
