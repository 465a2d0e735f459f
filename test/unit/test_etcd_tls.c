/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

#define PEM "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"

static char path[32];

static int make_file(void **unused)
{
    (void)unused;
    snprintf(path, sizeof path, "/tmp/test-tls-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, PEM, strlen(PEM)) != (ssize_t)strlen(PEM))
        return -1;
    return close(fd);
}

static int remove_file(void **unused)
{
    (void)unused;
    return unlink(path);
}

static void files_are_read_with_a_nul_behind_them(void **unused)
{
    (void)unused;
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_tls_done) struct kms_etcd_tls tls = { 0 };
    assert_ok(kms_etcd_tls_read(path, path, path, &tls, &err), &err);
    assert_string_equal((const char *)tls.ca.data, PEM);
    assert_string_equal((const char *)tls.cert.data, PEM);
    assert_string_equal((const char *)tls.key.data, PEM);
}

static void no_path_is_no_text(void **unused)
{
    (void)unused;
    struct kms_error err = { 0 };
    KMS_CLEANUP(kms_etcd_tls_done) struct kms_etcd_tls tls = { 0 };
    assert_ok(kms_etcd_tls_read(NULL, NULL, NULL, &tls, &err), &err);
    assert_null(tls.ca.data);
    assert_null(tls.key.data);
}

static void a_certificate_goes_with_its_key(void **unused)
{
    (void)unused;
    struct kms_error err = { 0 };
    struct kms_etcd_tls tls = { 0 };
    assert_int_equal(kms_etcd_tls_read(NULL, path, NULL, &tls, &err), KMS_E_INVALID);
    assert_int_equal(kms_etcd_tls_read(NULL, NULL, path, &tls, &err), KMS_E_INVALID);
    assert_contains(err.msg, "--cert and --key go together");
}

static void a_file_that_is_away_is_named(void **unused)
{
    (void)unused;
    struct kms_error err = { 0 };
    struct kms_etcd_tls tls = { 0 };
    assert_int_equal(kms_etcd_tls_read("/nonexistent/ca", NULL, NULL, &tls, &err),
                     KMS_E_PRECONDITION);
    assert_contains(err.msg, "/nonexistent/ca");
}

static void a_file_that_is_not_pem_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err = { 0 };
    struct kms_etcd_tls tls = { 0 };
    assert_int_equal(truncate(path, 5), 0);
    assert_int_equal(kms_etcd_tls_read(path, NULL, NULL, &tls, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "is not a PEM file");
}

static void a_file_without_an_end_is_refused(void **unused)
{
    (void)unused;
    struct kms_error err = { 0 };
    struct kms_etcd_tls tls = { 0 };
    assert_int_equal(truncate(path, 1024 * 1024), 0);
    assert_int_equal(kms_etcd_tls_read(path, NULL, NULL, &tls, &err), KMS_E_PRECONDITION);
    assert_int_equal(kms_etcd_tls_read("/dev/zero", NULL, NULL, &tls, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "is not a PEM file");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)
    const struct CMUnitTest tests[] = {
        TEST(files_are_read_with_a_nul_behind_them), TEST(no_path_is_no_text),
        TEST(a_certificate_goes_with_its_key),       TEST(a_file_that_is_away_is_named),
        TEST(a_file_that_is_not_pem_is_refused),     TEST(a_file_without_an_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
