/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of how kube-apiserver is started. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "access.h"
#include "doctor.h"
#include "doctor_apiserver.h"

static void check_manifest(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (doctor->options.apiserver_manifest == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "give kube-apiserver's by --apiserver-manifest FILE",
                       "not looked at: it wasn't given");
    else if (doctor->apiserver_fault.code != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "give the static Pod's manifest, k3s' config.yaml, or /proc/PID/cmdline",
                       "%s", doctor->apiserver_fault.msg);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s: %zu arguments, %zu mounts",
                       doctor->options.apiserver_manifest, doctor->apiserver.arg_count,
                       doctor->apiserver.mount_count);
}

const char *kms_doctor_encryption_flag(const struct kms_apiserver *apiserver)
{
    const char *path = kms_apiserver_flag(apiserver, "encryption-provider-config");
    return path != NULL && path[0] == '/' ? path : NULL;
}

bool kms_doctor_is_reloading(const struct kms_apiserver *apiserver)
{
    const char *value = kms_apiserver_flag(apiserver,
                                           "encryption-provider-config-automatic-reload");
    static const char *const truths[] = { "1", "t", "T", "true", "TRUE", "True" }; /* Go's */
    for (size_t i = 0; value != NULL && i < sizeof(truths) / sizeof(truths[0]); i++) {
        if (strcmp(value, truths[i]) == 0)
            return true;
    }
    return false;
}

static void refuse_config_flag(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const char *value = kms_apiserver_flag(&doctor->apiserver, "encryption-provider-config");
    if (value == NULL || value[0] == '\0')
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "--encryption-provider-config=FILE (docs/deploy/kubeadm.yaml)",
                       "kube-apiserver has no --encryption-provider-config: nothing is encrypted");
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "give the path from / on, without quotes: no shell takes them away",
                       "--encryption-provider-config is %.300s, which is no absolute path", value);
}

static void check_config_flag(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    char at_host[KMS_DOCTOR_PATH_MAX];
    const struct kms_apiserver_mount *mount;
    const char *path = kms_doctor_encryption_flag(&doctor->apiserver),
               *file = doctor->options.encryption_config;
    if (path == NULL)
        refuse_config_flag(doctor, finding);
    else if (file == NULL || !kms_doctor_to_host(&doctor->apiserver, path, at_host, &mount) ||
             kms_doctor_reads(doctor, at_host, path, file))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "--encryption-provider-config is %s", path);
    else
        kms_doctor_say(
            finding, KMS_DOCTOR_WARN, "give doctor the file that kube-apiserver reads",
            "kube-apiserver reads %.300s, which isn't the --encryption-config given here", at_host);
}

static void check_config_mount(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const char *path = kms_doctor_encryption_flag(&doctor->apiserver);
    if (path != NULL)
        kms_doctor_look_at_mount(doctor, &doctor->apiserver, "the EncryptionConfiguration", path,
                                 finding);
    else
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the check 'apiserver-config'",
                       "kube-apiserver reads no EncryptionConfiguration");
}

static void check_socket_mount(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    kms_doctor_look_at_sockets(doctor, &doctor->apiserver, "the socket", finding);
}

static void check_reload(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (kms_doctor_is_reloading(&doctor->apiserver))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "on");
    else
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "--encryption-provider-config-automatic-reload=true",
                       "automatic reload is off: each change of the file needs a restart, and a "
                       "restart needs the HSM");
}

/* --- may it open the socket? --- */

static bool is_in_group(const struct kms_apiserver *apiserver, gid_t gid)
{
    if (apiserver->gid == gid)
        return true;
    for (size_t i = 0; i < apiserver->group_count; i++) {
        if (apiserver->groups[i] == gid)
            return true;
    }
    return false;
}

/* The kernel's rule for @bits (an octal digit) on something of @uid, @gid and @mode. */
static bool permits(const struct kms_apiserver *apiserver, uid_t uid, gid_t gid, unsigned mode,
                    unsigned bits)
{
    if (apiserver->uid == 0)
        return true;
    if (apiserver->uid == uid)
        return (mode >> 6 & bits) == bits;
    if (is_in_group(apiserver, gid))
        return (mode >> 3 & bits) == bits;
    return (mode & bits) == bits;
}

static void check_uid(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    static const char fix[] = "set socket.group to a group of that user (securityContext "
                              "supplementalGroups), or allow_uids and the mode";
    const struct kms_apiserver *apiserver = &doctor->apiserver;
    const struct kms_config_socket *socket = &doctor->config.socket;
    const struct kms_access_rules rules = { doctor->service_uid, doctor->socket_gid,
                                            socket->allow_uids, socket->allow_uid_count };
    const struct kms_access_peer peer = { apiserver->uid, apiserver->gid, apiserver->groups,
                                          apiserver->group_count };
    char dir[KMS_DOCTOR_PATH_MAX];
    struct stat st;
    unsigned uid = (unsigned)apiserver->uid;
    kms_doctor_parent(socket->path, dir);
    if (!kms_access_allows(&rules, &peer))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "kube-apiserver runs as uid %u, whom the plugin refuses", uid);
    else if (!permits(apiserver, doctor->service_uid, doctor->socket_gid, socket->mode, 06))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "kube-apiserver runs as uid %u, whom the socket's mode %04o keeps out", uid,
                       (unsigned)socket->mode);
    else if (stat(dir, &st) == 0 && !permits(apiserver, st.st_uid, st.st_gid, st.st_mode, 01))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chmod 0755 the directory, or give it that group",
                       "kube-apiserver runs as uid %u, who may not pass the socket's directory",
                       uid);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "uid %u may open the socket", uid);
}

/* --- etcd --- */

static bool has_tls(const char *url)
{
    return strncmp(url, "https://", 8) == 0 || strncmp(url, "unix://", 7) == 0 ||
           strncmp(url, "unixs://", 8) == 0;
}

/* Of @len bytes; user and password of a URL aren't told. */
static void look_at_endpoint(const char *url, size_t len, const char *of,
                             struct kms_doctor_finding *finding)
{
    const char *slashes = strstr(url, "://");
    const char *host = slashes != NULL && slashes < url + len ? slashes + 3 : url;
    size_t left = (size_t)(url + len - host), authority = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', authority < left ? authority : left);
    const char *shown = at != NULL ? at + 1 : host;
    left = (size_t)(url + len - shown);
    if (!has_tls(url))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "use https:// with --etcd-cafile, --etcd-certfile",
                       "etcd is reached without TLS by %.*s%.*s%s%.60s: on the way all names, and "
                       "what no provider encrypts, can be read and changed",
                       (int)(host - url), url, left < 200 ? (int)left : 200, shown,
                       of[0] != '\0' ? " of " : "", of);
}

/* Endpoints up to the end or a comma, with @separator between them. */
static void look_at_endpoints(const char *list, char separator, const char *of,
                              struct kms_doctor_finding *finding)
{
    const char stop[] = { separator, ',', '\0' };
    for (const char *at = list; *at != '\0' && (separator == ',' || *at != ',');) {
        size_t len = strcspn(at, stop);
        if (len > 0)
            look_at_endpoint(at, len, of, finding);
        at += len + (at[len] == separator ? 1 : 0);
    }
}

/* GROUP/RESOURCE#SERVER;SERVER,… */
static size_t look_at_overrides(const char *list, struct kms_doctor_finding *finding)
{
    size_t count = 0;
    for (const char *at = list; *at != '\0'; count++) {
        char resource[64];
        size_t len = strcspn(at, ","), name = strcspn(at, "#");
        (void)snprintf(resource, sizeof(resource), "%.*s", name < len ? (int)name : (int)len, at);
        if (name < len)
            look_at_endpoints(at + name + 1, ';', resource, finding);
        else
            kms_doctor_say(finding, KMS_DOCTOR_FAIL, "write GROUP/RESOURCE#SERVERS",
                           "--etcd-servers-overrides has an entry without servers, number %zu",
                           count + 1);
        at += len + (at[len] == ',' ? 1 : 0);
    }
    return count;
}

static void check_etcd_tls(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_apiserver *apiserver = &doctor->apiserver;
    size_t overrides = 0, servers = 0;
    const char *list;
    for (size_t at = 0; (list = kms_apiserver_next_flag(apiserver, "etcd-servers", &at)) != NULL;) {
        servers += list[0] != '\0' ? 1 : 0;
        look_at_endpoints(list, ',', "", finding);
    }
    for (size_t at = 0;
         (list = kms_apiserver_next_flag(apiserver, "etcd-servers-overrides", &at)) != NULL;)
        overrides += look_at_overrides(list, finding);
    if (servers == 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see how your distribution runs its data store",
                       "unknown: kube-apiserver's --etcd-servers isn't given there");
    else if (overrides > 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "run hsm-kms verify on each etcd; destroy a KEK only if --can-destroy is "
                       "clear on all",
                       "--etcd-servers-overrides puts resources into another etcd, which verify "
                       "of this one doesn't see");
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "every endpoint is https:// or a Unix socket");
}

enum { APISERVER = KMS_DOCTOR_CONFIG | KMS_DOCTOR_APISERVER };
const struct kms_doctor_check kms_doctor_apiserver_checks[] = {
    { "apiserver-manifest", "how kube-apiserver is started can be read", 0, check_manifest },
    { "apiserver-config", "--encryption-provider-config is given, and is the file given here",
      APISERVER, check_config_flag },
    { "apiserver-config-mount", "that file's directory is mounted as a whole, at the same path",
      APISERVER, check_config_mount },
    { "apiserver-socket-mount", "the socket's directory is mounted as a whole, at the same path",
      APISERVER, check_socket_mount },
    { "apiserver-reload", "--encryption-provider-config-automatic-reload is on", APISERVER,
      check_reload },
    { "apiserver-liveness", "neither liveness nor startup probe asks kms-providers", APISERVER,
      kms_doctor_check_liveness },
    { "apiserver-uid", "its user may open the socket: peer rules, mode, directory", APISERVER,
      check_uid },
    { "etcd-tls",
      "every endpoint of --etcd-servers and --etcd-servers-overrides is https or a Unix socket",
      APISERVER, check_etcd_tls },
    { NULL, NULL, 0, NULL },
};
