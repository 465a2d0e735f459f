/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_sink.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit_rig.h"
#include "check.h"

static int listen_at(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* The next datagram, with a NUL. */
static void receive(int fd, char *ret_text, size_t size)
{
    ssize_t n = recv(fd, ret_text, size - 1, 0);
    assert_true(n > 0);
    ret_text[n] = '\0';
}

static void syslog_gets_each_line_after_an_rfc_5424_header(void **state)
{
    (void)state;
    char text[4096];
    int fd = listen_at(audit_rig_path("dev-log"));
    struct kms_audit_options options = audit_rig_options();
    options.sinks = KMS_AUDIT_SYSLOG;
    options.syslog = audit_rig_path("dev-log");
    audit_rig_write(&options, 1);
    receive(fd, text, sizeof text); /* the first line of the file */
    receive(fd, text, sizeof text);
    close(fd);
    assert_memory_equal(text, "<85>1 20", 8);
    char *json = strchr(text, '{');
    assert_non_null(json);
    char head[128];
    snprintf(head, sizeof head, "Z cp-1 hsm-kms-audit %d use - {", (int)getpid());
    assert_contains(text, head);
    size_t len;
    char *file = audit_rig_read("log.serve", &len);
    assert_non_null(strstr(file, json));
    free(file);
}

static void lost_lines_still_reach_syslog(void **state)
{
    (void)state;
    char text[4096];
    struct kms_error err;
    int fd = listen_at(audit_rig_path("dev-log"));
    char syslog[400];
    snprintf(syslog, sizeof syslog, "%s", audit_rig_path("dev-log"));
    struct kms_audit_options options = audit_rig_options();
    options.path = audit_rig_path("nowhere/log");
    options.sinks = KMS_AUDIT_SYSLOG;
    options.syslog = syslog;
    struct kms_audit *audit = audit_rig_open(&options);
    assert_ok(audit_rig_put(audit, "lost-one", &err), &err);
    kms_audit_close(audit);
    receive(fd, text, sizeof text);
    close(fd);
    assert_contains(text, "{\"seq\":null,");
    assert_contains(text, "lost-one");
}

static void an_absent_syslog_is_counted(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_audit_options options = audit_rig_options();
    options.sinks = KMS_AUDIT_SYSLOG;
    options.syslog = audit_rig_path("nobody");
    struct kms_audit *audit = audit_rig_open(&options);
    assert_ok(audit_rig_put(audit, "u", &err), &err);
    while (kms_audit_count(audit).uncopied < 2)
        sched_yield();
    assert_int_equal(kms_audit_count(audit).uncopied, 2);
    kms_audit_close(audit);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, audit_rig_setup, audit_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(syslog_gets_each_line_after_an_rfc_5424_header),
        TEST(lost_lines_still_reach_syslog),
        TEST(an_absent_syslog_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
