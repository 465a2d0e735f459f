/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "kms/log.h"

static char dir_path[64];

int audit_rig_setup(void **state)
{
    (void)state;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, -1);
    snprintf(dir_path, sizeof dir_path, "/tmp/test-audit-XXXXXX");
    return mkdtemp(dir_path) != NULL ? 0 : -1;
}

static unsigned for_each(const char *prefix, bool deletes)
{
    unsigned count = 0;
    DIR *dir = opendir(dir_path);
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
            continue;
        count++;
        if (deletes)
            unlink(audit_rig_path(entry->d_name));
    }
    closedir(dir);
    return count;
}

int audit_rig_teardown(void **state)
{
    (void)state;
    (void)for_each("", true);
    return rmdir(dir_path);
}

unsigned audit_rig_count(const char *prefix)
{
    return for_each(prefix, false);
}

const char *audit_rig_path(const char *name)
{
    static char paths[2][400];
    static unsigned turn;
    char *path = paths[turn++ % 2];
    snprintf(path, sizeof paths[0], "%s/%s", dir_path, name);
    return path;
}

struct kms_audit_options audit_rig_options(void)
{
    static char path[sizeof dir_path + 8];
    snprintf(path, sizeof path, "%s/log", dir_path);
    return (struct kms_audit_options){ .path = path,
                                       .writer = "serve",
                                       .cluster = "prod",
                                       .node = "cp-1",
                                       .sync = KMS_AUDIT_NONE,
                                       .on_error = KMS_AUDIT_CONTINUE };
}

struct kms_audit *audit_rig_open(const struct kms_audit_options *options)
{
    struct kms_audit *audit = NULL;
    struct kms_error err;
    assert_ok(kms_audit_open(options, &audit, &err), &err);
    return audit;
}

enum kms_code audit_rig_put(struct kms_audit *audit, const char *uid, struct kms_error *err)
{
    const struct kms_audit_use use = {
        .op = "Decrypt",
        .uid = kms_bytes_of(uid),
        .key_id = kms_bytes_of("ring-v1-00"),
        .ciphertext = kms_bytes_of("sealed"),
        .code = KMS_OK,
        .peer = { .uid = 1000, .gid = 1001, .pid = (int32_t)getpid() },
        .queue_us = 1,
        .token_us = 20,
        .total_us = 30,
    };
    return kms_audit_write_use(audit, &use, err);
}

void audit_rig_write(const struct kms_audit_options *options, unsigned count)
{
    struct kms_error err;
    struct kms_audit *audit = audit_rig_open(options);
    for (unsigned i = 0; i < count; i++)
        assert_ok(audit_rig_put(audit, "some-uid", &err), &err);
    assert_int_equal(kms_audit_count(audit).written, count);
    kms_audit_close(audit);
}

char *audit_rig_read(const char *name, size_t *ret_len)
{
    FILE *in = fopen(audit_rig_path(name), "r");
    assert_non_null(in);
    enum { CAP = 4 * 1024 * 1024 };
    char *text = malloc(CAP);
    assert_non_null(text);
    *ret_len = fread(text, 1, CAP - 1, in);
    text[*ret_len] = '\0';
    fclose(in);
    return text;
}

void audit_rig_store(const char *name, const char *text, size_t len)
{
    FILE *out = fopen(audit_rig_path(name), "w");
    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

bool audit_rig_exists(const char *name)
{
    return access(audit_rig_path(name), F_OK) == 0;
}

struct kms_audit_check audit_rig_check(const char *name)
{
    struct kms_audit_check check;
    struct kms_error err;
    FILE *in = fopen(audit_rig_path(name), "r");
    assert_non_null(in);
    assert_ok(kms_audit_check_file(in, NULL, &check, &err), &err);
    fclose(in);
    return check;
}

struct kms_audit_check audit_rig_check_whole(const char *name)
{
    struct kms_audit_check check = audit_rig_check(name);
    if (check.fault_line != 0)
        fail_msg("%s:%u: %s", name, (unsigned)check.fault_line, check.fault);
    return check;
}

json_t *audit_rig_line(const char *name, unsigned index)
{
    size_t len;
    char *text = audit_rig_read(name, &len), *at = text;
    for (unsigned i = 0; i < index; i++) {
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
    json_t *line = json_loadb(at, strcspn(at, "\n"), 0, NULL);
    assert_non_null(line);
    free(text);
    return line;
}

void audit_rig_assert_text(const json_t *line, const char *key, const char *expected)
{
    const char *text = json_string_value(json_object_get(line, key));
    assert_non_null(text);
    assert_string_equal(text, expected);
}
