/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "kms/clock.h"

enum { NOW = 1795000000 };

static const char encryption[] = "apiVersion: apiserver.config.k8s.io/v1\n"
                                 "kind: EncryptionConfiguration\n"
                                 "resources:\n"
                                 "- resources: [\"*.*\"]\n"
                                 "  providers:\n"
                                 "  - kms:\n"
                                 "      apiVersion: v2\n"
                                 "      name: hsm-kms\n"
                                 "      endpoint: unix://%s\n"
                                 "      timeout: 3s\n"
                                 "  - identity: {}\n";
static const char manifest[] =
    "kind: Pod\n"
    "spec:\n"
    "  containers:\n"
    "  - name: kube-apiserver\n"
    "    command: [kube-apiserver, '--encryption-provider-config=/enc/encryption.yaml',\n"
    "      --encryption-provider-config-automatic-reload=true, "
    "'--etcd-servers=https://127.0.0.1:2379']\n"
    "    livenessProbe: {httpGet: {path: /livez}}\n"
    "    volumeMounts:\n"
    "    - {name: config, mountPath: /enc}\n"
    "    - {name: socket, mountPath: %s/run}\n"
    "  volumes:\n"
    "  - {name: config, hostPath: {path: /enc/}}\n"
    "  - {name: socket, hostPath: {path: %s/run}}\n";

static const char kubeadm[] =
    "apiVersion: kubeadm.k8s.io/v1beta4\n"
    "kind: ClusterConfiguration\n"
    "apiServer:\n"
    "  extraArgs:\n"
    "  - {name: encryption-provider-config, value: /enc/encryption.yaml}\n"
    "  - {name: encryption-provider-config-automatic-reload, value: 'true'}\n"
    "  extraVolumes:\n"
    "  - {name: config, hostPath: /enc, mountPath: /enc}\n"
    "  - {name: socket, hostPath: %s/run, mountPath: %s/run}\n";

static void make_directories(const char *path)
{
    char part[256];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        (void)mkdir(part, 0755);
    }
}

void doctor_rig_write(struct doctor_rig *rig, const char *path, const char *text)
{
    char full[256];
    (void)snprintf(full, sizeof(full), "%s/%s", rig->dir, path);
    make_directories(full);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void doctor_rig_encryption(struct doctor_rig *rig, const char *text)
{
    struct kms_doctor *doctor = &rig->doctor;
    const struct kms_bytes bytes = kms_bytes_of(text);
    kms_encryption_done(&doctor->encryption);
    doctor->encryption_fault = (struct kms_error){ .code = KMS_OK };
    doctor->encryption_fault.code = kms_encryption_parse(
        "encryption.yaml", bytes, &doctor->encryption, &doctor->encryption_fault);
}

void doctor_rig_manifest(struct doctor_rig *rig, const char *text)
{
    struct kms_doctor *doctor = &rig->doctor;
    const struct kms_bytes bytes = kms_bytes_of(text);
    kms_apiserver_done(&doctor->apiserver);
    doctor->apiserver_fault = (struct kms_error){ .code = KMS_OK };
    doctor->apiserver_fault.code = kms_apiserver_parse(
        "apiserver.yaml", bytes, 0, 0, &doctor->apiserver, &doctor->apiserver_fault);
}

void doctor_rig_kubeadm(struct doctor_rig *rig, const char *text)
{
    struct kms_doctor *doctor = &rig->doctor;
    kms_apiserver_done(&doctor->kubeadm);
    doctor->kubeadm_fault = (struct kms_error){ .code = KMS_OK };
    doctor->kubeadm_fault.code = kms_kubeadm_parse("kubeadm.yaml", kms_bytes_of(text),
                                                   &doctor->kubeadm, &doctor->kubeadm_fault);
}

static void bind_socket(struct doctor_rig *rig)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", rig->socket);
    rig->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(rig->listener >= 0);
    assert_int_equal(bind(rig->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(chmod(rig->socket, 0660), 0);
}

static void fill_config(struct doctor_rig *rig)
{
    static char ring[] = "prod", name[] = "one";
    struct kms_config *config = &rig->doctor.config;
    rig->token = (struct kms_config_token){ .name = name, .pin_file = rig->pin_file };
    config->ring = ring;
    config->tokens = &rig->token;
    config->token_count = 1;
    config->socket.path = rig->socket;
    config->socket.mode = 0660;
    config->state_dir = rig->state_dir;
    config->refresh_ms = 30000;
}

static void make_files(struct doctor_rig *rig)
{
    char text[2048], path[128];
    const char *dir = rig->dir;
    doctor_rig_write(rig, "pin", "1234\n");
    assert_int_equal(chmod(rig->pin_file, 0400), 0);
    doctor_rig_write(rig, "run/kms.sock.lock", "");
    assert_int_equal(mkdir(rig->state_dir, 0700), 0);
    doctor_rig_write(rig, "usr/lib/systemd/system/kubelet.service",
                     "[Unit]\nAfter=network.target\n");
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service",
                     "[Unit]\nBefore = k3s.service kubelet.service\n");
    doctor_rig_write(rig, "etc/systemd/system/multi-user.target.wants/hsm-kms.service", "");
    (void)snprintf(text, sizeof(text), encryption, rig->socket); /* NOLINT */
    doctor_rig_write(rig, "enc/encryption.yaml", text);
    doctor_rig_encryption(rig, text);
    (void)snprintf(text, sizeof(text), manifest, dir, dir); /* NOLINT */
    doctor_rig_manifest(rig, text);
    (void)snprintf(text, sizeof(text), kubeadm, dir, dir); /* NOLINT */
    doctor_rig_kubeadm(rig, text);
    (void)snprintf(path, sizeof(path), "%s/run", dir);
    assert_int_equal(chmod(path, 0755), 0);
    bind_socket(rig);
}

static void fill_token(struct kms_doctor_token *token, const char *name)
{
    *token = (struct kms_doctor_token){ .name = name };
    (void)snprintf(token->presence.label, sizeof(token->presence.label), "prod-token");
    token->presence.login_required = true;
    token->presence.pin_initialized = true;
    token->trial.outcome = PKCS11_PIN_GOOD;
    token->survey.usable = true;
    token->survey.compared = true;
    token->inspected = 1;
    token->inventory.keks = calloc(DOCTOR_KEKS_MAX, sizeof(*token->inventory.keks));
    assert_non_null(token->inventory.keks);
}

int doctor_rig_setup(void **state)
{
    struct doctor_rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    struct kms_doctor *doctor = &rig->doctor;
    (void)snprintf(rig->dir, sizeof(rig->dir), "/tmp/hsm-kms-doctor-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    (void)snprintf(rig->socket, sizeof(rig->socket), "%s/run/kms.sock", rig->dir);
    (void)snprintf(rig->pin_file, sizeof(rig->pin_file), "%s/pin", rig->dir);
    (void)snprintf(rig->state_dir, sizeof(rig->state_dir), "%s/state", rig->dir);
    fill_config(rig);
    doctor->options = (struct kms_doctor_options){ .host_root = rig->dir,
                                                   .encryption_config = "/enc/encryption.yaml",
                                                   .apiserver_manifest = "/apiserver.yaml",
                                                   .kubeadm_config = "/kubeadm.yaml",
                                                   .unit = "hsm-kms.service" };
    make_files(rig);
    doctor->service_uid = geteuid();
    doctor->service_gid = doctor->socket_gid = getegid();
    doctor->socket_gid_known = true;
    doctor->clock_is_synchronised = true;
    doctor->now_utc_s = NOW;
    doctor->node = (struct kms_node){ .reached = true, .healthy = true };
    (void)snprintf(doctor->node.ring, sizeof(doctor->node.ring), "prod");
    (void)snprintf(doctor->node.version, sizeof(doctor->node.version), "%s", KMS_VERSION);
    doctor->token_count = 1;
    fill_token(&doctor->tokens[0], "one");
    (void)doctor_rig_add_kek(rig, "prod.v1@20261101T120000Z", 1);
    doctor_rig_pin(rig, 1, 1);
    doctor->state.promoted = 1;
    doctor_rig_judge(rig);
    *state = rig;
    return 0;
}

int doctor_rig_teardown(void **state)
{
    struct doctor_rig *rig = *state;
    char command[96];
    rig->doctor.config = (struct kms_config){ 0 }; /* nothing in it is the heap's */
    (void)close(rig->listener);
    kms_doctor_done(&rig->doctor);
    (void)snprintf(command, sizeof(command), "rm -rf %s", rig->dir);
    int left = system(command); /* NOLINT: a path of ours */
    free(rig);
    return left;
}

void doctor_rig_add_token(struct doctor_rig *rig)
{
    fill_token(&rig->doctor.tokens[1], "two");
    rig->doctor.token_count = 2;
    doctor_rig_judge(rig);
}

struct kms_kek_info *doctor_rig_add_kek(struct doctor_rig *rig, const char *label, uint8_t tag)
{
    return doctor_rig_add_kek_to(rig, 0, label, tag);
}

struct kms_kek_info *doctor_rig_add_kek_to(struct doctor_rig *rig, size_t token, const char *label,
                                           uint8_t tag)
{
    struct kms_inventory *inventory = &rig->doctor.tokens[token].inventory;
    assert_true(inventory->count < DOCTOR_KEKS_MAX);
    struct kms_kek_info *kek = &inventory->keks[inventory->count++];
    (void)snprintf(kek->label, sizeof(kek->label), "%s", label);
    kek->cka_id[0] = kek->fingerprint[0] = tag;
    kek->cka_id_len = 1;
    kek->fingerprinted = true;
    kek->attributes = DOCTOR_USUAL;
    kek->known = UINT32_MAX;
    kek->value_len = 32;
    return kek;
}

void doctor_rig_pin(struct doctor_rig *rig, uint32_t generation, uint8_t tag)
{
    const uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { tag };
    struct kms_error err = { 0 };
    assert_ok(kms_state_add_pin(&rig->doctor.state, generation, fingerprint, &err), &err);
}

void doctor_rig_judge(struct doctor_rig *rig)
{
    struct kms_doctor *doctor = &rig->doctor;
    const struct kms_ring_options options = { .name = "prod", .vouched = doctor->vouched };
    struct kms_error err = { 0 };
    for (size_t i = 0; i < doctor->token_count; i++) {
        struct kms_doctor_token *token = &doctor->tokens[i];
        kms_snapshot_release(token->snapshot);
        token->snapshot = NULL;
        assert_ok(kms_ring_judge(&options, &doctor->state, doctor->state_is_new, &token->inventory,
                                 doctor->now_utc_s, &token->snapshot, &err),
                  &err);
    }
}

static const struct kms_doctor_check *find_check(const char *name)
{
    const struct kms_doctor_check *const groups[] = {
        kms_doctor_token_checks,     kms_doctor_kek_checks,    kms_doctor_ring_checks,
        kms_doctor_audit_checks,     kms_doctor_host_checks,   kms_doctor_encryption_checks,
        kms_doctor_apiserver_checks, kms_doctor_kubeadm_checks
    };
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
        for (const struct kms_doctor_check *check = groups[i]; check->name != NULL; check++)
            if (strcmp(check->name, name) == 0)
                return check;
    fail_msg("no check '%s'", name);
    return NULL;
}

void doctor_rig_expect(struct doctor_rig *rig, const char *name, enum kms_doctor_status status,
                       const char *part)
{
    struct kms_doctor_finding *found = &rig->found;
    kms_doctor_run(find_check(name), &rig->doctor, found);
    if (found->status != status)
        fail_msg("%s: %s, not %s: %s", name, kms_doctor_status_name(found->status),
                 kms_doctor_status_name(status), found->reason);
    assert_contains(found->reason, part);
    assert_int_equal(found->fix[0] != '\0', status != KMS_DOCTOR_OK);
}
