/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/apiserver.h"

#include <stdio.h>

#include "check.h"

static struct kms_apiserver parse(const char *text)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    assert_ok(kms_apiserver_parse("a.yaml", kms_bytes_of(text), 7, 8, &apiserver, &err), &err);
    return apiserver;
}

static void assert_refused(const char *text, const char *part)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(kms_apiserver_parse("a.yaml", kms_bytes_of(text), 0, 0, &apiserver, &err),
                     KMS_E_INVALID);
    assert_contains(err.msg, "a.yaml:");
    assert_contains(err.msg, part);
    assert_null(apiserver.args);
}

static const char pod[] = "kind: Pod\n"
                          "spec:\n"
                          "  securityContext: {runAsUser: 1, runAsGroup: 2, fsGroup: 3,\n"
                          "    supplementalGroups: [4, 5]}\n"
                          "  containers:\n"
                          "  - {name: sidecar, command: [other, --etcd-servers=no]}\n"
                          "  - name: kube-apiserver\n"
                          "    command: [/usr/local/bin/kube-apiserver, --a=1]\n"
                          "    args: [--b, '2', --c, --a=3]\n"
                          "    securityContext: {runAsUser: 65534}\n"
                          "    livenessProbe: {httpGet: {path: /livez, port: 6443}}\n"
                          "    startupProbe: {tcpSocket: {port: 6443}}\n"
                          "    volumeMounts:\n"
                          "    - {name: k8s, mountPath: /etc/kubernetes/}\n"
                          "    - {name: pki, mountPath: /etc/kubernetes/pki, subPath: x}\n"
                          "    - {name: tmp, mountPath: /tmp}\n"
                          "  volumes:\n"
                          "  - {name: k8s, hostPath: {path: /etc/kubernetes}}\n"
                          "  - {name: pki, hostPath: {path: /srv/pki}}\n"
                          "  - {name: tmp, emptyDir: {}}\n";

static void a_pods_flags_are_those_of_its_kube_apiserver(void **state)
{
    struct kms_apiserver apiserver = parse(pod);
    (void)state;
    assert_true(apiserver.is_pod);
    assert_string_equal(kms_apiserver_flag(&apiserver, "a"), "3");
    assert_string_equal(kms_apiserver_flag(&apiserver, "b"), "2");
    assert_string_equal(kms_apiserver_flag(&apiserver, "c"), "true");
    assert_null(kms_apiserver_flag(&apiserver, "etcd-servers"));
    assert_null(kms_apiserver_flag(&apiserver, ""));
    assert_string_equal(apiserver.liveness, "/livez");
    assert_string_equal(apiserver.startup, "");
    kms_apiserver_done(&apiserver);
}

static void a_containers_user_comes_before_the_pods(void **state)
{
    struct kms_apiserver apiserver = parse(pod);
    (void)state;
    assert_int_equal(apiserver.uid, 65534);
    assert_int_equal(apiserver.gid, 2);
    assert_int_equal(apiserver.group_count, 3);
    assert_int_equal(apiserver.groups[0], 3);
    assert_int_equal(apiserver.groups[2], 5);
    kms_apiserver_done(&apiserver);
}

static void the_innermost_mount_counts(void **state)
{
    struct kms_apiserver apiserver = parse(pod);
    (void)state;
    assert_string_equal(kms_apiserver_mount_of(&apiserver, "/etc/kubernetes/e.yaml")->host,
                        "/etc/kubernetes");
    assert_string_equal(kms_apiserver_mount_of(&apiserver, "/etc/kubernetes/pki/ca.crt")->host,
                        "/srv/pki/x");
    assert_string_equal(kms_apiserver_mount_of(&apiserver, "/tmp/x")->host, "");
    assert_null(kms_apiserver_mount_of(&apiserver, "/etc/kubernetes-other/x"));
    kms_apiserver_done(&apiserver);
}

static void k3s_gives_flags_without_dashes(void **state)
{
    struct kms_apiserver apiserver = parse("tls-san: [x]\nkube-apiserver-arg:\n- a=1\n- b=2\n");
    (void)state;
    assert_false(apiserver.is_pod);
    assert_string_equal(kms_apiserver_flag(&apiserver, "b"), "2");
    assert_int_equal(apiserver.uid, 0);
    kms_apiserver_done(&apiserver);
    apiserver = parse("kube-apiserver-arg: only=1\n");
    assert_string_equal(kms_apiserver_flag(&apiserver, "only"), "1");
    kms_apiserver_done(&apiserver);
}

static void a_command_line_has_nuls_and_its_processs_owner(void **state)
{
    static const char words[] = "kube-apiserver\0--a=1\0--b\0two\0--c";
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    (void)state;
    const struct kms_bytes text = { (const uint8_t *)words, sizeof(words) - 1 };
    assert_ok(kms_apiserver_parse("cmdline", text, 7, 8, &apiserver, &err), &err);
    assert_false(apiserver.is_pod);
    assert_int_equal(apiserver.arg_count, 5);
    assert_string_equal(kms_apiserver_flag(&apiserver, "b"), "two");
    assert_string_equal(kms_apiserver_flag(&apiserver, "c"), "true");
    assert_int_equal(apiserver.uid, 7);
    assert_int_equal(apiserver.gid, 8);
    kms_apiserver_done(&apiserver);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    assert_refused("", "empty");
    assert_refused("kind: Deployment\n", "neither a Pod nor");
    assert_refused("kind: Pod\n", "without a container kube-apiserver");
    assert_refused("kind: Pod\nspec: {containers: [{name: etcd, command: [etcd]}]}\n",
                   "without a container kube-apiserver");
    assert_refused("kind: Pod\nspec: {containers: [{name: kube-apiserver, command: [[x]]}]}\n",
                   "expected an argument");
    assert_refused("kind: Pod\nspec: {containers: [{name: kube-apiserver, volumeMounts: [{}]}]}\n",
                   "usable path");
}

static void more_arguments_than_can_be_read_are_refused(void **state)
{
    char words[2 * (KMS_APISERVER_ARGS_MAX + 1)];
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    (void)state;
    for (size_t i = 0; i < sizeof(words); i++)
        words[i] = i % 2 == 0 ? 'x' : '\0';
    const struct kms_bytes text = { (const uint8_t *)words, sizeof(words) };
    assert_int_equal(kms_apiserver_parse("a", text, 0, 0, &apiserver, &err), KMS_E_INVALID);
    assert_contains(err.msg, "more than 512 arguments");
}

static void a_path_is_below_whole_components(void **state)
{
    (void)state;
    assert_true(kms_path_is_below("/a/b", "/a"));
    assert_true(kms_path_is_below("/a", "/a"));
    assert_true(kms_path_is_below("/a", "/"));
    assert_false(kms_path_is_below("/ab", "/a"));
    assert_false(kms_path_is_below("/", "/a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pods_flags_are_those_of_its_kube_apiserver),
        cmocka_unit_test(a_containers_user_comes_before_the_pods),
        cmocka_unit_test(the_innermost_mount_counts),
        cmocka_unit_test(k3s_gives_flags_without_dashes),
        cmocka_unit_test(a_command_line_has_nuls_and_its_processs_owner),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(more_arguments_than_can_be_read_are_refused),
        cmocka_unit_test(a_path_is_below_whole_components),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
