/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kms_doctor_done(struct kms_doctor *doctor)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        kms_inventory_done(&doctor->tokens[i].inventory);
        kms_snapshot_release(doctor->tokens[i].snapshot);
    }
    kms_vouched_done(&doctor->vouched);
    kms_state_done(&doctor->state);
    kms_encryption_done(&doctor->encryption);
    kms_apiserver_done(&doctor->apiserver);
    kms_apiserver_done(&doctor->kubeadm);
    kms_config_done(&doctor->config);
    *doctor = (struct kms_doctor){ .token_count = 0 };
}

const char *kms_doctor_status_name(enum kms_doctor_status status)
{
    switch (status) {
    case KMS_DOCTOR_OK:
        return "ok";
    case KMS_DOCTOR_WARN:
        return "warn";
    case KMS_DOCTOR_FAIL:
        break;
    }
    return "FAIL";
}

void kms_doctor_say(struct kms_doctor_finding *finding, enum kms_doctor_status status,
                    const char *fix, const char *fmt, ...)
{
    if (finding->reason[0] != '\0' && status <= finding->status)
        return;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(finding->reason, sizeof(finding->reason), fmt, args);
    va_end(args);
    finding->status = status;
    (void)snprintf(finding->fix, sizeof(finding->fix), "%s", fix);
}

static bool has_token(const struct kms_doctor *doctor)
{
    bool there = false;
    for (size_t i = 0; i < doctor->token_count; i++)
        there = there || (doctor->tokens[i].presence.module_fault.code == KMS_OK &&
                          doctor->tokens[i].presence.token_fault.code == KMS_OK);
    return there;
}

static bool has_listing(const struct kms_doctor *doctor)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        if (doctor->tokens[i].snapshot != NULL)
            return true;
    }
    return false;
}

/* A check that can't be made, and what would let it. */
struct lack {
    const char *reason; /* NULL: everything is there */
    const char *fix;
};

static struct lack lack_of_file(const char *option, enum kms_code fault, const char *what,
                                const char *fix)
{
    if (option == NULL)
        return (struct lack){ what, fix };
    if (fault != KMS_OK)
        return (struct lack){ "not made: the file can't be used",
                              "mend what the check above names" };
    return (struct lack){ .reason = NULL };
}

static struct lack lacks(const struct kms_doctor *doctor, uint32_t needs)
{
    const struct kms_doctor_options *options = &doctor->options;
    struct lack lack = { .reason = NULL };
    if ((needs & KMS_DOCTOR_CONFIG) != 0 && doctor->config_fault.code != KMS_OK)
        return (struct lack){ "not made: the configuration can't be used",
                              "see the check 'config'" };
    if ((needs & KMS_DOCTOR_TOKEN) != 0 && !has_token(doctor))
        return (struct lack){ "not made: no token is there",
                              "see the checks 'module' and 'token'" };
    if ((needs & KMS_DOCTOR_LISTING) != 0 && !has_listing(doctor))
        return (struct lack){ "not made: no token's KEKs could be listed",
                              "see the checks of token and PIN" };
    if ((needs & KMS_DOCTOR_ENCRYPTION) != 0)
        lack = lack_of_file(options->encryption_config, doctor->encryption_fault.code,
                            "not made: no EncryptionConfiguration was given",
                            "--encryption-config FILE");
    if ((needs & KMS_DOCTOR_APISERVER) != 0 && lack.reason == NULL)
        lack = lack_of_file(options->apiserver_manifest, doctor->apiserver_fault.code,
                            "not made: no manifest of kube-apiserver was given",
                            "--apiserver-manifest FILE");
    return lack;
}

void kms_doctor_run(const struct kms_doctor_check *check, const struct kms_doctor *doctor,
                    struct kms_doctor_finding *ret_finding)
{
    struct lack lack = lacks(doctor, check->needs);
    *ret_finding = (struct kms_doctor_finding){ .status = KMS_DOCTOR_OK };
    if (lack.reason == NULL)
        check->run(doctor, ret_finding);
    else
        kms_doctor_say(ret_finding, KMS_DOCTOR_WARN, lack.fix, "%s", lack.reason);
}

void kms_doctor_host_path(const struct kms_doctor *doctor, const char *path,
                          char ret_path[static KMS_DOCTOR_PATH_MAX])
{
    const char *root = doctor->options.host_root != NULL ? doctor->options.host_root : "";
    (void)snprintf(ret_path, KMS_DOCTOR_PATH_MAX, "%s%s", root, path);
}

void kms_doctor_parent(const char *path, char ret_dir[static KMS_DOCTOR_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    int len = slash != NULL && slash != path ? (int)(slash - path) : 1;
    (void)snprintf(ret_dir, KMS_DOCTOR_PATH_MAX, "%.*s", len, slash != NULL ? path : ".");
}
