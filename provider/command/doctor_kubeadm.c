/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of kubeadm's ClusterConfiguration, from which the next upgrade writes kube-apiserver's manifest
 * anew: what was only put into the manifest is gone then. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "doctor_apiserver.h"

static const char get_it[] =
    "kubectl -n kube-system get configmap kubeadm-config -o yaml > FILE; --kubeadm-config FILE";
static const char put_it[] = "kubectl -n kube-system edit configmap kubeadm-config, as "
                             "docs/deploy/kubeadm.yaml has it; fine "
                             "only if kubeadm gets it by --patches at every upgrade";

static const char kubelets[] = "/var/lib/kubelet";
/* kubeadm writes this file wherever it joins a node to a cluster. */
static const char trace[] = "/var/lib/kubelet/kubeadm-flags.env";

static bool is_there(const struct kms_doctor *doctor, const char *at_host)
{
    char path[KMS_DOCTOR_PATH_MAX];
    struct stat st;
    kms_doctor_host_path(doctor, at_host, path);
    return stat(path, &st) == 0;
}

/* False after @finding says why there is nothing to look at. */
static bool need_kubeadm(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (doctor->options.kubeadm_config == NULL && !is_there(doctor, kubelets))
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "in a container give the host's file system by --host-root DIR; elsewhere "
                       "--kubeadm-config FILE",
                       "unknown: there is no %s here that would tell whether kubeadm is in use",
                       kubelets);
    else if (doctor->options.kubeadm_config == NULL && !is_there(doctor, trace))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "kubeadm left no trace here (%s)", trace);
    else if (doctor->options.kubeadm_config == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, get_it,
                       "not looked at: the ClusterConfiguration wasn't given, from which kubeadm "
                       "upgrade writes the manifest anew");
    else if (doctor->kubeadm_fault.code != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "mend what the check 'kubeadm-config' names",
                       "not made: the file can't be used");
    return finding->reason[0] == '\0';
}

static void check_config(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (doctor->options.kubeadm_config != NULL && doctor->kubeadm_fault.code != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, get_it, "%s", doctor->kubeadm_fault.msg);
    else if (need_kubeadm(doctor, finding))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s: %zu extra arguments, %zu mounts",
                       doctor->options.kubeadm_config, doctor->kubeadm.arg_count,
                       doctor->kubeadm.mount_count);
}

static void check_flag(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (!need_kubeadm(doctor, finding))
        return;
    const char *path = kms_doctor_encryption_flag(&doctor->kubeadm);
    if (path != NULL)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "encryption-provider-config is %s", path);
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, put_it,
                       "extraArgs have no encryption-provider-config: after the next kubeadm "
                       "upgrade kube-apiserver runs without it, stores new values in plaintext and "
                       "can't read what is encrypted");
}

static void check_reload(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (!need_kubeadm(doctor, finding))
        return;
    if (kms_doctor_is_reloading(&doctor->kubeadm))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "on");
    else
        kms_doctor_say(finding, KMS_DOCTOR_WARN, put_it,
                       "extraArgs don't set encryption-provider-config-automatic-reload to true: "
                       "after the next kubeadm upgrade each change of the file needs a restart");
}

static void check_config_mount(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (!need_kubeadm(doctor, finding))
        return;
    const char *path = kms_doctor_encryption_flag(&doctor->kubeadm);
    if (path != NULL)
        kms_doctor_look_at_mount(doctor, &doctor->kubeadm, "after the next kubeadm upgrade", path,
                                 finding);
    else
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the check 'kubeadm-flag'",
                       "there is no EncryptionConfiguration to mount");
}

static void check_socket_mount(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (need_kubeadm(doctor, finding))
        kms_doctor_look_at_sockets(doctor, &doctor->kubeadm, "after the next kubeadm upgrade",
                                   finding);
}

/* --- the manifest that kube-apiserver runs with --- */

static const char agree[] =
    "make kubeadm's configuration right first, since it wins at the next upgrade; then kubeadm "
    "init "
    "phase control-plane apiserver --config FILE writes the manifest from it";

static void compare_flag(const struct kms_doctor *doctor, const char *name,
                         struct kms_doctor_finding *finding)
{
    const char *now = kms_apiserver_flag(&doctor->apiserver, name);
    const char *then = kms_apiserver_flag(&doctor->kubeadm, name);
    now = now != NULL ? now : "not given";
    then = then != NULL ? then : "not given";
    if (strcmp(now, then) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, agree,
                       "--%s: in the manifest %.200s, in kubeadm's configuration %.200s", name, now,
                       then);
}

static void compare_mount(const struct kms_doctor *doctor, const char *path,
                          struct kms_doctor_finding *finding)
{
    char now[KMS_DOCTOR_PATH_MAX], then[KMS_DOCTOR_PATH_MAX];
    const struct kms_apiserver_mount *mount;
    if (!kms_doctor_to_host(&doctor->apiserver, path, now, &mount))
        (void)snprintf(now, sizeof(now), "nothing");
    if (!kms_doctor_to_host(&doctor->kubeadm, path, then, &mount))
        (void)snprintf(then, sizeof(then), "nothing");
    if (strcmp(now, then) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, agree,
                       "%.150s is by the manifest the host's %.150s, by kubeadm's configuration "
                       "%.150s",
                       path, now, then);
}

static void check_manifest(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (!need_kubeadm(doctor, finding))
        return;
    const char *path = kms_doctor_encryption_flag(&doctor->apiserver);
    if (doctor->options.apiserver_manifest == NULL || doctor->apiserver_fault.code != KMS_OK) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "--apiserver-manifest /etc/kubernetes/manifests/kube-apiserver.yaml",
                       "not compared: there is no manifest that can be used");
        return;
    }
    compare_flag(doctor, "encryption-provider-config", finding);
    compare_flag(doctor, "encryption-provider-config-automatic-reload", finding);
    if (doctor->apiserver.source == KMS_APISERVER_POD && path != NULL)
        compare_mount(doctor, path, finding);
    if (doctor->apiserver.source == KMS_APISERVER_POD)
        compare_mount(doctor, kms_doctor_socket_path(doctor), finding);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                   "kube-apiserver runs with what the next kubeadm upgrade writes");
}

const struct kms_doctor_check kms_doctor_kubeadm_checks[] = {
    { "kubeadm-config", "kubeadm's ClusterConfiguration can be read", 0, check_config },
    { "kubeadm-flag", "its extraArgs have encryption-provider-config, or the next upgrade drops it",
      0, check_flag },
    { "kubeadm-reload", "and encryption-provider-config-automatic-reload", 0, check_reload },
    { "kubeadm-config-mount", "its extraVolumes have the directory of that file", 0,
      check_config_mount },
    { "kubeadm-socket-mount", "and the socket's", KMS_DOCTOR_CONFIG, check_socket_mount },
    { "kubeadm-manifest", "kube-apiserver's manifest has the same flags and mounts",
      KMS_DOCTOR_CONFIG, check_manifest },
    { NULL, NULL, 0, NULL },
};
