/* SPDX-License-Identifier: Apache-2.0 */
/* What a value in etcd says of itself: how it is encrypted, by which provider and under which key.
 * That is a label, no proof: whoever writes etcd writes it, and only the KEK and the etcd key tell
 * (etcd/object.h).
 *
 * A value of kube-apiserver 1.34 .. 1.37 (k8s.io/apiserver, pkg/server/options/encryptionconfig and
 * pkg/storage/value/encrypt) is one of
 *
 *     k8s:enc:kms:v2:<provider>:<EncryptedObject, protobuf>
 *     k8s:enc:kms:v1:<provider>:<2 bytes, big endian: length of the wrapped DEK><wrapped DEK><data>
 *     k8s:enc:aescbc:v1:<key name>:<IV, 16><blocks of 16>
 *     k8s:enc:aesgcm:v1:<key name>:<nonce, 12><ciphertext><tag, 16>
 *     k8s:enc:secretbox:v1:<key name>:<nonce, 24><tag, 16><ciphertext>
 *
 * or not encrypted (`identity`): k8s\0 and protobuf for built-in types, JSON or, behind a feature
 * gate, CBOR for custom resources.  `k8s:enc:` is reserved, so the identity provider refuses it.
 * Names end at the first colon: a KMS provider's can't have one; a key's could, and is cut there. */
#ifndef KMS_ETCD_VALUE_H
#define KMS_ETCD_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/compiler.h"

enum {
    /* Checked by kube-apiserver at each read (kmsv2/envelope.go, ValidateEncryptedObject). */
    KMS_VALUE_KEY_ID_MAX = 1024,       /* bytes */
    KMS_VALUE_DEK_SOURCE_MAX = 1024,   /* bytes */
    KMS_VALUE_ANNOTATIONS_MAX = 32768, /* bytes of all keys and values together */
    KMS_VALUE_DOMAIN_MAX = 253,        /* bytes of an annotation's key, but for a final dot */
    KMS_VALUE_INFO_LEN = 32,           /* bytes of HKDF info before the nonce, KMS_DEK_SEED only */
    KMS_VALUE_NONCE_LEN = 12,          /* bytes */
    KMS_VALUE_TAG_LEN = 16,            /* bytes */
};

enum kms_value_class {
    KMS_VALUE_KMS_V2,
    KMS_VALUE_KMS_V1,
    KMS_VALUE_AESCBC,
    KMS_VALUE_AESGCM,
    KMS_VALUE_SECRETBOX,
    KMS_VALUE_PROTOBUF, /* plaintext, from here … */
    KMS_VALUE_JSON,
    KMS_VALUE_CBOR,
    KMS_VALUE_OTHER,     /* … to here: plaintext of no known form; an empty value too */
    KMS_VALUE_UNKNOWN,   /* k8s:enc: and nothing that we know */
    KMS_VALUE_MALFORMED, /* it starts as encrypted, and isn't what kube-apiserver writes */
};
enum { KMS_VALUE_CLASS_COUNT = KMS_VALUE_MALFORMED + 1 };

/* EncryptedObject.encryptedDEKSourceType. */
enum kms_dek_type {
    KMS_DEK_KEY = 0,  /* AES_GCM_KEY: the DEK itself; written by 1.28 and older */
    KMS_DEK_SEED = 1, /* HKDF_SHA256_XNONCE_AES_GCM_SEED: all of today */
};

/* All spans are borrowed from the value.  What a class doesn't have is empty. */
struct kms_value {
    enum kms_value_class class;
    enum kms_value_class prefix; /* what it starts as; differs from @class if that is MALFORMED */
    const char *problem;         /* of MALFORMED: what is wrong (static); else NULL */
    struct kms_bytes provider;  /* KMS: the provider's name; aescbc, aesgcm, secretbox: the key's */
    struct kms_bytes key_id;    /* KMS v2: clean UTF-8 */
    enum kms_dek_type dek_type; /* KMS v2 */
    struct kms_bytes dek_source; /* KMS: the DEK or its seed, wrapped */
    struct kms_bytes data;       /* what is encrypted, with nonce and tag; of plaintext all */
    struct kms_bytes message;    /* KMS v2: the EncryptedObject, for kms_value_annotation_next() */
    size_t annotation_count;     /* KMS v2 */
};

/* Classifies @stored.  Never fails: what can't be read is MALFORMED, and has @provider and @prefix
 * as far as they were read.  Count that as a finding, never as a value that needs no key:
 * kube-apiserver's reader forgives more than this one.  Pure; allocates nothing; however long the
 * encrypted data is, it isn't read. */
struct kms_value kms_value_classify(struct kms_bytes stored);

struct kms_value_annotation {
    struct kms_bytes key; /* a domain name */
    struct kms_bytes value;
};
/* Walks the annotations of a value of class KMS_V2, in stored order; a key may come twice.  Start
 * with *@rest = the value's @message; false: no more. */
KMS_MUST_CHECK bool kms_value_annotation_next(struct kms_bytes *rest,
                                              struct kms_value_annotation *ret_annotation);

/* Not encrypted: protobuf, JSON, CBOR, other. */
bool kms_value_is_plaintext(const struct kms_value *value);

/* "kms-v2", "aescbc", "malformed" …: for reports.  Static. */
const char *kms_value_class_name(enum kms_value_class class);

#endif
