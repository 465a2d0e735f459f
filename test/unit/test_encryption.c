/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/encryption.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

#define HEAD "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"

static enum kms_code parse(const char *text, struct kms_encryption *encryption,
                           struct kms_error *err)
{
    return kms_encryption_parse("e.yaml", kms_bytes_of(text), encryption, err);
}

static void assert_refused(const char *text, const char *part)
{
    struct kms_encryption encryption = { 0 };
    struct kms_error err = { 0 };
    assert_int_equal(parse(text, &encryption, &err), KMS_E_INVALID);
    assert_contains(err.msg, "e.yaml");
    assert_contains(err.msg, part);
    assert_null(encryption.entries);
}

static void every_kind_of_provider_is_read(void **state)
{
    struct kms_encryption encryption;
    struct kms_error err = { 0 };
    (void)state;
    assert_ok(parse(HEAD
                    "resources:\n"
                    "- resources: [secrets, '*.apps']\n"
                    "  providers:\n"
                    "  - kms: {apiVersion: v2, name: n, endpoint: 'unix:///s', timeout: 1m30s}\n"
                    "  - aescbc: {keys: [{name: k, secret: c2VjcmV0}]}\n"
                    "  - identity: {}\n"
                    "- resources: [events]\n"
                    "  providers: [{kms: {name: old, endpoint: 'unix:///o', cachesize: 3}}]\n",
                    &encryption, &err),
              &err);
    assert_int_equal(encryption.entry_count, 2);
    const struct kms_encryption_entry *entry = &encryption.entries[0];
    assert_int_equal(entry->resource_count, 2);
    assert_string_equal(entry->resources[1], "*.apps");
    assert_int_equal(entry->provider_count, 3);
    assert_int_equal(entry->providers[0].kind, KMS_ENCRYPTION_KMS);
    assert_string_equal(entry->providers[0].api_version, "v2");
    assert_string_equal(entry->providers[0].endpoint, "unix:///s");
    assert_int_equal(entry->providers[0].timeout_ms, 90000);
    assert_int_equal(entry->providers[1].kind, KMS_ENCRYPTION_LOCAL);
    assert_int_equal(entry->providers[2].kind, KMS_ENCRYPTION_IDENTITY);
    assert_string_equal(encryption.entries[1].providers[0].api_version, "v1");
    assert_int_equal(encryption.entries[1].providers[0].timeout_ms, 3000);
    assert_true(encryption.entries[1].providers[0].has_cachesize);
    assert_ptr_equal(kms_encryption_find(&encryption, "secrets"), entry);
    assert_null(kms_encryption_find(&encryption, "configmaps"));
    kms_encryption_done(&encryption);
}

static void the_wrong_type_is_refused(void **state)
{
    (void)state;
    assert_refused("", "empty");
    assert_refused("just text\n", "expected a mapping");
    assert_refused("kind: Pod\napiVersion: v1\n", "kind must be");
    assert_refused("kind: EncryptionConfiguration\napiVersion: v1\n", "apiVersion must be");
    assert_refused(HEAD, "resources: required");
    assert_refused(HEAD "resources: []\n", "at least one");
}

static void unknown_and_repeated_fields_are_refused(void **state)
{
    (void)state;
    assert_refused(HEAD "resources: []\nx: 1\n", "e.yaml:4: unknown field 'x'");
    assert_refused(HEAD "kind: EncryptionConfiguration\n", "given twice");
    assert_refused(HEAD "resources: [{resources: [a], provider: []}]\n",
                   "unknown field 'provider'");
    assert_refused(HEAD "resources: [{resources: [a], providers: [{kms: {nam: a}}]}]\n",
                   "unknown field 'nam'");
    assert_refused(HEAD "resources: [{resources: [a], providers: [{vault: {}}]}]\n",
                   "unknown field 'vault'");
}

static void a_provider_has_exactly_one_kind(void **state)
{
    (void)state;
    assert_refused(HEAD "resources: [{resources: [a], providers: [{}]}]\n", "this has 0");
    assert_refused(HEAD "resources: [{resources: [a], providers: [{identity: {}, kms: {}}]}]\n",
                   "this has 2");
    assert_refused(HEAD "resources: [{resources: [a], providers: [{identity: null}]}]\n",
                   "this has 0");
}

static void hostile_shapes_are_refused(void **state)
{
    char deep[512] = HEAD "resources: ", long_name[1024];
    (void)state;
    for (size_t i = 0, len = strlen(deep); i < 40; i++)
        deep[len + i] = '[';
    assert_refused(deep, "levels deep");
    assert_refused("a: &x [*x]\n---\nb: 1\n", "second document");
    assert_refused("a: *none\n", "not YAML");
    assert_refused(HEAD "resources: {a: b}\n", "required, a list");
    assert_refused(HEAD "resources: [{resources: [[a]], providers: []}]\n", "name of a resource");
    (void)snprintf(long_name, sizeof(long_name),
                   HEAD "resources: [{resources: [a], providers: [{kms: {name: %0300d}}]}]\n", 0);
    assert_refused(long_name, "at most 255 bytes");
}

/* Key material must never reach a message. */
static void a_secret_is_never_told(void **state)
{
    struct kms_encryption encryption;
    struct kms_error err = { 0 };
    (void)state;
    assert_int_equal(parse(HEAD
                           "resources: [{resources: [a], providers: [{aescbc: {keys: [{secret: "
                           "c2VjcmV0}]}, kms: {}}]}]\n",
                           &encryption, &err),
                     KMS_E_INVALID);
    assert_null(strstr(err.msg, "c2VjcmV0"));
}

static void more_than_can_be_read_is_refused(void **state)
{
    char text[4096] = HEAD "resources: [{resources: [";
    size_t len = strlen(text);
    (void)state;
    for (size_t i = 0; i <= KMS_ENCRYPTION_RESOURCES_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "r%zu,", i);
    (void)snprintf(text + len, sizeof(text) - len, "], providers: []}]\n");
    assert_refused(text, "65 items");
}

static void a_file_that_isnt_there_is_told(void **state)
{
    struct kms_encryption encryption;
    struct kms_error err = { 0 };
    (void)state;
    assert_int_equal(kms_encryption_load("/nonexistent/e.yaml", &encryption, &err),
                     KMS_E_PRECONDITION);
    assert_contains(err.msg, "/nonexistent/e.yaml: No such file");
    assert_int_equal(kms_encryption_load("/tmp", &encryption, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "regular");
}

static void a_file_that_is_too_large_is_refused(void **state)
{
    char path[] = "/tmp/hsm-kms-encryption-XXXXXX";
    struct kms_encryption encryption;
    struct kms_error err = { 0 };
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 256 * 1024 + 1), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(kms_encryption_load(path, &encryption, &err), KMS_E_INVALID);
    assert_contains(err.msg, "larger than 256 KiB");
    assert_int_equal(unlink(path), 0);
}

static void durations_are_gos(void **state)
{
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } rows[] = { { "3s", 3000 },       { "1.5s", 1500 }, { "500ms", 500 }, { "1m30s", 90000 },
                 { "2h", 7200000 },    { "900us", 0 },   { "3", -1 },      { "", -1 },
                 { "s", -1 },          { "-1s", -1 },    { "3 s", -1 },    { "1..5s", -1 },
                 { "9999999999h", -1 } };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms = -1;
        assert_int_equal(kms_go_duration_parse(rows[i].text, &ms), rows[i].ms >= 0);
        assert_int_equal(ms, rows[i].ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_provider_is_read),
        cmocka_unit_test(the_wrong_type_is_refused),
        cmocka_unit_test(unknown_and_repeated_fields_are_refused),
        cmocka_unit_test(a_provider_has_exactly_one_kind),
        cmocka_unit_test(hostile_shapes_are_refused),
        cmocka_unit_test(a_secret_is_never_told),
        cmocka_unit_test(more_than_can_be_read_is_refused),
        cmocka_unit_test(a_file_that_isnt_there_is_told),
        cmocka_unit_test(a_file_that_is_too_large_is_refused),
        cmocka_unit_test(durations_are_gos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
