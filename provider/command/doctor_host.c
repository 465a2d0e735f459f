/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the host: socket, start order, SELinux, etcd's disk. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "doctor_directory.h"
#include "doctor_disk.h"
#include "doctor_unit.h"

/* The plugin makes it 0600; a node that hasn't served has none. */
static void look_at_ring_file(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    char path[KMS_DOCTOR_PATH_MAX];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/ring.json", doctor->config.state_dir);
    if (lstat(path, &st) != 0)
        return;
    unsigned mode = st.st_mode & 07777;
    if (!S_ISREG(st.st_mode) || (mode & (S_IWGRP | S_IWOTH)) != 0 ||
        st.st_uid != doctor->service_uid)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chown it to the service, chmod 0600 it",
                       "ring.json says which keys this node trusts: it must be a file that the "
                       "service alone may write, and is uid %u's with mode %04o",
                       (unsigned)st.st_uid, mode);
}

static void check_state_dir(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const char *path = doctor->config.state_dir;
    char fix[KMS_DOCTOR_FIX_MAX];
    struct stat st;
    (void)snprintf(fix, sizeof(fix), "install -d -m 0700 -o SERVICE %.300s", path);
    if (stat(path, &st) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "state_dir %.200s: %s", path,
                       strerror(errno)); /* NOLINT: commands have one thread here */
    else if (!S_ISDIR(st.st_mode) || (st.st_mode & 0777) != 0700)
        kms_doctor_say(
            finding, KMS_DOCTOR_FAIL, fix,
            "state_dir says which keys this node trusts: it must be a directory of mode 0700, "
            "and has %04o",
            (unsigned)(st.st_mode & 07777));
    else
        look_at_ring_file(doctor, finding);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "mode 0700, of uid %u", (unsigned)st.st_uid);
}

/* As the plugin judges it at its start (socket.c). */
static void check_socket_directory(const struct kms_doctor *doctor,
                                   struct kms_doctor_finding *finding)
{
    char dir[KMS_DOCTOR_PATH_MAX];
    struct stat st;
    kms_doctor_parent(doctor->config.socket.path, dir);
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode)) {
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "RuntimeDirectory= of the unit, or a line in tmpfiles.d, makes it",
                       "%.200s isn't there, or is no directory", dir);
        return;
    }
    unsigned mode = st.st_mode & 07777;
    bool trusted_group = st.st_gid == 0 ||
                         (doctor->socket_gid_known && st.st_gid == doctor->socket_gid);
    if (st.st_uid != 0 && st.st_uid != doctor->service_uid)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chown it to root, or to the plugin's account",
                       "%.200s belongs to uid %u, who could put another socket there", dir,
                       (unsigned)st.st_uid);
    else if ((mode & S_IWOTH) != 0 || ((mode & S_IWGRP) != 0 && !trusted_group))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chmod go-w it",
                       "%.200s has mode %04o: others could put a socket of their own there", dir,
                       mode);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%.200s, mode %04o, of uid %u", dir, mode,
                       (unsigned)st.st_uid);
}

static void check_socket(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_config_socket *socket = &doctor->config.socket;
    struct stat st;
    if (lstat(socket->path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "start the plugin (systemctl start hsm-kms); it makes the socket",
                       "there is no socket at %s", socket->path);
        return;
    }
    unsigned mode = st.st_mode & 07777;
    if (st.st_uid != doctor->service_uid)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "see who listens there: ss -xlp",
                       "the socket belongs to uid %u, and state_dir to uid %u", (unsigned)st.st_uid,
                       (unsigned)doctor->service_uid);
    else if (mode != socket->mode || (doctor->socket_gid_known && st.st_gid != doctor->socket_gid))
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "restart the plugin after a change of socket:",
                       "the socket has mode %04o and group %u, the configuration says %04o and %u",
                       mode, (unsigned)st.st_gid, (unsigned)socket->mode,
                       (unsigned)doctor->socket_gid);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "mode %04o, uid %u, group %u", mode,
                       (unsigned)st.st_uid, (unsigned)st.st_gid);
}

static void check_peer_rules(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_config_socket *socket = &doctor->config.socket;
    bool others = (socket->mode & 06) == 06;
    if (!doctor->socket_gid_known)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "create it, or name one that is there",
                       "socket.group '%s' doesn't exist", socket->group);
    if ((socket->mode & 02) != 0)
        kms_doctor_say(
            finding, KMS_DOCTOR_WARN, "socket.mode \"0660\" and a group",
            "socket.mode %04o lets every local user connect; the plugin then refuses all "
            "but root, its own user, the group and allow_uids",
            (unsigned)socket->mode);
    for (size_t i = 0; i < socket->allow_uid_count; i++) {
        uint32_t uid = socket->allow_uids[i];
        if (!others && uid != 0 && uid != doctor->service_uid)
            kms_doctor_say(finding, KMS_DOCTOR_WARN, "put that user into socket.group",
                           "allow_uids has %u, who can't open a socket of mode %04o unless in its "
                           "group",
                           (unsigned)uid, (unsigned)socket->mode);
    }
    kms_doctor_say(
        finding, KMS_DOCTOR_OK, "", "root, uid %u, group %u and %zu uid(s) of allow_uids",
        (unsigned)doctor->service_uid, (unsigned)doctor->socket_gid, socket->allow_uid_count);
}

/* --- start order --- */

static const struct {
    const char *unit;
    bool runs_apiserver; /* by itself: a Pod of ours would come after it */
} starters[] = {
    { "kubelet.service", false },
    { "k3s.service", true },
    { "rke2-server.service", true },
};
enum { STARTER_COUNT = sizeof(starters) / sizeof(starters[0]) };

/* True if @first's unit file or @second's puts @first before @second. */
static bool is_ordered(const struct kms_doctor *doctor, const char *first, const char *second)
{
    return kms_unit_lists(doctor, first, "Before", second) ||
           kms_unit_lists(doctor, second, "After", first);
}

static bool is_started(const struct kms_doctor *doctor, const char *unit, const char *starter)
{
    return kms_unit_is_enabled(doctor, unit) || kms_unit_lists(doctor, starter, "Wants", unit) ||
           kms_unit_lists(doctor, starter, "Requires", unit);
}

static void say_no_unit(const struct kms_doctor *doctor, const char *starter, bool runs_apiserver,
                        const char *fix, struct kms_doctor_finding *finding)
{
    kms_doctor_say(finding, runs_apiserver ? KMS_DOCTOR_FAIL : KMS_DOCTOR_WARN, fix,
                   runs_apiserver
                       ? "%s starts kube-apiserver, and there is no unit %.100s: a Pod comes too "
                         "late"
                       : "%s is here, and there is no unit %.100s: fine if the plugin is a static "
                         "Pod",
                   starter, doctor->options.unit);
}

static void look_at_starter(const struct kms_doctor *doctor, const char *starter,
                            bool runs_apiserver, struct kms_doctor_finding *finding)
{
    const char *unit = doctor->options.unit;
    char fix[KMS_DOCTOR_FIX_MAX];
    (void)snprintf(fix, sizeof(fix), "Before=%s in [Unit] of %.100s (docs/deploy/hsm-kms.service)",
                   starter, unit);
    if (!kms_unit_exists(doctor, unit)) {
        say_no_unit(doctor, starter, runs_apiserver, fix, finding);
        return;
    }
    if (!is_ordered(doctor, unit, starter))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix,
                       "%.100s isn't ordered before %s: after a reboot kube-apiserver may start "
                       "without the plugin, and is restarted until that is there",
                       unit, starter);
    else if (is_ordered(doctor, starter, unit))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "take the After= of the two away",
                       "%.100s is ordered both before and after %s: systemd breaks such a circle "
                       "by leaving one out",
                       unit, starter);
    else if (!is_started(doctor, unit, starter))
        kms_doctor_say(
            finding, KMS_DOCTOR_WARN, "systemctl enable it",
            "%.100s isn't enabled: no unit pulls it in, so that it doesn't start at boot", unit);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%.100s comes before %s", unit, starter);
}

static void check_start_order(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < STARTER_COUNT; i++) {
        if (kms_unit_exists(doctor, starters[i].unit))
            look_at_starter(doctor, starters[i].unit, starters[i].runs_apiserver, finding);
    }
    if (finding->reason[0] != '\0')
        return;
    kms_doctor_say(finding, KMS_DOCTOR_WARN,
                   "in a container give the host's file system by --host-root DIR; elsewhere see "
                   "that the plugin starts before kube-apiserver",
                   "unknown: neither kubelet, k3s nor rke2-server has a systemd unit here");
}

/* --- SELinux --- */

static bool is_for_containers(const char *label)
{
    static const char *const types[] = { ":container_file_t:", ":container_var_run_t:",
                                         ":container_share_t:", ":svirt_sandbox_file_t:" };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strstr(label, types[i]) != NULL)
            return true;
    }
    return false;
}

static void check_selinux(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_doctor_selinux *selinux = &doctor->selinux;
    char dir[KMS_DOCTOR_PATH_MAX], fix[KMS_DOCTOR_FIX_MAX];
    kms_doctor_parent(doctor->config.socket.path, dir);
    (void)snprintf(
        fix, sizeof(fix),
        "semanage fcontext -a -t container_file_t '%.90s(/.*)?' and restorecon -R %.90s, "
        "if kube-apiserver is a confined container",
        dir, dir);
    if (!selinux->present)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "SELinux isn't in use");
    else if (is_for_containers(selinux->label))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "the socket's directory is %s", selinux->label);
    else
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix,
                       "SELinux is %s, and the socket's directory has the label '%.200s', which "
                       "containers may not open",
                       selinux->enforcing ? "enforcing" : "permissive",
                       selinux->label[0] != '\0' ? selinux->label : "none");
}

/* --- etcd's disk --- */

static const char *find_etcd(const struct kms_doctor *doctor)
{
    static const char *const usual[] = { "/var/lib/etcd", "/var/lib/rancher/k3s/server/db",
                                         "/var/lib/rancher/rke2/server/db" };
    char path[KMS_DOCTOR_PATH_MAX];
    struct stat st;
    if (doctor->options.etcd_data_dir != NULL)
        return doctor->options.etcd_data_dir;
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
        kms_doctor_host_path(doctor, usual[i], path);
        if (stat(path, &st) == 0)
            return usual[i];
    }
    return NULL;
}

static void check_etcd_disk(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    static const char fix[] =
        "put etcd's data on an encrypted device (LUKS): names, sizes and what "
        "no provider covers stand there in clear";
    const char *dir = find_etcd(doctor);
    if (dir == NULL) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "name it by --etcd-data-dir DIR, or ask etcd's hosts",
                       "unknown: no data directory of etcd is here");
        return;
    }
    switch (kms_disk_encryption(doctor, dir)) {
    case KMS_DISK_ENCRYPTED:
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%.200s is on dm-crypt", dir);
        return;
    case KMS_DISK_PLAIN:
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix, "%.200s is on a device without dm-crypt",
                       dir);
        return;
    case KMS_DISK_UNKNOWN:
        break;
    }
    kms_doctor_say(finding, KMS_DOCTOR_WARN, "see how its file system is stored",
                   "unknown: %.200s isn't on a block device that /sys tells of", dir);
}

const struct kms_doctor_check kms_doctor_host_checks[] = {
    { "state-dir", "state_dir is there, mode 0700, and ring.json in it is the service's alone",
      KMS_DOCTOR_CONFIG, check_state_dir },
    { "directories",
      "nobody else may change a directory above socket, state_dir, PIN file or PKCS#11 library",
      KMS_DOCTOR_CONFIG, kms_doctor_check_directories },
    { "socket-directory", "the socket's directory: nobody else may put a socket there",
      KMS_DOCTOR_CONFIG, check_socket_directory },
    { "socket", "owner, group and mode of the socket are as configured", KMS_DOCTOR_CONFIG,
      check_socket },
    { "peer-rules", "`socket.group` exists, and who is let in can open the socket",
      KMS_DOCTOR_CONFIG, check_peer_rules },
    { "start-order", "the systemd unit is enabled and comes before kubelet, k3s or rke2-server", 0,
      check_start_order },
    { "selinux", "containers may open the socket's directory", KMS_DOCTOR_CONFIG, check_selinux },
    { "etcd-disk", "etcd's data directory is on dm-crypt", 0, check_etcd_disk },
    { NULL, NULL, 0, NULL },
};
