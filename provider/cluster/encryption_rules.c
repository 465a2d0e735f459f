/* SPDX-License-Identifier: Apache-2.0 */
/* kube-apiserver's own rules for what an EncryptionConfiguration says: k8s.io/apiserver's
 * pkg/apis/apiserver/validation/validation_encryption.go and the masking in
 * pkg/server/options/encryptionconfig/config.go, in their order.  Keys are judged where they are read
 * (encryption.c), since they aren't kept. */
#include "encryption.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* What the file calls RESOURCE or RESOURCE.GROUP.  Borrowed. */
struct group_resource {
    const char *resource;
    size_t len;        /* of @resource */
    const char *group; /* "": the core group */
};

static struct group_resource parse(const char *text)
{
    size_t len = strcspn(text, ".");
    return (struct group_resource){ text, len, text[len] == '.' ? text + len + 1 : "" };
}

static bool is_any(struct group_resource one)
{
    return one.len == 1 && one.resource[0] == '*';
}

static bool is_everything(struct group_resource one)
{
    return is_any(one) && strcmp(one.group, "*") == 0;
}

static bool is_same(struct group_resource a, struct group_resource b)
{
    return a.len == b.len && memcmp(a.resource, b.resource, a.len) == 0 &&
           strcmp(a.group, b.group) == 0;
}

/* True if @rule is of all resources in the group of @one, or of all groups. */
static bool masks(struct group_resource rule, struct group_resource one)
{
    return is_everything(rule) || (is_any(rule) && strcmp(rule.group, one.group) == 0);
}

bool kms_encryption_covers(const struct kms_encryption_entry *entry, const char *resource)
{
    const struct group_resource wanted = parse(resource);
    for (size_t i = 0; i < entry->resource_count; i++) {
        const struct group_resource given = parse(entry->resources[i]);
        if (is_same(given, wanted) || masks(given, wanted))
            return true;
    }
    return false;
}

const struct kms_encryption_entry *kms_encryption_find(const struct kms_encryption *encryption,
                                                       const char *resource)
{
    for (size_t i = 0; i < encryption->entry_count; i++) {
        if (kms_encryption_covers(&encryption->entries[i], resource))
            return &encryption->entries[i];
    }
    return NULL;
}

/* --- resources --- */

/* NULL: @name is one that kube-apiserver takes. */
static const char *fault_of_name(const char *name)
{
    static const char *const unserved[] = { "apiserveripinfo", "serviceipallocations",
                                            "servicenodeportallocations" };
    const struct group_resource one = parse(name);
    for (const char *at = name; *at != '\0'; at++) {
        if (isupper((unsigned char)*at))
            return "has capital letters";
    }
    if (strcmp(name, "*") == 0)
        return "must be '*.' for the core group, or '*.*' for all";
    for (size_t i = 0; i < sizeof(unserved) / sizeof(unserved[0]); i++) {
        if (strcmp(name, unserved[i]) == 0)
            return "has no REST API, so that it can't be encrypted";
    }
    if (strcmp(one.group, "events.k8s.io") == 0)
        return "is stored as 'events' of the core group: write that";
    if (strcmp(one.group, "extensions") == 0)
        return "is of group 'extensions', which is gone";
    if (strcmp(one.group, "*") == 0 && !is_any(one))
        return "names one resource in all groups, which isn't supported";
    return NULL;
}

static enum kms_code check_pair(size_t at, const char *a, const char *b, struct kms_error *err)
{
    const struct group_resource one = parse(a), other = parse(b);
    if (is_same(one, other))
        return kms_fail(err, KMS_E_INVALID, "resources[%zu].resources: '%s' and '%s' are the same",
                        at, a, b);
    if (masks(one, other) || masks(other, one))
        return kms_fail(err, KMS_E_INVALID, "resources[%zu].resources: '%s' and '%s' overlap", at,
                        a, b);
    return KMS_OK;
}

static enum kms_code check_list(size_t at, const struct kms_encryption_entry *entry,
                                struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; rc == KMS_OK && i < entry->resource_count; i++) {
        for (size_t k = i + 1; rc == KMS_OK && k < entry->resource_count; k++)
            rc = check_pair(at, entry->resources[i], entry->resources[k], err);
    }
    for (size_t i = 0; rc == KMS_OK && i < entry->resource_count; i++) {
        const char *fault = fault_of_name(entry->resources[i]);
        if (fault != NULL)
            rc = kms_fail(err, KMS_E_INVALID, "resources[%zu].resources[%zu]: '%s' %s", at, i,
                          entry->resources[i], fault);
    }
    return rc;
}

/* An earlier entry of a whole group leaves nothing of it to a later one. */
static enum kms_code check_masks(const struct kms_encryption *encryption, size_t at,
                                 struct kms_error *err)
{
    const struct kms_encryption_entry *entry = &encryption->entries[at];
    for (size_t i = 0; i < entry->resource_count; i++) {
        const struct group_resource one = parse(entry->resources[i]);
        for (size_t k = 0; k < at; k++) {
            const struct kms_encryption_entry *before = &encryption->entries[k];
            for (size_t m = 0; m < before->resource_count; m++) {
                if (masks(parse(before->resources[m]), one))
                    return kms_fail(err, KMS_E_INVALID,
                                    "resources[%zu].resources[%zu]: '%s' is masked by '%s' of "
                                    "resources[%zu]",
                                    at, i, entry->resources[i], before->resources[m], k);
            }
        }
    }
    return KMS_OK;
}

/* --- providers --- */

static bool is_escaped_well(const char *url)
{
    for (const char *at = strchr(url, '%'); at != NULL; at = strchr(at + 1, '%')) {
        if (!isxdigit((unsigned char)at[1]) || !isxdigit((unsigned char)at[2]))
            return false;
    }
    return true;
}

/* NULL: none. */
static const char *fault_of_provider(const struct kms_encryption_provider *provider)
{
    bool v1 = strcmp(provider->api_version, "v1") == 0;
    if (provider->name[0] == '\0')
        return "name: required";
    if (!v1 && strchr(provider->name, ':') != NULL)
        return "name: must not contain ':'";
    if (provider->timeout_ms <= 0)
        return "timeout: must be a duration above zero";
    if (provider->endpoint[0] == '\0')
        return "endpoint: required";
    if (strncasecmp(provider->endpoint, "unix:", 5) != 0 || !is_escaped_well(provider->endpoint))
        return "endpoint: must be a URL of scheme unix";
    if (!v1 && provider->has_cachesize)
        return "cachesize: not supported in v2";
    if (v1 && provider->has_cachesize && provider->cachesize == 0)
        return "cachesize: must not be zero";
    if (!v1 && strcmp(provider->api_version, "v2") != 0)
        return "apiVersion: must be v1 or v2";
    return NULL;
}

/* True if a KMS provider before this one has its name. */
static bool is_repeated(const struct kms_encryption *encryption, size_t entry, size_t provider)
{
    const char *name = encryption->entries[entry].providers[provider].name;
    for (size_t i = 0; i <= entry; i++) {
        const struct kms_encryption_entry *one = &encryption->entries[i];
        size_t end = i < entry ? one->provider_count : provider;
        for (size_t k = 0; k < end; k++) {
            if (one->providers[k].kind == KMS_ENCRYPTION_KMS &&
                strcmp(one->providers[k].name, name) == 0)
                return true;
        }
    }
    return false;
}

static enum kms_code check_providers(const struct kms_encryption *encryption, size_t at,
                                     bool reload, struct kms_error *err)
{
    const struct kms_encryption_entry *entry = &encryption->entries[at];
    for (size_t i = 0; i < entry->provider_count; i++) {
        const struct kms_encryption_provider *provider = &entry->providers[i];
        if (provider->kind != KMS_ENCRYPTION_KMS)
            continue;
        const char *fault = fault_of_provider(provider);
        bool unique = reload || strcmp(provider->api_version, "v1") != 0;
        if (fault == NULL && unique && is_repeated(encryption, at, i))
            fault = "name: another provider has the same";
        if (fault != NULL)
            return kms_fail(err, KMS_E_INVALID, "resources[%zu].providers[%zu].kms.%s", at, i,
                            fault);
    }
    return KMS_OK;
}

enum kms_code kms_encryption_check(const struct kms_encryption *encryption, bool reload,
                                   struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; rc == KMS_OK && i < encryption->entry_count; i++) {
        rc = check_list(i, &encryption->entries[i], err);
        if (rc == KMS_OK)
            rc = check_providers(encryption, i, reload, err);
    }
    for (size_t i = 0; rc == KMS_OK && i < encryption->entry_count; i++)
        rc = check_masks(encryption, i, err);
    return rc;
}
