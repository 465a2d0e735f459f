/* SPDX-License-Identifier: Apache-2.0 */
/* What doctor's checks look at, gathered. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backups.h"
#include "client.h"
#include "doctor.h"
#include "doctor_libraries.h"
#include "keystore.h"
#include "kms/clock.h"
#include "node_source.h"

enum { TOKEN_TIMEOUT_MS = 10 * 1000, RECORD_MAX = 64 * 1024 };

static int64_t deadline(void)
{
    return kms_monotonic_ms() + TOKEN_TIMEOUT_MS;
}

/* --- the host --- */

static void find_service(struct kms_doctor *doctor)
{
    struct stat st;
    doctor->service_uid = geteuid();
    doctor->service_gid = getegid();
    if (stat(doctor->config.state_dir, &st) != 0 || st.st_uid == doctor->service_uid)
        return;
    doctor->service_uid = st.st_uid;
    doctor->service_gid = st.st_gid;
    char *record = malloc(RECORD_MAX);
    struct passwd user, *found = NULL;
    if (record != NULL)
        (void)getpwuid_r(st.st_uid, &user, record, RECORD_MAX, &found);
    if (found != NULL)
        doctor->service_gid = found->pw_gid;
    free(record);
}

static void find_group(struct kms_doctor *doctor)
{
    const char *name = doctor->config.socket.group;
    char *end = NULL;
    doctor->socket_gid = doctor->service_gid;
    doctor->socket_gid_known = name == NULL;
    if (name == NULL)
        return;
    unsigned long number = strtoul(name, &end, 10);
    if (name[0] >= '0' && name[0] <= '9' && *end == '\0' && number < UINT32_MAX) {
        doctor->socket_gid = (gid_t)number;
        doctor->socket_gid_known = true;
        return;
    }
    char *record = malloc(RECORD_MAX);
    struct group group, *found = NULL;
    if (record != NULL)
        (void)getgrnam_r(name, &group, record, RECORD_MAX, &found);
    doctor->socket_gid_known = found != NULL;
    if (found != NULL)
        doctor->socket_gid = found->gr_gid;
    free(record);
}

static void look_at_selinux(struct kms_doctor *doctor)
{
    struct kms_doctor_selinux *selinux = &doctor->selinux;
    char path[KMS_DOCTOR_PATH_MAX];
    kms_doctor_host_path(doctor, "/sys/fs/selinux/enforce", path);
    FILE *file = fopen(path, "re");
    selinux->present = file != NULL;
    if (file == NULL)
        return;
    selinux->enforcing = fgetc(file) == '1';
    (void)fclose(file);
    kms_doctor_parent(doctor->config.socket.path, path);
    ssize_t len = getxattr(path, "security.selinux", selinux->label, sizeof(selinux->label) - 1);
    selinux->label[len > 0 ? len : 0] = '\0';
}

static void look_at_clock(struct kms_doctor *doctor)
{
    struct timex clock = { .modes = 0 };
    doctor->now_utc_s = kms_utc_s();
    int state = adjtimex(&clock); /* -1: containers may not ask */
    doctor->clock_is_synchronised = state >= 0 && state != TIME_ERROR &&
                                    (clock.status & STA_UNSYNC) == 0;
}

void kms_doctor_look_at_host(struct kms_doctor *doctor)
{
    const struct kms_doctor_options *options = &doctor->options;
    char path[KMS_DOCTOR_PATH_MAX];
    look_at_clock(doctor);
    if (options->encryption_config != NULL) {
        kms_doctor_host_path(doctor, options->encryption_config, path);
        doctor->encryption_fault.code = kms_encryption_load(path, &doctor->encryption,
                                                            &doctor->encryption_fault);
    }
    if (options->apiserver_manifest != NULL) {
        kms_doctor_host_path(doctor, options->apiserver_manifest, path);
        doctor->apiserver_fault.code = kms_apiserver_load(path, &doctor->apiserver,
                                                          &doctor->apiserver_fault);
    }
    if (options->kubeadm_config != NULL) {
        kms_doctor_host_path(doctor, options->kubeadm_config, path);
        doctor->kubeadm_fault.code = kms_kubeadm_load(path, &doctor->kubeadm,
                                                      &doctor->kubeadm_fault);
    }
    doctor->config_fault.code = kms_config_load(options->config_path, &doctor->config,
                                                &doctor->config_fault);
    if (doctor->config_fault.code != KMS_OK)
        return;
    find_service(doctor);
    find_group(doctor);
    look_at_selinux(doctor);
}

/* --- a token --- */

/* One attempt at most, and none that could bring the token nearer to its lock. */
static void try_pin(const struct pkcs11_keystore_options *options, struct kms_doctor_token *token)
{
    const struct pkcs11_pin_flags *flags = &token->presence.pin;
    struct pkcs11_pin_trial look = { .spend = false }, trial = { .spend = true };
    if (flags->locked || flags->final_try || flags->count_low)
        return;
    token->pin_fault.code = pkcs11_pin_check(options, NULL, deadline(), &look, &token->pin_fault);
    if (token->pin_fault.code != KMS_OK)
        return;
    token->trial = look;
    if (look.memory == PKCS11_PIN_MEMORY_REFUSED || look.memory == PKCS11_PIN_MEMORY_UNFINISHED)
        return;
    token->pin_fault.code = pkcs11_pin_check(options, NULL, deadline(), &trial, &token->pin_fault);
    if (token->pin_fault.code == KMS_OK)
        token->trial = trial;
}

static void inspect(struct kms_keystore *keystore, const struct kms_kek_info *kek,
                    struct kms_doctor_token *token)
{
    const struct kms_object object = { kek->label, { kek->cka_id, kek->cka_id_len } };
    struct kms_kek_details details;
    if (kms_keystore_inspect(keystore, &object, deadline(), &details, NULL) != KMS_OK)
        return;
    token->inspected++;
    token->modifiable += details.modifiable ? 1 : 0;
    token->destroyable += details.destroyable ? 1 : 0;
}

/* The ring's keys alone are used.  Of others the labels come along, since the filter has a name: one
 * that no key has. */
static enum kms_code list(struct kms_doctor *doctor, struct kms_keystore *keystore,
                          struct kms_doctor_token *token, struct kms_error *err)
{
    static const struct kms_kek_name nobody = { .label = "hsm-kms doctor: no key" };
    const struct kms_ring_options ring = { .name = doctor->config.ring,
                                           .vouched = doctor->vouched };
    char prefix[KMS_RING_MAX + 3];
    (void)snprintf(prefix, sizeof(prefix), "%s.v", doctor->config.ring);
    struct kms_kek_filter filter = kms_vouched_filter(&doctor->vouched, prefix);
    if (filter.name_count == 0) {
        filter.names = &nobody;
        filter.name_count = 1;
    }
    enum kms_code rc = kms_keystore_list(keystore, &filter, deadline(), &token->inventory, err);
    for (size_t i = 0; rc == KMS_OK && i < token->inventory.count; i++)
        inspect(keystore, &token->inventory.keks[i], token);
    if (rc == KMS_OK)
        rc = kms_ring_judge(&ring, &doctor->state, doctor->state_is_new, &token->inventory,
                            doctor->now_utc_s, &token->snapshot, err);
    return rc;
}

static void look_inside(struct kms_doctor *doctor, const struct pkcs11_keystore_options *options,
                        struct kms_doctor_token *token)
{
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = NULL;
    bool in = !token->presence.login_required || token->trial.outcome == PKCS11_PIN_GOOD;
    if (!in || token->pin_fault.code != KMS_OK) {
        token->survey_fault.code = kms_fail(&token->survey_fault, KMS_E_PRECONDITION,
                                            "there was no login");
        token->list_fault = token->survey_fault;
        return;
    }
    token->survey_fault.code = pkcs11_survey(options, NULL, deadline(), &token->survey,
                                             &token->survey_fault);
    token->list_fault.code = pkcs11_keystore_open(options, &keystore, &token->list_fault);
    if (token->list_fault.code == KMS_OK)
        token->list_fault.code = list(doctor, keystore, token, &token->list_fault);
}

static void look_at_token(struct kms_doctor *doctor, size_t i)
{
    const struct kms_config_token *config = &doctor->config.tokens[i];
    struct kms_doctor_token *token = &doctor->tokens[i];
    const struct pkcs11_keystore_options options = {
        .module = config->module,
        .uri = config->uri,
        .pin_file = config->pin_file,
        .user = config->user,
        .user_type = config->user_type,
        .sessions = 1,
        .latch_dir = doctor->config.state_dir,
        .profile = doctor->config.profile,
    };
    token->name = config->name;
    token->limited = config->user_type == KMS_USER_TYPE_CRYPTO_USER;
    pkcs11_presence_look(config->module, config->uri, NULL, NULL, &token->presence);
    if (token->presence.module_fault.code != KMS_OK && config->module[0] == '/')
        kms_missing_libraries(config->module, token->missing, sizeof(token->missing));
    bool there = token->presence.module_fault.code == KMS_OK &&
                 token->presence.token_fault.code == KMS_OK;
    token->survey_fault = token->list_fault = there ? (struct kms_error){ .code = KMS_OK }
                                                    : token->presence.token_fault;
    if (there && token->presence.login_required)
        try_pin(&options, token);
    if (there)
        look_inside(doctor, &options, token);
}

/* --- what this node remembers, and the plugin on it --- */

static void look_at_backup(struct kms_doctor *doctor, const struct kms_ring_entry *entry)
{
    struct kms_backup backup;
    bool found = false;
    bool serves = entry->state != KMS_KEK_MISSING && entry->may_unwrap;
    if (!serves || doctor->backups_fault.code != KMS_OK)
        return;
    doctor->backups_fault.code = kms_backups_find(doctor->config.state_dir, NULL,
                                                  entry->kek.fingerprint, &found, &backup,
                                                  &doctor->backups_fault);
    if (doctor->backups_fault.code != KMS_OK || found)
        return;
    if (doctor->without_backup++ == 0)
        doctor->first_without_backup = entry->generation;
}

/* The first token that could be listed stands for all: they hold the same KEKs. */
static void look_at_backups(struct kms_doctor *doctor)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_snapshot *snapshot = doctor->tokens[i].snapshot;
        for (size_t k = 0; snapshot != NULL && k < snapshot->count; k++)
            look_at_backup(doctor, &snapshot->entries[k]);
        if (snapshot != NULL)
            return;
    }
}

static void hear_of_audit(const Hsmkms__Node__V1__DescribeResponse *description,
                          struct kms_doctor_audit *audit)
{
    const Hsmkms__Node__V1__Audit *told = description->audit;
    audit->told = description->settings.len > 0; /* older ones tell neither */
    audit->configured = told != NULL;
    audit->writable = told != NULL && told->ok;
    audit->lost = told != NULL ? told->lost : 0;
    (void)snprintf(audit->reason, sizeof(audit->reason), "%s", told != NULL ? told->message : "");
}

static void ask_plugin(struct kms_doctor *doctor)
{
    KMS_CLEANUP(kms_client_close_ptr) struct kms_client *client = NULL;
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    struct kms_error *err = &doctor->node_fault;
    err->code = kms_client_open(doctor->config.socket.path, &client, err);
    if (err->code == KMS_OK)
        err->code = kms_node_ask(client, doctor->config.socket.path, &doctor->node, &description,
                                 err);
    if (err->code != KMS_OK)
        return;
    hear_of_audit(description, &doctor->audit);
    kms_client_free_describe(description);
}

enum kms_code kms_doctor_look_at_token(struct kms_doctor *doctor, struct kms_error *err)
{
    enum kms_code rc = kms_config_vouched(&doctor->config, &doctor->vouched, err);
    if (rc != KMS_OK)
        return rc;
    doctor->state_fault.code = kms_state_read(doctor->config.state_dir, doctor->config.ring,
                                              &doctor->state, &doctor->state_is_new,
                                              &doctor->state_fault);
    doctor->state_is_new = doctor->state_is_new || doctor->state_fault.code != KMS_OK;
    doctor->token_count = doctor->config.token_count;
    for (size_t i = 0; i < doctor->token_count; i++)
        look_at_token(doctor, i);
    look_at_backups(doctor);
    ask_plugin(doctor); /* last: no child is started beside gRPC's threads */
    return KMS_OK;
}
