/* SPDX-License-Identifier: Apache-2.0 */
#include "report/resources.h"

#include "check.h"

static const struct {
    const char *name, *key;
    bool means;
} cases[] = {
    { "secrets", "/registry/secrets/d/s", true },
    { "secrets", "/registry/configmaps/d/c", false },
    { "secrets", "/registry/example.com/secrets/d/s", false },
    { "secrets.example.com", "/registry/example.com/secrets/d/s", true },
    { "leases", "/registry/leases/d/l", false },
    { "leases.coordination.k8s.io", "/registry/leases/d/l", true },
    { "*.apps", "/registry/deployments/d/x", true },
    { "*.apps", "/registry/secrets/d/s", false },
    { "*.", "/registry/secrets/d/s", true },
    { "*.", "/registry/deployments/d/x", false },
    { "*.*", "/registry/example.com/widgets/w", true },
    { "*.*", "/elsewhere/secrets/d/s", false },
};

static void names_mean_what_kube_apiserver_takes_them_for(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const names[] = { "nothing.example.com", cases[i].name };
        const struct kms_resources resources = { names, 2 };
        const struct kms_registry_name key = kms_registry_parse(kms_bytes_of(KMS_REGISTRY_PREFIX),
                                                                kms_bytes_of(cases[i].key));
        if (kms_resources_find(&resources, &key) != (cases[i].means ? 1 : 2))
            fail_msg("%s and %s", cases[i].name, cases[i].key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_mean_what_kube_apiserver_takes_them_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
