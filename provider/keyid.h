/* SPDX-License-Identifier: Apache-2.0 */
/* Names: ring, KEK label `<ring>.v<generation>@<activation>`, key_id
 * `<ring>.v<generation>.<first 32 hex digits of the fingerprint>`. */
#ifndef KMS_KEYID_H
#define KMS_KEYID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/keystore.h"

enum {
    KMS_RING_MAX = 24,                             /* characters */
    KMS_RESOURCE_NAME_MAX = 253,                   /* bytes */
    KMS_GENERATION_MAX = 999999999,                /* 9 digits; 0 is "none" */
    KMS_KEK_LABEL_LEN = KMS_RING_MAX + 2 + 9 + 17, /* the longest label we make */
    KMS_KEY_ID_FINGERPRINT_LEN = 16,               /* bytes of it in a key_id */
    KMS_KEY_ID_LEN = KMS_RING_MAX + 2 + 9 + 1 + 2 * KMS_KEY_ID_FINGERPRINT_LEN,
    KMS_KEY_ID_WIRE_MAX = 1024, /* bytes that kube-apiserver allows */
};

/* [a-z0-9]([-a-z0-9]{0,22}[a-z0-9])? */
bool kms_ring_name_is_valid(const char *name);
/* [a-z0-9]([-a-z0-9]{0,30}[a-z0-9])? */
bool kms_token_name_is_valid(const char *name);
/* A Kubernetes resource as an EncryptionConfiguration names it: "secrets", "leases.coordination.k8s.io",
 * "*.apps", "*." (the core group), "*.*". */
bool kms_resource_name_is_valid(const char *name);

void kms_label_format(const char *ring, uint32_t generation, int64_t activation_utc_s,
                      char ret_label[static KMS_KEK_LABEL_LEN + 1]);
/* True only for exactly what kms_label_format() writes for @ring. */
KMS_MUST_CHECK bool kms_label_parse(const char *ring, const char *label, uint32_t *ret_generation,
                                    int64_t *ret_activation_utc_s);

void kms_key_id_format(const char *ring, uint32_t generation, const uint8_t *fingerprint,
                       char ret_key_id[static KMS_KEY_ID_LEN + 1]);
struct kms_key_id {
    uint32_t generation;
    uint8_t fingerprint_head[KMS_KEY_ID_FINGERPRINT_LEN];
};
/* True only for exactly what kms_key_id_format() writes for @ring. */
KMS_MUST_CHECK bool kms_key_id_parse(const char *ring, struct kms_bytes text,
                                     struct kms_key_id *ret_key_id);

#endif
