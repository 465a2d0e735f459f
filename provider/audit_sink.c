/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_sink.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>
#include <systemd/sd-journal.h>

#include "audit_line.h"
#include "kms/log.h"

enum {
    FIELDS_MAX = 32,
    FIELD_BYTES = 64,      /* name of a journal field */
    PRIORITY = 10 * 8 + 5, /* RFC 5424 section 6.2.1: authpriv, notice */
    HOST_MAX = 255,        /* bytes, section 6 */
};
#define IDENTIFIER "hsm-kms-audit"
#define FIELD_PREFIX "HSM_KMS_"

struct kms_audit_sinks {
    unsigned which;
    char *node;
    struct sockaddr_un syslog;
    int fd;           /* connected to @syslog; -1: not */
    unsigned failing; /* enum kms_audit_sink: those that took no line last time */
};

enum kms_code kms_audit_sinks_open(const struct kms_audit_options *options,
                                   struct kms_audit_sinks **ret_sinks, struct kms_error *err)
{
    struct kms_audit_sinks *sinks = calloc(1, sizeof(*sinks));
    char *node = strdup(options->node != NULL ? options->node : "");
    if (sinks == NULL || node == NULL) {
        free(sinks);
        free(node);
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    }
    *sinks = (struct kms_audit_sinks){ .which = options->sinks, .node = node, .fd = -1 };
    sinks->syslog.sun_family = AF_UNIX;
    (void)snprintf(sinks->syslog.sun_path, sizeof(sinks->syslog.sun_path), "%s",
                   options->syslog != NULL ? options->syslog : "");
    *ret_sinks = sinks;
    return KMS_OK;
}

static void disconnect(struct kms_audit_sinks *sinks)
{
    if (sinks->fd >= 0)
        (void)close(sinks->fd);
    sinks->fd = -1;
}

void kms_audit_sinks_close(struct kms_audit_sinks *sinks)
{
    if (sinks == NULL)
        return;
    disconnect(sinks);
    free(sinks->node);
    free(sinks);
}

/* --- syslog --- */

static bool connect_syslog(struct kms_audit_sinks *sinks)
{
    if (sinks->fd >= 0)
        return true;
    sinks->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sinks->fd < 0)
        return false;
    const struct sockaddr *address = (const struct sockaddr *)&sinks->syslog;
    if (connect(sinks->fd, address, sizeof(sinks->syslog)) == 0)
        return true;
    int failed = errno;
    disconnect(sinks);
    errno = failed;
    return false;
}

/* A header field: printable ASCII without blanks, "-" for none. */
static void put_word(char *ret_word, size_t size, const char *text)
{
    size_t len = 0;
    for (; *text != '\0' && len + 1 < size; text++)
        if (*text > ' ' && *text < 0x7f)
            ret_word[len++] = *text;
    if (len == 0)
        ret_word[len++] = '-';
    ret_word[len] = '\0';
}

static bool send_syslog(struct kms_audit_sinks *sinks, const json_t *line, struct kms_bytes text)
{
    char host[HOST_MAX + 1], time[KMS_AUDIT_HEAD_MAX], kind[33], head[512];
    const char *stamp = json_string_value(json_object_get(line, "ts"));
    const char *type = json_string_value(json_object_get(line, "type"));
    put_word(host, sizeof(host), sinks->node);
    put_word(time, sizeof(time), stamp != NULL ? stamp : "");
    put_word(kind, sizeof(kind), type != NULL ? type : "");
    int len = snprintf(head, sizeof(head), "<%d>1 %s %s " IDENTIFIER " %ld %s - ", (int)PRIORITY,
                       time, host, (long)getpid(), kind);
    const struct iovec parts[] = {
        { .iov_base = head, .iov_len = (size_t)len },
        { .iov_base = (void *)(uintptr_t)text.data, .iov_len = text.len },
    };
    if (!connect_syslog(sinks))
        return false;
    if (writev(sinks->fd, parts, 2) >= 0)
        return true;
    int failed = errno;
    if (failed != EAGAIN)
        disconnect(sinks); /* syslog was started anew: a new connection finds it */
    errno = failed;
    return false;
}

/* --- journald --- */

struct fields {
    struct iovec parts[FIELDS_MAX];
    int count;
};

static void add_field(struct fields *fields, const char *name, const char *value, size_t len)
{
    char *field = malloc(FIELD_BYTES + 1 + len);
    if (field == NULL || fields->count == FIELDS_MAX) {
        free(field);
        return;
    }
    int at = snprintf(field, FIELD_BYTES, "%s=", name);
    memcpy(field + at, value, len);
    fields->parts[fields->count++] = (struct iovec){ field, (size_t)at + len };
}

/* A member of the line under its own name: key_id is HSM_KMS_KEY_ID. */
static void add_member(struct fields *fields, const char *key, const json_t *value)
{
    char name[FIELD_BYTES - 1], digits[24];
    int len = snprintf(name, sizeof(name), FIELD_PREFIX "%s", key);
    if (len < 0 || (size_t)len >= sizeof(name))
        return;
    for (char *at = name; *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
    if (json_is_string(value)) {
        add_field(fields, name, json_string_value(value), json_string_length(value));
    } else if (json_is_integer(value)) {
        (void)snprintf(digits, sizeof(digits), "%" PRId64, (int64_t)json_integer_value(value));
        add_field(fields, name, digits, strlen(digits));
    }
}

static bool send_journal(json_t *line, struct kms_bytes text)
{
    struct fields fields = { .count = 0 };
    const char *key;
    json_t *value;
    add_field(&fields, "MESSAGE", (const char *)text.data, text.len);
    add_field(&fields, "PRIORITY", "5", 1);
    add_field(&fields, "SYSLOG_IDENTIFIER", IDENTIFIER, sizeof(IDENTIFIER) - 1);
    json_object_foreach (line, key, value)
        add_member(&fields, key, value);
    int rc = sd_journal_sendv(fields.parts, fields.count);
    for (int i = 0; i < fields.count; i++)
        free(fields.parts[i].iov_base);
    errno = -rc;
    return rc == 0;
}

/* --- both --- */

/* Logs the first copy that isn't taken, and the first that is again.  Returns how many weren't. */
static uint64_t note(struct kms_audit_sinks *sinks, enum kms_audit_sink sink, bool taken)
{
    const char *name = sink == KMS_AUDIT_JOURNALD ? "journald" : sinks->syslog.sun_path;
    bool failed_before = (sinks->failing & sink) != 0;
    if (taken && failed_before)
        kms_log(KMS_LOG_INFO, "audit lines are copied again", KMS_F_TEXT("sink", name));
    if (!taken && !failed_before) {
        struct kms_error err;
        kms_fail_errno(&err, KMS_E_UNAVAILABLE, "send", errno, "%s takes no audit lines", name);
        kms_log_error(KMS_LOG_WARN, "audit lines are not copied", &err, NULL, 0);
    }
    sinks->failing = taken ? sinks->failing & ~(unsigned)sink : sinks->failing | sink;
    return taken ? 0 : 1;
}

static uint64_t send_line(struct kms_audit_sinks *sinks, struct kms_bytes text)
{
    uint64_t missed = 0;
    json_t *line = json_loadb((const char *)text.data, text.len, 0, NULL);
    if ((sinks->which & KMS_AUDIT_JOURNALD) != 0)
        missed += note(sinks, KMS_AUDIT_JOURNALD, send_journal(line, text));
    if ((sinks->which & KMS_AUDIT_SYSLOG) != 0)
        missed += note(sinks, KMS_AUDIT_SYSLOG, send_syslog(sinks, line, text));
    json_decref(line);
    return missed;
}

uint64_t kms_audit_sinks_send(struct kms_audit_sinks *sinks, struct kms_bytes text)
{
    uint64_t missed = 0;
    while (sinks->which != 0 && text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        missed += send_line(sinks, (struct kms_bytes){ text.data, len });
        size_t used = end != NULL ? len + 1 : len;
        text = (struct kms_bytes){ text.data + used, text.len - used };
    }
    return missed;
}
