/* SPDX-License-Identifier: Apache-2.0 */
/* doctor's check of the audit log, as it passes and as it fails. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit.h"
#include "audit_line.h"
#include "doctor_rig.h"
#include "kms/clock.h"

static char path[128]; /* audit.path; its file is PATH.serve */

static int setup(void **state)
{
    if (doctor_rig_setup(state) != 0)
        return -1;
    struct doctor_rig *rig = *state;
    (void)snprintf(path, sizeof(path), "%s/audit/log", rig->dir);
    rig->doctor.config.audit.path = path;
    rig->doctor.now_utc_s = kms_utc_s();
    rig->doctor.audit = (struct kms_doctor_audit){ .told = true,
                                                   .configured = true,
                                                   .writable = true };
    doctor_rig_write(rig, "audit/other", "");
    return 0;
}

static void write_log(void)
{
    const struct kms_audit_options options = { .path = path, .writer = "serve", .node = "cp-1" };
    struct kms_error err = { 0 };
    struct kms_audit *audit = NULL;
    assert_ok(kms_audit_open(&options, &audit, &err), &err);
    kms_audit_write_event(audit, &(struct kms_audit_event){ .op = "promoted" });
    kms_audit_close(audit);
}

static void a_log_without_a_gap_is_good(void **state)
{
    write_log();
    doctor_rig_expect(*state, "audit-log", KMS_DOCTOR_OK, "log.serve: 2 lines, the last ");
}

static void no_log_is_a_warning(void **state)
{
    struct doctor_rig *rig = *state;
    rig->doctor.config.audit.path = NULL;
    doctor_rig_expect(rig, "audit-log", KMS_DOCTOR_WARN, "none is configured");
}

static void a_plugin_that_runs_without_the_file_fails(void **state)
{
    struct doctor_rig *rig = *state;
    doctor_rig_expect(rig, "audit-log", KMS_DOCTOR_FAIL, "the plugin runs, and");
    rig->doctor.node.reached = false;
    rig->doctor.audit.told = false;
    doctor_rig_expect(rig, "audit-log", KMS_DOCTOR_WARN, "yet");
}

static void a_directory_that_isnt_there_fails(void **state)
{
    struct doctor_rig *rig = *state;
    char gone[] = "/nonexistent/audit";
    rig->doctor.config.audit.path = gone;
    doctor_rig_expect(rig, "audit-log", KMS_DOCTOR_FAIL, "can't write to /nonexistent");
}

static void what_the_plugin_says_counts(void **state)
{
    struct doctor_rig *rig = *state;
    struct kms_doctor_audit *audit = &rig->doctor.audit;
    write_log();
    audit->lost = 3;
    doctor_rig_expect(rig, "audit-log", KMS_DOCTOR_WARN, "3 lines couldn't be written");
    audit->writable = false;
    (void)snprintf(audit->reason, sizeof(audit->reason), "No space left on device");
    doctor_rig_expect(rig, "audit-log", KMS_DOCTOR_FAIL, "No space left");
    audit->configured = false;
    doctor_rig_expect(rig, "audit-log", KMS_DOCTOR_FAIL, "writes no audit log");
}

static void a_line_that_is_none_fails(void **state)
{
    write_log();
    char file[160];
    (void)snprintf(file, sizeof(file), "%s.serve", path);
    FILE *out = fopen(file, "a");
    assert_non_null(out);
    assert_true(fputs("{}\n", out) >= 0);
    assert_int_equal(fclose(out), 0);
    doctor_rig_expect(*state, "audit-log", KMS_DOCTOR_FAIL, "line 3");
}

static void a_gap_in_the_file_is_a_warning(void **state)
{
    const struct kms_audit_origin origin = { .node = "cp-1", .writer = "serve" };
    char *bodies[] = { kms_audit_body_open(&origin, NULL),
                       kms_audit_body_gap(&origin, 7, 0, 1000, "No space left on device") };
    struct kms_audit_chain chain = { .seq = 0 };
    char text[2048];
    size_t len = 0;
    kms_audit_chain_begin(&chain);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        size_t more = kms_audit_line_put(&chain, bodies[i], text + len, sizeof(text) - 1 - len);
        assert_true(more > 0);
        len += more;
        free(bodies[i]);
    }
    text[len] = '\0';
    doctor_rig_write(*state, "audit/log.serve", text);
    doctor_rig_expect(*state, "audit-log", KMS_DOCTOR_WARN,
                      "1 record(s) of a gap: 7 lines couldn't");
}

static void a_file_without_a_line_is_a_warning(void **state)
{
    doctor_rig_write(*state, "audit/log.serve", "");
    doctor_rig_expect(*state, "audit-log", KMS_DOCTOR_WARN, "no line yet");
}

int main(void)
{
#define with_rig(test) cmocka_unit_test_setup_teardown(test, setup, doctor_rig_teardown)
    const struct CMUnitTest tests[] = {
        with_rig(a_log_without_a_gap_is_good),
        with_rig(no_log_is_a_warning),
        with_rig(a_plugin_that_runs_without_the_file_fails),
        with_rig(a_directory_that_isnt_there_fails),
        with_rig(what_the_plugin_says_counts),
        with_rig(a_line_that_is_none_fails),
        with_rig(a_gap_in_the_file_is_a_warning),
        with_rig(a_file_without_a_line_is_a_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
