/* SPDX-License-Identifier: Apache-2.0 */
#include "doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "account.h"
#include "command.h"
#include "json.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "text.h"

enum { ENCRYPTION = 256, MANIFEST, KUBEADM, HOST_ROOT, ETCD, UNIT, MAX_AGE, LIST_CHECKS };
static const struct argp_option argp_options[] = {
    { "config", 'c', "FILE", 0, "configuration (default " KMS_CONFIG_PATH ")", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { "encryption-config", ENCRYPTION, "FILE", 0, "kube-apiserver's EncryptionConfiguration", 0 },
    { "apiserver-manifest", MANIFEST, "FILE", 0,
      "kube-apiserver's static Pod, k3s' config.yaml, or /proc/PID/cmdline", 0 },
    { "kubeadm-config", KUBEADM, "FILE", 0,
      "kubeadm's ClusterConfiguration, or the ConfigMap kubeadm-config of kube-system", 0 },
    { "host-root", HOST_ROOT, "DIR", 0,
      "in a container: where the host's file system is; the three files, systemd's units, "
      "etcd's data and /sys are looked for below it",
      0 },
    { "etcd-data-dir", ETCD, "DIR", 0, "etcd's data (default: where kubeadm, k3s, RKE2 have it)",
      0 },
    { "unit", UNIT, "NAME", 0, "the plugin's systemd unit (default hsm-kms.service)", 0 },
    { "max-age", MAX_AGE, "DURATION", 0,
      "fail if the promoted KEK is older (default: policy.max_age)", 0 },
    { "list-checks", LIST_CHECKS, NULL, 0, "print what is checked, as a table, and do nothing", 0 },
    { 0 },
};

struct arguments {
    struct kms_doctor_options options;
    bool list_checks;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    struct kms_doctor_options *options = &arguments->options;
    switch (key) {
    case 'c':
        options->config_path = arg;
        return 0;
    case 'o':
        options->json = kms_command_output_is_json(state, arg);
        return 0;
    case ENCRYPTION:
        options->encryption_config = arg;
        return 0;
    case MANIFEST:
        options->apiserver_manifest = arg;
        return 0;
    case KUBEADM:
        options->kubeadm_config = arg;
        return 0;
    case HOST_ROOT:
        options->host_root = strcmp(arg, "/") == 0 ? "" : arg;
        return 0;
    case ETCD:
        options->etcd_data_dir = arg;
        return 0;
    case UNIT:
        options->unit = arg;
        return 0;
    case MAX_AGE:
        if (!kms_duration_parse(arg, &options->max_age_ms) || options->max_age_ms <= 0)
            argp_error(state, "--max-age is a duration, like 365d");
        return 0;
    case LIST_CHECKS:
        arguments->list_checks = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What no check here sees, and KMS encryption doesn't protect. */
static const char *const not_covered[] = {
    "backups made through the API (Velero and the like): they hold what the API gives out, in "
    "clear",
    "bodies of requests in kube-apiserver's audit log",
    "traffic between kube-apiserver and etcd but for the endpoint's scheme; certificates aren't "
    "looked at",
    "persistent volumes, and what kubelets write to their nodes' disks",
    "databases outside of etcd, and resources of aggregated API servers",
};
enum { NOT_COVERED_COUNT = sizeof(not_covered) / sizeof(not_covered[0]) };

/* --- running --- */

/* In the order of the output; the last four are run first, while we may still be root. */
static const struct kms_doctor_check *const groups[] = {
    kms_doctor_token_checks,     kms_doctor_kek_checks,     kms_doctor_ring_checks,
    kms_doctor_audit_checks,     kms_doctor_host_checks,    kms_doctor_encryption_checks,
    kms_doctor_apiserver_checks, kms_doctor_kubeadm_checks,
};
enum { GROUP_COUNT = sizeof(groups) / sizeof(groups[0]), FIRST_OF_HOST = 4, CHECKS_MAX = 64 };

struct report {
    const struct kms_doctor_check *checks[CHECKS_MAX];
    struct kms_doctor_finding findings[CHECKS_MAX];
    size_t count;
    size_t host; /* the first check of the host's groups */
    size_t statuses[KMS_DOCTOR_FAIL + 1];
};

static void plan(struct report *report)
{
    for (size_t i = 0; i < GROUP_COUNT; i++) {
        if (i == FIRST_OF_HOST)
            report->host = report->count;
        for (const struct kms_doctor_check *check = groups[i]; check->name != NULL; check++)
            report->checks[report->count++] = check;
    }
}

static void run(struct report *report, size_t first, size_t end, const struct kms_doctor *doctor)
{
    for (size_t i = first; i < end; i++) {
        kms_doctor_run(report->checks[i], doctor, &report->findings[i]);
        report->statuses[report->findings[i].status]++;
    }
}

static enum kms_code examine(struct kms_doctor *doctor, struct report *report,
                             struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    kms_doctor_look_at_host(doctor);
    run(report, report->host, report->count, doctor);
    if (doctor->config_fault.code == KMS_OK) {
        if (geteuid() != 0 && geteuid() != doctor->service_uid)
            kms_command_note("run it as root, or as uid %u, who runs the plugin: others see less",
                             (unsigned)doctor->service_uid);
        struct kms_account account = kms_account_of(doctor->config.state_dir);
        rc = kms_account_become(&account, err);
        if (rc == KMS_OK)
            rc = kms_doctor_look_at_token(doctor, err);
    }
    if (rc == KMS_OK)
        run(report, 0, report->host, doctor);
    return rc;
}

/* --- output --- */

static const char *next_step(const struct report *report)
{
    if (report->statuses[KMS_DOCTOR_FAIL] > 0)
        return "mend what FAILs, from the top; then run hsm-kms doctor again";
    if (report->statuses[KMS_DOCTOR_WARN] > 0)
        return "look at the warnings; hsm-kms probe tries Encrypt and Decrypt";
    return "nothing to do; hsm-kms probe tries Encrypt and Decrypt";
}

static void print_json(const struct report *report)
{
    json_t *object = kms_json_open("doctor"), *checks = json_array(), *uncovered = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const struct kms_doctor_finding *finding = &report->findings[i];
        json_t *check = json_object();
        kms_json_set(check, "check", kms_json_text(report->checks[i]->name));
        kms_json_set(check, "status", kms_json_text(kms_doctor_status_name(finding->status)));
        kms_json_set(check, "reason", kms_json_text(finding->reason));
        kms_json_set(check, "fix", kms_json_text(finding->fix));
        kms_json_append(checks, check);
    }
    for (size_t i = 0; i < NOT_COVERED_COUNT; i++)
        kms_json_append(uncovered, kms_json_text(not_covered[i]));
    kms_json_set(object, "checks", checks);
    kms_json_set(object, "ok", json_integer((json_int_t)report->statuses[KMS_DOCTOR_OK]));
    kms_json_set(object, "warn", json_integer((json_int_t)report->statuses[KMS_DOCTOR_WARN]));
    kms_json_set(object, "FAIL", json_integer((json_int_t)report->statuses[KMS_DOCTOR_FAIL]));
    kms_json_set(object, "not_covered", uncovered);
    kms_json_set(object, "next", kms_json_text(next_step(report)));
    kms_json_print(object);
}

static void print_text(const struct report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct kms_doctor_finding *finding = &report->findings[i];
        (void)printf("%-5s %-23s ", kms_doctor_status_name(finding->status),
                     report->checks[i]->name);
        kms_text_put(stdout, finding->reason);
        if (finding->fix[0] != '\0') {
            (void)printf("\n%30sfix: ", "");
            kms_text_put(stdout, finding->fix);
        }
        (void)putchar('\n');
    }
    (void)puts("\nnot covered by any of these:");
    for (size_t i = 0; i < NOT_COVERED_COUNT; i++)
        (void)printf("  - %s\n", not_covered[i]);
    (void)printf("\n%zu ok, %zu warn, %zu FAIL\nnext: %s\n", report->statuses[KMS_DOCTOR_OK],
                 report->statuses[KMS_DOCTOR_WARN], report->statuses[KMS_DOCTOR_FAIL],
                 next_step(report));
}

static int print_table(const struct report *report)
{
    (void)puts("| check | asks |\n|---|---|");
    for (size_t i = 0; i < report->count; i++)
        (void)printf("| `%s` | %s |\n", report->checks[i]->name, report->checks[i]->asks);
    return kms_command_finish(KMS_EXIT_OK);
}

static int diagnose(const struct kms_doctor_options *options, struct report *report)
{
    struct kms_doctor *doctor = kms_must_alloc(calloc(1, sizeof(*doctor)));
    struct kms_error err = { 0 };
    doctor->options = *options;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    if (!kms_secret_heap_open())
        kms_command_note("memory can't be locked (RLIMIT_MEMLOCK): the PIN may reach swap");
    enum kms_code rc = examine(doctor, report, &err);
    kms_doctor_done(doctor);
    free(doctor);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    if (options->json)
        print_json(report);
    else
        print_text(report);
    return kms_command_finish(report->statuses[KMS_DOCTOR_FAIL] > 0 ? KMS_EXIT_FINDINGS
                                                                    : KMS_EXIT_OK);
}

int kms_command_doctor(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Looks at everything around the plugin that has to be right, and says what isn't, why "
            "that matters and what to do.  Changes nothing; logs in to each token with the "
            "service's PIN unless that could lock it.  Exits 0 without a FAIL, else 2.",
    };
    struct arguments arguments = {
        .options = { .config_path = KMS_CONFIG_PATH, .host_root = "", .unit = "hsm-kms.service" }
    };
    if (kms_command_parse(&argp, argc, argv, &arguments) != 0)
        return KMS_EXIT_ERROR;
    struct report *report = kms_must_alloc(calloc(1, sizeof(*report)));
    plan(report);
    int code = arguments.list_checks ? print_table(report) : diagnose(&arguments.options, report);
    free(report);
    return code;
}
