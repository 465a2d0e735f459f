/* SPDX-License-Identifier: Apache-2.0 */
/* A running etcd v3 as a source: linearizable Range in pages over gRPC. */
#ifndef KMS_ETCD_CLIENT_H
#define KMS_ETCD_CLIENT_H

#include <stdint.h>

#include "etcd/source.h"
#include "kms/error.h"

/* Borrowed. */
struct kms_etcd_options {
    const char *endpoints;                      /* URL[,URL…] of one cluster, tried in turn */
    const char *ca_path, *cert_path, *key_path; /* PEM; NULL: the system's roots; no certificate */
    int64_t timeout_ms;                         /* of one call: one page from one endpoint */
};

/* Connects at the first kms_etcd_read().  KMS_E_INVALID: an endpoint, or --cert without --key;
 * KMS_E_PRECONDITION: a file; KMS_E_BUSY. */
KMS_MUST_CHECK enum kms_code kms_etcd_client_open(const struct kms_etcd_options *options,
                                                  struct kms_etcd_source **ret_source,
                                                  struct kms_error *err);

#endif
