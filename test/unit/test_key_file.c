/* SPDX-License-Identifier: Apache-2.0 */
/* Files that operators name, and the escrow file. */
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "escrow_file.h"
#include "key_file.h"
#include "transport_names.h"

struct bench {
    char dir[32];
    char path[64];
    struct kms_error err;
};

static int set_up(void **state)
{
    static struct bench bench;
    bench = (struct bench){ .dir = "/tmp/hsm-kms-file-XXXXXX" };
    assert_non_null(mkdtemp(bench.dir));
    (void)snprintf(bench.path, sizeof(bench.path), "%s/file", bench.dir);
    *state = &bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;
    DIR *dir = opendir(bench->dir);
    for (const struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        (void)closedir(dir);
    return rmdir(bench->dir);
}

static void put(struct bench *bench, const char *text, size_t len, mode_t mode)
{
    int fd = open(bench->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    assert_int_equal(close(fd), 0);
}

static void put_text(struct bench *bench, const char *text)
{
    put(bench, text, strlen(text), 0600);
}

/* --- plain files --- */

static void what_is_written_is_read_again(void **state)
{
    struct bench *bench = *state;
    KMS_CLEANUP(kms_file_done) struct kms_file file = { 0 };
    struct stat st;
    put(bench, "old", 3, 0644);
    assert_ok(kms_file_write(bench->path, kms_bytes_of("new text"), &bench->err), &bench->err);
    assert_ok(kms_file_read(bench->path, &file, &bench->err), &bench->err);
    assert_int_equal(file.len, 8);
    assert_memory_equal(file.data, "new text", 8);
    assert_int_equal(stat(bench->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void only_files_of_a_sane_size_are_read(void **state)
{
    struct bench *bench = *state;
    KMS_CLEANUP(kms_file_done) struct kms_file file = { 0 };
    static const char large[KMS_KEY_FILE_MAX + 1];
    put(bench, large, sizeof(large), 0600);
    assert_int_equal(kms_file_read(bench->path, &file, &bench->err), KMS_E_INVALID);
    assert_int_equal(kms_file_read(bench->dir, &file, &bench->err), KMS_E_INVALID);
    assert_int_equal(kms_file_read("/nowhere/file", &file, &bench->err), KMS_E_INVALID);
    assert_int_equal(unlink(bench->path), 0);
    assert_int_equal(mkfifo(bench->path, 0600), 0);
    assert_int_equal(kms_file_read(bench->path, &file, &bench->err), KMS_E_INVALID);
}

static void only_regular_files_are_replaced(void **state)
{
    struct bench *bench = *state;
    const struct kms_bytes text = kms_bytes_of("text");
    assert_int_equal(symlink("/etc/hostname", bench->path), 0);
    assert_int_equal(kms_file_write(bench->path, text, &bench->err), KMS_E_PRECONDITION);
    assert_int_equal(kms_file_write("/dev/null", text, &bench->err), KMS_E_PRECONDITION);
    assert_int_equal(kms_file_write("/nowhere/file", text, &bench->err), KMS_E_PRECONDITION);
    assert_int_equal(kms_file_write("/tmp/", text, &bench->err), KMS_E_INVALID);
}

static void a_folder_is_locked_once(void **state)
{
    struct bench *bench = *state;
    int first = -1, second = -1;
    assert_ok(kms_file_lock_folder(bench->path, &first, &bench->err), &bench->err);
    assert_int_equal(kms_file_lock_folder(bench->path, &second, &bench->err), KMS_E_BUSY);
    assert_int_equal(close(first), 0);
    assert_ok(kms_file_lock_folder(bench->path, &second, &bench->err), &bench->err);
    assert_int_equal(close(second), 0);
}

/* --- a raw key --- */

static void a_raw_key_is_32_private_bytes(void **state)
{
    struct bench *bench = *state;
    KMS_CLEANUP(kms_secret_done) struct kms_secret key = { 0 };
    put(bench, "0123456789abcdef0123456789abcdef", 32, 0400);
    assert_ok(kms_file_read_key(bench->path, &key, &bench->err), &bench->err);
    assert_int_equal(key.len, 32);
    assert_memory_equal(key.data, "0123456789abcdef0123456789abcdef", 32);
}

static void a_raw_key_of_another_length_is_refused(void **state)
{
    struct bench *bench = *state;
    struct kms_secret key = { 0 };
    for (size_t len = 0; len <= 64; len += len == 31 ? 2 : 31) { /* 0, 31, 33, 64 */
        put(bench, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", len, 0600);
        assert_int_equal(kms_file_read_key(bench->path, &key, &bench->err), KMS_E_PRECONDITION);
        assert_contains(bench->err.msg, "exactly 32 bytes");
    }
}

static void a_raw_key_that_others_may_read_is_refused(void **state)
{
    struct bench *bench = *state;
    struct kms_secret key = { 0 };
    static const mode_t modes[] = { 0640, 0604, 0610, 0602 };
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        put(bench, "0123456789abcdef0123456789abcdef", 32, modes[i]);
        assert_int_equal(kms_file_read_key(bench->path, &key, &bench->err), KMS_E_PRECONDITION);
        assert_contains(bench->err.msg, "open to others");
    }
}

/* --- a transport key's file --- */

/* A public key by OpenSSL, with @hash. */
static struct kms_transport_key make_key(enum kms_oaep_hash hash)
{
    struct kms_transport_key key = { .hash = hash };
    uint8_t *at = key.spki.data;
    EVP_PKEY *pair = EVP_RSA_gen(2048);
    assert_non_null(pair);
    int len = i2d_PUBKEY(pair, &at);
    EVP_PKEY_free(pair);
    assert_in_range(len, 1, sizeof(key.spki.data));
    key.spki.len = (size_t)len;
    return key;
}

static void assert_hash(struct bench *bench, enum kms_oaep_hash expected)
{
    struct kms_spki spki;
    enum kms_oaep_hash hash = KMS_OAEP_SHA256;
    assert_ok(kms_spki_read(bench->path, &spki, &hash, &bench->err), &bench->err);
    assert_int_equal(hash, expected);
}

static void a_transport_key_is_read_as_written(void **state)
{
    struct bench *bench = *state;
    static const enum kms_oaep_hash hashes[] = { KMS_OAEP_SHA256, KMS_OAEP_SHA1 };
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
        const struct kms_transport_key key = make_key(hashes[i]);
        char pem[KMS_TRANSPORT_PEM_MAX];
        struct kms_spki spki;
        enum kms_oaep_hash hash = KMS_OAEP_SHA256;
        assert_ok(kms_transport_pem("prod", &key, pem, &bench->err), &bench->err);
        put_text(bench, pem);
        assert_ok(kms_spki_read(bench->path, &spki, &hash, &bench->err), &bench->err);
        assert_int_equal(hash, hashes[i]);
        assert_int_equal(spki.len, key.spki.len);
        assert_memory_equal(spki.data, key.spki.data, spki.len);
    }
}

static void only_the_line_above_the_pem_names_the_hash(void **state)
{
    struct bench *bench = *state;
    const struct kms_transport_key key = make_key(KMS_OAEP_SHA1);
    char pem[KMS_TRANSPORT_PEM_MAX], text[KMS_TRANSPORT_PEM_MAX + 256];
    assert_ok(kms_transport_pem("prod", &key, pem, &bench->err), &bench->err);
    const char *block = strstr(pem, "-----BEGIN");
    const int line_len = (int)(block - pem) - 1;
    put_text(bench, block);
    assert_hash(bench, KMS_OAEP_SHA256);
    (void)snprintf(text, sizeof(text), "%s%.*s\n", block, line_len, pem);
    put_text(bench, text);
    assert_hash(bench, KMS_OAEP_SHA256);
    (void)snprintf(text, sizeof(text), "Hello,\r\n%.*s \r\n\r\n%s", line_len, pem, block);
    put_text(bench, text);
    assert_hash(bench, KMS_OAEP_SHA1);
}

static void a_hash_that_nobody_knows_is_refused(void **state)
{
    struct bench *bench = *state;
    const struct kms_transport_key key = make_key(KMS_OAEP_SHA256);
    static const char *const lines[] = { "# hsm-kms transport-key, ring: prod",
                                         "# hsm-kms transport-key, oaep-hash: ",
                                         "# hsm-kms transport-key, oaep-hash: sha1, more: x",
                                         "# hsm-kms transport-key, oaep-hash: sha3-256" };
    char pem[KMS_TRANSPORT_PEM_MAX], text[KMS_TRANSPORT_PEM_MAX + 256];
    struct kms_spki spki;
    enum kms_oaep_hash hash = KMS_OAEP_SHA256;
    assert_ok(kms_transport_pem("prod", &key, pem, &bench->err), &bench->err);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        (void)snprintf(text, sizeof(text), "%s\n%s", lines[i], strstr(pem, "-----BEGIN"));
        put_text(bench, text);
        assert_int_equal(kms_spki_read(bench->path, &spki, &hash, &bench->err), KMS_E_INVALID);
        assert_contains(bench->err.msg, "--hash");
    }
}

/* --- the escrow file --- */

static struct kms_escrow sample(void)
{
    struct kms_escrow escrow = { .ring = "prod",
                                 .id = "0123456789abcdef",
                                 .recipient = { 1 },
                                 .complete = true,
                                 .fingerprint = { 2 },
                                 .blob = { .len = 384, .hash = KMS_OAEP_SHA1 } };
    memset(escrow.blob.data, 0xA5, escrow.blob.len);
    return escrow;
}

static enum kms_code read_escrow(struct bench *bench, struct kms_escrow *ret_escrow)
{
    bool found = false;
    enum kms_code rc = kms_escrow_read(bench->path, &found, ret_escrow, &bench->err);
    assert_true(found);
    return rc;
}

static void an_escrow_file_is_read_as_written(void **state)
{
    struct bench *bench = *state;
    for (size_t len = 382; len <= 384; len++) { /* with two, one and no padding in base64 */
        struct kms_escrow escrow = sample(), again;
        escrow.blob.len = len;
        memset(escrow.blob.data + len, 0, sizeof(escrow.blob.data) - len);
        assert_ok(kms_escrow_write(bench->path, &escrow, &bench->err), &bench->err);
        assert_ok(read_escrow(bench, &again), &bench->err);
        assert_memory_equal(&again, &escrow, sizeof(again));
    }
}

static void an_escrow_that_is_begun_has_no_key_yet(void **state)
{
    struct bench *bench = *state;
    struct kms_escrow escrow = sample(), again;
    escrow.complete = false;
    assert_ok(kms_escrow_write(bench->path, &escrow, &bench->err), &bench->err);
    assert_ok(read_escrow(bench, &again), &bench->err);
    assert_false(again.complete);
    assert_string_equal(again.id, escrow.id);
}

static void no_file_is_no_failure(void **state)
{
    struct bench *bench = *state;
    struct kms_escrow escrow;
    bool found = true;
    assert_ok(kms_escrow_read(bench->path, &found, &escrow, &bench->err), &bench->err);
    assert_false(found);
}

#define HEAD "\"ring\":\"prod\",\"id\":\"0123456789abcdef\",\"recipient\":\"" DIGEST "\""
#define DIGEST "0000000000000000000000000000000000000000000000000000000000000000"
#define REST "\"fingerprint\":\"" DIGEST "\",\"oaep_hash\":\"sha1\""

static void a_damaged_escrow_file_is_refused(void **state)
{
    struct bench *bench = *state;
    struct kms_escrow escrow;
    static const char *const damaged[] = {
        "",
        "[]",
        "{}",
        "{\"version\":1}",
        "{\"version\":0," HEAD "}",
        "{\"version\":2," HEAD "}",
        "{\"version\":1,\"ring\":\"../x\",\"id\":\"0123456789abcdef\",\"recipient\":\"" DIGEST
        "\"}",
        "{\"version\":1,\"ring\":\"prod\",\"id\":\"0123\",\"recipient\":\"" DIGEST "\"}",
        "{\"version\":1,\"ring\":\"prod\",\"id\":\"0123456789abcdef\",\"recipient\":\"00\"}",
        "{\"version\":1," HEAD ",\"blob\":\"AAAA\"}",
        "{\"version\":1," HEAD "," REST ",\"blob\":null}",
        "{\"version\":1," HEAD "," REST ",\"blob\":\"\"}",
        "{\"version\":1," HEAD "," REST ",\"blob\":\"AAA\"}",
        "{\"version\":1," HEAD "," REST ",\"blob\":\"A!AA\"}",
        "{\"version\":1," HEAD "," REST ",\"blob\":\"====\"}",
    };
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        put_text(bench, damaged[i]);
        if (read_escrow(bench, &escrow) != KMS_E_INVALID)
            fail_msg("accepted: %s", damaged[i]);
    }
    put_text(bench, "{\"version\":1," HEAD "," REST ",\"blob\":\"AAAA\"}");
    assert_ok(read_escrow(bench, &escrow), &bench->err);
}

#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(what_is_written_is_read_again),
        FILE_TEST(only_files_of_a_sane_size_are_read),
        FILE_TEST(only_regular_files_are_replaced),
        FILE_TEST(a_folder_is_locked_once),
        FILE_TEST(a_raw_key_is_32_private_bytes),
        FILE_TEST(a_raw_key_of_another_length_is_refused),
        FILE_TEST(a_raw_key_that_others_may_read_is_refused),
        FILE_TEST(a_transport_key_is_read_as_written),
        FILE_TEST(only_the_line_above_the_pem_names_the_hash),
        FILE_TEST(a_hash_that_nobody_knows_is_refused),
        FILE_TEST(an_escrow_file_is_read_as_written),
        FILE_TEST(an_escrow_that_is_begun_has_no_key_yet),
        FILE_TEST(no_file_is_no_failure),
        FILE_TEST(a_damaged_escrow_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
