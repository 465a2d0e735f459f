/* SPDX-License-Identifier: Apache-2.0 */
/* A token host over the fake keystore, in place of `hsm-kms token-host`: README.md.
 *
 *   fake_host DIR --lanes=N --parent=PID
 *
 * It has the KEKs ring.a, ring.b, ring.c (keys of bytes 1, 2, 3).  What DIR/OP.LABEL (DIR/list,
 * DIR/start) holds is done before the call; each call adds a line to DIR/calls.  While DIR/away holds
 * something the token isn't connected. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake/keystore.h"
#include "frame.h"
#include "host.h"
#include "host_process.h"
#include "host_wire.h"
#include "kms/clock.h"
#include "kms/log.h"

enum {
    GRACE_MS = 1000,
    WORD_MAX = 64,
    CKR_DEVICE_ERROR_ = 0x30,
    SLACK_MS = 60000, /* for writing nonsense */
};

static struct {
    struct kms_keystore base;
    struct kms_keystore *inner;
    const char *dir;
    size_t lanes;
} host;

static void path_of(const char *name, char ret_path[static PATH_MAX])
{
    (void)snprintf(ret_path, PATH_MAX, "%s/%s", host.dir, name);
}

static void write_all(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
}

/* One write, so that lines of several threads don't mix. */
static void note(const char *line)
{
    char path[PATH_MAX], text[2 * WORD_MAX];
    path_of("calls", path);
    (void)snprintf(text, sizeof(text), "%s\n", line);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        abort();
    write_all(fd, text);
    (void)close(fd);
}

/* --- what it is told --- */

/* What the file holds; "" without one.  "once …" is for the first who takes the file away. */
static void read_word(const char *name, char ret_word[static WORD_MAX])
{
    static const char once[] = "once ";
    char path[PATH_MAX];
    path_of(name, path);
    ret_word[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t len = read(fd, ret_word, WORD_MAX - 1);
    (void)close(fd);
    ret_word[len > 0 ? len : 0] = '\0';
    if (strncmp(ret_word, once, strlen(once)) != 0)
        return;
    if (unlink(path) == 0)
        memmove(ret_word, ret_word + strlen(once), strlen(ret_word + strlen(once)) + 1);
    else
        ret_word[0] = '\0';
}

/* One byte of the pipe lets one call through. */
static void wait_at(const char *gate)
{
    char path[PATH_MAX], byte;
    path_of(gate, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1)
        abort();
    (void)close(fd);
}

/* On every lane, since a keystore doesn't know which is its call's. */
static void write_on_lanes(const uint8_t *data, size_t len, bool framed)
{
    struct kms_error err;
    for (size_t i = 0; i < host.lanes; i++) {
        int fd = KMS_HOST_FIRST_FD + (int)i;
        if (framed && kms_frame_send(fd, (struct kms_bytes){ data, len },
                                     kms_monotonic_ms() + SLACK_MS, &err) != KMS_OK)
            abort();
        if (!framed && write(fd, data, len) != (ssize_t)len)
            abort();
    }
}

/* Well-formed, and of no call: the answer to a wrap that never was. */
static void answer_another_call(void)
{
    static const uint8_t data[KMS_SEED_MIN * 2 + KMS_WRAP_OVERHEAD] = { 0xEE };
    struct kms_host_answer answer = { .id = 0, .token = { .label = "stale" } };
    struct kms_secret bytes = { 0 };
    struct kms_error err;
    if (kms_secret_copy(&answer.data, (struct kms_bytes){ data, sizeof(data) }, &err) != KMS_OK ||
        kms_host_pack_answer(&answer, &bytes, &err) != KMS_OK)
        abort();
    write_on_lanes(bytes.data, bytes.len, true);
    kms_secret_done(&bytes);
    kms_host_answer_done(&answer);
}

static enum kms_code fail(const char *word, const char *op, struct kms_error *err)
{
    enum kms_code code = (enum kms_code)strtol(word, NULL, 10);
    kms_fail(err, code, "told to fail");
    err->ckr = CKR_DEVICE_ERROR_;
    err->op = op;
    return code;
}

/* Notes the call, and does as told. */
static enum kms_code enter(const char *op, const char *label, struct kms_error *err)
{
    static const uint8_t garbage[] = { 0xFF, 0xFF, 0xFF, 0xFF, 0xFF };
    char line[WORD_MAX], name[WORD_MAX], word[WORD_MAX];
    (void)snprintf(line, sizeof(line), "%s%s%s", op, label != NULL ? " " : "",
                   label != NULL ? label : "");
    (void)snprintf(name, sizeof(name), "%s%s%s", op, label != NULL ? "." : "",
                   label != NULL ? label : "");
    read_word(name, word);
    note(line);
    if (strcmp(word, "hang") == 0) {
        for (;;)
            (void)pause();
    } else if (strncmp(word, "gate", 4) == 0) {
        wait_at(word);
    } else if (strcmp(word, "nonsense") == 0) {
        write_on_lanes(garbage, sizeof(garbage), false);
    } else if (strcmp(word, "stale") == 0) {
        answer_another_call();
    } else if (strncmp(word, "fail ", 5) == 0) {
        return fail(word + 5, op, err);
    } else if (word[0] != '\0') { /* "crash", or a test that doesn't know what it wants */
        abort();
    }
    return KMS_OK;
}

/* --- the keystore --- */

static enum kms_code inventory(struct kms_keystore *ks, const struct kms_kek_filter *filter,
                               int64_t deadline_ms, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    (void)ks;
    enum kms_code rc = enter("list", NULL, err);
    return rc == KMS_OK ? kms_keystore_list(host.inner, filter, deadline_ms, ret_inventory, err)
                        : rc;
}

static enum kms_code canary(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            int64_t deadline_ms, struct kms_error *err)
{
    (void)ks;
    enum kms_code rc = enter("canary", kek->label, err);
    return rc == KMS_OK ? kms_keystore_canary(host.inner, kek, deadline_ms, err) : rc;
}

static enum kms_code wrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                          struct kms_bytes seed, int64_t deadline_ms,
                          struct kms_wrapped *ret_wrapped, struct kms_error *err)
{
    (void)ks;
    enum kms_code rc = enter("wrap", kek->label, err);
    return rc == KMS_OK ? kms_keystore_wrap(host.inner, kek, seed, deadline_ms, ret_wrapped, err)
                        : rc;
}

static enum kms_code unwrap(struct kms_keystore *ks, const struct kms_kek_ref *kek,
                            enum kms_algorithm algorithm, struct kms_bytes wrapped,
                            int64_t deadline_ms, struct kms_secret *ret_seed, struct kms_error *err)
{
    (void)ks;
    enum kms_code rc = enter("unwrap", kek->label, err);
    return rc == KMS_OK ? kms_keystore_unwrap(host.inner, kek, algorithm, wrapped, deadline_ms,
                                              ret_seed, err)
                        : rc;
}

static enum kms_code sign(struct kms_keystore *ks, const char *label, struct kms_bytes message,
                          int64_t deadline_ms, struct kms_signature *ret_signature,
                          struct kms_error *err)
{
    (void)ks;
    enum kms_code rc = enter("sign", label, err);
    return rc == KMS_OK
               ? kms_keystore_sign(host.inner, label, message, deadline_ms, ret_signature, err)
               : rc;
}

static size_t describe(struct kms_keystore *ks, struct kms_token_info *ret_infos)
{
    (void)ks;
    char word[WORD_MAX];
    kms_keystore_describe(host.inner, ret_infos);
    read_word("away", word);
    ret_infos->connected = word[0] == '\0';
    return 1;
}

static void reload(struct kms_keystore *ks)
{
    (void)ks;
    note("reload");
}

static void close_host(struct kms_keystore *ks)
{
    (void)ks;
    note("close");
    kms_keystore_close(host.inner);
}

static const struct kms_keystore_ops ops = {
    .inventory = inventory,
    .canary = canary,
    .wrap = wrap,
    .unwrap = unwrap,
    .sign = sign,
    .describe = describe,
    .reload = reload,
    .close = close_host,
};

int main(int argc, char **argv)
{
    static const char lanes_option[] = "--lanes=";
    struct fake_keystore *fake = fake_keystore_new();
    struct kms_error err = { .code = KMS_OK };
    int lanes[KMS_HOST_LANES_MAX];
    char line[WORD_MAX];
    if (argc != 4 || strncmp(argv[2], lanes_option, strlen(lanes_option)) != 0)
        return 2;
    host.lanes = strtoul(argv[2] + strlen(lanes_option), NULL, 10);
    if (host.lanes == 0 || host.lanes > KMS_HOST_LANES_MAX)
        return 2;
    host.base.ops = &ops;
    host.inner = fake_keystore_seam(fake);
    host.dir = argv[1];
    struct kms_audit_key key;
    if (kms_keystore_audit_key(host.inner, "ring.audit", true, 0, &key, &err) != KMS_OK)
        return 2;
    fake_keystore_add(fake, "ring.a", 1);
    fake_keystore_add(fake, "ring.b", 2);
    fake_keystore_add(fake, "ring.c", 3);
    for (size_t i = 0; i < host.lanes; i++)
        lanes[i] = KMS_HOST_FIRST_FD + (int)i;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)snprintf(line, sizeof(line), "host %ld", (long)getpid());
    note(line);
    if (enter("start", NULL, &err) != KMS_OK)
        return 1;
    bool quiet = false;
    enum kms_code rc = kms_host_serve(&host.base, lanes, host.lanes, GRACE_MS, &quiet, &err);
    if (!quiet)
        _exit(3);
    kms_keystore_close(&host.base);
    return rc == KMS_OK ? 0 : 1;
}
