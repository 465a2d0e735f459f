/* SPDX-License-Identifier: Apache-2.0 */
/* Where an etcd answers: https://HOST:PORT, or http://HOST:PORT on the loopback address. */
#ifndef KMS_ETCD_ENDPOINT_H
#define KMS_ETCD_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>

#include "kms/error.h"

enum { KMS_ETCD_ENDPOINT_MAX = 300, KMS_ETCD_ENDPOINTS_MAX = 16 };

struct kms_etcd_endpoint {
    char target[KMS_ETCD_ENDPOINT_MAX]; /* HOST:PORT; HOST may be [IPv6] */
    bool tls;
};

/* Reads "URL[,URL…]" as etcdctl's --endpoints; a port that is missing is 2379.  *ret_count of at
 * most KMS_ETCD_ENDPOINTS_MAX.  KMS_E_INVALID. */
KMS_MUST_CHECK enum kms_code kms_etcd_endpoints_parse(
    const char *text, struct kms_etcd_endpoint ret_endpoints[static KMS_ETCD_ENDPOINTS_MAX],
    size_t *ret_count, struct kms_error *err);

#endif
