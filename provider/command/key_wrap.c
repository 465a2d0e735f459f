/* SPDX-License-Identifier: Apache-2.0 */
/* `key wrap`: for a custodian, offline: no token, no configuration. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "command.h"
#include "json.h"
#include "key_file.h"
#include "oaep.h"
#include "text.h"
#include "transport_names.h"

struct run {
    const char *transport, *in, *out;
    const char *expected; /* NULL: not compared */
    enum kms_oaep_hash hash;
    bool hash_given; /* else the public key's file says it */
    bool dry_run, json;
    char digest[2 * KMS_SHA256_LEN + 1];
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1];
};

enum { DRY_RUN = 256, TRANSPORT, EXPECT, IN, OUT, HASH };
static const struct argp_option argp_options[] = {
    { "transport", TRANSPORT, "FILE", 0, "the token's public key, of key transport-key", 0 },
    { "expect-transport", EXPECT, "SHA256", 0, "refuse a public key with another SHA-256", 0 },
    { "in", IN, "FILE", 0, "the raw key: exactly 32 bytes, mode 0600", 0 },
    { "out", OUT, "FILE", 0, "where the wrapped key goes", 0 },
    { "hash", HASH, "NAME", 0,
      "of RSA-OAEP: sha256 or sha1; default: what the public key's file says, else sha256", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "write nothing", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run *run = state->input;
    switch (key) {
    case TRANSPORT:
        run->transport = arg;
        return 0;
    case EXPECT:
        run->expected = arg;
        return 0;
    case IN:
        run->in = arg;
        return 0;
    case OUT:
        run->out = arg;
        return 0;
    case HASH:
        run->hash_given = true;
        if (!kms_oaep_hash_parse(arg, &run->hash))
            argp_error(state, "--hash is sha256 or sha1");
        return 0;
    case 'o':
        run->json = kms_command_output_is_json(state, arg);
        return 0;
    case DRY_RUN:
        run->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        if (run->transport == NULL || run->in == NULL || run->out == NULL)
            argp_error(state, "--transport, --in and --out, please");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The raw key may be the only copy. */
static enum kms_code check_out(const struct run *run, struct kms_error *err)
{
    struct stat in, out;
    if (stat(run->in, &in) == 0 && stat(run->out, &out) == 0 && in.st_dev == out.st_dev &&
        in.st_ino == out.st_ino)
        return kms_fail(err, KMS_E_INVALID, "--out would overwrite the raw key");
    return KMS_OK;
}

static enum kms_code wrap(struct run *run, const struct kms_spki *spki, struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret key = { 0 };
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_transport_blob blob;
    enum kms_code rc = check_out(run, err);
    if (rc == KMS_OK)
        rc = kms_file_read_key(run->in, &key, err);
    if (rc == KMS_OK)
        rc = pkcs11_key_fingerprint(kms_secret_bytes(&key), fingerprint, err);
    if (rc == KMS_OK)
        rc = pkcs11_oaep_encrypt(spki, run->hash, kms_secret_bytes(&key), &blob, err);
    kms_secret_wipe_stack();
    if (rc == KMS_OK && !run->dry_run)
        rc = kms_file_write(run->out, (struct kms_bytes){ blob.data, blob.len }, err);
    if (rc == KMS_OK)
        kms_hex_encode((struct kms_bytes){ fingerprint, sizeof(fingerprint) }, run->fingerprint);
    return rc;
}

static void print_json(const struct run *run)
{
    json_t *object = kms_json_open("key-wrap");
    kms_json_set(object, "changed", json_boolean(!run->dry_run));
    kms_json_set(object, "dry_run", json_boolean(run->dry_run));
    kms_json_set(object, "fingerprint", kms_json_text(run->fingerprint));
    kms_json_set(object, "transport_sha256", kms_json_text(run->digest));
    kms_json_set(object, "oaep_hash", kms_json_text(kms_oaep_hash_name(run->hash)));
    kms_json_print(object);
}

static void print_text(const struct run *run)
{
    (void)printf("%s the key to ", run->dry_run ? "would wrap" : "wrapped");
    kms_text_put(stdout, run->out);
    (void)printf("\nfingerprint %s\ntransport   %s (sha256)\noaep hash   %s\n", run->fingerprint,
                 run->digest, kms_oaep_hash_name(run->hash));
    if (run->dry_run)
        (void)puts("next: run it again without --dry-run");
    else
        (void)printf("next: compare the transport key's sha256 with what the operator told you; "
                     "then, on one node: hsm-kms key import --wrapped FILE --expect-fingerprint "
                     "%s\n",
                     run->fingerprint);
}

static enum kms_code read_transport_key(struct run *run, struct kms_spki *ret_spki,
                                        struct kms_error *err)
{
    enum kms_oaep_hash hash = KMS_OAEP_SHA256;
    enum kms_code rc = kms_spki_read(run->transport, ret_spki, &hash, err);
    if (rc != KMS_OK)
        return rc;
    kms_spki_digest(ret_spki, run->digest);
    if (!run->hash_given)
        run->hash = hash;
    return KMS_OK;
}

int kms_command_key_wrap(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Wraps a raw AES-256 key under a token's transport key, for key import.  Needs "
               "neither token nor configuration: a custodian runs it where the key is.  The raw "
               "file is left as it is.",
    };
    struct run run = { .transport = NULL };
    struct kms_spki spki;
    struct kms_error err = { 0 };
    if (kms_command_parse(&argp, argc, argv, &run) != 0)
        return KMS_EXIT_ERROR;
    if (!kms_secret_heap_open())
        kms_command_note("memory can't be locked (RLIMIT_MEMLOCK): the key may reach swap");
    if (read_transport_key(&run, &spki, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (run.expected != NULL && strcasecmp(run.expected, run.digest) != 0) {
        (void)kms_command_error("refused: the public key has SHA-256 %s, not what was expected: it "
                                "is another token's, or somebody's who wants to read your key",
                                run.digest);
        return KMS_EXIT_REFUSED;
    }
    if (wrap(&run, &spki, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (kms_oaep_hash_caveat(run.hash) != NULL)
        kms_command_note("%s", kms_oaep_hash_caveat(run.hash));
    if (run.json)
        print_json(&run);
    else
        print_text(&run);
    return kms_command_finish(KMS_EXIT_OK);
}
