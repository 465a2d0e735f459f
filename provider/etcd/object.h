/* SPDX-License-Identifier: Apache-2.0 */
/* A stored object opened: the proof behind the label of etcd/value.h.
 *
 * With the unwrapped DEK source of a KMS v2 value (what the KMS answers to Decrypt) and the etcd
 * key, as k8s.io/apiserver does it (pkg/storage/value/encrypt/envelope/kmsv2/envelope.go and
 * pkg/storage/value/encrypt/aes/aes_extended_nonce.go):
 *
 *     KMS_DEK_SEED  data = info, 32 | nonce, 12 | ciphertext | tag, 16
 *                   key  = HKDF-Expand(SHA-256, PRK = seed, info, 32)         (RFC 5869; no Extract)
 *     KMS_DEK_KEY   data = nonce, 12 | ciphertext | tag, 16
 *                   key  = the unwrapped bytes: 16, 24 or 32
 *     object        = AES-GCM-Open(key, nonce, ciphertext, tag, AAD = the whole etcd key)
 *
 * The etcd key is authenticated, so a value moved to another key doesn't open there. */
#ifndef KMS_ETCD_OBJECT_H
#define KMS_ETCD_OBJECT_H

#include "etcd/value.h"
#include "kms/error.h"
#include "kms/secret.h"

enum {
    KMS_OBJECT_SEED_MIN = 32,          /* bytes: kube-apiserver refuses shorter seeds */
    KMS_OBJECT_SEED_MAX = 1024,        /* bytes: ours; a wrapped one is no longer either */
    KMS_OBJECT_MAX = 16 * 1024 * 1024, /* bytes: etcd takes 1.5 MiB unless it is told otherwise */
};

/* A plaintext object: ordinary memory, wiped on release.  Not a struct kms_secret, whose locked heap
 * of 1 MiB is for keys: one large object would push all seeds out of it.  Caller owns the struct; a
 * zeroed one is empty. */
struct kms_plaintext {
    uint8_t *data;
    size_t len; /* bytes, and what is wiped */
};

/* Wipes, frees, and leaves @object empty.  Twice is safe. */
void kms_plaintext_done(struct kms_plaintext *object);

/* Gives @object (empty) @len zeroed bytes, or a copy of @bytes.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_plaintext_init(struct kms_plaintext *object, size_t len,
                                                struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_plaintext_copy(struct kms_plaintext *object,
                                                struct kms_bytes bytes, struct kms_error *err);

/* Opens @value, of class KMS_V2, which stands under @etcd_key (with the prefix and its slash), by
 * @dek_source.  On success *ret_object (empty before) owns the object.  Doesn't block; thread-safe.
 * KMS_E_CORRUPT: value, etcd key and DEK source don't belong together, or one was changed;
 * KMS_E_INVALID: another class, or too large; KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_object_open(const struct kms_value *value,
                                             struct kms_bytes etcd_key,
                                             const struct kms_secret *dek_source,
                                             struct kms_plaintext *ret_object,
                                             struct kms_error *err);

/* Names what has to be unwrapped to open @value, of class KMS_V2: SHA-256 over provider, DEK type,
 * key_id, wrapped DEK source and annotations.  Values with one digest share one DEK source, so it is
 * counted and unwrapped once; kube-apiserver's cache has the same key.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_object_source_digest(const struct kms_value *value,
                                                      uint8_t ret_digest[static KMS_SHA256_LEN],
                                                      struct kms_error *err);

#endif
