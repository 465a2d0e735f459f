/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of how kube-apiserver is started. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "access.h"
#include "doctor.h"

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

static const char *encryption_flag(const struct kms_doctor *doctor)
{
    const char *path = kms_apiserver_flag(&doctor->apiserver, "encryption-provider-config");
    return path != NULL && path[0] == '/' ? path : NULL;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

/* Where the host has what kube-apiserver sees at @path; false: nothing of the host's is there. */
static bool to_host(const struct kms_doctor *doctor, const char *path,
                    char ret_path[static KMS_DOCTOR_PATH_MAX],
                    const struct kms_apiserver_mount **ret_mount)
{
    *ret_mount = NULL;
    (void)snprintf(ret_path, KMS_DOCTOR_PATH_MAX, "%s", path);
    if (!doctor->apiserver.is_pod)
        return true;
    const struct kms_apiserver_mount *mount = kms_apiserver_mount_of(&doctor->apiserver, path);
    if (mount == NULL || mount->host[0] == '\0')
        return false;
    (void)snprintf(ret_path, KMS_DOCTOR_PATH_MAX, "%s%s", mount->host,
                   path + strlen(mount->inside));
    *ret_mount = mount;
    return true;
}

static void check_config_flag(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    char at_host[KMS_DOCTOR_PATH_MAX], host[KMS_DOCTOR_PATH_MAX], given[KMS_DOCTOR_PATH_MAX];
    const struct kms_apiserver_mount *mount;
    const char *path = encryption_flag(doctor), *file = doctor->options.encryption_config;
    if (path == NULL) {
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "--encryption-provider-config=FILE (docs/deploy/kubeadm.yaml)",
                       "kube-apiserver has no --encryption-provider-config: nothing is encrypted");
        return;
    }
    if (file == NULL || !to_host(doctor, path, at_host, &mount)) {
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "--encryption-provider-config is %s", path);
        return;
    }
    kms_doctor_host_path(doctor, at_host, host);
    kms_doctor_host_path(doctor, file, given);
    if (is_same_file(host, given))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "--encryption-provider-config is %s", path);
    else
        kms_doctor_say(
            finding, KMS_DOCTOR_WARN, "give doctor the file that kube-apiserver reads",
            "kube-apiserver reads %.300s, which isn't the --encryption-config given here", at_host);
}

/* @what stands at @path of kube-apiserver, at the same path of the host. */
static void look_at_mount(const struct kms_doctor *doctor, const char *what, const char *path,
                          struct kms_doctor_finding *finding)
{
    char host[KMS_DOCTOR_PATH_MAX], fix[KMS_DOCTOR_FIX_MAX], dir[KMS_DOCTOR_PATH_MAX];
    const struct kms_apiserver_mount *mount;
    kms_doctor_parent(path, dir);
    (void)snprintf(fix, sizeof(fix),
                   "mount the directory as a hostPath, the same on both sides: %.300s", dir);
    if (!to_host(doctor, path, host, &mount))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "%s: %.300s isn't mounted from the host",
                       what, path);
    else if (mount == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "no Pod: kube-apiserver sees the host's files");
    else if (strcmp(mount->inside, path) == 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "%s: the file itself is mounted, which a new one in its place never reaches",
                       what);
    else if (strcmp(mount->inside, mount->host) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix, "%s: %.200s is the host's %.200s", what,
                       mount->inside, mount->host);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%.300s, the same on both sides", mount->inside);
}

static void check_config_mount(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const char *path = encryption_flag(doctor);
    if (path != NULL)
        look_at_mount(doctor, "the EncryptionConfiguration", path, finding);
    else
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the check 'apiserver-config'",
                       "kube-apiserver reads no EncryptionConfiguration");
}

/* The socket as kube-apiserver calls it: by its EncryptionConfiguration if we have that. */
static void check_socket_mount(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_encryption_entry *entry = NULL;
    bool ours = false;
    const struct kms_encryption_provider *provider = kms_doctor_provider(doctor, &entry, &ours);
    const char *path = provider != NULL && ours ? kms_doctor_endpoint_path(provider->endpoint)
                                                : doctor->config.socket.path;
    char host[KMS_DOCTOR_PATH_MAX];
    const struct kms_apiserver_mount *mount;
    look_at_mount(doctor, "the socket", path, finding);
    if (to_host(doctor, path, host, &mount) && !kms_doctor_is_our_socket(doctor, host))
        kms_doctor_say(
            finding, KMS_DOCTOR_FAIL, "mount the directory of socket.path there",
            "kube-apiserver's %.200s is the host's %.200s, where the plugin doesn't listen", path,
            host);
}

static void check_reload(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const char *value = kms_apiserver_flag(&doctor->apiserver,
                                           "encryption-provider-config-automatic-reload");
    if (value != NULL && strcasecmp(value, "true") == 0)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "on");
    else
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "--encryption-provider-config-automatic-reload=true",
                       "automatic reload is off: each change of the file needs a restart, and a "
                       "restart needs the HSM");
}

/* /livez never asks KMS providers; /healthz and /readyz do unless they are excluded. */
static bool asks_kms(const char *path)
{
    static const char exclude[] = "exclude=kms-providers";
    const char *at = strstr(path, exclude);
    char next = at != NULL ? at[sizeof(exclude) - 1] : '\0';
    bool excluded = at != NULL && (next == '\0' || next == '&');
    bool asking = kms_path_is_below(path, "/healthz") || kms_path_is_below(path, "/readyz") ||
                  strncmp(path, "/healthz?", 9) == 0 || strncmp(path, "/readyz?", 8) == 0;
    return asking && !excluded;
}

static void check_liveness(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    static const char fix[] = "path: /livez, or add ?exclude=kms-providers";
    const struct kms_apiserver *apiserver = &doctor->apiserver;
    if (asks_kms(apiserver->liveness))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "the liveness probe asks %.200s: while the HSM is away kube-apiserver is "
                       "restarted, and loses the seeds that it had",
                       apiserver->liveness);
    else if (asks_kms(apiserver->startup))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "the startup probe asks %.200s: without the HSM kube-apiserver is restarted "
                       "over and over",
                       apiserver->startup);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "no probe restarts kube-apiserver for KMS%s%.100s",
                       apiserver->liveness[0] != '\0' ? ": " : "", apiserver->liveness);
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

static void check_etcd_tls(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const char *servers = kms_apiserver_flag(&doctor->apiserver, "etcd-servers");
    if (servers == NULL || servers[0] == '\0') {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see how your distribution runs its data store",
                       "unknown: kube-apiserver's --etcd-servers isn't given there");
        return;
    }
    for (const char *at = servers; *at != '\0';) {
        size_t len = strcspn(at, ",");
        if (strncmp(at, "https://", 8) != 0)
            kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                           "use https:// with --etcd-cafile, --etcd-certfile",
                           "etcd is reached without TLS: %.*s", len < 200 ? (int)len : 200, at);
        at += len + (at[len] == ',' ? 1 : 0);
    }
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "every endpoint is https://");
}

enum { APISERVER = KMS_DOCTOR_CONFIG | KMS_DOCTOR_APISERVER };
const struct kms_doctor_check kms_doctor_apiserver_checks[] = {
    { "apiserver-manifest", "how kube-apiserver is started can be read", 0, check_manifest },
    { "apiserver-config", "--encryption-provider-config is given, and is the file given here",
      APISERVER, check_config_flag },
    { "apiserver-config-mount", "that file's directory is mounted, at the same path", APISERVER,
      check_config_mount },
    { "apiserver-socket-mount", "the socket's directory is mounted, at the same path", APISERVER,
      check_socket_mount },
    { "apiserver-reload", "--encryption-provider-config-automatic-reload is on", APISERVER,
      check_reload },
    { "apiserver-liveness", "neither liveness nor startup probe asks kms-providers", APISERVER,
      check_liveness },
    { "apiserver-uid", "its user may open the socket: peer rules, mode, directory", APISERVER,
      check_uid },
    { "etcd-tls", "every one of --etcd-servers is https", APISERVER, check_etcd_tls },
    { NULL, NULL, 0, NULL },
};
