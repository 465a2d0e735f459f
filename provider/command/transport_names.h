/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that carry keys share: the transport key's name, hashes, public keys. */
#ifndef KMS_TRANSPORT_NAMES_H
#define KMS_TRANSPORT_NAMES_H

#include <stdbool.h>

#include "keyid.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "oaep.h"

enum {
    KMS_TRANSPORT_LABEL_LEN = KMS_RING_MAX + 10,
    KMS_TRANSPORT_PEM_MAX = PKCS11_PEM_MAX + 128, /* bytes, with the final NUL */
};

/* `<ring>.transport` */
void kms_transport_label(const char *ring, char ret_label[static KMS_TRANSPORT_LABEL_LEN + 1]);

/* "sha256" and "sha1", as options have them. */
const char *kms_oaep_hash_name(enum kms_oaep_hash hash);
KMS_MUST_CHECK bool kms_oaep_hash_parse(const char *text, enum kms_oaep_hash *ret_hash);

/* What people should know of @hash before they use it; NULL: nothing. */
const char *kms_oaep_hash_caveat(enum kms_oaep_hash hash);

/* @key's PEM under a line that says which hash its token unwraps: whoever reads PEM skips it.  The
 * line isn't part of what the SHA-256 proves; a wrong one makes keys that don't unwrap. */
KMS_MUST_CHECK enum kms_code kms_transport_pem(const char *ring,
                                               const struct kms_transport_key *key,
                                               char ret_pem[static KMS_TRANSPORT_PEM_MAX],
                                               struct kms_error *err);

/* Reads a PEM file with an RSA public key.  *ret_hash is what the line above it says, SHA-256 where
 * there is none.  KMS_E_INVALID. */
KMS_MUST_CHECK enum kms_code kms_spki_read(const char *path, struct kms_spki *ret_spki,
                                           enum kms_oaep_hash *ret_hash, struct kms_error *err);

/* SHA-256 of the DER, by which people compare public keys. */
void kms_spki_digest(const struct kms_spki *spki, char ret_hex[static 2 * KMS_SHA256_LEN + 1]);

#endif
