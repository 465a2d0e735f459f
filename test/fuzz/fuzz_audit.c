/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an audit log: a check ends with a verdict on whole lines, or names the first that is
 * wrong; a writer goes on after the last whole line, and what it leaves can be checked. */
#include "audit.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "audit_check.h"
#include "audit_checkpoint.h"
#include "audit_seal.h"
#include "fuzz.h"
#include "kms/log.h"

static bool check(const char *path, struct kms_audit_check *ret_check)
{
    struct kms_error err = { .code = KMS_OK };
    FILE *in = fopen(path, "r");
    FUZZ_CHECK(in != NULL);
    enum kms_code rc = kms_audit_check_file(in, NULL, ret_check, &err);
    (void)fclose(in);
    FUZZ_CHECK(rc == KMS_OK);
    FUZZ_CHECK(ret_check->vouched_seq == 0);
    FUZZ_CHECK((ret_check->fault_line == 0) == (ret_check->fault[0] == '\0'));
    FUZZ_CHECK(ret_check->fault_line == 0 || ret_check->fault_line == ret_check->lines + 1);
    return ret_check->fault_line == 0 && ret_check->lines > 0;
}

/* No key signed anything here: each checkpoint is a forgery, and none vouches. */
static void gather(const char *path, const struct kms_audit_check *checked)
{
    static const uint8_t p256[] = {
        /* whose private key is lost */
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
        0x04, 0x10, 0xa6, 0x3b, 0x45, 0xae, 0x46, 0xc3, 0xb3, 0x51, 0x55, 0x97, 0x98,
        0x20, 0x13, 0x39, 0xcc, 0x69, 0x16, 0x24, 0x47, 0x27, 0x5d, 0xe2, 0x26, 0x6f,
        0x8f, 0xc3, 0xf9, 0xdc, 0xb2, 0x9f, 0x15, 0x1e, 0x8b, 0xaa, 0xb6, 0x06, 0xe6,
        0xfc, 0xee, 0x38, 0x94, 0xad, 0x37, 0x2f, 0xf1, 0x29, 0xf4, 0x28, 0xce, 0xab,
        0x81, 0x4a, 0x53, 0x89, 0xd1, 0xfb, 0xa2, 0x93, 0x8a, 0x1f, 0x96, 0x87, 0xde,
    };
    struct kms_error err = { .code = KMS_OK };
    struct kms_audit_forgery forgery;
    struct kms_audit_vouchers vouchers = { .key_count = 1 };
    memcpy(vouchers.keys[0].data, p256, sizeof(p256));
    vouchers.keys[0].len = sizeof(p256);
    FILE *in = fopen(path, "r");
    FUZZ_CHECK(in != NULL);
    enum kms_code rc = kms_audit_vouchers_add(&vouchers, in, &forgery, &err);
    (void)fclose(in);
    FUZZ_CHECK(rc == KMS_OK);
    FUZZ_CHECK(vouchers.count == 0);
    FUZZ_CHECK(checked->checkpoints == 0 || forgery.line != 0);
    kms_audit_vouchers_done(&vouchers);
}

/* A recipient's key that nothing was sealed to. */
static struct kms_audit_opener *make_opener(void)
{
    struct kms_error err;
    struct kms_audit_opener *opener = NULL;
    char path[512]; /* fuzz_file() has but one, which is in use */
    (void)snprintf(path, sizeof(path), "%s/recipient.key", fuzz_dir());
    EVP_PKEY *key = EVP_EC_gen("prime256v1");
    FILE *out = fopen(path, "w");
    FUZZ_CHECK(key != NULL && out != NULL);
    FUZZ_CHECK(PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1);
    (void)fclose(out);
    EVP_PKEY_free(key);
    FUZZ_CHECK(kms_audit_opener_open(path, &opener, &err) == KMS_OK);
    (void)unlink(path);
    return opener;
}

/* What a line says of people is a number of the kernel's, or nothing. */
static void look_at_ids(const struct kms_audit_line *line)
{
    static const char *const keys[] = { "peer_uid", "login_uid", "started_uid", "claimed_uid" };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int64_t id = kms_audit_line_number(line, keys[i]);
        bool said = json_object_get(line->json, keys[i]) != NULL;
        FUZZ_CHECK(id <= UINT32_MAX && (id >= 0) == said);
    }
}

/* No line opens; what isn't sealed stays a line. */
static void unseal(const char *path)
{
    static struct kms_audit_opener *opener; /* kept: it holds no key of any input */
    static struct kms_audit_reader reader;
    struct kms_error err = { .code = KMS_OK };
    if (opener == NULL)
        opener = make_opener();
    reader = (struct kms_audit_reader){ .in = fopen(path, "r") };
    FUZZ_CHECK(reader.in != NULL);
    for (bool end = false; !end;) {
        struct kms_audit_line line = { .json = NULL };
        if (kms_audit_reader_next(&reader, &line, &end, &err) != KMS_OK)
            break;
        if (!end)
            look_at_ids(&line);
        bool sealed = !end && strcmp(line.type, "sealed") == 0;
        FUZZ_CHECK(end || (kms_audit_opener_read(opener, &line, &err) == KMS_OK) <= !sealed);
        kms_audit_line_done(&line);
    }
    (void)fclose(reader.in);
}

/* What the writer leaves beside the log. */
static void clear(void)
{
    DIR *dir = opendir(fuzz_dir());
    FUZZ_CHECK(dir != NULL);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        if (strncmp(entry->d_name, "audit.serve.", 12) == 0)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
}

/* A writer takes any file that ends with a whole line, or has none; it makes nothing worse. */
static void write_on(const char *path, bool whole)
{
    char base[512];
    struct kms_audit_check after;
    struct kms_error err = { .code = KMS_OK };
    struct kms_audit *audit = NULL;
    (void)snprintf(base, sizeof(base), "%.*s", (int)(strlen(path) - strlen(".serve")), path);
    const struct kms_audit_options options = {
        .path = base, .writer = "serve", .sync = KMS_AUDIT_NONE, .on_error = KMS_AUDIT_REFUSE
    };
    FUZZ_CHECK(kms_audit_open(&options, &audit, &err) == KMS_OK);
    kms_audit_write_event(audit, &(struct kms_audit_event){ .op = "fuzz" });
    bool written = kms_audit_health(audit, &err) == KMS_OK;
    kms_audit_close(audit);
    bool still_whole = check(path, &after);
    FUZZ_CHECK(!whole || (written && still_whole));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kms_audit_check before;
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, -1);
    const char *path = fuzz_file("audit.serve", data, size);
    bool whole = check(path, &before);
    gather(path, &before);
    unseal(path);
    write_on(path, whole && before.end.seq + 8 < KMS_AUDIT_SEQ_MAX);
    clear();
    return 0;
}
