/* SPDX-License-Identifier: Apache-2.0 */
#include "resources.h"

#include <string.h>

static bool means(const char *name, const struct kms_registry_name *key)
{
    const char *dot = strchr(name, '.');
    struct kms_bytes resource = kms_bytes_of(name);
    struct kms_bytes group = kms_bytes_of(dot != NULL ? dot + 1 : "");
    if (dot != NULL)
        resource.len = (size_t)(dot - name);
    bool any = kms_bytes_equal(resource, kms_bytes_of("*"));
    if (any && kms_bytes_equal(group, kms_bytes_of("*")))
        return true;
    return kms_bytes_equal(group, key->group) && (any || kms_bytes_equal(resource, key->resource));
}

size_t kms_resources_find(const struct kms_resources *resources,
                          const struct kms_registry_name *key)
{
    if (key->kind == KMS_REGISTRY_OTHER)
        return resources->count;
    for (size_t i = 0; i < resources->count; i++)
        if (means(resources->names[i], key))
            return i;
    return resources->count;
}
