/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "audit_rig.h"
#include "audit_sealed.h"
#include "check.h"

static struct kms_error err;

/* <name>.pem is a certificate, <name>.key its private key. */
static void make_recipient(const char *name, EVP_PKEY *key)
{
    char file[64];
    assert_non_null(key);
    X509 *cert = X509_new();
    assert_non_null(cert);
    assert_int_equal(X509_set_version(cert, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), 0));
    assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
    X509_NAME *subject = X509_get_subject_name(cert);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0),
        1);
    assert_int_equal(X509_set_issuer_name(cert, subject), 1);
    assert_int_equal(X509_set_pubkey(cert, key), 1);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    (void)snprintf(file, sizeof(file), "%s.pem", name);
    FILE *out = fopen(audit_rig_path(file), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, cert), 1);
    assert_int_equal(fclose(out), 0);
    (void)snprintf(file, sizeof(file), "%s.key", name);
    out = fopen(audit_rig_path(file), "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(out), 0);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int set_up(void **state)
{
    if (audit_rig_setup(state) != 0)
        return -1;
    make_recipient("ec", EVP_EC_gen("prime256v1"));
    return 0;
}

/* "log.serve" for the certificate @name.pem: twice opened, two uses each. */
static void write_sealed(const char *name)
{
    char file[64];
    (void)snprintf(file, sizeof(file), "%s.pem", name);
    char *path = strdup(audit_rig_path(file));
    struct kms_audit_options options = audit_rig_options();
    options.encrypt = path;
    for (int i = 0; i < 2; i++) {
        struct kms_audit *audit = audit_rig_open(&options);
        assert_int_equal(audit_rig_put(audit, "a secret uid", &err), KMS_OK);
        assert_int_equal(audit_rig_put(audit, "another", &err), KMS_OK);
        kms_audit_close(audit);
    }
    free(path);
}

/* Of the lines of "log.serve": how many uses the private key @name.key opens; *ret_rc: the last failure. */
static unsigned opened(const char *name, enum kms_code *ret_rc)
{
    char file[64];
    static struct kms_audit_reader reader;
    struct kms_audit_opener *opener = NULL;
    unsigned uses = 0;
    (void)snprintf(file, sizeof(file), "%s.key", name);
    assert_ok(kms_audit_opener_open(audit_rig_path(file), &opener, &err), &err);
    reader = (struct kms_audit_reader){ .in = fopen(audit_rig_path("log.serve"), "r") };
    assert_non_null(reader.in);
    *ret_rc = KMS_OK;
    for (bool end = false; !end;) {
        KMS_CLEANUP(kms_audit_line_done) struct kms_audit_line line = { .json = NULL };
        assert_ok(kms_audit_reader_next(&reader, &line, &end, &err), &err);
        enum kms_code rc = end ? KMS_OK : kms_audit_opener_read(opener, &line, &err);
        *ret_rc = rc != KMS_OK ? rc : *ret_rc;
        uses += !end && strcmp(line.type, "use") == 0 ? 1 : 0;
    }
    (void)fclose(reader.in);
    kms_audit_opener_close(opener);
    return uses;
}

static void the_recipient_reads_every_line(void **state)
{
    (void)state;
    enum kms_code rc;
    write_sealed("ec");
    assert_int_equal(opened("ec", &rc), 4);
    assert_int_equal(rc, KMS_OK);
}

static void so_does_one_with_an_rsa_key(void **state)
{
    (void)state;
    enum kms_code rc;
    make_recipient("rsa", EVP_RSA_gen(2048));
    write_sealed("rsa");
    assert_int_equal(opened("rsa", &rc), 4);
    assert_int_equal(rc, KMS_OK);
}

static void the_chain_is_checked_without_any_key(void **state)
{
    (void)state;
    write_sealed("ec");
    struct kms_audit_check check = audit_rig_check_whole("log.serve");
    assert_int_equal(check.lines, 1 + 2 * (1 + 2)); /* open; a key and two uses each */
}

static void nothing_of_a_line_is_in_the_clear(void **state)
{
    (void)state;
    size_t len = 0;
    write_sealed("ec");
    char *text = audit_rig_read("log.serve", &len);
    assert_null(strstr(text, "a secret uid"));
    assert_null(strstr(text, "Decrypt"));
    free(text);
}

static void another_recipient_reads_nothing(void **state)
{
    (void)state;
    enum kms_code rc;
    make_recipient("other", EVP_EC_gen("prime256v1"));
    write_sealed("ec");
    assert_int_equal(opened("other", &rc), 0);
    assert_int_equal(rc, KMS_E_PRECONDITION);
}

static void equal_lines_are_sealed_differently(void **state)
{
    (void)state;
    write_sealed("ec");
    json_t *first = audit_rig_line("log.serve", 2), *second = audit_rig_line("log.serve", 3);
    assert_int_equal(json_integer_value(json_object_get(first, "number")), 0);
    assert_int_equal(json_integer_value(json_object_get(second, "number")), 1);
    json_decref(first);
    json_decref(second);
}

static void a_changed_line_is_not_opened(void **state)
{
    (void)state;
    enum kms_code rc;
    size_t len = 0;
    write_sealed("ec");
    char *text = audit_rig_read("log.serve", &len);
    char *data = strstr(text, "\"data\":\"");
    assert_non_null(data);
    data[8] = data[8] == 'A' ? 'B' : 'A';
    audit_rig_store("log.serve", text, len);
    free(text);
    assert_int_equal(opened("ec", &rc), 3);
    assert_int_equal(rc, KMS_E_CORRUPT);
}

static void a_file_that_is_no_certificate_is_refused(void **state)
{
    (void)state;
    struct kms_audit *audit = NULL;
    struct kms_audit_options options = audit_rig_options();
    options.encrypt = audit_rig_path("ec.key");
    assert_int_equal(kms_audit_open(&options, &audit, &err), KMS_E_INVALID);
    assert_contains(err.msg, "audit.encrypt: ");
    assert_contains(err.msg, "no certificate in PEM");
}

static void a_file_that_is_no_private_key_is_refused(void **state)
{
    (void)state;
    struct kms_audit_opener *opener = NULL;
    assert_int_equal(kms_audit_opener_open(audit_rig_path("ec.pem"), &opener, &err), KMS_E_INVALID);
    assert_contains(err.msg, "no private key in PEM");
}

static void only_the_one_base64_of_bytes_is_read(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",     "A",        "AAA",      " AAA",    "AAA ", "\nAAA",
                                         "AB==", "AAB=",     "    ",     "====",    "A===", "AA=A",
                                         "AA*A", "    AAAA", "AAAA    ", "AA==AAAA" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        size_t len = 0;
        uint8_t *data = kms_audit_unbase64(wrong[i], &len);
        if (data != NULL)
            fail_msg("'%s' was read", wrong[i]);
    }
    for (size_t len = 1; len < 5; len++) {
        size_t got = 0;
        char *text = kms_audit_base64((struct kms_bytes){ (const uint8_t *)"\xff\0\x80z", len });
        uint8_t *data = kms_audit_unbase64(text, &got);
        assert_non_null(data);
        assert_int_equal(got, len);
        assert_memory_equal(data, "\xff\0\x80z", len);
        free(data);
        free(text);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, audit_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_recipient_reads_every_line),
        TEST(so_does_one_with_an_rsa_key),
        TEST(the_chain_is_checked_without_any_key),
        TEST(nothing_of_a_line_is_in_the_clear),
        TEST(another_recipient_reads_nothing),
        TEST(equal_lines_are_sealed_differently),
        TEST(a_changed_line_is_not_opened),
        TEST(a_file_that_is_no_certificate_is_refused),
        TEST(a_file_that_is_no_private_key_is_refused),
        TEST(only_the_one_base64_of_bytes_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
