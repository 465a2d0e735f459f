/* SPDX-License-Identifier: Apache-2.0 */
#include "softhsm_rig.h"

#include <errno.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

char softhsm_dir[] = "/tmp/hsm-kms-softhsm-XXXXXX";
char softhsm_tokens[64];
char softhsm_pin_file[64];

static void run(const char *const argv[])
{
    pid_t pid = 0;
    int status = 0;
    int failed = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ);
    if (failed == ENOENT)
        fail_msg("%s is missing: install the Debian package softhsm2", argv[0]);
    assert_int_equal(failed, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

void softhsm_make_token(const char *label)
{
    run((const char *const[]){ "softhsm2-util", "--init-token", "--free", "--label", label,
                               "--so-pin", "87654321", "--pin", SOFTHSM_PIN, NULL });
}

void softhsm_write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

int softhsm_setup(void **state)
{
    (void)state;
    char conf[64];
    char text[256];
    if (access(SOFTHSM_MODULE, R_OK) != 0)
        fail_msg("%s is missing: install the Debian package softhsm2", SOFTHSM_MODULE);
    assert_non_null(mkdtemp(softhsm_dir));
    (void)snprintf(softhsm_tokens, sizeof(softhsm_tokens), "%s/tokens", softhsm_dir);
    (void)snprintf(softhsm_pin_file, sizeof(softhsm_pin_file), "%s/pin", softhsm_dir);
    (void)snprintf(conf, sizeof(conf), "%s/softhsm2.conf", softhsm_dir);
    (void)snprintf(text, sizeof(text),
                   "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n",
                   softhsm_tokens);
    assert_int_equal(mkdir(softhsm_tokens, 0700), 0);
    softhsm_write_file(conf, text);
    softhsm_write_file(softhsm_pin_file, SOFTHSM_PIN "\n");
    assert_int_equal(setenv("SOFTHSM2_CONF", conf, 1), 0);
    softhsm_make_token(SOFTHSM_TOKEN);
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int softhsm_teardown(void **state)
{
    (void)state;
    return nftw(softhsm_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

struct kms_keystore *softhsm_open_module(const char *module, const char *uri)
{
    struct kms_error err;
    struct kms_keystore *keystore = NULL;
    struct pkcs11_keystore_options options = { .module = module,
                                               .uri = uri,
                                               .pin_file = softhsm_pin_file,
                                               .sessions = 4,
                                               .lock_dir = softhsm_dir };
    assert_ok(pkcs11_keystore_open(&options, &keystore, &err), &err);
    return keystore;
}

struct kms_keystore *softhsm_open(const char *uri)
{
    return softhsm_open_module(SOFTHSM_MODULE, uri);
}

enum kms_code softhsm_list(struct kms_keystore *keystore, const char *prefix, size_t *ret_count,
                           struct kms_error *err)
{
    struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_inventory(keystore, prefix, rig_soon_ms(), &inventory, err);
    if (rc == KMS_OK)
        *ret_count = inventory.count;
    kms_inventory_done(&inventory);
    return rc;
}

/* Attempts to connect are spaced, so this asks until it is answered, or the deadline. */
enum kms_code softhsm_list_until_ok(struct kms_keystore *keystore, const char *prefix,
                                    size_t *ret_count, struct kms_error *err)
{
    const struct timespec pause = { .tv_nsec = 50000000L };
    int64_t deadline_ms = rig_soon_ms();
    enum kms_code rc = KMS_E_UNAVAILABLE;
    while (kms_monotonic_ms() < deadline_ms) {
        rc = softhsm_list(keystore, prefix, ret_count, err);
        if (rc == KMS_OK)
            break;
        (void)nanosleep(&pause, NULL);
    }
    return rc;
}

const uint8_t softhsm_seed[32] = "a seed of exactly 32 characters";

void softhsm_make_sample(struct kms_keystore *keystore, const char *label,
                         struct softhsm_sample *ret_sample)
{
    struct kms_error err;
    size_t count = 0;
    assert_ok(softhsm_list(keystore, label, &count, &err), &err);
    assert_ok(kms_keystore_generate(keystore, label, rig_soon_ms(), &ret_sample->kek, &err), &err);
    ret_sample->ref = (struct kms_kek_ref){ label, ret_sample->kek.fingerprint, NULL };
    assert_ok(kms_keystore_wrap(keystore, &ret_sample->ref,
                                (struct kms_bytes){ softhsm_seed, sizeof(softhsm_seed) },
                                rig_soon_ms(), &ret_sample->wrapped, &err),
              &err);
}

enum kms_code softhsm_unwrap(struct kms_keystore *keystore, const struct softhsm_sample *sample,
                             struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret plain = { 0 };
    enum kms_code rc = kms_keystore_unwrap(
        keystore, &sample->ref, KMS_ALGORITHM_AES_KW,
        (struct kms_bytes){ sample->wrapped.data, sample->wrapped.len }, rig_soon_ms(), &plain,
        err);
    if (rc == KMS_OK &&
        (plain.len != sizeof(softhsm_seed) || memcmp(plain.data, softhsm_seed, plain.len) != 0))
        return KMS_E_INTERNAL;
    return rc;
}
