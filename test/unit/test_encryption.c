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
                    "  - kms: {apiVersion: v2, name: own, endpoint: 'unix:///s', timeout: 1m30s}\n"
                    "  - aescbc: {keys: [{name: k, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}\n"
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
    err = (struct kms_error){ .code = KMS_OK };
    assert_int_equal(parse(HEAD "resources: [{resources: [a], providers: [{aescbc: {}, "
                                "c2VjcmV0IGlzIHNlY3VyZQ: 1}]}]\n",
                           &encryption, &err),
                     KMS_E_INVALID);
    assert_contains(err.msg, "unknown field");
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
    } rows[] = { { "3s", 3000 },    { "1.5s", 1500 },     { "500ms", 500 }, { "1m30s", 90000 },
                 { "2h", 7200000 }, { "900us", 1 },       { "3", -1 },      { "+3s", 3000 },
                 { "0", 0 },        { "1500\u00b5s", 1 }, { "", -1 },       { "s", -1 },
                 { "-1s", -1 },     { "3 s", -1 },        { "1..5s", -1 },  { "9999999999h", -1 } };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ms = -1;
        assert_int_equal(kms_go_duration_parse(rows[i].text, &ms), rows[i].ms >= 0);
        assert_int_equal(ms, rows[i].ms);
    }
}

/* --- kube-apiserver's own rules --- */

#define LOCAL(kind, keys)                                                                          \
    HEAD "resources: [{resources: [a], providers: [{" kind ": {" keys "}}]}]\n"

static void keys_of_a_local_provider_are_kube_apiservers(void **state)
{
    (void)state;
    assert_refused(LOCAL("aescbc", ""), "keys: required");
    assert_refused(LOCAL("aesgcm", "keys: []"), "keys: required");
    assert_refused(LOCAL("aescbc", "keys: [{name: k}]"), "16, 24 or 32 bytes");
    assert_refused(LOCAL("aescbc", "keys: [{name: k, secret: c2VjcmV0}]"), "16, 24 or 32 bytes");
    assert_refused(LOCAL("aescbc", "keys: [{name: k, secret: c2VjcmV0IGlzIHNlY3VyZQ}]"),
                   "16, 24 or 32 bytes");
    assert_refused(LOCAL("aescbc", "keys: [{secret: c2VjcmV0IGlzIHNlY3VyZQ==}]"), "name: required");
    assert_refused(LOCAL("secretbox", "keys: [{name: k, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]"),
                   "secret: required for a key, 32 bytes");
    assert_refused(LOCAL("aescbc", "keys: [{name: k, secret: '', x: 1}]"), "unknown field 'x'");
    assert_refused(LOCAL("identity", "foo: 1"), "unknown field 'foo'");
}

static void a_text_without_quotes_is_no_number(void **state)
{
    static const char *const others[] = { "5",  "-5",  "0x10", "0o7", "0b11", "012",  "1_000",
                                          ".5", "1e3", "y",    "yes", "Off",  "TRUE", ".inf" };
    static const char *const texts[] = { "5s", "'5'", "1.2.3", "2026-01-01", "inf",
                                         "0x", "_1",  "-",     "nan" };
    char text[256];
    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        (void)snprintf(text, sizeof(text), LOCAL("kms", "name: %s"), others[i]);
        assert_refused(text, "quote it");
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct kms_encryption encryption;
        struct kms_error err = { 0 };
        (void)snprintf(text, sizeof(text), LOCAL("kms", "name: %s"), texts[i]);
        assert_ok(parse(text, &encryption, &err), &err);
        kms_encryption_done(&encryption);
    }
    assert_refused(LOCAL("kms", "cachesize: '5'"), "whole number");
    assert_refused(LOCAL("kms", "cachesize: 5000000000"), "whole number");
}

/* What kube-apiserver would say of entries in flow style: "" if it takes them. */
static void assert_judged(const char *entries, const char *part)
{
    char text[2048];
    struct kms_encryption encryption;
    struct kms_error err = { 0 };
    (void)snprintf(text, sizeof(text), HEAD "resources: [%s]\n", entries);
    assert_ok(parse(text, &encryption, &err), &err);
    enum kms_code rc = kms_encryption_check(&encryption, true, &err);
    kms_encryption_done(&encryption);
    if (part[0] == '\0') {
        assert_ok(rc, &err);
        return;
    }
    assert_int_equal(rc, KMS_E_INVALID);
    assert_contains(err.msg, part);
}

#define ENTRY(resources) "{resources: [" resources "], providers: [{identity: {}}]}"

static void names_of_resources_are_judged_as_by_kube_apiserver(void **state)
{
    (void)state;
    assert_judged(ENTRY("secrets, configmaps, '*.apps', leases.coordination.k8s.io"), "");
    assert_judged(ENTRY("secrets, Secrets"), "resources[0].resources[1]: 'Secrets' has capital");
    assert_judged(ENTRY("'*'"), "must be '*.'");
    assert_judged(ENTRY("serviceipallocations"), "no REST API");
    assert_judged(ENTRY("events.events.k8s.io"), "write that");
    assert_judged(ENTRY("'*.extensions'"), "which is gone");
    assert_judged(ENTRY("'secrets.*'"), "in all groups");
}

static void resources_of_an_entry_are_told_once(void **state)
{
    (void)state;
    assert_judged(ENTRY("secrets, secrets"), "'secrets' and 'secrets' are the same");
    assert_judged(ENTRY("secrets, 'secrets.'"), "are the same");
    assert_judged(ENTRY("secrets, '*.*'"), "overlap");
    assert_judged(ENTRY("'*.', secrets"), "overlap");
    assert_judged(ENTRY("'*.', '*.apps'"), "");
}

static void a_resource_is_not_masked_by_an_earlier_entry(void **state)
{
    (void)state;
    assert_judged(ENTRY("secrets") ", " ENTRY("'*.*'"), "");
    assert_judged(ENTRY("secrets") ", " ENTRY("secrets"), ""); /* it adds providers that read */
    assert_judged(ENTRY("'*.*'") ", " ENTRY("secrets"),
                  "resources[1].resources[0]: 'secrets' is masked by '*.*' of resources[0]");
    assert_judged(ENTRY("'*.apps'") ", " ENTRY("deployments.apps"), "masked by '*.apps'");
    assert_judged(ENTRY("'*.'") ", " ENTRY("'*.*'"), "");
}

#define KMS(fields) "{kms: {" fields "}}"
#define WITH(providers) "{resources: [secrets], providers: [" providers "]}"
#define GOOD "apiVersion: v2, endpoint: 'unix:///s'"

static void kms_providers_are_judged_as_by_kube_apiserver(void **state)
{
    static const char at[] = "resources[0].providers[0].kms.";
    static const struct {
        const char *fields, *part;
    } rows[] = {
        { GOOD ", name: a", "" },
        { GOOD, "name: required" },
        { GOOD ", name: 'a:b'", "name: must not contain" },
        { "name: 'a:b', endpoint: 'unix:///s'", "" }, /* v1 */
        { GOOD ", name: a, timeout: 0s", "timeout: must be" },
        { GOOD ", name: a, timeout: -1s", "timeout: must be" },
        { GOOD ", name: a, timeout: soon", "timeout: must be" },
        { "apiVersion: v2, name: a", "endpoint: required" },
        { "apiVersion: v2, name: a, endpoint: 'tcp:///s'", "scheme unix" },
        { "apiVersion: v2, name: a, endpoint: 'unix:///%zz'", "scheme unix" },
        { GOOD ", name: a, cachesize: -1", "cachesize: not supported" },
        { "name: a, endpoint: 'unix:///s', cachesize: 0", "cachesize: must not be zero" },
        { "apiVersion: V2, name: a, endpoint: 'unix:///s'", "apiVersion: must be" },
    };
    char entry[512];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(entry, sizeof(entry), WITH(KMS("%s")), rows[i].fields);
        assert_judged(entry, rows[i].part[0] != '\0' ? at : "");
        assert_judged(entry, rows[i].part);
    }
}

static void a_name_is_used_once_in_the_whole_file(void **state)
{
    (void)state;
    assert_judged(WITH(KMS(GOOD ", name: a") ", " KMS(GOOD ", name: b")), "");
    assert_judged(WITH(KMS(GOOD ", name: a")) ", " WITH(KMS(GOOD ", name: a")),
                  "resources[1].providers[0].kms.name: another provider");
}

static void the_first_entry_of_a_resource_is_found(void **state)
{
    struct kms_encryption encryption;
    struct kms_error err = { 0 };
    (void)state;
    assert_ok(parse(HEAD "resources: [" ENTRY("secrets.v1") ", " ENTRY("configmaps.") ", " ENTRY(
                        "'*.*'") "]\n",
                    &encryption, &err),
              &err);
    assert_ptr_equal(kms_encryption_find(&encryption, "configmaps"), &encryption.entries[1]);
    assert_ptr_equal(kms_encryption_find(&encryption, "secrets"), &encryption.entries[2]);
    assert_ptr_equal(kms_encryption_find(&encryption, "leases.coordination.k8s.io"),
                     &encryption.entries[2]);
    kms_encryption_done(&encryption);
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
        cmocka_unit_test(keys_of_a_local_provider_are_kube_apiservers),
        cmocka_unit_test(a_text_without_quotes_is_no_number),
        cmocka_unit_test(names_of_resources_are_judged_as_by_kube_apiserver),
        cmocka_unit_test(resources_of_an_entry_are_told_once),
        cmocka_unit_test(a_resource_is_not_masked_by_an_earlier_entry),
        cmocka_unit_test(kms_providers_are_judged_as_by_kube_apiserver),
        cmocka_unit_test(a_name_is_used_once_in_the_whole_file),
        cmocka_unit_test(the_first_entry_of_a_resource_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
