/* SPDX-License-Identifier: Apache-2.0 */
/* kek.escrow: a KEK under another token's transport key, with what proves which key it is.  It is
 * written before the key exists, so that a rerun knows the key that an interrupted run made. */
#ifndef KMS_ESCROW_FILE_H
#define KMS_ESCROW_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "backups.h"
#include "keyid.h"
#include "kms/error.h"
#include "kms/keystore.h"

enum { KMS_ESCROW_VERSION = 1 };

struct kms_escrow {
    char ring[KMS_RING_MAX + 1];
    char id[KMS_BACKUP_ID_LEN + 1];    /* of `<ring>.pending.<id>` */
    uint8_t recipient[KMS_SHA256_LEN]; /* SHA-256 of the public key's DER */
    bool complete;                     /* the rest is there too */
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_transport_blob blob;
};

/* *ret_found is false without the file.  KMS_E_INVALID: it is another file, or damaged, or a newer
 * release's. */
KMS_MUST_CHECK enum kms_code kms_escrow_read(const char *path, bool *ret_found,
                                             struct kms_escrow *ret_escrow, struct kms_error *err);

/* Durably; mode 0600.  KMS_E_PRECONDITION. */
KMS_MUST_CHECK enum kms_code kms_escrow_write(const char *path, const struct kms_escrow *escrow,
                                              struct kms_error *err);

#endif
