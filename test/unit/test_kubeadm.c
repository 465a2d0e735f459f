/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/kubeadm.h"

#include <stdio.h>
#include <stdlib.h>

#include "check.h"

static struct kms_apiserver parse(const char *text)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    assert_ok(kms_kubeadm_parse("k.yaml", kms_bytes_of(text), &apiserver, &err), &err);
    return apiserver;
}

static void assert_refused(const char *text, const char *part)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(kms_kubeadm_parse("k.yaml", kms_bytes_of(text), &apiserver, &err),
                     KMS_E_INVALID);
    assert_contains(err.msg, "k.yaml");
    assert_contains(err.msg, part);
    assert_null(apiserver.args);
    assert_null(apiserver.mounts);
}

#define HEAD(version) "apiVersion: kubeadm.k8s.io/" version "\nkind: ClusterConfiguration\n"
static const char volumes[] = "  extraVolumes:\n"
                              "  - {name: enc, hostPath: /enc/, mountPath: /etc/enc, "
                              "readOnly: true, pathType: Directory}\n"
                              "  - {name: run, hostPath: /run/kms, mountPath: /run/kms}\n";

static void assert_configured(const struct kms_apiserver *apiserver)
{
    assert_int_equal(apiserver->source, KMS_APISERVER_POD);
    assert_string_equal(kms_apiserver_flag(apiserver, "encryption-provider-config"), "/etc/enc/e");
    assert_string_equal(kms_apiserver_flag(apiserver, "v"), "2");
    assert_int_equal(apiserver->arg_count, 2);
    assert_string_equal(kms_apiserver_mount_of(apiserver, "/etc/enc/e")->host, "/enc");
    assert_string_equal(kms_apiserver_mount_of(apiserver, "/etc/enc/e")->type, "Directory");
    assert_string_equal(kms_apiserver_mount_of(apiserver, "/run/kms/s")->host, "/run/kms");
}

static void v1beta3_has_a_mapping_of_arguments(void **state)
{
    char text[1024];
    (void)state;
    (void)snprintf(text, sizeof(text), "%s%s",
                   HEAD("v1beta3") "apiServer:\n  extraArgs:\n"
                                   "    encryption-provider-config: /etc/enc/e\n    v: \"2\"\n",
                   volumes);
    struct kms_apiserver apiserver = parse(text);
    assert_configured(&apiserver);
    kms_apiserver_done(&apiserver);
}

static const char v1beta4[] = HEAD("v1beta4") "apiServer:\n  extraArgs:\n"
                                              "  - name: encryption-provider-config\n"
                                              "    value: /etc/enc/e\n"
                                              "  - {name: v, value: \"2\"}\n";

static void v1beta4_has_a_list_of_arguments(void **state)
{
    char text[1024];
    (void)state;
    (void)snprintf(text, sizeof(text), "%s%s", v1beta4, volumes);
    struct kms_apiserver apiserver = parse(text);
    assert_configured(&apiserver);
    kms_apiserver_done(&apiserver);
}

static void the_right_one_of_several_documents_is_read(void **state)
{
    char text[1024];
    (void)state;
    (void)snprintf(text, sizeof(text),
                   "---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\n%s%s"
                   "---\nkind: KubeletConfiguration\n---\n",
                   v1beta4, volumes);
    struct kms_apiserver apiserver = parse(text);
    assert_configured(&apiserver);
    kms_apiserver_done(&apiserver);
}

static void a_config_map_holds_it_as_text(void **state)
{
    static const char text[] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kubeadm-config}\n"
                               "data:\n  ClusterConfiguration: |\n"
                               "    apiVersion: kubeadm.k8s.io/v1beta4\n"
                               "    kind: ClusterConfiguration\n"
                               "    apiServer: {extraArgs: [{name: v, value: '2'}]}\n";
    (void)state;
    struct kms_apiserver apiserver = parse(text);
    assert_string_equal(kms_apiserver_flag(&apiserver, "v"), "2");
    kms_apiserver_done(&apiserver);
}

static void kubeadms_own_certificates_are_mounted(void **state)
{
    (void)state;
    struct kms_apiserver apiserver = parse(HEAD("v1beta4"));
    assert_int_equal(apiserver.arg_count, 0);
    assert_string_equal(kms_apiserver_mount_of(&apiserver, "/etc/kubernetes/pki/e")->host,
                        "/etc/kubernetes/pki");
    kms_apiserver_done(&apiserver);
    apiserver = parse(HEAD("v1beta3") "certificatesDir: /srv/pki\n");
    assert_null(kms_apiserver_mount_of(&apiserver, "/etc/kubernetes/pki/e"));
    assert_non_null(kms_apiserver_mount_of(&apiserver, "/srv/pki/e"));
    kms_apiserver_done(&apiserver);
}

static void the_form_belongs_to_the_version(void **state)
{
    (void)state;
    assert_refused(HEAD("v1beta4") "apiServer: {extraArgs: {v: '2'}}\n",
                   "in v1beta4 extraArgs is a list");
    assert_refused(HEAD("v1beta3") "apiServer: {extraArgs: [{name: v, value: '2'}]}\n",
                   "in v1beta3 extraArgs is a mapping");
    assert_refused(HEAD("v1beta2"), "k.yaml:1: apiVersion is neither");
    assert_refused("kind: ClusterConfiguration\n", "apiVersion is neither");
}

static void what_kubeadm_would_refuse_is_refused(void **state)
{
    (void)state;
    assert_refused(HEAD("v1beta4") "apiServer: {extraArgs: [{name: v}]}\n", "k.yaml:3: expected");
    assert_refused(HEAD("v1beta4") "apiServer: {extraArgs: [{value: v}]}\n", "name and value");
    assert_refused(HEAD("v1beta4") "apiServer: {extraVolumes: [{mountPath: /a}]}\n",
                   "without usable paths");
    assert_refused(HEAD("v1beta4") "apiServer: {extraVolumes: [{hostPath: /a}]}\n",
                   "without usable paths");
    assert_refused(HEAD("v1beta4") "---\n" HEAD("v1beta4"), "k.yaml:4: a second");
}

static void a_file_without_it_is_refused(void **state)
{
    (void)state;
    assert_refused("", "the file is empty");
    assert_refused("kind: Pod\n---\nkind: Job\n", "no document of kind ClusterConfiguration");
    assert_refused("kind: ConfigMap\ndata: {a: b}\n", "without data.ClusterConfiguration");
    assert_refused("kind: ConfigMap\ndata: {ClusterConfiguration: 'kind: ConfigMap'}\n",
                   "data.ClusterConfiguration: no document");
    assert_refused("kind: [\n", "not YAML");
    assert_refused("kind: *nobody\n", "not YAML");
}

/* @head and as many of @line as no file may have; the caller frees it. */
static char *many(const char *head, const char *line)
{
    enum { MANY = 200 };
    size_t size = strlen(head) + MANY * strlen(line) + 1, used = strlen(head);
    char *text = malloc(size);
    assert_non_null(text);
    (void)snprintf(text, size, "%s", head);
    for (size_t i = 0; i < MANY; i++)
        used += (size_t)snprintf(text + used, size - used, "%s", line);
    return text;
}

static void documents_and_mounts_are_limited(void **state)
{
    char *documents = many("", "---\nkind: Job\n");
    char *mounts = many(HEAD("v1beta4") "apiServer:\n  extraVolumes:\n",
                        "  - {hostPath: /a, mountPath: /b}\n");
    (void)state;
    assert_refused(documents, "too many documents");
    assert_refused(mounts, "more than 128 mounts");
    free(documents);
    free(mounts);
}

static void a_file_is_loaded_by_its_path(void **state)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    (void)state;
    assert_int_equal(kms_kubeadm_load("/nonexistent/k.yaml", &apiserver, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "/nonexistent/k.yaml");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(v1beta3_has_a_mapping_of_arguments),
        cmocka_unit_test(v1beta4_has_a_list_of_arguments),
        cmocka_unit_test(the_right_one_of_several_documents_is_read),
        cmocka_unit_test(a_config_map_holds_it_as_text),
        cmocka_unit_test(kubeadms_own_certificates_are_mounted),
        cmocka_unit_test(the_form_belongs_to_the_version),
        cmocka_unit_test(what_kubeadm_would_refuse_is_refused),
        cmocka_unit_test(a_file_without_it_is_refused),
        cmocka_unit_test(documents_and_mounts_are_limited),
        cmocka_unit_test(a_file_is_loaded_by_its_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
