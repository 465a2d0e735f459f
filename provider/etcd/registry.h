/* SPDX-License-Identifier: Apache-2.0 */
/* Which Kubernetes object an etcd key is of.  Keys are kube-apiserver's, below --etcd-prefix
 * (`/registry` by default):
 *
 *     /registry/<path>/[<namespace>/]<name>                built-in types
 *     /registry/<group>/<resource>/[<namespace>/]<name>    custom resources, CRDs, APIServices,
 *                                                         and what aggregated servers keep there
 *
 * The path of a built-in type is its resource, without the group, but for a few old ones (services
 * are services/specs, nodes minions …): pkg/kubeapiserver/default_storage_factory_builder.go and
 * test/integration/etcd/data.go of Kubernetes 1.37.2.  A custom resource's group always has a dot
 * in it (apiextensions' validation asks for one), no built-in path has, so the two can't be taken
 * for each other.  Whether a custom resource has namespaces isn't in the key: the number of parts
 * tells.
 *
 * Some keys are never encrypted, whatever EncryptionConfiguration says: kube-apiserver writes them
 * by a storage configuration of its own that has no transformer (pkg/controlplane/instance.go and
 * apiserver/peer.go, pkg/registry/core/rest/storage_core.go; seen with kube-apiserver 1.37.2 under
 * `*.*`).  Leases and Events are not among them. */
#ifndef KMS_ETCD_REGISTRY_H
#define KMS_ETCD_REGISTRY_H

#include <stdbool.h>

#include "kms/bytes.h"

#define KMS_REGISTRY_PREFIX "/registry" /* of kube-apiserver, unless --etcd-prefix says otherwise */

enum kms_registry_kind {
    KMS_REGISTRY_BUILTIN,  /* a type of kube-apiserver 1.34 .. 1.37, as the table has it */
    KMS_REGISTRY_CUSTOM,   /* by group and resource: see above */
    KMS_REGISTRY_UNLISTED, /* shaped like a built-in type that the table doesn't have */
    KMS_REGISTRY_INTERNAL, /* kube-apiserver's own bookkeeping: no object of its API */
    KMS_REGISTRY_OTHER,    /* not below the prefix, or in no shape that kube-apiserver writes */
};

/* Spans are borrowed from the key or static, and hostile bytes, not text: escape what is printed.
 * Of KMS_REGISTRY_OTHER all are empty. */
struct kms_registry_name {
    enum kms_registry_kind kind;
    struct kms_bytes group;     /* empty: the core group, or not known (UNLISTED, INTERNAL) */
    struct kms_bytes resource;  /* plural, lower case: "secrets" */
    struct kms_bytes namespace; /* empty: cluster-scoped */
    struct kms_bytes name;
    const char *exempt; /* why it is never encrypted (static); NULL: it can be */
};

/* Names @key, which is below @prefix (KMS_REGISTRY_PREFIX; slashes around it don't matter).  Always
 * has an answer.  Pure; allocates nothing. */
struct kms_registry_name kms_registry_parse(struct kms_bytes prefix, struct kms_bytes key);
/* Whether @key is below @prefix at all, as above. */
bool kms_registry_is_below(struct kms_bytes prefix, struct kms_bytes key);

#endif
