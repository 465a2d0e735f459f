/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/apiserver.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
    assert_int_equal(apiserver.source, KMS_APISERVER_POD);
    assert_string_equal(kms_apiserver_flag(&apiserver, "a"), "3");
    assert_string_equal(kms_apiserver_flag(&apiserver, "b"), "2");
    assert_string_equal(kms_apiserver_flag(&apiserver, "c"), "true");
    assert_null(kms_apiserver_flag(&apiserver, "etcd-servers"));
    assert_null(kms_apiserver_flag(&apiserver, ""));
    assert_int_equal(apiserver.liveness.kind, KMS_PROBE_HTTP);
    assert_string_equal(apiserver.liveness.text, "/livez");
    assert_int_equal(apiserver.startup.kind, KMS_PROBE_OTHER);
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
    assert_int_equal(apiserver.source, KMS_APISERVER_K3S);
    assert_string_equal(kms_apiserver_flag(&apiserver, "b"), "2");
    assert_int_equal(apiserver.uid, 0);
    kms_apiserver_done(&apiserver);
    apiserver = parse("kube-apiserver-arg: only=1\n");
    assert_string_equal(kms_apiserver_flag(&apiserver, "only"), "1");
    kms_apiserver_done(&apiserver);
}

static void a_flags_underscores_are_dashes_and_each_value_is_found(void **state)
{
    struct kms_apiserver apiserver = parse("kube-apiserver-arg: [etcd_servers=a, v=2, "
                                           "etcd-servers=b, etcd-servers-overrides=c]\n");
    size_t at = 0;
    (void)state;
    assert_string_equal(kms_apiserver_next_flag(&apiserver, "etcd-servers", &at), "a");
    assert_string_equal(kms_apiserver_next_flag(&apiserver, "etcd-servers", &at), "b");
    assert_null(kms_apiserver_next_flag(&apiserver, "etcd-servers", &at));
    assert_string_equal(kms_apiserver_flag(&apiserver, "etcd-servers"), "b");
    kms_apiserver_done(&apiserver);
}

static void a_mount_says_its_type_and_sub_path(void **state)
{
    struct kms_apiserver apiserver = parse(
        "kind: Pod\nspec:\n  containers:\n  - name: kube-apiserver\n    volumeMounts:\n"
        "    - {name: a, mountPath: /a, subPath: x}\n"
        "    - {name: a, mountPath: /b, subPathExpr: $(X)}\n"
        "  volumes: [{name: a, hostPath: {path: /h, type: File}}]\n");
    (void)state;
    const struct kms_apiserver_mount *mount = kms_apiserver_mount_of(&apiserver, "/a");
    assert_string_equal(mount->host, "/h/x");
    assert_string_equal(mount->type, "File");
    assert_true(mount->sub_path);
    assert_false(mount->sub_path_expr);
    assert_true(kms_apiserver_mount_of(&apiserver, "/b")->sub_path_expr);
    kms_apiserver_done(&apiserver);
}

static void a_probe_may_be_a_command(void **state)
{
    struct kms_apiserver apiserver = parse(
        "kind: Pod\nspec:\n  containers:\n  - name: kube-apiserver\n"
        "    livenessProbe: {exec: {command: [curl, 'https://x/healthz']}}\n");
    (void)state;
    assert_int_equal(apiserver.liveness.kind, KMS_PROBE_EXEC);
    assert_string_equal(apiserver.liveness.text, "curl https://x/healthz");
    assert_int_equal(apiserver.startup.kind, KMS_PROBE_NONE);
    kms_apiserver_done(&apiserver);
}

/* --- command lines --- */

/* @words with a "|" for each NUL. */
static enum kms_code parse_words(const char *words, struct kms_apiserver *apiserver,
                                 struct kms_error *err)
{
    char text[256];
    size_t len = (size_t)snprintf(text, sizeof(text), "%s|", words);
    for (size_t i = 0; i < len; i++)
        text[i] = text[i] == '|' ? '\0' : text[i];
    const struct kms_bytes bytes = { (const uint8_t *)text, len };
    return kms_apiserver_parse("cmdline", bytes, 7, 8, apiserver, err);
}

static void a_command_line_has_nuls_and_its_processs_owner(void **state)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    (void)state;
    assert_ok(parse_words("/bin/kube-apiserver|--a=1|--b|two|--c", &apiserver, &err), &err);
    assert_int_equal(apiserver.source, KMS_APISERVER_PROCESS);
    assert_int_equal(apiserver.arg_count, 5);
    assert_string_equal(kms_apiserver_flag(&apiserver, "b"), "two");
    assert_string_equal(kms_apiserver_flag(&apiserver, "c"), "true");
    assert_int_equal(apiserver.uid, 7);
    assert_int_equal(apiserver.gid, 8);
    assert_string_equal(apiserver.root, "");
    kms_apiserver_done(&apiserver);
}

static void a_command_line_of_another_program_is_refused(void **state)
{
    static const char *const others[] = { "/usr/bin/etcd|--etcd-servers=x", "hyperkube|kubelet",
                                          "k3s|agent", "my-kube-apiserver" };
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_int_equal(parse_words(others[i], &apiserver, &err), KMS_E_INVALID);
        assert_contains(err.msg, "isn't kube-apiserver's command line");
        assert_null(apiserver.args);
    }
    assert_ok(parse_words("/hyperkube|kube-apiserver|--a=1", &apiserver, &err), &err);
    kms_apiserver_done(&apiserver);
}

static void k3s_servers_command_line_has_kube_apiservers_arguments_inside(void **state)
{
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    (void)state;
    assert_ok(parse_words("/usr/local/bin/k3s|server|--kube-apiserver-arg=a=1|"
                          "--kube-apiserver-arg|b=2|--a=3",
                          &apiserver, &err),
              &err);
    assert_string_equal(kms_apiserver_flag(&apiserver, "a"), "1");
    assert_string_equal(kms_apiserver_flag(&apiserver, "b"), "2");
    assert_int_equal(apiserver.uid, 7);
    kms_apiserver_done(&apiserver);
    assert_int_equal(parse_words("k3s|server", &apiserver, &err), KMS_E_INVALID);
    assert_contains(err.msg, "config.yaml");
}

static void a_process_has_its_root_beside_its_command_line(void **state)
{
    char dir[] = "/tmp/hsm-kms-apiserver-XXXXXX", path[64], root[64];
    struct kms_apiserver apiserver = { 0 };
    struct kms_error err = { 0 };
    (void)state;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/cmdline", dir);
    (void)snprintf(root, sizeof(root), "%s/root", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite("kube-apiserver", 1, 15, file), 15);
    assert_int_equal(fclose(file), 0);
    assert_ok(kms_apiserver_load(path, &apiserver, &err), &err);
    assert_string_equal(apiserver.root, root);
    kms_apiserver_done(&apiserver);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
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
        cmocka_unit_test(a_flags_underscores_are_dashes_and_each_value_is_found),
        cmocka_unit_test(a_mount_says_its_type_and_sub_path),
        cmocka_unit_test(a_probe_may_be_a_command),
        cmocka_unit_test(a_command_line_has_nuls_and_its_processs_owner),
        cmocka_unit_test(a_command_line_of_another_program_is_refused),
        cmocka_unit_test(k3s_servers_command_line_has_kube_apiservers_arguments_inside),
        cmocka_unit_test(a_process_has_its_root_beside_its_command_line),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(more_arguments_than_can_be_read_are_refused),
        cmocka_unit_test(a_path_is_below_whole_components),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
