/* SPDX-License-Identifier: Apache-2.0 */
/* doctor's checks of kubeadm's configuration: each as it passes and as it fails. */
#include <stdio.h>

#include "doctor_rig.h"

static struct doctor_rig *rig_of(void **state)
{
    return *state;
}

/* A ClusterConfiguration with these, in flow style. */
static void configure(struct doctor_rig *rig, const char *args, const char *volumes)
{
    char text[2048];
    (void)snprintf(text, sizeof(text),
                   "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
                   "apiServer: {extraArgs: [%s], extraVolumes: [%s]}\n",
                   args, volumes);
    doctor_rig_kubeadm(rig, text);
    assert_int_equal(rig->doctor.kubeadm_fault.code, KMS_OK);
}

#define FLAG "{name: encryption-provider-config, value: /enc/encryption.yaml}"
#define RELOAD "{name: encryption-provider-config-automatic-reload, value: 'true'}"
#define MOUNT "{name: enc, hostPath: /enc, mountPath: /enc}"

static void what_the_next_upgrade_writes_is_read_or_says_where_not(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "kubeadm-config", KMS_DOCTOR_OK, "2 extra arguments, 3 mounts");
    doctor_rig_kubeadm(rig, "kind: InitConfiguration\n");
    doctor_rig_expect(rig, "kubeadm-config", KMS_DOCTOR_FAIL, "kubeadm.yaml: no document of kind");
    doctor_rig_expect(rig, "kubeadm-flag", KMS_DOCTOR_WARN, "can't be used");
}

static void where_kubeadm_isnt_in_use_nothing_is_missing(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.options.kubeadm_config = NULL;
    doctor_rig_expect(rig, "kubeadm-config", KMS_DOCTOR_WARN, "unknown: there is no /var/lib/k");
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_WARN, "unknown");
    doctor_rig_write(rig, "var/lib/kubelet/config.yaml", "");
    doctor_rig_expect(rig, "kubeadm-config", KMS_DOCTOR_OK, "no trace");
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_OK, "no trace");
    doctor_rig_write(rig, "var/lib/kubelet/kubeadm-flags.env", "");
    doctor_rig_expect(rig, "kubeadm-config", KMS_DOCTOR_WARN, "wasn't given");
    doctor_rig_expect(rig, "kubeadm-socket-mount", KMS_DOCTOR_WARN, "wasn't given");
}

static void an_upgrade_keeps_the_flag(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "kubeadm-flag", KMS_DOCTOR_OK, "/enc/encryption.yaml");
    configure(rig, RELOAD, MOUNT);
    doctor_rig_expect(rig, "kubeadm-flag", KMS_DOCTOR_FAIL, "can't read what is encrypted");
    doctor_rig_expect(rig, "kubeadm-config-mount", KMS_DOCTOR_WARN, "no EncryptionConfiguration");
}

static void an_upgrade_keeps_automatic_reload(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "kubeadm-reload", KMS_DOCTOR_OK, "on");
    configure(rig, FLAG, MOUNT);
    doctor_rig_expect(rig, "kubeadm-reload", KMS_DOCTOR_WARN, "needs a restart");
}

static void an_upgrade_keeps_the_encryption_config_mounted(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "kubeadm-config-mount", KMS_DOCTOR_OK, "same on both sides");
    configure(rig, FLAG ", " RELOAD, "");
    doctor_rig_expect(rig, "kubeadm-config-mount", KMS_DOCTOR_FAIL, "isn't mounted");
    configure(rig, "{name: encryption-provider-config, value: /etc/kubernetes/pki/e.yaml}", "");
    doctor_rig_expect(rig, "kubeadm-config-mount", KMS_DOCTOR_OK, "/etc/kubernetes/pki");
}

static void an_upgrade_keeps_the_socket_mounted(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "kubeadm-socket-mount", KMS_DOCTOR_OK, "same on both sides");
    configure(rig, FLAG ", " RELOAD, MOUNT);
    doctor_rig_expect(rig, "kubeadm-socket-mount", KMS_DOCTOR_FAIL, "isn't mounted");
}

static void an_upgrades_mount_allows_a_directory(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    configure(rig, FLAG, "{name: enc, hostPath: /enc, mountPath: /enc, pathType: File}");
    doctor_rig_expect(rig, "kubeadm-config-mount", KMS_DOCTOR_FAIL, "type File");
}

static void flags_agree_with_the_manifest(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_OK, "next kubeadm upgrade writes");
    configure(rig, "{name: encryption-provider-config, value: /other}", MOUNT);
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_FAIL,
                      "in the manifest /enc/encryption.yaml, in kubeadm's configuration /other");
    configure(rig, FLAG, MOUNT);
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_FAIL,
                      "in the manifest true, in kubeadm's configuration not given");
}

static void mounts_agree_with_the_manifest(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char other[256];
    configure(rig, FLAG ", " RELOAD, MOUNT);
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_FAIL, "configuration nothing");
    (void)snprintf(other, sizeof(other),
                   "{name: enc, hostPath: /srv, mountPath: /enc}, "
                   "{name: run, hostPath: %s/run, mountPath: %s/run}",
                   rig->dir, rig->dir);
    configure(rig, FLAG ", " RELOAD, other);
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_FAIL, "/srv/encryption.yaml");
}

static void without_a_manifest_nothing_is_compared(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.options.apiserver_manifest = NULL;
    doctor_rig_expect(rig, "kubeadm-manifest", KMS_DOCTOR_WARN, "not compared");
}

int main(void)
{
#define with_rig(test) cmocka_unit_test_setup_teardown(test, doctor_rig_setup, doctor_rig_teardown)
    const struct CMUnitTest tests[] = {
        with_rig(what_the_next_upgrade_writes_is_read_or_says_where_not),
        with_rig(where_kubeadm_isnt_in_use_nothing_is_missing),
        with_rig(an_upgrade_keeps_the_flag),
        with_rig(an_upgrade_keeps_automatic_reload),
        with_rig(an_upgrade_keeps_the_encryption_config_mounted),
        with_rig(an_upgrade_keeps_the_socket_mounted),
        with_rig(an_upgrades_mount_allows_a_directory),
        with_rig(flags_agree_with_the_manifest),
        with_rig(mounts_agree_with_the_manifest),
        with_rig(without_a_manifest_nothing_is_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
