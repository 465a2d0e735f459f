/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "etcd/registry.h"

static void assert_text(struct kms_bytes got, const char *want)
{
    if (!kms_bytes_equal(got, kms_bytes_of(want)))
        fail_msg("got '%.*s', not '%s'", (int)got.len, (const char *)got.data, want);
}

static struct kms_registry_name parse(const char *key)
{
    return kms_registry_parse(kms_bytes_of(KMS_REGISTRY_PREFIX), kms_bytes_of(key));
}

static void assert_other(const char *key)
{
    struct kms_registry_name name = parse(key);
    if (name.kind != KMS_REGISTRY_OTHER)
        fail_msg("%s: kind %d", key, (int)name.kind);
    assert_int_equal(name.group.len + name.resource.len + name.namespace.len + name.name.len, 0);
    assert_null(name.exempt);
}

/* The types of kube-apiserver 1.37.2, each under the key that it gives an object "x". */
static const struct {
    const char *key, *group, *resource, *namespace;
} builtin_keys[] = {
    { "/registry/certificatesigningrequests/x", "certificates.k8s.io", "certificatesigningrequests",
      "" },
    { "/registry/clusterrolebindings/x", "rbac.authorization.k8s.io", "clusterrolebindings", "" },
    { "/registry/clusterroles/x", "rbac.authorization.k8s.io", "clusterroles", "" },
    { "/registry/clustertrustbundles/x", "certificates.k8s.io", "clustertrustbundles", "" },
    { "/registry/compositepodgroups/t1/x", "scheduling.k8s.io", "compositepodgroups", "t1" },
    { "/registry/configmaps/t1/x", "", "configmaps", "t1" },
    { "/registry/controllerrevisions/t1/x", "apps", "controllerrevisions", "t1" },
    { "/registry/controllers/t1/x", "", "replicationcontrollers", "t1" },
    { "/registry/cronjobs/t1/x", "batch", "cronjobs", "t1" },
    { "/registry/csidrivers/x", "storage.k8s.io", "csidrivers", "" },
    { "/registry/csinodes/x", "storage.k8s.io", "csinodes", "" },
    { "/registry/csistoragecapacities/t1/x", "storage.k8s.io", "csistoragecapacities", "t1" },
    { "/registry/daemonsets/t1/x", "apps", "daemonsets", "t1" },
    { "/registry/deployments/t1/x", "apps", "deployments", "t1" },
    { "/registry/deviceclasses/x", "resource.k8s.io", "deviceclasses", "" },
    { "/registry/devicetaintrules/x", "resource.k8s.io", "devicetaintrules", "" },
    { "/registry/endpointslices/t1/x", "discovery.k8s.io", "endpointslices", "t1" },
    { "/registry/events/t1/x", "", "events", "t1" },
    { "/registry/evictionrequests/t1/x", "lifecycle.k8s.io", "evictionrequests", "t1" },
    { "/registry/evictions/t1/x", "lifecycle.k8s.io", "evictions", "t1" },
    { "/registry/flowschemas/x", "flowcontrol.apiserver.k8s.io", "flowschemas", "" },
    { "/registry/horizontalpodautoscalers/t1/x", "autoscaling", "horizontalpodautoscalers", "t1" },
    { "/registry/ingress/t1/x", "networking.k8s.io", "ingresses", "t1" },
    { "/registry/ingressclasses/x", "networking.k8s.io", "ingressclasses", "" },
    { "/registry/ipaddresses/x", "networking.k8s.io", "ipaddresses", "" },
    { "/registry/jobs/t1/x", "batch", "jobs", "t1" },
    { "/registry/leasecandidates/t1/x", "coordination.k8s.io", "leasecandidates", "t1" },
    { "/registry/leases/t1/x", "coordination.k8s.io", "leases", "t1" },
    { "/registry/limitranges/t1/x", "", "limitranges", "t1" },
    { "/registry/minions/x", "", "nodes", "" },
    { "/registry/mutatingadmissionpolicies/x", "admissionregistration.k8s.io",
      "mutatingadmissionpolicies", "" },
    { "/registry/mutatingadmissionpolicybindings/x", "admissionregistration.k8s.io",
      "mutatingadmissionpolicybindings", "" },
    { "/registry/mutatingwebhookconfigurations/x", "admissionregistration.k8s.io",
      "mutatingwebhookconfigurations", "" },
    { "/registry/namespaces/x", "", "namespaces", "" },
    { "/registry/networkpolicies/t1/x", "networking.k8s.io", "networkpolicies", "t1" },
    { "/registry/persistentvolumeclaims/t1/x", "", "persistentvolumeclaims", "t1" },
    { "/registry/persistentvolumes/x", "", "persistentvolumes", "" },
    { "/registry/podcertificaterequests/t1/x", "certificates.k8s.io", "podcertificaterequests",
      "t1" },
    { "/registry/poddisruptionbudgets/t1/x", "policy", "poddisruptionbudgets", "t1" },
    { "/registry/podgroups/t1/x", "scheduling.k8s.io", "podgroups", "t1" },
    { "/registry/pods/t1/x", "", "pods", "t1" },
    { "/registry/podsecuritypolicy/x", "policy", "podsecuritypolicies", "" },
    { "/registry/podtemplates/t1/x", "", "podtemplates", "t1" },
    { "/registry/priorityclasses/x", "scheduling.k8s.io", "priorityclasses", "" },
    { "/registry/prioritylevelconfigurations/x", "flowcontrol.apiserver.k8s.io",
      "prioritylevelconfigurations", "" },
    { "/registry/replicasets/t1/x", "apps", "replicasets", "t1" },
    { "/registry/resourceclaims/t1/x", "resource.k8s.io", "resourceclaims", "t1" },
    { "/registry/resourceclaimtemplates/t1/x", "resource.k8s.io", "resourceclaimtemplates", "t1" },
    { "/registry/resourcepoolstatusrequests/x", "resource.k8s.io", "resourcepoolstatusrequests",
      "" },
    { "/registry/resourcequotas/t1/x", "", "resourcequotas", "t1" },
    { "/registry/resourceslices/x", "resource.k8s.io", "resourceslices", "" },
    { "/registry/rolebindings/t1/x", "rbac.authorization.k8s.io", "rolebindings", "t1" },
    { "/registry/roles/t1/x", "rbac.authorization.k8s.io", "roles", "t1" },
    { "/registry/runtimeclasses/x", "node.k8s.io", "runtimeclasses", "" },
    { "/registry/secrets/t1/x", "", "secrets", "t1" },
    { "/registry/serviceaccounts/t1/x", "", "serviceaccounts", "t1" },
    { "/registry/servicecidrs/x", "networking.k8s.io", "servicecidrs", "" },
    { "/registry/services/endpoints/t1/x", "", "endpoints", "t1" },
    { "/registry/services/specs/t1/x", "", "services", "t1" },
    { "/registry/statefulsets/t1/x", "apps", "statefulsets", "t1" },
    { "/registry/storageclasses/x", "storage.k8s.io", "storageclasses", "" },
    { "/registry/storageversionmigrations/x", "storagemigration.k8s.io", "storageversionmigrations",
      "" },
    { "/registry/storageversions/x", "internal.apiserver.k8s.io", "storageversions", "" },
    { "/registry/validatingadmissionpolicies/x", "admissionregistration.k8s.io",
      "validatingadmissionpolicies", "" },
    { "/registry/validatingadmissionpolicybindings/x", "admissionregistration.k8s.io",
      "validatingadmissionpolicybindings", "" },
    { "/registry/validatingwebhookconfigurations/x", "admissionregistration.k8s.io",
      "validatingwebhookconfigurations", "" },
    { "/registry/volumeattachments/x", "storage.k8s.io", "volumeattachments", "" },
    { "/registry/volumeattributesclasses/x", "storage.k8s.io", "volumeattributesclasses", "" },
    { "/registry/workloads/t1/x", "scheduling.k8s.io", "workloads", "t1" },
};

static void each_built_in_type_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof builtin_keys / sizeof builtin_keys[0]; i++) {
        struct kms_registry_name name = parse(builtin_keys[i].key);
        if (name.kind != KMS_REGISTRY_BUILTIN)
            fail_msg("%s: kind %d", builtin_keys[i].key, (int)name.kind);
        assert_text(name.group, builtin_keys[i].group);
        assert_text(name.resource, builtin_keys[i].resource);
        assert_text(name.namespace, builtin_keys[i].namespace);
        assert_text(name.name, "x");
        assert_null(name.exempt);
    }
}

static void a_custom_resource_is_named_by_its_parts(void **state)
{
    (void)state;
    struct kms_registry_name name = parse("/registry/example.com/widgets/t1/w1");
    assert_int_equal(name.kind, KMS_REGISTRY_CUSTOM);
    assert_text(name.group, "example.com");
    assert_text(name.resource, "widgets");
    assert_text(name.namespace, "t1");
    assert_text(name.name, "w1");

    name = parse("/registry/random.numbers.com/integers/fortytwo");
    assert_int_equal(name.kind, KMS_REGISTRY_CUSTOM);
    assert_text(name.namespace, "");
    assert_text(name.name, "fortytwo");
}

static void crds_and_apiservices_have_their_group_in_the_key(void **state)
{
    (void)state;
    struct kms_registry_name name = parse(
        "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com");
    assert_text(name.group, "apiextensions.k8s.io");
    assert_text(name.resource, "customresourcedefinitions");
    assert_text(name.namespace, "");
    assert_text(name.name, "widgets.example.com");
    name = parse("/registry/apiregistration.k8s.io/apiservices/v1.apps");
    assert_text(name.resource, "apiservices");
    assert_text(name.name, "v1.apps");
}

static void a_custom_resource_may_be_called_as_a_built_in_one(void **state)
{
    (void)state;
    struct kms_registry_name custom = parse("/registry/example.com/secrets/t1/x");
    assert_int_equal(custom.kind, KMS_REGISTRY_CUSTOM);
    assert_text(custom.group, "example.com");
    assert_text(custom.resource, "secrets");
}

static void what_kube_apiserver_never_encrypts_is_exempt(void **state)
{
    (void)state;
    static const struct {
        const char *key, *resource, *name;
    } rows[] = {
        { "/registry/masterleases/192.0.2.2", "masterleases", "192.0.2.2" },
        { "/registry/peerserverleases/apiserver-x", "peerserverleases", "apiserver-x" },
        { "/registry/ranges/serviceips", "ranges", "serviceips" },
        { "/registry/ranges/servicenodeports", "ranges", "servicenodeports" },
        { "compact_rev_key", "", "compact_rev_key" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kms_registry_name name = parse(rows[i].key);
        assert_int_equal(name.kind, KMS_REGISTRY_INTERNAL);
        assert_text(name.resource, rows[i].resource);
        assert_text(name.name, rows[i].name);
        assert_contains(name.exempt, "never encrypts");
    }
}

static void leases_and_events_are_not_exempt(void **state)
{
    (void)state;
    assert_null(parse("/registry/leases/kube-system/x").exempt);
    assert_null(parse("/registry/events/t1/x").exempt);
}

static void a_type_that_is_not_in_the_table_is_unlisted(void **state)
{
    (void)state;
    struct kms_registry_name name = parse("/registry/newthings/t1/x");
    assert_int_equal(name.kind, KMS_REGISTRY_UNLISTED);
    assert_text(name.group, "");
    assert_text(name.resource, "newthings");
    assert_text(name.namespace, "t1");
    assert_text(name.name, "x");
    name = parse("/registry/newthings/x");
    assert_int_equal(name.kind, KMS_REGISTRY_UNLISTED);
    assert_text(name.namespace, "");
    assert_text(name.name, "x");
    name = parse("/registry/services/odd/t1/x");
    assert_int_equal(name.kind, KMS_REGISTRY_UNLISTED);
    assert_text(name.resource, "services/odd");
}

static void a_shape_that_no_type_has_is_other(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "",
        "/",
        "/registry",
        "/registry/",
        "/registry/secrets",
        "/registry/secrets/",
        "/registry/namespaces/",
        "/registry/services",
        "/registry/newthings//x",
        "/registry/example.com//t1/x",
        "/registry/example.com/widgets/",
        "/registry/secrets/x", /* secrets are in namespaces */
        "/registry/secrets//x",
        "/registry/secrets/t1/x/",
        "/registry/secrets/t1/x/y",
        "/registry/namespaces/t1/x", /* namespaces are not */
        "/registry//secrets/t1/x",
        "/registry/services/specs",
        "/registry/services/specs/x",
        "/registry/services/specs/t1/x/y",
        "/registry/newthings",
        "/registry/newthings/t1/x/y",
        "/registry/example.com/widgets",
        "/registry/example.com/widgets/t1/x/y",
        "/registry/ranges/serviceips/x",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_other(keys[i]);
}

static void a_key_outside_the_prefix_is_other(void **state)
{
    (void)state;
    assert_other("registry/secrets/t1/x");
    assert_other("/registry2/secrets/t1/x");
    assert_other("/registr/secrets/t1/x");
    assert_other("/other/secrets/t1/x");
    assert_other("compact_rev_key2");
}

static void another_prefix_is_taken_with_or_without_slashes(void **state)
{
    (void)state;
    static const struct {
        const char *prefix, *key;
    } rows[] = {
        { "/kubernetes.io", "/kubernetes.io/secrets/t1/x" },
        { "kubernetes.io/", "/kubernetes.io/secrets/t1/x" },
        { "/a/b/", "/a/b/secrets/t1/x" },
        { "/", "/secrets/t1/x" },
        { "", "/secrets/t1/x" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kms_registry_name name = kms_registry_parse(kms_bytes_of(rows[i].prefix),
                                                           kms_bytes_of(rows[i].key));
        assert_int_equal(name.kind, KMS_REGISTRY_BUILTIN);
        assert_text(name.resource, "secrets");
        assert_text(name.namespace, "t1");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_built_in_type_is_named),
        cmocka_unit_test(a_custom_resource_is_named_by_its_parts),
        cmocka_unit_test(crds_and_apiservices_have_their_group_in_the_key),
        cmocka_unit_test(a_custom_resource_may_be_called_as_a_built_in_one),
        cmocka_unit_test(what_kube_apiserver_never_encrypts_is_exempt),
        cmocka_unit_test(leases_and_events_are_not_exempt),
        cmocka_unit_test(a_type_that_is_not_in_the_table_is_unlisted),
        cmocka_unit_test(a_shape_that_no_type_has_is_other),
        cmocka_unit_test(a_key_outside_the_prefix_is_other),
        cmocka_unit_test(another_prefix_is_taken_with_or_without_slashes),
    };
    return cmocka_run_group_tests_name("etcd_registry", tests, NULL, NULL);
}
