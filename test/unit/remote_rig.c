/* SPDX-License-Identifier: Apache-2.0 */
#include "remote_rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake/keystore.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "remote.h"

enum { PATH_LEN = 128, LOOK_US = 2000, FIRST_FILL = 1 };

static const char *const gates[REMOTE_GATES] = { "gate", "gate2" };
static const char *const labels[REMOTE_KEKS] = { "ring.a", "ring.b", "ring.c" };

static void path_of(const struct remote_rig *rig, const char *name, char ret_path[static PATH_LEN])
{
    (void)snprintf(ret_path, PATH_LEN, "%s/%s", rig->dir, name);
}

int remote_rig_setup(void **state)
{
    struct remote_rig *rig = calloc(1, sizeof(*rig));
    char path[PATH_LEN];
    assert_non_null(rig);
    *state = rig;
    strcpy(rig->dir, "/tmp/hsm-kms-remote-XXXXXX");
    assert_non_null(mkdtemp(rig->dir));
    for (size_t i = 0; i < REMOTE_GATES; i++) {
        path_of(rig, gates[i], path);
        assert_int_equal(mkfifo(path, 0600), 0);
        rig->gates[i] = open(path, O_RDWR | O_CLOEXEC);
        assert_true(rig->gates[i] >= 0);
    }
    path_of(rig, "log", path);
    rig->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(rig->log >= 0);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, rig->log);

    struct fake_keystore *fake = fake_keystore_new();
    for (size_t i = 0; i < REMOTE_KEKS; i++) {
        fake_keystore_add(fake, labels[i], (uint8_t)(FIRST_FILL + i));
        fake_keystore_fingerprint((uint8_t)(FIRST_FILL + i), rig->fingerprints[i]);
    }
    rig->here = fake_keystore_seam(fake);
    return 0;
}

int remote_rig_teardown(void **state)
{
    struct remote_rig *rig = *state;
    kms_keystore_close(rig->keystore);
    kms_keystore_close(rig->here);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_INFO, STDERR_FILENO);
    for (size_t i = 0; i < REMOTE_GATES; i++)
        (void)close(rig->gates[i]);
    (void)close(rig->log);
    DIR *dir = opendir(rig->dir);
    assert_non_null(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
    assert_int_equal(rmdir(rig->dir), 0);
    free(rig);
    return 0;
}

void remote_rig_open_path(struct remote_rig *rig, const char *path, unsigned lanes)
{
    static const char *const environment[] = { "ASAN_OPTIONS",  "LSAN_OPTIONS", "TSAN_OPTIONS",
                                               "UBSAN_OPTIONS", "PATH",         NULL };
    const char *const argv[] = { "fake_host", rig->dir, NULL };
    const struct kms_remote_options options = { .command = { path, argv, environment },
                                                .lanes = lanes };
    assert_ok(kms_remote_open(&options, &rig->keystore, &rig->err), &rig->err);
}

void remote_rig_serve(struct remote_rig *rig, unsigned lanes)
{
    size_t count = 0;
    remote_rig_open_path(rig, FAKE_HOST, lanes);
    assert_ok(remote_rig_list(rig, REMOTE_PATIENCE_MS, &count), &rig->err);
    assert_int_equal(count, REMOTE_KEKS);
    assert_ok(remote_rig_canary(rig, 'a', REMOTE_PATIENCE_MS), &rig->err);
}

/* --- the host is told, and says --- */

void remote_rig_tell(const struct remote_rig *rig, const char *name, const char *word)
{
    char path[PATH_LEN], new_path[PATH_LEN];
    path_of(rig, name, path);
    path_of(rig, "new", new_path);
    if (word == NULL) {
        (void)unlink(path);
        return;
    }
    int fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, word, strlen(word)), strlen(word));
    (void)close(fd);
    assert_int_equal(rename(new_path, path), 0);
}

void remote_rig_open_gate(const struct remote_rig *rig, const char *gate, size_t count)
{
    size_t at = strcmp(gate, gates[0]) == 0 ? 0 : 1;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(write(rig->gates[at], "g", 1), 1);
}

/* Lines of the file that start with @start, and (unless NULL) the number behind it in the last. */
static size_t count_lines(const struct remote_rig *rig, const char *start, long *ret_last)
{
    char path[PATH_LEN], line[1024];
    size_t count = 0;
    path_of(rig, "calls", path);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, start, strlen(start)) != 0)
            continue;
        count++;
        if (ret_last != NULL)
            *ret_last = strtol(line + strlen(start), NULL, 10);
    }
    if (file != NULL)
        (void)fclose(file);
    return count;
}

size_t remote_rig_count(const struct remote_rig *rig, const char *line)
{
    char whole[PATH_LEN];
    (void)snprintf(whole, sizeof(whole), "%s\n", line);
    return count_lines(rig, whole, NULL);
}

size_t remote_rig_hosts(const struct remote_rig *rig)
{
    return count_lines(rig, "host ", NULL);
}

pid_t remote_rig_pid(const struct remote_rig *rig)
{
    long pid = 0;
    assert_true(count_lines(rig, "host ", &pid) > 0);
    assert_true(pid > 0);
    return (pid_t)pid;
}

void remote_rig_kill(const struct remote_rig *rig)
{
    assert_int_equal(kill(remote_rig_pid(rig), SIGKILL), 0);
}

bool remote_rig_logged(const struct remote_rig *rig, const char *text)
{
    char path[PATH_LEN], line[2048];
    bool found = false;
    path_of(rig, "log", path);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (!found && fgets(line, sizeof(line), file) != NULL)
        found = strstr(line, text) != NULL;
    (void)fclose(file);
    return found;
}

/* --- waits: other processes tell by files only, so it looks again and again --- */

/* False: patience is at its end. */
static bool look_again(int64_t until_ms)
{
    (void)usleep(LOOK_US);
    return kms_monotonic_ms() < until_ms;
}

void remote_rig_wait_count(const struct remote_rig *rig, const char *line, size_t count)
{
    int64_t until_ms = kms_monotonic_ms() + REMOTE_PATIENCE_MS;
    while (remote_rig_count(rig, line) < count) {
        if (!look_again(until_ms))
            fail_msg("%zu times '%s', not %zu", remote_rig_count(rig, line), line, count);
    }
}

void remote_rig_wait_hosts(const struct remote_rig *rig, size_t count)
{
    int64_t until_ms = kms_monotonic_ms() + REMOTE_PATIENCE_MS;
    while (remote_rig_hosts(rig) < count) {
        if (!look_again(until_ms))
            fail_msg("%zu hosts, not %zu", remote_rig_hosts(rig), count);
    }
}

void remote_rig_wait_logged(const struct remote_rig *rig, const char *text)
{
    int64_t until_ms = kms_monotonic_ms() + REMOTE_PATIENCE_MS;
    while (!remote_rig_logged(rig, text)) {
        if (!look_again(until_ms))
            fail_msg("'%s' was not logged", text);
    }
}

/* Not there, or a zombie that nobody reaps. */
static bool is_gone(pid_t pid)
{
    char path[PATH_LEN], text[512] = "";
    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return true;
    bool got = fgets(text, sizeof(text), file) != NULL;
    (void)fclose(file);
    const char *state = strrchr(text, ')');
    return !got || state == NULL || state[2] == 'Z' || state[2] == 'X';
}

void remote_rig_wait_gone(pid_t pid)
{
    int64_t until_ms = kms_monotonic_ms() + REMOTE_PATIENCE_MS;
    while (!is_gone(pid)) {
        if (!look_again(until_ms))
            fail_msg("the host goes on");
    }
}

void remote_rig_wait_serves(struct remote_rig *rig)
{
    int64_t until_ms = kms_monotonic_ms() + REMOTE_PATIENCE_MS;
    while (remote_rig_list(rig, REMOTE_PATIENCE_MS, NULL) != KMS_OK) {
        if (!look_again(until_ms))
            fail_msg("no host serves: %s", rig->err.msg);
    }
}

/* --- calls --- */

static struct kms_kek_ref ref_of(const struct remote_rig *rig, char kek)
{
    size_t i = (size_t)(kek - 'a');
    return (struct kms_kek_ref){ labels[i], rig->fingerprints[i], NULL };
}

enum kms_code remote_rig_list(struct remote_rig *rig, int64_t ms, size_t *ret_count)
{
    struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keystore_inventory(rig->keystore, "ring.", kms_monotonic_ms() + ms,
                                              &inventory, &rig->err);
    if (rc == KMS_OK && ret_count != NULL)
        *ret_count = inventory.count;
    kms_inventory_done(&inventory);
    return rc;
}

enum kms_code remote_rig_canary(struct remote_rig *rig, char kek, int64_t ms)
{
    struct kms_kek_ref ref = ref_of(rig, kek);
    return kms_keystore_canary(rig->keystore, &ref, kms_monotonic_ms() + ms, &rig->err);
}

/* A fresh seed, and what it is wrapped. */
static void make_pair(const struct remote_rig *rig, const struct kms_kek_ref *ref,
                      uint8_t seed[static REMOTE_SEED_LEN], struct kms_wrapped *ret_wrapped)
{
    struct kms_error err;
    assert_int_equal(getrandom(seed, REMOTE_SEED_LEN, 0), REMOTE_SEED_LEN);
    assert_ok(kms_keystore_wrap(rig->here, ref, (struct kms_bytes){ seed, REMOTE_SEED_LEN },
                                KMS_DEADLINE_NEVER, ret_wrapped, &err),
              &err);
}

enum kms_code remote_rig_wrap(const struct remote_rig *rig, char kek, int64_t ms,
                              struct kms_error *err)
{
    struct kms_kek_ref ref = ref_of(rig, kek);
    uint8_t seed[REMOTE_SEED_LEN];
    struct kms_wrapped right, wrapped = { .len = 0 };
    make_pair(rig, &ref, seed, &right);
    enum kms_code rc = kms_keystore_wrap(rig->keystore, &ref,
                                         (struct kms_bytes){ seed, sizeof(seed) },
                                         kms_monotonic_ms() + ms, &wrapped, err);
    if (rc != KMS_OK)
        return rc;
    bool same = wrapped.len == right.len && memcmp(wrapped.data, right.data, right.len) == 0;
    return same ? KMS_OK : kms_fail(err, KMS_E_CORRUPT, "another ciphertext came back");
}

enum kms_code remote_rig_unwrap(const struct remote_rig *rig, char kek, int64_t ms,
                                struct kms_error *err)
{
    struct kms_kek_ref ref = ref_of(rig, kek);
    uint8_t right[REMOTE_SEED_LEN];
    struct kms_wrapped wrapped;
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    make_pair(rig, &ref, right, &wrapped);
    enum kms_code rc = kms_keystore_unwrap(rig->keystore, &ref, KMS_ALGORITHM_AES_KW,
                                           (struct kms_bytes){ wrapped.data, wrapped.len },
                                           kms_monotonic_ms() + ms, &seed, err);
    if (rc != KMS_OK)
        return rc;
    bool same = kms_bytes_equal(kms_secret_bytes(&seed),
                                (struct kms_bytes){ right, sizeof(right) });
    return same ? KMS_OK : kms_fail(err, KMS_E_CORRUPT, "another seed came back");
}

static void *run_caller(void *argument)
{
    struct remote_caller *caller = argument;
    caller->rc = remote_rig_wrap(caller->rig, caller->kek, caller->ms, &caller->err);
    return NULL;
}

void remote_caller_start(struct remote_caller *caller, struct remote_rig *rig, char kek, int64_t ms)
{
    *caller = (struct remote_caller){ .rig = rig, .kek = kek, .ms = ms };
    assert_int_equal(pthread_create(&caller->thread, NULL, run_caller, caller), 0);
}

enum kms_code remote_caller_join(struct remote_caller *caller)
{
    assert_int_equal(pthread_join(caller->thread, NULL), 0);
    return caller->rc;
}
