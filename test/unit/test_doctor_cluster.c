/* SPDX-License-Identifier: Apache-2.0 */
/* doctor's checks of kube-apiserver's files: each as it passes and as it fails. */
#include <stdio.h>
#include <sys/stat.h>

#include "doctor_rig.h"

static struct doctor_rig *rig_of(void **state)
{
    return *state;
}

/* An EncryptionConfiguration with these resources and providers, in flow style; the first @ is our
 * socket. */
static void configure(struct doctor_rig *rig, const char *resources, const char *providers)
{
    char text[2048];
    size_t len = strcspn(providers, "@");
    bool ours = providers[len] == '@';
    (void)snprintf(text, sizeof(text),
                   "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
                   "resources: [{resources: %s, providers: %.*s%s%s}]\n",
                   resources, (int)len, providers, ours ? rig->socket : "",
                   providers + len + (ours ? 1 : 0));
    doctor_rig_encryption(rig, text);
}

/* One provider with our socket and these fields, for Secrets and ConfigMaps. */
static void provider(struct doctor_rig *rig, const char *fields)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "[{kms: {endpoint: 'unix://@', %s}}]", fields);
    configure(rig, "[secrets, configmaps]", text);
}

#define AES "{aescbc: {keys: [{name: k, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}}"
#define OURS "{kms: {apiVersion: v2, name: a, endpoint: 'unix://@'}}"

static void an_encryption_config_parses_or_says_where_not(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-config", KMS_DOCTOR_OK, "parses");
    doctor_rig_encryption(rig, "kind: EncryptionConfiguration\nresurces: []\n");
    doctor_rig_expect(rig, "encryption-config", KMS_DOCTOR_FAIL,
                      "encryption.yaml:2: unknown field");
    doctor_rig_expect(rig, "encryption-name", KMS_DOCTOR_WARN, "can't be used");
    rig->doctor.options.encryption_config = NULL;
    doctor_rig_expect(rig, "encryption-config", KMS_DOCTOR_WARN, "wasn't given");
    doctor_rig_expect(rig, "encryption-name", KMS_DOCTOR_WARN, "no EncryptionConfiguration");
}

static void the_version_is_v2(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-version", KMS_DOCTOR_OK, "v2");
    provider(rig, "name: a");
    doctor_rig_expect(rig, "encryption-version", KMS_DOCTOR_FAIL, "apiVersion v1");
    provider(rig, "name: a, apiVersion: v2, cachesize: 100");
    doctor_rig_expect(rig, "encryption-version", KMS_DOCTOR_FAIL, "cachesize");
}

static void the_endpoint_is_our_socket(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-endpoint", KMS_DOCTOR_OK, "is our socket");
    configure(rig, "[secrets]",
              "[{kms: {apiVersion: v2, name: a, endpoint: 'unix:///run/x.sock'}}]");
    doctor_rig_expect(rig, "encryption-endpoint", KMS_DOCTOR_FAIL, "leads to /run/x.sock");
    configure(rig, "[secrets]",
              "[{kms: {apiVersion: v2, name: a, endpoint: 'unix://run/x.sock'}}]");
    doctor_rig_expect(rig, "encryption-endpoint", KMS_DOCTOR_FAIL, "leads to /x.sock");
    configure(rig, "[secrets]", "[{kms: {apiVersion: v2, name: a, endpoint: 'tcp://127.0.0.1'}}]");
    doctor_rig_expect(rig, "encryption-endpoint", KMS_DOCTOR_FAIL, "no path of a Unix socket");
    configure(rig, "[secrets]", "[{identity: {}}]");
    doctor_rig_expect(rig, "encryption-endpoint", KMS_DOCTOR_FAIL, "no provider of kind kms");
}

static void our_provider_is_first(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-order", KMS_DOCTOR_OK, "is first");
    configure(rig, "[secrets]", "[" AES ", " OURS "]");
    doctor_rig_expect(rig, "encryption-order", KMS_DOCTOR_FAIL, "isn't the first");
}

static void identity_is_last_or_gone(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-identity", KMS_DOCTOR_OK, "last, or gone");
    configure(rig, "[secrets]", "[" OURS "]");
    doctor_rig_expect(rig, "encryption-identity", KMS_DOCTOR_OK, "last, or gone");
    configure(rig, "[secrets]", "[{identity: {}}, " OURS "]");
    doctor_rig_expect(rig, "encryption-identity", KMS_DOCTOR_FAIL, "stored in plaintext");
    configure(rig, "[secrets]", "[" OURS ", {identity: {}}, " AES "]");
    doctor_rig_expect(rig, "encryption-identity", KMS_DOCTOR_FAIL, "never asked");
    configure(rig, "[events]", "[{identity: {}}]");
    doctor_rig_expect(rig, "encryption-identity", KMS_DOCTOR_WARN, "'events'");
}

static void secrets_are_covered(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_OK, "secrets");
    configure(rig, "[secrets]", "[" OURS "]");
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_WARN, "configmaps");
    configure(rig, "[configmaps, '*.apps']", "[" OURS "]");
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_FAIL, "secrets");
    configure(rig, "['*.']", "[" OURS "]");
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_OK, "'*.'");
}

static void a_name_has_no_colon_and_is_unique(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-name", KMS_DOCTOR_OK, "'hsm-kms'");
    provider(rig, "name: 'a:b', apiVersion: v2");
    doctor_rig_expect(rig, "encryption-name", KMS_DOCTOR_FAIL, "'a:b'");
    provider(rig, "apiVersion: v2");
    doctor_rig_expect(rig, "encryption-name", KMS_DOCTOR_FAIL, "''");
    configure(rig, "[secrets]", "[" OURS ", {kms: {name: a, endpoint: 'unix:///old'}}]");
    doctor_rig_expect(rig, "encryption-name", KMS_DOCTOR_FAIL, "several");
}

static void a_timeout_is_a_sensible_duration(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "encryption-timeout", KMS_DOCTOR_OK, "3000 ms");
    provider(rig, "name: a, timeout: '3'");
    doctor_rig_expect(rig, "encryption-timeout", KMS_DOCTOR_FAIL, "isn't a duration");
    provider(rig, "name: a, timeout: 0s");
    doctor_rig_expect(rig, "encryption-timeout", KMS_DOCTOR_FAIL, "above zero");
    provider(rig, "name: a, timeout: 200ms");
    doctor_rig_expect(rig, "encryption-timeout", KMS_DOCTOR_WARN, "short");
    provider(rig, "name: a, timeout: 1m");
    doctor_rig_expect(rig, "encryption-timeout", KMS_DOCTOR_WARN, "waits 60000 ms");
}

/* Whole entries in flow style; each @ is our socket. */
static void entries(struct doctor_rig *rig, const char *list)
{
    char text[2048] = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
                      "resources: [";
    size_t len = strlen(text);
    for (; *list != '\0'; list++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s", *list == '@' ? 96 : 1,
                                *list == '@' ? rig->socket : list);
    (void)snprintf(text + len, sizeof(text) - len, "]\n");
    doctor_rig_encryption(rig, text);
    assert_int_equal(rig->doctor.encryption_fault.code, KMS_OK);
}

#define OURS2 "{kms: {apiVersion: v2, name: b, endpoint: 'unix://@'}}"
#define FOREIGN "{kms: {apiVersion: v2, name: other, endpoint: 'unix:///run/other.sock'}}"
#define FOR(resources, providers) "{resources: " resources ", providers: [" providers "]}"

static void secrets_that_another_kms_writes_fail(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    entries(rig, FOR("[configmaps]", OURS) ", " FOR("[secrets]", FOREIGN ", {identity: {}}"));
    doctor_rig_expect(rig, "encryption-order", KMS_DOCTOR_FAIL, "resources[1] has secrets");
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_FAIL,
                      "resources[1] has secrets, and there kms 'other' (unix:///run/other.sock)");
    entries(rig, FOR("[configmaps]", OURS) ", " FOR("[secrets]", FOREIGN ", " OURS2));
    doctor_rig_expect(rig, "encryption-order", KMS_DOCTOR_FAIL,
                      "resources[1].providers[1]: 'b' isn't the first of its list: it reads, kms "
                      "'other'");
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_FAIL, "kms 'other'");
}

static void the_first_entry_of_a_resource_writes_it(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    entries(rig, FOR("[secrets]", "{identity: {}}") ", " FOR("['*.*']", OURS));
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_FAIL, "identity (plaintext) writes");
    entries(rig, FOR("[secrets]", AES ", {identity: {}}") ", " FOR("['*.*']", OURS));
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_FAIL, "a key that lies in the file");
    entries(rig, FOR("[secrets, configmaps]", OURS) ", " FOR("[secrets]", OURS2));
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_OK, "our provider");
    entries(rig, FOR("[secrets]", OURS) ", " FOR("[configmaps]", FOREIGN));
    doctor_rig_expect(rig, "encryption-resources", KMS_DOCTOR_WARN, "resources[1] has configmaps");
    doctor_rig_expect(rig, "encryption-order", KMS_DOCTOR_OK, "first");
}

static void each_of_several_providers_of_ours_is_judged(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    entries(rig, FOR("[configmaps]", OURS) ", " FOR(
                     "[secrets]", "{kms: {apiVersion: v1, name: 'a:b', endpoint: 'unix://@', "
                                  "timeout: 0s, cachesize: 10}}"));
    doctor_rig_expect(rig, "encryption-version", KMS_DOCTOR_FAIL, "resources[1].providers[0]: ");
    doctor_rig_expect(rig, "encryption-name", KMS_DOCTOR_FAIL, "resources[1].providers[0]: 'a:b'");
    doctor_rig_expect(rig, "encryption-timeout", KMS_DOCTOR_FAIL, "resources[1].providers[0]: ");
    entries(rig, FOR("[secrets]", OURS) ", " FOR("[pods]", "{identity: {}}, " OURS2));
    doctor_rig_expect(rig, "encryption-order", KMS_DOCTOR_FAIL, "resources[1].providers[1]: 'b'");
    doctor_rig_expect(rig, "encryption-identity", KMS_DOCTOR_FAIL, "resources[1] ('pods')");
}

static void what_kube_apiserver_refuses_is_told_with_its_place(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    entries(rig, FOR("[secrets, '*.*']", OURS));
    doctor_rig_expect(rig, "encryption-config", KMS_DOCTOR_FAIL, "resources[0].resources: ");
    entries(rig, FOR("['*.*']", OURS) ", " FOR("[secrets]", "{identity: {}}"));
    doctor_rig_expect(rig, "encryption-config", KMS_DOCTOR_FAIL, "is masked");
}

/* --- kube-apiserver --- */

/* A manifest with these arguments, mounts and volumes, and more fields of container and Pod. */
static void start(struct doctor_rig *rig, const char *args, const char *mounts, const char *more,
                  const char *pod)
{
    char text[4096];
    (void)snprintf(text, sizeof(text),
                   "kind: Pod\nspec:\n  containers:\n  - name: kube-apiserver\n"
                   "    command: [kube-apiserver, %s]\n    volumeMounts: [%s]\n%s"
                   "  volumes:\n  - {name: root, hostPath: {path: /}}\n"
                   "  - {name: enc, hostPath: {path: /enc}}\n  - {name: own, emptyDir: {}}\n%s",
                   args, mounts, more, pod);
    doctor_rig_manifest(rig, text);
    assert_int_equal(rig->doctor.apiserver_fault.code, KMS_OK);
}

#define CONFIG_FLAG "'--encryption-provider-config=/enc/encryption.yaml'"

static void a_manifest_can_be_read_or_says_where_not(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "apiserver-manifest", KMS_DOCTOR_OK, "2 mounts");
    doctor_rig_manifest(rig, "kind: Deployment\n");
    doctor_rig_expect(rig, "apiserver-manifest", KMS_DOCTOR_FAIL, "apiserver.yaml:1");
    doctor_rig_expect(rig, "apiserver-uid", KMS_DOCTOR_WARN, "can't be used");
    rig->doctor.options.apiserver_manifest = NULL;
    doctor_rig_expect(rig, "apiserver-manifest", KMS_DOCTOR_WARN, "wasn't given");
    doctor_rig_expect(rig, "apiserver-uid", KMS_DOCTOR_WARN, "no manifest");
}

static void the_flag_names_the_file_that_was_given(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "apiserver-config", KMS_DOCTOR_OK, "/enc/encryption.yaml");
    rig->doctor.options.encryption_config = "/pin";
    doctor_rig_expect(rig, "apiserver-config", KMS_DOCTOR_WARN, "isn't the --encryption-config");
    start(rig, "--v=2", "", "", "");
    doctor_rig_expect(rig, "apiserver-config", KMS_DOCTOR_FAIL, "nothing is encrypted");
}

static void the_encryption_config_is_mounted(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_OK, "same on both sides");
    start(rig, CONFIG_FLAG, "", "", "");
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_FAIL, "isn't mounted");
    start(rig, CONFIG_FLAG, "{name: own, mountPath: /enc}", "", "");
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_FAIL, "isn't mounted");
    start(rig, CONFIG_FLAG,
          "{name: enc, mountPath: /enc/encryption.yaml, subPath: encryption.yaml}", "", "");
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_FAIL, "file itself");
    start(rig, CONFIG_FLAG, "{name: root, mountPath: /enc}", "", "");
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_WARN, "the host's");
    start(rig, "--v=2", "", "", "");
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_WARN, "no EncryptionConfiguration");
}

static void the_sockets_directory_is_mounted(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char file[160];
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_OK, "same on both sides");
    start(rig, CONFIG_FLAG, "{name: enc, mountPath: /enc}", "", "");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_FAIL, "isn't mounted");
    (void)snprintf(file, sizeof(file), "{name: root, mountPath: %s}", rig->socket);
    start(rig, CONFIG_FLAG, file, "", "");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_FAIL, "file itself");
    (void)snprintf(file, sizeof(file), "{name: enc, mountPath: %s/run}", rig->dir);
    start(rig, CONFIG_FLAG, file, "", "");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_FAIL, "doesn't listen");
    doctor_rig_manifest(rig, "kube-apiserver-arg: [v=2]\n");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_OK, "no Pod");
}

/* A manifest whose socket is mounted so; @mount has more fields of the mount, @type of the hostPath. */
static void mount_socket(struct doctor_rig *rig, const char *mount, const char *type)
{
    char mounts[256], pod[256];
    (void)snprintf(mounts, sizeof(mounts), "{name: run, mountPath: %s/run%s}", rig->dir, mount);
    (void)snprintf(pod, sizeof(pod), "  - {name: run, hostPath: {path: %s/run%s}}\n", rig->dir,
                   type);
    start(rig, CONFIG_FLAG, mounts, "", pod);
}

static void a_mounts_type_allows_a_directory(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    mount_socket(rig, "", "");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_OK, "same on both sides");
    mount_socket(rig, "", ", type: DirectoryOrCreate");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_OK, "same on both sides");
    mount_socket(rig, "", ", type: Socket");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_FAIL, "type Socket");
    mount_socket(rig, "", ", type: File");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_FAIL, "type File");
}

static void a_mount_with_a_sub_path_is_unknown(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char mounts[256], pod[256];
    mount_socket(rig, ", subPathExpr: $(X)", "");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_WARN, "unknown: the mount");
    (void)snprintf(mounts, sizeof(mounts), "{name: top, mountPath: %s/run, subPath: run}",
                   rig->dir);
    (void)snprintf(pod, sizeof(pod), "  - {name: top, hostPath: {path: %s}}\n", rig->dir);
    start(rig, CONFIG_FLAG, mounts, "", pod);
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_WARN, "subPath");
}

/* A command line of kube-apiserver that sees @root as "/". */
static void run_process(struct doctor_rig *rig, const char *root)
{
    static const char words[] = "kube-apiserver\0--encryption-provider-config=/enc/encryption.yaml";
    struct kms_doctor *doctor = &rig->doctor;
    const struct kms_bytes bytes = { (const uint8_t *)words, sizeof(words) };
    struct kms_error err = { 0 };
    kms_apiserver_done(&doctor->apiserver);
    assert_ok(kms_apiserver_parse("cmdline", bytes, 0, 0, &doctor->apiserver, &err), &err);
    (void)snprintf(doctor->apiserver.root, sizeof(doctor->apiserver.root), "%s", root);
}

static void a_processs_files_are_looked_at_through_its_root(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    run_process(rig, rig->dir);
    doctor_rig_expect(rig, "apiserver-config", KMS_DOCTOR_OK, "/enc/encryption.yaml");
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_OK, "sees the host's /enc");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_FAIL, "has no");
    rig->doctor.options.host_root = "";
    run_process(rig, "/.");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_OK, "sees the host's");
}

static void a_process_without_a_root_is_unknown(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    run_process(rig, "");
    doctor_rig_expect(rig, "apiserver-config-mount", KMS_DOCTOR_WARN, "unknown");
    doctor_rig_expect(rig, "apiserver-socket-mount", KMS_DOCTOR_WARN, "unknown");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_WARN, "not looked at");
}

static void a_value_in_quotes_is_no_path(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    start(rig, "\"--encryption-provider-config='/enc/e.yaml'\"", "", "", "");
    doctor_rig_expect(rig, "apiserver-config", KMS_DOCTOR_FAIL, "is '/enc/e.yaml', which is no");
    start(rig, "--encryption_provider_config=/enc/encryption.yaml", "", "", "");
    doctor_rig_expect(rig, "apiserver-config", KMS_DOCTOR_OK, "/enc/encryption.yaml");
}

static void automatic_reload_is_on(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "apiserver-reload", KMS_DOCTOR_OK, "on");
    start(rig, "--encryption-provider-config-automatic-reload=false", "", "", "");
    doctor_rig_expect(rig, "apiserver-reload", KMS_DOCTOR_WARN, "off");
    start(rig, "--encryption-provider-config-automatic-reload", "", "", "");
    doctor_rig_expect(rig, "apiserver-reload", KMS_DOCTOR_OK, "on");
    start(rig, "--encryption-provider-config-automatic-reload=T", "", "", "");
    doctor_rig_expect(rig, "apiserver-reload", KMS_DOCTOR_OK, "on");
    start(rig, "--encryption-provider-config-automatic-reload=1", "", "", "");
    doctor_rig_expect(rig, "apiserver-reload", KMS_DOCTOR_OK, "on");
    start(rig, "--encryption-provider-config-automatic-reload=yes", "", "", "");
    doctor_rig_expect(rig, "apiserver-reload", KMS_DOCTOR_WARN, "off");
}

static void probe(struct doctor_rig *rig, const char *name, const char *path)
{
    char text[160];
    (void)snprintf(text, sizeof(text), "    %s: {httpGet: {path: '%s'}}\n", name, path);
    start(rig, "--v=2", "", text, "");
}

static void no_probe_restarts_kube_apiserver_for_kms(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_OK, "/livez");
    probe(rig, "livenessProbe", "/healthz");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_FAIL, "liveness probe asks /healthz");
    probe(rig, "livenessProbe", "/healthz?exclude=kms-providers-x");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_FAIL, "liveness probe");
    probe(rig, "livenessProbe", "/healthz?exclude=etcd&exclude=kms-providers");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_OK, "exclude");
    probe(rig, "startupProbe", "/readyz");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_FAIL, "startup probe");
}

static void a_probes_path_and_query_are_read_as_by_kubelet(void **state)
{
    static const struct {
        const char *path;
        enum kms_doctor_status status;
    } rows[] = {
        { "healthz", KMS_DOCTOR_FAIL },
        { "/healthz/", KMS_DOCTOR_FAIL },
        { "/healthz?xexclude=kms-providers", KMS_DOCTOR_FAIL },
        { "/healthz?exclude=kms-provider-0", KMS_DOCTOR_FAIL },
        { "/healthz/kms-providers", KMS_DOCTOR_FAIL },
        { "/healthz/kms-providers?exclude=kms-providers", KMS_DOCTOR_FAIL },
        { "/healthz#?exclude=kms-providers", KMS_DOCTOR_FAIL },
        { "/healthz/etcd", KMS_DOCTOR_OK },
        { "/livez?verbose", KMS_DOCTOR_OK },
        { "livez", KMS_DOCTOR_OK },
        { "/livez/kms-providers", KMS_DOCTOR_WARN },
        { "/healthz?exclude=kms%2dproviders", KMS_DOCTOR_WARN },
        { "//healthz", KMS_DOCTOR_WARN },
        { "/", KMS_DOCTOR_WARN },
    };
    struct doctor_rig *rig = rig_of(state);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        probe(rig, "livenessProbe", rows[i].path);
        doctor_rig_expect(rig, "apiserver-liveness", rows[i].status, rows[i].path);
    }
}

static void a_probe_that_is_a_command_is_judged_by_what_it_names(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    start(rig, "--v=2", "",
          "    livenessProbe: {exec: {command: [curl, '-kf', 'https://[::1]:6443/healthz']}}\n",
          "");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_FAIL, "asks curl -kf");
    start(rig, "--v=2", "", "    livenessProbe: {exec: {command: [/probe]}}\n", "");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_WARN, "can't be judged");
    start(rig, "--v=2", "", "    livenessProbe: {exec: {command: [curl, 'x/livez']}}\n", "");
    doctor_rig_expect(rig, "apiserver-liveness", KMS_DOCTOR_OK, "livez");
}

static void kube_apiservers_user_may_open_the_socket(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    uint32_t uids[] = { 65534 };
    char path[128];
    rig->doctor.service_uid = 990;
    rig->doctor.socket_gid = 500;
    doctor_rig_expect(rig, "apiserver-uid", KMS_DOCTOR_OK, "uid 0");
    start(rig, "--v=2", "", "", "  securityContext: {runAsUser: 65534, runAsGroup: 65534}\n");
    doctor_rig_expect(rig, "apiserver-uid", KMS_DOCTOR_FAIL, "whom the plugin refuses");
    rig->doctor.config.socket.allow_uids = uids;
    rig->doctor.config.socket.allow_uid_count = 1;
    doctor_rig_expect(rig, "apiserver-uid", KMS_DOCTOR_FAIL, "mode 0660 keeps out");
    start(rig, "--v=2", "", "    securityContext: {runAsUser: 65534}\n",
          "  securityContext: {runAsUser: 1, runAsGroup: 2, supplementalGroups: [7, 500]}\n");
    doctor_rig_expect(rig, "apiserver-uid", KMS_DOCTOR_OK, "uid 65534");
    (void)snprintf(path, sizeof(path), "%s/run", rig->dir);
    assert_int_equal(chmod(path, 0700), 0);
    doctor_rig_expect(rig, "apiserver-uid", KMS_DOCTOR_FAIL, "may not pass");
}

static void etcd_is_reached_by_tls(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_OK, "https");
    start(rig, "'--etcd-servers=https://a:2379,http://b:2379'", "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_FAIL, "http://b:2379");
    start(rig, "--v=2", "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_WARN, "unknown");
}

static void every_etcd_server_counts(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    start(rig, "'--etcd-servers=http://a:2379', '--etcd-servers=https://b:2379'", "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_FAIL, "http://a:2379");
    start(rig, "'--etcd-servers=https://a:2379, http://b:2379'", "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_FAIL, "b:2379");
    start(rig, "'--etcd-servers=unix:///run/etcd.sock'", "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_OK, "Unix socket");
}

static void etcd_servers_of_single_resources_count(void **state)
{
    static const char usual[] = "'--etcd-servers=https://a:1', '--etcd-servers-overrides=";
    struct doctor_rig *rig = rig_of(state);
    char args[256];
    (void)snprintf(args, sizeof(args), "%s/events#https://b:1;https://c:1'", usual);
    start(rig, args, "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_WARN, "another etcd");
    assert_contains(rig->found.fix, "--can-destroy");
    (void)snprintf(args, sizeof(args), "%s/events#https://b:1,apps/x#https://c:1;http://d:1'",
                   usual);
    start(rig, args, "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_FAIL, "http://d:1 of apps/x");
    (void)snprintf(args, sizeof(args), "%s/events'", usual);
    start(rig, args, "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_FAIL, "without servers, number 1");
}

static void an_etcd_urls_password_isnt_told(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    start(rig, "'--etcd-servers=http://root:hunter2@a:2379/@x'", "", "", "");
    doctor_rig_expect(rig, "etcd-tls", KMS_DOCTOR_FAIL, "http://a:2379/@x");
    assert_null(strstr(rig->found.reason, "hunter2"));
}

int main(void)
{
#define with_rig(test) cmocka_unit_test_setup_teardown(test, doctor_rig_setup, doctor_rig_teardown)
    const struct CMUnitTest tests[] = {
        with_rig(an_encryption_config_parses_or_says_where_not),
        with_rig(the_version_is_v2),
        with_rig(the_endpoint_is_our_socket),
        with_rig(our_provider_is_first),
        with_rig(identity_is_last_or_gone),
        with_rig(secrets_are_covered),
        with_rig(a_name_has_no_colon_and_is_unique),
        with_rig(a_timeout_is_a_sensible_duration),
        with_rig(secrets_that_another_kms_writes_fail),
        with_rig(the_first_entry_of_a_resource_writes_it),
        with_rig(each_of_several_providers_of_ours_is_judged),
        with_rig(what_kube_apiserver_refuses_is_told_with_its_place),
        with_rig(a_manifest_can_be_read_or_says_where_not),
        with_rig(the_flag_names_the_file_that_was_given),
        with_rig(the_encryption_config_is_mounted),
        with_rig(the_sockets_directory_is_mounted),
        with_rig(automatic_reload_is_on),
        with_rig(no_probe_restarts_kube_apiserver_for_kms),
        with_rig(kube_apiservers_user_may_open_the_socket),
        with_rig(etcd_is_reached_by_tls),
        with_rig(every_etcd_server_counts),
        with_rig(etcd_servers_of_single_resources_count),
        with_rig(an_etcd_urls_password_isnt_told),
        with_rig(a_probes_path_and_query_are_read_as_by_kubelet),
        with_rig(a_probe_that_is_a_command_is_judged_by_what_it_names),
        with_rig(a_mounts_type_allows_a_directory),
        with_rig(a_mount_with_a_sub_path_is_unknown),
        with_rig(a_processs_files_are_looked_at_through_its_root),
        with_rig(a_process_without_a_root_is_unknown),
        with_rig(a_value_in_quotes_is_no_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
