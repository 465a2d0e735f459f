/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_rig.h"
#include "check.h"
#include "fake/keystore.h"
#include "kms/signature.h"

/* Two tokens with a key pair each; the first one's is ours. */
struct bench {
    struct kms_keystore *ours, *foreign;
    struct kms_audit_vouchers vouchers;
    struct kms_error err;
};
static struct bench bench;

static void close_bench(void)
{
    kms_audit_vouchers_done(&bench.vouchers);
    kms_keystore_close(bench.ours);
    kms_keystore_close(bench.foreign);
}

static int set_up(void **state)
{
    bench.ours = fake_keystore_seam(fake_keystore_new());
    bench.foreign = fake_keystore_seam(fake_keystore_new());
    struct kms_audit_key ours, foreign;
    if (audit_rig_setup(state) != 0 ||
        kms_keystore_audit_key(bench.ours, "x", true, 0, &ours, &bench.err) != KMS_OK ||
        kms_keystore_audit_key(bench.foreign, "x", true, 0, &foreign, &bench.err) != KMS_OK)
        return -1;
    bench.vouchers = (struct kms_audit_vouchers){ .keys = { ours.spki }, .key_count = 1 };
    return 0;
}

static int tear_down(void **state)
{
    close_bench();
    return audit_rig_teardown(state);
}

static struct kms_signature sign(struct kms_keystore *keystore, const struct kms_audit_chain *at)
{
    struct kms_signature signature;
    char text[KMS_AUDIT_SIGNED_MAX];
    struct kms_bytes message = { (const uint8_t *)text, kms_audit_checkpoint_text(at, text) };
    assert_ok(kms_keystore_sign(keystore, "x", message, 0, &signature, &bench.err), &bench.err);
    return signature;
}

/* "log.serve": the first line, two uses, a checkpoint by @keystore and another use. */
static void write_log(struct kms_keystore *keystore)
{
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    assert_int_equal(audit_rig_put(audit, "one", &bench.err), KMS_OK);
    assert_int_equal(audit_rig_put(audit, "two", &bench.err), KMS_OK);
    struct kms_audit_chain now = kms_audit_where(audit).chain;
    struct kms_signature signature = sign(keystore, &now);
    assert_ok(kms_audit_write_checkpoint(audit, &now, &signature, &bench.err), &bench.err);
    assert_int_equal(audit_rig_put(audit, "three", &bench.err), KMS_OK);
    kms_audit_close(audit);
}

static struct kms_audit_forgery gather(const char *name)
{
    struct kms_audit_forgery forgery;
    FILE *in = fopen(audit_rig_path(name), "r");
    assert_non_null(in);
    assert_ok(kms_audit_vouchers_add(&bench.vouchers, in, &forgery, &bench.err), &bench.err);
    (void)fclose(in);
    kms_audit_vouchers_sort(&bench.vouchers);
    return forgery;
}

static struct kms_audit_check check(const char *name)
{
    struct kms_audit_check check;
    FILE *in = fopen(audit_rig_path(name), "r");
    assert_non_null(in);
    assert_ok(kms_audit_check_file(in, &bench.vouchers, &check, &bench.err), &bench.err);
    (void)fclose(in);
    return check;
}

static void what_is_signed_names_chain_number_and_hash(void **state)
{
    (void)state;
    const struct kms_audit_chain at = { .id = "0011223344556677", .seq = 12, .head = { 0xAB } };
    char text[KMS_AUDIT_SIGNED_MAX];
    size_t len = kms_audit_checkpoint_text(&at, text);
    assert_int_equal(len, strlen(text));
    assert_string_equal(text, "hsm-kms audit checkpoint v1\n0011223344556677\n12\n"
                              "ab00000000000000000000000000000000000000000000000000000000000000\n");
}

static void a_signed_log_is_vouched_for_up_to_the_signed_line(void **state)
{
    (void)state;
    write_log(bench.ours);
    assert_int_equal(gather("log.serve").line, 0);
    struct kms_audit_check found = check("log.serve");
    assert_int_equal(found.fault_line, 0);
    assert_int_equal(found.checkpoints, 1);
    assert_int_equal(found.vouched_seq, 3);
    assert_int_equal(found.end.seq, 5);
}

static void a_foreign_key_vouches_for_nothing(void **state)
{
    (void)state;
    write_log(bench.foreign);
    struct kms_audit_forgery forgery = gather("log.serve");
    assert_int_equal(forgery.line, 4);
    assert_contains(forgery.why, "of another key");
    assert_int_equal(check("log.serve").vouched_seq, 0);
}

static void a_signature_of_another_line_is_a_fault_there(void **state)
{
    (void)state;
    struct kms_audit_options options = audit_rig_options();
    struct kms_audit *audit = audit_rig_open(&options);
    assert_int_equal(audit_rig_put(audit, "one", &bench.err), KMS_OK);
    struct kms_audit_chain here = kms_audit_where(audit).chain;
    struct kms_audit_chain wrong = here;
    wrong.head[0] ^= 1;
    struct kms_signature signature = sign(bench.ours, &wrong);
    assert_ok(kms_audit_write_checkpoint(audit, &wrong, &signature, &bench.err), &bench.err);
    kms_audit_close(audit);
    assert_int_equal(gather("log.serve").line, 0);
    struct kms_audit_check found = check("log.serve");
    assert_int_equal(found.fault_line, here.seq);
    assert_contains(found.fault, "isn't the line that was signed");
}

/* Replaces @from by @to, of the same length, in the file. */
static void forge(const char *from, const char *to)
{
    size_t len = 0;
    char *text = audit_rig_read("log.serve", &len);
    char *at = strstr(text, from);
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    audit_rig_store("log.serve", text, len);
    free(text);
}

static void a_checkpoint_that_lacks_what_one_has_is_told(void **state)
{
    (void)state;
    static const char *const changes[][2] = {
        { "\"signed_seq\":3", "\"signed_seq\":9" }, /* after itself */
        { "\"signed_seq\":3", "\"signed_sec\":3" },
        { "\"signed_sha256\":\"", "\"signed_sha256\":\"_" },
        { "\"key_sha256\":\"", "\"key_sha256\":\"_" },
        { "\"signature\":\"", "\"signature\":\"_" },
        { "\"signature\":\"ME", "\"signature\":\"\",\"" },
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        write_log(bench.ours);
        forge(changes[i][0], changes[i][1]);
        struct kms_audit_forgery forgery = gather("log.serve");
        if (forgery.line != 0) /* else it is no line any more */
            assert_contains(forgery.why, "lacks what one has");
        assert_int_equal(bench.vouchers.count, 0);
        assert_int_equal(unlink(audit_rig_path("log.serve")), 0);
    }
}

static void a_changed_number_makes_the_signature_wrong(void **state)
{
    (void)state;
    write_log(bench.ours);
    forge("\"signed_seq\":3", "\"signed_seq\":2");
    struct kms_audit_forgery forgery = gather("log.serve");
    assert_int_equal(forgery.line, 4);
    assert_contains(forgery.why, "a wrong signature");
}

/* As the longest that a token makes, RSA-8192's. */
static void a_long_signature_is_written_whole(void **state)
{
    (void)state;
    const struct kms_audit_origin origin = { "", "", "serve" };
    const struct kms_audit_chain at = { .id = "0011223344556677", .seq = 1 };
    struct kms_signature signature = { .len = KMS_SIGNATURE_MAX, .signing = KMS_SIGNING_RSA_PKCS1 };
    memset(signature.data, 0xFF, sizeof(signature.data));
    char *body = kms_audit_body_checkpoint(&origin, &at, &signature);
    assert_non_null(body);
    const char *text = strstr(body, "\"signature\":\"");
    assert_non_null(text);
    assert_int_equal(strspn(text + 13, "/"), KMS_SIGNATURE_MAX / 3 * 4 + 1);
    assert_contains(body, "\"alg\":\"rsa-pkcs1-sha256\"");
    free(body);
}

static void many_vouchers_are_found(void **state)
{
    (void)state;
    enum { MANY = 100 };
    write_log(bench.ours);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(gather("log.serve").line, 0);
    assert_int_equal(bench.vouchers.count, MANY);
    assert_int_equal(check("log.serve").vouched_seq, 3);
}

static void nothing_vouches_without_a_log(void **state)
{
    (void)state;
    const struct kms_signature signature = { .len = 1 };
    assert_int_equal(kms_audit_where(NULL).chain.seq, 0);
    const struct kms_audit_chain at = { .seq = 1 };
    assert_ok(kms_audit_write_checkpoint(NULL, &at, &signature, &bench.err), &bench.err);
}

static void only_keys_that_may_sign_are_read(void **state)
{
    (void)state;
    struct kms_spki spki;
    static const char p384[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqofKIr6LBTeOscce8yCtdG4dO2KLp5uY\n"
                               "WfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3NhfeSpYmLG9dnpi/kpLcKfj0Hb0omhR8\n"
                               "6doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f\n"
                               "-----END PUBLIC KEY-----\n";
    assert_int_equal(kms_spki_of_signer(kms_bytes_of(p384), &spki, &bench.err), KMS_E_INVALID);
    assert_int_equal(kms_spki_of_signer(kms_bytes_of("nothing"), &spki, &bench.err), KMS_E_INVALID);
    assert_int_equal(kms_spki_of_signer(kms_bytes_of(""), &spki, &bench.err), KMS_E_INVALID);
    assert_contains(bench.err.msg, "EC P-256");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_signed_names_chain_number_and_hash),
        TEST(a_signed_log_is_vouched_for_up_to_the_signed_line),
        TEST(a_foreign_key_vouches_for_nothing),
        TEST(a_signature_of_another_line_is_a_fault_there),
        TEST(a_checkpoint_that_lacks_what_one_has_is_told),
        TEST(a_changed_number_makes_the_signature_wrong),
        TEST(a_long_signature_is_written_whole),
        TEST(many_vouchers_are_found),
        TEST(nothing_vouches_without_a_log),
        TEST(only_keys_that_may_sign_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
