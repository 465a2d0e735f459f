/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/registry.h"

#include <stdlib.h>
#include <string.h>

/* services/specs/<namespace>/<name>, <group>/<resource>/<namespace>/<name> */
enum { PARTS_MAX = 4 };

enum scope { CLUSTER, NAMESPACED };

static const struct builtin_type {
    const char *path, *group, *resource;
    enum scope scope;
} builtin_types[] = {
    /* Sorted by path.  podsecuritypolicy went with 1.25, but what was left behind stays in etcd. */
    { "certificatesigningrequests", "certificates.k8s.io", "certificatesigningrequests", CLUSTER },
    { "clusterrolebindings", "rbac.authorization.k8s.io", "clusterrolebindings", CLUSTER },
    { "clusterroles", "rbac.authorization.k8s.io", "clusterroles", CLUSTER },
    { "clustertrustbundles", "certificates.k8s.io", "clustertrustbundles", CLUSTER },
    { "compositepodgroups", "scheduling.k8s.io", "compositepodgroups", NAMESPACED },
    { "configmaps", "", "configmaps", NAMESPACED },
    { "controllerrevisions", "apps", "controllerrevisions", NAMESPACED },
    { "controllers", "", "replicationcontrollers", NAMESPACED },
    { "cronjobs", "batch", "cronjobs", NAMESPACED },
    { "csidrivers", "storage.k8s.io", "csidrivers", CLUSTER },
    { "csinodes", "storage.k8s.io", "csinodes", CLUSTER },
    { "csistoragecapacities", "storage.k8s.io", "csistoragecapacities", NAMESPACED },
    { "daemonsets", "apps", "daemonsets", NAMESPACED },
    { "deployments", "apps", "deployments", NAMESPACED },
    { "deviceclasses", "resource.k8s.io", "deviceclasses", CLUSTER },
    { "devicetaintrules", "resource.k8s.io", "devicetaintrules", CLUSTER },
    { "endpointslices", "discovery.k8s.io", "endpointslices", NAMESPACED },
    { "events", "", "events", NAMESPACED },
    { "evictionrequests", "lifecycle.k8s.io", "evictionrequests", NAMESPACED },
    { "evictions", "lifecycle.k8s.io", "evictions", NAMESPACED },
    { "flowschemas", "flowcontrol.apiserver.k8s.io", "flowschemas", CLUSTER },
    { "horizontalpodautoscalers", "autoscaling", "horizontalpodautoscalers", NAMESPACED },
    { "ingress", "networking.k8s.io", "ingresses", NAMESPACED },
    { "ingressclasses", "networking.k8s.io", "ingressclasses", CLUSTER },
    { "ipaddresses", "networking.k8s.io", "ipaddresses", CLUSTER },
    { "jobs", "batch", "jobs", NAMESPACED },
    { "leasecandidates", "coordination.k8s.io", "leasecandidates", NAMESPACED },
    { "leases", "coordination.k8s.io", "leases", NAMESPACED },
    { "limitranges", "", "limitranges", NAMESPACED },
    { "minions", "", "nodes", CLUSTER },
    { "mutatingadmissionpolicies", "admissionregistration.k8s.io", "mutatingadmissionpolicies",
      CLUSTER },
    { "mutatingadmissionpolicybindings", "admissionregistration.k8s.io",
      "mutatingadmissionpolicybindings", CLUSTER },
    { "mutatingwebhookconfigurations", "admissionregistration.k8s.io",
      "mutatingwebhookconfigurations", CLUSTER },
    { "namespaces", "", "namespaces", CLUSTER },
    { "networkpolicies", "networking.k8s.io", "networkpolicies", NAMESPACED },
    { "persistentvolumeclaims", "", "persistentvolumeclaims", NAMESPACED },
    { "persistentvolumes", "", "persistentvolumes", CLUSTER },
    { "podcertificaterequests", "certificates.k8s.io", "podcertificaterequests", NAMESPACED },
    { "poddisruptionbudgets", "policy", "poddisruptionbudgets", NAMESPACED },
    { "podgroups", "scheduling.k8s.io", "podgroups", NAMESPACED },
    { "pods", "", "pods", NAMESPACED },
    { "podsecuritypolicy", "policy", "podsecuritypolicies", CLUSTER },
    { "podtemplates", "", "podtemplates", NAMESPACED },
    { "priorityclasses", "scheduling.k8s.io", "priorityclasses", CLUSTER },
    { "prioritylevelconfigurations", "flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations",
      CLUSTER },
    { "replicasets", "apps", "replicasets", NAMESPACED },
    { "resourceclaims", "resource.k8s.io", "resourceclaims", NAMESPACED },
    { "resourceclaimtemplates", "resource.k8s.io", "resourceclaimtemplates", NAMESPACED },
    { "resourcepoolstatusrequests", "resource.k8s.io", "resourcepoolstatusrequests", CLUSTER },
    { "resourcequotas", "", "resourcequotas", NAMESPACED },
    { "resourceslices", "resource.k8s.io", "resourceslices", CLUSTER },
    { "rolebindings", "rbac.authorization.k8s.io", "rolebindings", NAMESPACED },
    { "roles", "rbac.authorization.k8s.io", "roles", NAMESPACED },
    { "runtimeclasses", "node.k8s.io", "runtimeclasses", CLUSTER },
    { "secrets", "", "secrets", NAMESPACED },
    { "serviceaccounts", "", "serviceaccounts", NAMESPACED },
    { "servicecidrs", "networking.k8s.io", "servicecidrs", CLUSTER },
    { "services/endpoints", "", "endpoints", NAMESPACED },
    { "services/specs", "", "services", NAMESPACED },
    { "statefulsets", "apps", "statefulsets", NAMESPACED },
    { "storageclasses", "storage.k8s.io", "storageclasses", CLUSTER },
    { "storageversionmigrations", "storagemigration.k8s.io", "storageversionmigrations", CLUSTER },
    { "storageversions", "internal.apiserver.k8s.io", "storageversions", CLUSTER },
    { "validatingadmissionpolicies", "admissionregistration.k8s.io", "validatingadmissionpolicies",
      CLUSTER },
    { "validatingadmissionpolicybindings", "admissionregistration.k8s.io",
      "validatingadmissionpolicybindings", CLUSTER },
    { "validatingwebhookconfigurations", "admissionregistration.k8s.io",
      "validatingwebhookconfigurations", CLUSTER },
    { "volumeattachments", "storage.k8s.io", "volumeattachments", CLUSTER },
    { "volumeattributesclasses", "storage.k8s.io", "volumeattributesclasses", CLUSTER },
    { "workloads", "scheduling.k8s.io", "workloads", NAMESPACED },
};

static const struct internal_path {
    const char *path, *exempt;
} internal_paths[] = {
    { "masterleases", "addresses of API servers, which kube-apiserver never encrypts" },
    { "peerserverleases", "addresses of API servers, which kube-apiserver never encrypts" },
    { "ranges", "allocated service addresses and ports, which kube-apiserver never encrypts" },
};

/* Outside every prefix (k8s.io/apiserver, pkg/storage/etcd3/compact.go). */
static const struct internal_path compaction_mark = {
    "compact_rev_key", "the revision last compacted, which kube-apiserver never encrypts"
};

/* A key behind its prefix, by its slashes. */
struct key_parts {
    struct kms_bytes part[PARTS_MAX];
    size_t count;
};

static bool has_text(struct kms_bytes bytes, const char *text)
{
    return kms_bytes_equal(bytes, kms_bytes_of(text));
}

static struct kms_bytes trim_slashes(struct kms_bytes bytes)
{
    while (bytes.len > 0 && bytes.data[bytes.len - 1] == '/')
        bytes.len--;
    while (bytes.len > 0 && bytes.data[0] == '/')
        bytes = (struct kms_bytes){ bytes.data + 1, bytes.len - 1 };
    return bytes;
}

/* Takes "/<head>" off the front of *@bytes, if it is there. */
static bool take_head(struct kms_bytes *bytes, struct kms_bytes head)
{
    if (bytes->len < 1 + head.len || bytes->data[0] != '/' ||
        memcmp(bytes->data + 1, head.data, head.len) != 0)
        return false;
    *bytes = (struct kms_bytes){ bytes->data + 1 + head.len, bytes->len - 1 - head.len };
    return true;
}

/* What is left of @key begins with a slash if it is one of kube-apiserver's. */
static bool take_prefix(struct kms_bytes *key, struct kms_bytes prefix)
{
    prefix = trim_slashes(prefix);
    return prefix.len == 0 || take_head(key, prefix);
}

/* False: not below the prefix, an empty part, or too many. */
static bool split(struct kms_bytes prefix, struct kms_bytes key, struct key_parts *ret_parts)
{
    struct key_parts parts = { .count = 0 };
    if (!take_prefix(&key, prefix))
        return false;
    while (key.len > 0) {
        const uint8_t *start = key.data + 1;
        const uint8_t *slash = memchr(start, '/', key.len - 1);
        size_t len = slash != NULL ? (size_t)(slash - start) : key.len - 1;
        if (key.data[0] != '/' || len == 0 || parts.count == PARTS_MAX)
            return false;
        parts.part[parts.count++] = (struct kms_bytes){ start, len };
        key = (struct kms_bytes){ start + len, key.len - 1 - len };
    }
    *ret_parts = parts;
    return true;
}

static int compare_path(const void *wanted, const void *row)
{
    const struct kms_bytes *path = wanted;
    const char *other = ((const struct builtin_type *)row)->path;
    size_t other_len = strlen(other);
    size_t both = path->len < other_len ? path->len : other_len;
    int order = memcmp(path->data, other, both);
    return order != 0 ? order : (path->len > other_len) - (path->len < other_len);
}

static const struct builtin_type *find_builtin(struct kms_bytes path)
{
    return bsearch(&path, builtin_types, sizeof builtin_types / sizeof builtin_types[0],
                   sizeof builtin_types[0], compare_path);
}

/* Namespace and name, or the name alone, from part @at on.  False: more than that, or less. */
static bool take_object(const struct key_parts *parts, size_t at, struct kms_registry_name *name)
{
    size_t left = parts->count - at;
    if (left != 1 && left != 2)
        return false;
    if (left == 2)
        name->namespace = parts->part[at];
    name->name = parts->part[parts->count - 1];
    return true;
}

static const struct kms_registry_name other = { .kind = KMS_REGISTRY_OTHER };

static struct kms_registry_name name_custom(const struct key_parts *parts)
{
    struct kms_registry_name name = { .kind = KMS_REGISTRY_CUSTOM,
                                      .group = parts->part[0],
                                      .resource = parts->part[1] };
    return take_object(parts, 2, &name) ? name : other;
}

static struct kms_registry_name name_builtin(const struct builtin_type *type,
                                             const struct key_parts *parts, size_t path_parts)
{
    struct kms_registry_name name = { .kind = KMS_REGISTRY_BUILTIN,
                                      .group = kms_bytes_of(type->group),
                                      .resource = kms_bytes_of(type->resource) };
    bool named = take_object(parts, path_parts, &name);
    return named && (name.namespace.len > 0) == (type->scope == NAMESPACED) ? name : other;
}

static struct kms_registry_name name_internal(const struct internal_path *path,
                                              const struct key_parts *parts)
{
    struct kms_registry_name name = { .kind = KMS_REGISTRY_INTERNAL,
                                      .resource = kms_bytes_of(path->path),
                                      .name = parts->part[parts->count - 1],
                                      .exempt = path->exempt };
    return parts->count == 2 ? name : other;
}

static struct kms_registry_name name_plain(const struct key_parts *parts)
{
    for (size_t i = 0; i < sizeof internal_paths / sizeof internal_paths[0]; i++) {
        if (has_text(parts->part[0], internal_paths[i].path))
            return name_internal(&internal_paths[i], parts);
    }
    size_t path_parts = has_text(parts->part[0], "services") ? 2 : 1;
    const struct kms_bytes *last = &parts->part[path_parts - 1];
    struct kms_bytes path = { parts->part[0].data,
                              (size_t)(last->data + last->len - parts->part[0].data) };
    const struct builtin_type *type = find_builtin(path);
    if (type != NULL)
        return name_builtin(type, parts, path_parts);

    struct kms_registry_name name = { .kind = KMS_REGISTRY_UNLISTED, .resource = path };
    return take_object(parts, path_parts, &name) ? name : other;
}

struct kms_registry_name kms_registry_parse(struct kms_bytes prefix, struct kms_bytes key)
{
    if (has_text(key, compaction_mark.path))
        return (struct kms_registry_name){ .kind = KMS_REGISTRY_INTERNAL,
                                           .name = key,
                                           .exempt = compaction_mark.exempt };
    struct key_parts parts;
    if (!split(prefix, key, &parts) || parts.count < 2)
        return other;
    if (memchr(parts.part[0].data, '.', parts.part[0].len) != NULL)
        return name_custom(&parts);
    return name_plain(&parts);
}

bool kms_registry_is_below(struct kms_bytes prefix, struct kms_bytes key)
{
    return take_prefix(&key, prefix) && key.len > 0 && key.data[0] == '/';
}
