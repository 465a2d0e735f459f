/* SPDX-License-Identifier: Apache-2.0 */
#include "config_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/hsm-kms-test-XXXXXX";

int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 || close(fd) != 0 ? -1 : 0;
}

int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

enum kms_code load_bytes(const char *text, size_t len, struct kms_config *config,
                         struct kms_error *err)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    return kms_config_load(path, config, err);
}

void assert_refused_bytes(const char *text, size_t len, const char *expected)
{
    struct kms_config config = { 0 };
    struct kms_error err = { 0 };
    char message[KMS_ERROR_MSG_MAX];
    (void)snprintf(message, sizeof(message), "%s:%s", path, expected);
    assert_int_equal(load_bytes(text, len, &config, &err), KMS_E_INVALID);
    assert_int_equal(err.code, KMS_E_INVALID);
    assert_string_equal(err.msg, message);
    assert_null(config.ring);
}

void assert_refused(const char *text, const char *expected)
{
    assert_refused_bytes(text, strlen(text), expected);
}

struct kms_config load(const char *text)
{
    struct kms_config config = { 0 };
    struct kms_error err = { 0 };
    enum kms_code rc = load_bytes(text, strlen(text), &config, &err);
    if (rc != KMS_OK)
        print_error("%s\n", err.msg);
    assert_int_equal(rc, KMS_OK);
    return config;
}
