/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms audit key`: the key pair that signs the audit log's checkpoints. */
#include <stdio.h>
#include <string.h>

#include "audit_log.h"
#include "command.h"
#include "json.h"
#include "key_file.h"
#include "keyring.h"
#include "kms/clock.h"
#include "kms/signature.h"
#include "oaep.h"
#include "text.h"
#include "transport_names.h"

struct run {
    struct kms_keyring_options options;
    const char *export; /* NULL: no file */
    bool make, dry_run;
    struct kms_keyring keyring;
    char label[KMS_AUDIT_KEY_LABEL_LEN + 1];
    struct kms_audit_key key;
    char pem[PKCS11_PEM_MAX];
    char digest[2 * KMS_SHA256_LEN + 1];
};

enum { DRY_RUN = 256, MAKE, EXPORT, MAKING_MS = 2 * 60 * 1000 }; /* HSMs take their time for RSA */
static const struct argp_option argp_options[] = {
    { "make", MAKE, NULL, 0, "make the pair if there is none", 0 },
    { "export", EXPORT, "FILE", 0, "write the public key there, as the owner of state_dir", 0 },
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
    case MAKE:
        run->make = true;
        return 0;
    case EXPORT:
        run->export = arg;
        return 0;
    case DRY_RUN:
        run->dry_run = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool is_there(const struct run *run)
{
    return run->key.spki.len > 0;
}

static enum kms_code look(struct run *run, bool make, struct kms_error *err)
{
    return kms_keystore_audit_key(run->keyring.keystore, run->label, make,
                                  kms_monotonic_ms() + MAKING_MS, &run->key, err);
}

/* Nothing is made that the audit log doesn't have. */
static int make_recorded(struct run *run, struct kms_error *err)
{
    const struct kms_config *config = &run->keyring.config;
    struct kms_audit_command line = { .op = "audit-key" };
    if (kms_audit_log_begin(config, line.op, 0, err) != KMS_OK)
        return kms_audit_log_refuse(err);
    line.code = look(run, true, err);
    if (line.code == KMS_OK)
        line.outcome = run->key.made ? "created" : "there";
    kms_audit_log_done(config, &line);
    return line.code == KMS_OK ? KMS_EXIT_OK : kms_command_fail(err);
}

static enum kms_code find_key(struct run *run, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keyring_init(&run->keyring, &run->options, err);
    if (rc == KMS_OK) /* which connects */
        rc = kms_keyring_list(&run->keyring, &inventory, err);
    if (rc != KMS_OK)
        return rc;
    kms_audit_key_label(run->keyring.config.ring, run->label);
    return look(run, false, err);
}

static enum kms_code export(struct run *run, struct kms_error *err) {
    kms_spki_digest(&run->key.spki, run->digest);
    enum kms_code rc = pkcs11_spki_to_pem(&run->key.spki, run->pem, err);
    if (rc == KMS_OK && run->export != NULL && !run->dry_run)
        rc = kms_file_write(run->export, kms_bytes_of(run->pem), err);
    return rc;
}

static int get_key(struct run *run)
{
    struct kms_error err = { .code = KMS_OK };
    int code = KMS_EXIT_OK;
    if (find_key(run, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (!is_there(run) && run->make && !run->dry_run)
        code = make_recorded(run, &err);
    if (code != KMS_EXIT_OK || !is_there(run))
        return code;
    return export(run, &err) == KMS_OK ? KMS_EXIT_OK : kms_command_fail(&err);
}

/* --- output --- */

static const char *signing_name(const struct run *run)
{
    return is_there(run) ? kms_signing_name(run->key.signing) : "";
}

static void print_json(const struct run *run)
{
    json_t *object = kms_json_open("audit-key");
    kms_json_set(object, "changed", json_boolean(run->key.made));
    kms_json_set(object, "dry_run", json_boolean(run->dry_run));
    kms_json_set(object, "ring", kms_json_text(run->keyring.config.ring));
    kms_json_set(object, "label", kms_json_text(run->label));
    kms_json_set(object, "alg", kms_json_text(signing_name(run)));
    kms_json_set(object, "sha256", kms_json_text(run->digest));
    kms_json_set(object, "public_key", is_there(run) ? json_string(run->pem) : json_null());
    kms_json_print(object);
}

static void print_text(const struct run *run)
{
    if (!is_there(run)) {
        (void)printf("%s '%s'\nnext: %s\n",
                     run->make ? "would make the audit key" : "there is no audit key", run->label,
                     run->make ? "run it again without --dry-run"
                               : "hsm-kms audit key --make makes one");
        return;
    }
    (void)printf("%slabel    %s\nalg      %s\nsha256   %s\n", run->pem, run->label,
                 signing_name(run), run->digest);
    (void)puts("next: keep the public key off this host; hsm-kms audit verify --checkpoint-key "
               "FILE needs it. The running plugin signs by itself from its next checkpoint on");
}

static void run_done(struct run *run)
{
    kms_keyring_done(&run->keyring);
}

int kms_command_audit_key(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Shows the public key of the pair on the token (<ring>.audit) that signs the audit "
               "log's checkpoints; with --make it is made if there is none: EC P-256, or RSA-3072 "
               "where the token has no such.  It may sign and nothing else.  Exits 2 if there is "
               "none and none was to be made.",
        .children = children,
    };
    KMS_CLEANUP(run_done) struct run run = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &run) != 0)
        return KMS_EXIT_ERROR;
    int code = get_key(&run);
    if (code != KMS_EXIT_OK)
        return code;
    if (run.options.json)
        print_json(&run);
    else
        print_text(&run);
    return kms_command_finish(is_there(&run) || run.make ? KMS_EXIT_OK : KMS_EXIT_FINDINGS);
}
