/* SPDX-License-Identifier: Apache-2.0 */
/* The check of the audit log, made as the service. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "audit_check.h"
#include "doctor.h"
#include "kms/clock.h"

static void close_file(FILE *const *file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

static void look_at_directory(const char *path, struct kms_doctor_finding *finding)
{
    char dir[KMS_DOCTOR_PATH_MAX];
    kms_doctor_parent(path, dir);
    if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "install -d -m 0700 -o SERVICE it",
                       "the service can't write to %.300s: %s", dir,
                       strerror(errno)); /* NOLINT: commands have one thread here */
}

static void look_at_plugin(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_doctor_audit *audit = &doctor->audit;
    bool refuses = doctor->config.audit.on_error == KMS_AUDIT_REFUSE;
    if (!audit->told)
        return;
    if (!audit->configured)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "restart it with this configuration",
                       "the running plugin writes no audit log");
    else if (!audit->writable)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "mend what the reason names",
                       "the running plugin can't write: %.300s; audit.on_error is %s",
                       audit->reason,
                       refuses ? "refuse: calls fail" : "continue: calls go on without a line");
    else if (audit->lost > 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the service's log for the reason",
                       "%" PRIu64 " lines couldn't be written since the plugin's start",
                       audit->lost);
}

/* False: @time isn't one of a line, which has milliseconds. */
static bool seconds_of(const char *time, int64_t *ret_utc_s)
{
    char text[KMS_RFC3339_LEN + 1];
    (void)snprintf(text, sizeof(text), "%.19sZ", time);
    return kms_rfc3339_parse(text, ret_utc_s);
}

static void say_lines(const struct kms_doctor *doctor, const struct kms_audit_check *check,
                      const char *path, struct kms_doctor_finding *finding)
{
    int64_t last_utc_s = 0;
    if (check->fault_line != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "hsm-kms audit verify says more",
                       "%.300s, line %" PRIu64 ": %s", path, check->fault_line, check->fault);
    else if (check->lines == 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "hsm-kms probe makes two",
                       "%.300s has no line yet", path);
    else if (check->gaps > 0)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "hsm-kms audit show tells when and why",
                       "%.300s has %" PRIu64 " record(s) of a gap: %" PRIu64
                       " lines couldn't be written",
                       path, check->gaps, check->lost);
    else if (seconds_of(check->to, &last_utc_s))
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "%.300s: %" PRIu64 " lines, the last %" PRId64 " s ago, without a gap", path,
                       check->lines, doctor->now_utc_s - last_utc_s);
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "hsm-kms audit verify says more",
                       "%.300s: the last line's time is '%s'", path, check->to);
}

static void look_at_file(const struct kms_doctor *doctor, const char *path,
                         struct kms_doctor_finding *finding)
{
    KMS_CLEANUP(close_file) FILE *in = fopen(path, "re");
    struct kms_audit_check check;
    struct kms_error err = { 0 };
    bool missing = in == NULL && errno == ENOENT;
    if (missing && !doctor->node.reached)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "start the plugin, which makes it",
                       "there is no %.300s yet", path);
    else if (in == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "find out who took it away; restart the plugin",
                       "the plugin runs, and %.300s can't be read: %s", path,
                       strerror(errno)); /* NOLINT: commands have one thread here */
    else if (kms_audit_check_file(in, NULL, &check, &err) != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "mend what the reason names", "%.300s: %s", path,
                       err.msg);
    else
        say_lines(doctor, &check, path, finding);
}

static void check_audit_log(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    char path[KMS_DOCTOR_PATH_MAX];
    if (doctor->config.audit.path == NULL) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "audit.path (docs/operations.md, Audit log)",
                       "none is configured: who used which key, and when, is recorded nowhere");
        return;
    }
    (void)snprintf(path, sizeof(path), "%s.serve", doctor->config.audit.path);
    look_at_directory(path, finding);
    look_at_plugin(doctor, finding);
    look_at_file(doctor, path, finding);
}

const struct kms_doctor_check kms_doctor_audit_checks[] = {
    { "audit-log",
      "it is configured, the service can write it, its file is whole, and no line was lost",
      KMS_DOCTOR_CONFIG, check_audit_log },
    { NULL, NULL, 0, NULL },
};
