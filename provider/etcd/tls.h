/* SPDX-License-Identifier: Apache-2.0 */
/* The files of --cacert, --cert and --key. */
#ifndef KMS_ETCD_TLS_H
#define KMS_ETCD_TLS_H

#include "kms/error.h"
#include "kms/secret.h"

/* PEM texts with a NUL behind them; without data: none.  Without @ca: the system's roots. */
struct kms_etcd_tls {
    struct kms_secret ca, cert, key; /* owned */
};
void kms_etcd_tls_done(struct kms_etcd_tls *tls);

/* Reads the files; a NULL path: none.  KMS_E_INVALID: only one of @cert_path and @key_path;
 * KMS_E_PRECONDITION: a file can't be read, or isn't PEM; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_etcd_tls_read(const char *ca_path, const char *cert_path,
                                               const char *key_path, struct kms_etcd_tls *ret_tls,
                                               struct kms_error *err);

#endif
