/* SPDX-License-Identifier: Apache-2.0 */
/* `key transport-key`: the public key under which KEKs come to this token. */
#include <stdio.h>
#include <string.h>

#include "audit_log.h"
#include "command.h"
#include "json.h"
#include "key_file.h"
#include "keyring.h"
#include "kms/clock.h"
#include "text.h"
#include "transport_names.h"

struct run {
    struct kms_keyring_options options;
    const char *out;
    bool dry_run;
    struct kms_keyring keyring;
    struct kms_transport_key key;
    char pem[KMS_TRANSPORT_PEM_MAX];
    char digest[2 * KMS_SHA256_LEN + 1];
};

enum { DRY_RUN = 256, OUT, MAKING_MS = 2 * 60 * 1000 }; /* HSMs take their time for RSA keys */
static const struct argp_option argp_options[] = {
    { "out", OUT, "FILE", 0, "write the public key there too, as the owner of state_dir", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "make no key and write no file", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run *run = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &run->options;
        return 0;
    case OUT:
        run->out = arg;
        return 0;
    case DRY_RUN:
        run->dry_run = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Whether there is a key already shows only when one is asked for, so that has its lines, too. */
static int make_key(struct run *run, struct kms_error *err)
{
    char label[KMS_TRANSPORT_LABEL_LEN + 1];
    const struct kms_config *config = &run->keyring.config;
    struct kms_audit_command line = { .op = "key-transport-key" };
    kms_transport_label(config->ring, label);
    if (!run->dry_run && kms_audit_log_begin(config, line.op, 0, err) != KMS_OK)
        return kms_audit_log_refuse(err);
    line.code = kms_keystore_transport_key(run->keyring.keystore, label, !run->dry_run,
                                           kms_monotonic_ms() + MAKING_MS, &run->key, err);
    if (line.code == KMS_OK)
        line.outcome = run->key.made ? "created" : "there";
    if (!run->dry_run)
        kms_audit_log_done(config, &line);
    return line.code == KMS_OK ? KMS_EXIT_OK : kms_command_fail(err);
}

static enum kms_code export(struct run *run, struct kms_error *err) {
    kms_spki_digest(&run->key.spki, run->digest);
    enum kms_code rc = kms_transport_pem(run->keyring.config.ring, &run->key, run->pem, err);
    if (rc == KMS_OK && run->out != NULL && !run->dry_run)
        rc = kms_file_write(run->out, kms_bytes_of(run->pem), err);
    return rc;
}

static int get_key(struct run *run)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    struct kms_error err = { .code = KMS_OK };
    enum kms_code rc = kms_keyring_init(&run->keyring, &run->options, &err);
    if (rc == KMS_OK) /* which connects */
        rc = kms_keyring_list(&run->keyring, &inventory, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    int code = make_key(run, &err);
    if (code != KMS_EXIT_OK || run->key.spki.len == 0)
        return code;
    return export(run, &err) == KMS_OK ? KMS_EXIT_OK : kms_command_fail(&err);
}

static void print_json(const struct run *run)
{
    bool there = run->key.spki.len > 0;
    json_t *object = kms_json_open("key-transport-key");
    kms_json_set(object, "changed", json_boolean(run->key.made));
    kms_json_set(object, "dry_run", json_boolean(run->dry_run));
    kms_json_set(object, "ring", kms_json_text(run->keyring.config.ring));
    kms_json_set(object, "public_key", there ? json_string(run->pem) : json_null());
    kms_json_set(object, "sha256", kms_json_text(run->digest));
    kms_json_set(object, "oaep_hash",
                 there ? json_string(kms_oaep_hash_name(run->key.hash)) : json_null());
    kms_json_print(object);
}

static void print_text(const struct run *run)
{
    if (run->key.spki.len == 0) {
        (void)puts("would make a transport key: there is none\n"
                   "next: run it again without --dry-run");
        return;
    }
    (void)printf("%s\nsha256      %s\noaep hash   %s\n", run->pem, run->digest,
                 kms_oaep_hash_name(run->key.hash));
    (void)puts("next: tell the custodian this sha256 by another way than the key; then hsm-kms key "
               "wrap --transport FILE --expect-transport SHA256 --in RAW --out WRAPPED");
}

static void run_done(struct run *run)
{
    kms_keyring_done(&run->keyring);
}

int kms_command_key_transport(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Prints the public key under which keys come to this token, and makes the pair if "
               "there is none: RSA-3072, of which only the private key stays on the token, where "
               "it may unwrap and nothing else.  Which hash the token's RSA-OAEP takes is tried "
               "with a throwaway key, and said in a line above the PEM, which key wrap reads.",
        .children = children,
    };
    KMS_CLEANUP(run_done) struct run run = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &run) != 0)
        return KMS_EXIT_ERROR;
    int code = get_key(&run);
    if (code != KMS_EXIT_OK)
        return code;
    if (run.key.spki.len > 0 && run.key.hash == KMS_OAEP_SHA1)
        kms_command_note("this module's RSA-OAEP takes SHA-1 only; %s",
                         kms_oaep_hash_caveat(run.key.hash));
    if (run.options.json)
        print_json(&run);
    else
        print_text(&run);
    return kms_command_finish(KMS_EXIT_OK);
}
