/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client.h"
#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "keyid.h"
#include "kms/clock.h"
#include "plugin_choice.h"
#include "text.h"

enum {
    SEED_LEN = 32,               /* bytes: what kube-apiserver sends */
    CIPHERTEXT_MAX = 1024,       /* bytes: what kube-apiserver takes */
    ANNOTATIONS_MAX = 32 * 1024, /* bytes, keys and values */
    TIMEOUT_DEFAULT_MS = 3000,
    TIMEOUT_MAX_MS = 60 * 1000,
    UID_RANDOM_LEN = 8, /* bytes */
};

struct options {
    struct kms_plugin_choice plugin;
    int64_t timeout_ms;
};

struct result {
    const char *step; /* the one that runs, or failed */
    int64_t status_us, encrypt_us, decrypt_us;
    char key_id[KMS_KEY_ID_WIRE_MAX + 1];
    size_t ciphertext_len;
};

enum { TIMEOUT = 256 };
static const struct argp_option argp_options[] = {
    { "timeout", TIMEOUT, "DURATION", 0, "for all three calls (default 3s)", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->plugin;
        return 0;
    case TIMEOUT:
        if (!kms_duration_parse(arg, &options->timeout_ms) || options->timeout_ms < 1 ||
            options->timeout_ms > TIMEOUT_MAX_MS)
            argp_error(state, "--timeout is a duration of 1ms..60s");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct kms_bytes bytes_of(ProtobufCBinaryData data)
{
    return (struct kms_bytes){ data.data, data.len };
}

static enum kms_code check_status(const V2__StatusResponse *response, struct kms_error *err)
{
    struct kms_bytes key_id = bytes_of(response->key_id);
    if (!kms_bytes_equal(bytes_of(response->version), kms_bytes_of("v2")))
        return kms_fail(err, KMS_E_INTERNAL, "the version is not v2");
    if (!kms_bytes_equal(bytes_of(response->healthz), kms_bytes_of("ok")))
        return kms_fail(err, KMS_E_UNAVAILABLE, "healthz is not ok");
    if (key_id.len == 0 || key_id.len > KMS_KEY_ID_WIRE_MAX || !kms_text_is_clean(key_id))
        return kms_fail(err, KMS_E_INTERNAL, "the key_id is not 1..%d bytes of clean text",
                        KMS_KEY_ID_WIRE_MAX);
    return KMS_OK;
}

static enum kms_code probe_status(struct kms_client *client, int64_t deadline_ms,
                                  struct result *result, struct kms_error *err)
{
    result->step = "Status";
    V2__StatusResponse *response = NULL;
    int64_t start_us = kms_monotonic_us();
    enum kms_code rc = kms_client_status(client, deadline_ms, &response, err);
    if (rc != KMS_OK)
        return rc;
    result->status_us = kms_monotonic_us() - start_us;
    rc = check_status(response, err);
    if (rc == KMS_OK) {
        memcpy(result->key_id, response->key_id.data, response->key_id.len);
        result->key_id[response->key_id.len] = '\0';
    }
    kms_client_free_status(response);
    return rc;
}

/* What kube-apiserver refuses in an EncryptResponse. */
static enum kms_code check_encrypt(const V2__EncryptResponse *response, struct kms_error *err)
{
    if (response->ciphertext.len == 0 || response->ciphertext.len > CIPHERTEXT_MAX)
        return kms_fail(err, KMS_E_INTERNAL, "the ciphertext has %zu bytes, not 1..%d",
                        response->ciphertext.len, CIPHERTEXT_MAX);
    size_t total = 0;
    for (size_t i = 0; i < response->n_annotations; i++)
        total += response->annotations[i]->key.len + response->annotations[i]->value.len;
    if (total > ANNOTATIONS_MAX)
        return kms_fail(err, KMS_E_INTERNAL, "the annotations have %zu bytes, not 0..%d", total,
                        ANNOTATIONS_MAX);
    return KMS_OK;
}

static enum kms_code probe_decrypt(struct kms_client *client, const V2__EncryptResponse *sealed,
                                   const struct kms_secret *seed, const char *uid,
                                   int64_t deadline_ms, struct result *result,
                                   struct kms_error *err)
{
    result->step = "Decrypt";
    KMS_CLEANUP(kms_secret_done) struct kms_secret opened = { 0 };
    int64_t start_us = kms_monotonic_us();
    enum kms_code rc = kms_client_decrypt(client, sealed, uid, deadline_ms, &opened, err);
    if (rc != KMS_OK)
        return rc;
    result->decrypt_us = kms_monotonic_us() - start_us;
    if (!kms_secret_equal(seed, &opened))
        return kms_fail(err, KMS_E_CORRUPT, "the plaintext is not the one that was encrypted");
    return KMS_OK;
}

static enum kms_code make_seed(struct kms_secret *seed, char uid[static 2 * UID_RANDOM_LEN + 7],
                               struct kms_error *err)
{
    uint8_t random[UID_RANDOM_LEN];
    enum kms_code rc = kms_secret_init(seed, SEED_LEN, err);
    if (rc != KMS_OK)
        return rc;
    if (getrandom(seed->data, seed->len, 0) != SEED_LEN ||
        getrandom(random, sizeof(random), 0) != UID_RANDOM_LEN)
        return kms_fail_errno(err, KMS_E_INTERNAL, "getrandom", errno, "no random bytes");
    memcpy(uid, "probe-", 6);
    kms_hex_encode((struct kms_bytes){ random, sizeof(random) }, uid + 6);
    return KMS_OK;
}

/* *ret_rotated: Encrypt answered with another key_id than Status; nothing more was tried. */
static enum kms_code probe_once(struct kms_client *client, int64_t deadline_ms,
                                struct result *result, bool *ret_rotated, struct kms_error *err)
{
    char uid[2 * UID_RANDOM_LEN + 7];
    KMS_CLEANUP(kms_secret_done) struct kms_secret seed = { 0 };
    enum kms_code rc = make_seed(&seed, uid, err);
    if (rc == KMS_OK)
        rc = probe_status(client, deadline_ms, result, err);
    if (rc != KMS_OK)
        return rc;
    result->step = "Encrypt";
    V2__EncryptResponse *sealed = NULL;
    int64_t start_us = kms_monotonic_us();
    rc = kms_client_encrypt(client, kms_secret_bytes(&seed), uid, deadline_ms, &sealed, err);
    if (rc != KMS_OK)
        return rc;
    result->encrypt_us = kms_monotonic_us() - start_us;
    rc = check_encrypt(sealed, err);
    *ret_rotated = !kms_bytes_equal(bytes_of(sealed->key_id), kms_bytes_of(result->key_id));
    result->ciphertext_len = sealed->ciphertext.len;
    if (rc == KMS_OK && !*ret_rotated)
        rc = probe_decrypt(client, sealed, &seed, uid, deadline_ms, result, err);
    kms_client_free_encrypt(sealed);
    return rc;
}

static enum kms_code probe(const char *socket, int64_t timeout_ms, struct result *result,
                           struct kms_error *err)
{
    int64_t deadline_ms = kms_monotonic_ms() + timeout_ms;
    KMS_CLEANUP(kms_client_close_ptr) struct kms_client *client = NULL;
    result->step = "connect";
    enum kms_code rc = kms_client_open(socket, &client, err);
    bool rotated = true;
    /* A promotion may fall between the two calls, once; kube-apiserver tries again too. */
    for (int tries = 0; tries < 2 && rc == KMS_OK && rotated; tries++)
        rc = probe_once(client, deadline_ms, result, &rotated, err);
    if (rc == KMS_OK && rotated)
        return kms_fail(err, KMS_E_INTERNAL, "the key_id differs from that of Status");
    return rc;
}

static void print_json(const char *socket, const struct result *result, const struct kms_error *err)
{
    char hash[KMS_KEY_ID_HASH_LEN + 1];
    kms_key_id_hash(result->key_id, hash);
    json_t *object = kms_json_open("probe");
    kms_json_set(object, "ok", json_boolean(err == NULL));
    kms_json_set(object, "socket", kms_json_text(socket));
    kms_json_set(object, "key_id", kms_json_text(result->key_id));
    kms_json_set(object, "key_id_hash", kms_json_text(hash));
    if (err != NULL) {
        kms_json_set(object, "failed", kms_json_text(result->step));
        kms_json_set(object, "code", kms_json_text(kms_code_name(err->code)));
        kms_json_set(object, "message", kms_json_text(err->msg));
    } else {
        json_t *latency = json_object();
        kms_json_set(latency, "status", json_integer(result->status_us));
        kms_json_set(latency, "encrypt", json_integer(result->encrypt_us));
        kms_json_set(latency, "decrypt", json_integer(result->decrypt_us));
        kms_json_set(object, "ciphertext_len", json_integer((json_int_t)result->ciphertext_len));
        kms_json_set(object, "latency_us", latency);
    }
    kms_json_print(object);
}

static void print_text(const char *socket, const struct result *result)
{
    (void)printf("ok: Status %" PRId64 " us, Encrypt %" PRId64 " us, Decrypt %" PRId64
                 " us, key_id ",
                 result->status_us, result->encrypt_us, result->decrypt_us);
    kms_text_put(stdout, result->key_id);
    (void)fputs("\nnext: kube-apiserver may use endpoint unix://", stdout);
    kms_text_put(stdout, socket);
    (void)putchar('\n');
}

int kms_command_probe(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Speaks KMS v2 as kube-apiserver does: Status, Encrypt of 32 random bytes, Decrypt. "
               "Exits 0 only if all is well, so it serves as an exec probe.",
        .children = kms_plugin_choice_child,
    };
    struct options options = { .timeout_ms = TIMEOUT_DEFAULT_MS };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    char *socket = NULL;
    struct kms_error err = { 0 };
    if (kms_plugin_choice_path(&options.plugin, &socket, &err) != KMS_OK)
        return kms_command_fail(&err);
    struct result result = { .step = "" };
    enum kms_code rc = probe(socket, options.timeout_ms, &result, &err);
    int code = KMS_EXIT_OK;
    if (options.plugin.json)
        print_json(socket, &result, rc == KMS_OK ? NULL : &err);
    else if (rc == KMS_OK)
        print_text(socket, &result);
    if (rc != KMS_OK)
        code = kms_command_error("%s on %s: %s; %s", result.step, socket, err.msg,
                                 kms_command_advice(rc));
    free(socket);
    return kms_command_finish(code);
}
