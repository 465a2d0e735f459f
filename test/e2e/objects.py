# SPDX-License-Identifier: Apache-2.0
"""One object of each kind that the test writes, and where it lies in the API and in etcd."""

import collections

NAMESPACE = "t1"
MARK = "find-me-in-clear"  # stands in every object, so that a leak can be seen

Object = collections.namedtuple("Object", "kind path name etcd_key body")


def meta(name):
    return {"name": name, "labels": {"mark": MARK}}


def secret(name):
    return Object(
        "Secret", f"/api/v1/namespaces/{NAMESPACE}/secrets", name,
        f"/registry/secrets/{NAMESPACE}/{name}",
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta(name),
         "stringData": {"password": MARK}})


NAMESPACE_OBJECT = Object(
    "Namespace", "/api/v1/namespaces", NAMESPACE, f"/registry/namespaces/{NAMESPACE}",
    {"apiVersion": "v1", "kind": "Namespace", "metadata": meta(NAMESPACE)})

CONFIG_MAP = Object(
    "ConfigMap", f"/api/v1/namespaces/{NAMESPACE}/configmaps", "c1",
    f"/registry/configmaps/{NAMESPACE}/c1",
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("c1"), "data": {"key": MARK}})

CLAIM = Object(
    "PersistentVolumeClaim", f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims", "pvc1",
    f"/registry/persistentvolumeclaims/{NAMESPACE}/pvc1",
    {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("pvc1"),
     "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})

OPEN_SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION = Object(
    "CustomResourceDefinition", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "widgets.example.com",
    "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com",
    {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
     "metadata": meta("widgets.example.com"),
     "spec": {"group": "example.com", "scope": "Namespaced",
              "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
              "versions": [{"name": "v1", "served": True, "storage": True,
                            "schema": {"openAPIV3Schema": OPEN_SCHEMA}}]}})

CUSTOM_RESOURCE = Object(
    "custom resource", f"/apis/example.com/v1/namespaces/{NAMESPACE}/widgets", "w1",
    f"/registry/example.com/widgets/{NAMESPACE}/w1",
    {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": meta("w1"),
     "spec": {"text": MARK}})

# In the order in which they can be made; the custom resource needs its definition to be served.
ALL = (secret("s1"), CONFIG_MAP, CLAIM, DEFINITION, CUSTOM_RESOURCE)

# What kube-apiserver stores in clear even under *.*: there is no REST storage behind these keys.
EXEMPT_KEY = b"/registry/ranges/servicenodeports"
EXEMPT_PREFIX = b"/registry/peerserverleases/"


def is_exempt(etcd_key):
    return etcd_key == EXEMPT_KEY or etcd_key.startswith(EXEMPT_PREFIX)
