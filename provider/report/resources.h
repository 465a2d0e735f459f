/* SPDX-License-Identifier: Apache-2.0 */
/* Resources as an operator names them: "secrets", "leases.coordination.k8s.io", and, as in an
 * EncryptionConfiguration, "*.apps", "*." (the core group) and "*.*". */
#ifndef KMS_REPORT_RESOURCES_H
#define KMS_REPORT_RESOURCES_H

#include <stddef.h>

#include "etcd/registry.h"

/* Borrowed; each is as kms_resource_name_is_valid() wants it. */
struct kms_resources {
    const char *const *names;
    size_t count;
};

/* The first of @resources that means the resource of @key; the count if none does.  "events" means
 * the core group's only, as for kube-apiserver.  Pure. */
size_t kms_resources_find(const struct kms_resources *resources,
                          const struct kms_registry_name *key);

#endif
