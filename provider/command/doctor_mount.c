/* SPDX-License-Identifier: Apache-2.0 */
/* Where kube-apiserver has the host's files. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "doctor_apiserver.h"

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool kms_doctor_to_host(const struct kms_apiserver *apiserver, const char *path,
                        char ret_path[static KMS_DOCTOR_PATH_MAX],
                        const struct kms_apiserver_mount **ret_mount)
{
    *ret_mount = NULL;
    (void)snprintf(ret_path, KMS_DOCTOR_PATH_MAX, "%s", path);
    if (apiserver->source != KMS_APISERVER_POD)
        return true;
    const struct kms_apiserver_mount *mount = kms_apiserver_mount_of(apiserver, path);
    if (mount == NULL || mount->host[0] == '\0')
        return false;
    (void)snprintf(ret_path, KMS_DOCTOR_PATH_MAX, "%s%s", mount->host,
                   path + strlen(mount->inside));
    *ret_mount = mount;
    return true;
}

bool kms_doctor_reads(const struct kms_doctor *doctor, const char *at_host, const char *path,
                      const char *file)
{
    char seen[KMS_DOCTOR_PATH_MAX], given[KMS_DOCTOR_PATH_MAX];
    const char *root = doctor->apiserver.root;
    struct stat a, b;
    kms_doctor_host_path(doctor, at_host, seen);
    if (root[0] != '\0')
        (void)snprintf(seen, sizeof(seen), "%s%s", root, path);
    kms_doctor_host_path(doctor, file, given);
    return stat(seen, &a) == 0 && stat(given, &b) == 0 && is_same_file(&a, &b);
}

/* --- a process --- */

/* Whether it sees @ours (a path of ours) at @dir, by the kernel's view of its files. */
static void look_at_process(const struct kms_apiserver *apiserver, const char *what,
                            const char *dir, const char *ours, struct kms_doctor_finding *finding)
{
    static const char fix[] = "run doctor as root on the host, with /proc/PID/cmdline; in a "
                              "container see its mounts";
    char seen[KMS_DOCTOR_PATH_MAX];
    struct stat theirs, st;
    (void)snprintf(seen, sizeof(seen), "%s%s", apiserver->root, dir);
    if (apiserver->root[0] == '\0') {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix,
                       "%s: unknown: a command line doesn't say whether its process sees the "
                       "host's files",
                       what);
        return;
    }
    bool there = stat(seen, &theirs) == 0;
    if (!there && errno != ENOENT && errno != ENOTDIR)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix,
                       "%s: unknown: what kube-apiserver's process sees can't be looked at: %s: %s",
                       what, seen, strerror(errno)); /* NOLINT: commands have one thread here */
    else if (!there || stat(ours, &st) != 0 || !is_same_file(&theirs, &st))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "give its container the directory, at that path",
                       "%s: kube-apiserver's process %s %.200s", what,
                       there ? "sees another directory than the host at" : "has no", dir);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "kube-apiserver's process sees the host's %.300s", dir);
}

/* --- a Pod --- */

static bool is_of_directory(const char *type)
{
    return type[0] == '\0' || strcmp(type, "Directory") == 0 ||
           strcmp(type, "DirectoryOrCreate") == 0;
}

static void look_at_kind(const struct kms_apiserver_mount *mount, const char *what, const char *fix,
                         struct kms_doctor_finding *finding)
{
    if (!is_of_directory(mount->type))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "%s: the hostPath has type %s, with which kubelet refuses a directory: "
                       "kube-apiserver doesn't start",
                       what, mount->type);
    if (mount->sub_path_expr)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix,
                       "%s: unknown: the mount at %.200s has a subPathExpr, which kubelet makes "
                       "from its environment",
                       what, mount->inside);
    if (mount->sub_path)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix,
                       "%s: unknown: the mount at %.200s has a subPath, which stays what it was "
                       "when the container started",
                       what, mount->inside);
}

static void look_at_pod(const struct kms_apiserver *apiserver, const char *what, const char *path,
                        struct kms_doctor_finding *finding)
{
    char host[KMS_DOCTOR_PATH_MAX], fix[KMS_DOCTOR_FIX_MAX], dir[KMS_DOCTOR_PATH_MAX];
    const struct kms_apiserver_mount *mount;
    kms_doctor_parent(path, dir);
    (void)snprintf(fix, sizeof(fix),
                   "mount the directory as a hostPath, the same on both sides: %.300s", dir);
    if (!kms_doctor_to_host(apiserver, path, host, &mount)) {
        kms_doctor_say(
            finding, KMS_DOCTOR_FAIL, fix,
            "%s: %.300s isn't mounted from the host, so that kube-apiserver can't open it", what,
            path);
        return;
    }
    if (strcmp(mount->inside, path) == 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "%s: the file itself is mounted, which a new one in its place never reaches",
                       what);
    look_at_kind(mount, what, fix, finding);
    if (strcmp(mount->inside, mount->host) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix, "%s: %.200s is the host's %.200s", what,
                       mount->inside, mount->host);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%.300s, the same on both sides", mount->inside);
}

void kms_doctor_look_at_mount(const struct kms_doctor *doctor,
                              const struct kms_apiserver *apiserver, const char *what,
                              const char *path, struct kms_doctor_finding *finding)
{
    char dir[KMS_DOCTOR_PATH_MAX], host[KMS_DOCTOR_PATH_MAX];
    kms_doctor_parent(path, dir);
    kms_doctor_host_path(doctor, dir, host);
    switch (apiserver->source) {
    case KMS_APISERVER_POD:
        look_at_pod(apiserver, what, path, finding);
        return;
    case KMS_APISERVER_PROCESS:
        look_at_process(apiserver, what, dir, host, finding);
        return;
    case KMS_APISERVER_K3S:
        break;
    }
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "no Pod: kube-apiserver sees the host's files");
}

/* --- the socket --- */

static void look_at_socket(const struct kms_doctor *doctor, const struct kms_apiserver *apiserver,
                           const char *what, const char *path, struct kms_doctor_finding *finding)
{
    char host[KMS_DOCTOR_PATH_MAX], dir[KMS_DOCTOR_PATH_MAX], ours[KMS_DOCTOR_PATH_MAX];
    const struct kms_apiserver_mount *mount;
    if (apiserver->source == KMS_APISERVER_PROCESS) {
        kms_doctor_parent(path, dir);
        kms_doctor_parent(doctor->config.socket.path, ours);
        look_at_process(apiserver, what, dir, ours, finding);
        return;
    }
    kms_doctor_look_at_mount(doctor, apiserver, what, path, finding);
    bool known = kms_doctor_to_host(apiserver, path, host, &mount) &&
                 (mount == NULL || !mount->sub_path_expr);
    if (known && !kms_doctor_is_our_socket(doctor, host))
        kms_doctor_say(
            finding, KMS_DOCTOR_FAIL, "mount the directory of socket.path there",
            "%s: kube-apiserver's %.200s is the host's %.200s, where the plugin doesn't listen",
            what, path, host);
}

const char *kms_doctor_socket_path(const struct kms_doctor *doctor)
{
    struct kms_doctor_provider found;
    for (size_t at = 0; kms_doctor_next_provider(doctor, &at, &found);) {
        if (found.ours)
            return kms_doctor_endpoint_path(found.provider->endpoint);
    }
    return doctor->config.socket.path;
}

void kms_doctor_look_at_sockets(const struct kms_doctor *doctor,
                                const struct kms_apiserver *apiserver, const char *what,
                                struct kms_doctor_finding *finding)
{
    struct kms_doctor_provider found;
    look_at_socket(doctor, apiserver, what, kms_doctor_socket_path(doctor), finding);
    for (size_t at = 0; kms_doctor_next_provider(doctor, &at, &found);) {
        if (found.ours)
            look_at_socket(doctor, apiserver, what,
                           kms_doctor_endpoint_path(found.provider->endpoint), finding);
    }
}
