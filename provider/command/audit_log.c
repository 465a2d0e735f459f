/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "command.h"
#include "kms/fd.h"

enum {
    BYTES_PER_MIB = 1024 * 1024,
    WAIT_MS = 10 * 1000, /* for other commands' lines */
};

struct kms_audit_options kms_audit_log_options(const struct kms_config *config, const char *writer,
                                               const char *node)
{
    const struct kms_config_audit *audit = &config->audit;
    struct kms_audit_options options = {
        .path = audit->path,
        .writer = writer,
        .cluster = audit->cluster,
        .node = node,
        .sync = audit->sync,
        .on_error = audit->on_error,
        .rotate_bytes = (uint64_t)audit->rotate_size_mib * BYTES_PER_MIB,
        .rotate_keep = audit->rotate_keep,
        .syslog = audit->syslog,
        .encrypt = audit->encrypt,
    };
    for (size_t i = 0; i < audit->sink_count; i++)
        options.sinks |= audit->sinks[i] == KMS_CONFIG_JOURNALD ? KMS_AUDIT_JOURNALD
                                                                : KMS_AUDIT_SYSLOG;
    return options;
}

void kms_audit_key_label(const char *ring, char ret_label[static KMS_AUDIT_KEY_LABEL_LEN + 1])
{
    (void)snprintf(ret_label, KMS_AUDIT_KEY_LABEL_LEN + 1, "%s.audit", ring);
}

/* -1: @text isn't one. */
static int64_t parse_uid(const char *text)
{
    char *end = NULL;
    size_t digits = strspn(text, "0123456789");
    unsigned long long uid = strtoull(text, &end, 10);
    bool good = digits > 0 && digits <= 10 && (text[digits] == '\0' || text[digits] == '\n') &&
                uid < UINT32_MAX; /* which is none, to the kernel */
    return good ? (int64_t)uid : -1;
}

/* Set once, by pam_loginuid at the login, and kept by su, sudo and setuid(); root may set it anew
 * where the kernel lets it.  None in containers, of daemons and without kernel auditing. */
static int64_t read_login_uid(void)
{
    char text[16] = "";
    size_t len = 0;
    KMS_CLEANUP(kms_fd_done) int fd = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !kms_fd_read(fd, text, sizeof(text) - 1, &len))
        return -1;
    return parse_uid(text);
}

static struct kms_audit_login find_login(void)
{
    const char *claimed = getenv("SUDO_UID");
    return (struct kms_audit_login){
        .login_uid = read_login_uid(),
        .started_uid = (int64_t)getauxval(AT_UID), /* at the exec: the kernel's word, too */
        .claimed_uid = claimed != NULL ? parse_uid(claimed) : -1,
    };
}

/* The lock is held for one line only, so that no command waits for another's token. */
enum kms_code kms_audit_log_line(const struct kms_config *config,
                                 const struct kms_audit_command *command, struct kms_error *err)
{
    if (config->audit.path == NULL)
        return KMS_OK;
    char node[HOST_NAME_MAX + 1] = "";
    (void)gethostname(node, sizeof(node) - 1);
    struct kms_audit_options options = kms_audit_log_options(config, "admin", node);
    options.on_error = KMS_AUDIT_REFUSE;
    options.wait_ms = WAIT_MS;
    options.one_shot = true;
    struct kms_audit_command line = *command;
    const struct kms_audit_login login = find_login();
    line.peer = (struct kms_audit_peer){ getuid(), getgid(), getpid() };
    line.login = &login;
    KMS_CLEANUP(kms_audit_close_ptr) struct kms_audit *audit = NULL;
    enum kms_code rc = kms_audit_open(&options, &audit, err);
    return rc == KMS_OK ? kms_audit_write_command(audit, &line, err) : rc;
}

enum kms_code kms_audit_log_begin(const struct kms_config *config, const char *op,
                                  uint32_t generation, struct kms_error *err)
{
    const struct kms_audit_command command = { .op = op, .generation = generation };
    return kms_audit_log_line(config, &command, err);
}

enum kms_code kms_audit_log_begin_on(const struct kms_config *config, const char *op,
                                     const char *token, struct kms_error *err)
{
    const struct kms_audit_command command = { .op = op, .token = token };
    return kms_audit_log_line(config, &command, err);
}

int kms_audit_log_refuse(const struct kms_error *err)
{
    (void)kms_command_error("refused: %s", err->msg);
    return KMS_EXIT_REFUSED;
}

void kms_audit_log_done(const struct kms_config *config, const struct kms_audit_command *command)
{
    struct kms_error err = { .code = KMS_OK };
    struct kms_audit_command line = *command;
    line.done = true;
    if (kms_audit_log_line(config, &line, &err) != KMS_OK)
        kms_command_note("what came of it is missing from the audit log: %s", err.msg);
}
