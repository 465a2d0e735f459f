/* SPDX-License-Identifier: Apache-2.0 */
/* `key escrow export` and `key escrow import`: one KEK on two tokens. */
#include <string.h>
#include <strings.h>

#include "command.h"
#include "escrow_file.h"
#include "key_bring.h"
#include "key_file.h"
#include "key_leave.h"
#include "key_stage.h"
#include "kms/fd.h"
#include "transport_names.h"

enum { DRY_RUN = 256, TO, EXPECT_RECIPIENT, OUT, HASH, DISCARD, IN, EXPECT, LABEL_LIKE };

/* --- export --- */

struct export_options {
    struct kms_keyring_options keyring;
    const char *to, *recipient;
    struct kms_key_departure departure;
    bool hash_given; /* else the recipient's file says it */
    bool dry_run;
};

static const struct argp_option export_argp_options[] = {
    { "escrow-to", TO, "FILE", 0, "the other token's public key, of key transport-key there", 0 },
    { "expect-recipient", EXPECT_RECIPIENT, "SHA256", 0,
      "what key transport-key says there that its SHA-256 is", 0 },
    { "out", OUT, "FILE", 0, "the escrow file; written as the owner of state_dir", 0 },
    { "hash", HASH, "NAME", 0,
      "of RSA-OAEP: sha256 (but SHA-1 if this module takes no other) or sha1; default: what the "
      "recipient's file says, else sha256",
      0 },
    { "discard-unfinished", DISCARD, NULL, 0,
      "destroy prepared keys that interrupted exports left extractable", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse_export(int key, char *arg, struct argp_state *state)
{
    struct export_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case TO:
        options->to = arg;
        return 0;
    case EXPECT_RECIPIENT:
        options->recipient = arg;
        return 0;
    case OUT:
        options->departure.path = arg;
        return 0;
    case HASH:
        options->hash_given = true;
        if (!kms_oaep_hash_parse(arg, &options->departure.hash))
            argp_error(state, "--hash is sha256 or sha1");
        return 0;
    case DISCARD:
        options->departure.discard = true;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        if (options->to == NULL || options->recipient == NULL || options->departure.path == NULL)
            argp_error(state, "--escrow-to, --expect-recipient and --out, please");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum kms_code act_export(const struct kms_key_stage *stage, const void *input,
                                struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct export_options *options = input;
    KMS_CLEANUP(kms_fd_done) int folder_fd = -1;
    enum kms_code rc = kms_file_lock_folder(options->departure.path, &folder_fd, err);
    if (rc != KMS_OK)
        return rc;
    return kms_key_escrow(&stage->scene, &options->departure, options->dry_run, outcome, err);
}

static int run_export(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = export_argp_options,
        .parser = parse_export,
        .doc = "Prepares a key, as key prepare does, of which another token gets a copy: wrapped "
               "under that token's transport key, into a file.  Then it can't leave this token any "
               "more, and key commit may make it a KEK.  A rerun with the same --out finishes what "
               "an interrupted run began.",
        .children = children,
    };
    struct export_options options = { .to = NULL };
    struct kms_spki recipient;
    enum kms_oaep_hash hash = KMS_OAEP_SHA256;
    struct kms_error err = { 0 };
    char digest[2 * KMS_SHA256_LEN + 1];
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    if (kms_spki_read(options.to, &recipient, &hash, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (!options.hash_given)
        options.departure.hash = hash;
    kms_spki_digest(&recipient, digest);
    if (strcasecmp(digest, options.recipient) != 0) {
        (void)kms_command_error("refused: the recipient's public key has SHA-256 %s, not what was "
                                "expected: get it from the other token again",
                                digest);
        return KMS_EXIT_REFUSED;
    }
    options.departure.recipient = &recipient;
    const struct kms_key_job job = {
        .name = "key-escrow-export",
        .keyring = &options.keyring,
        .blind = true, /* it takes no number */
        .dry_run = options.dry_run,
        .input = &options,
        .act = act_export,
    };
    return kms_key_job_run(&job);
}

/* --- import --- */

struct import_options {
    struct kms_keyring_options keyring;
    const char *in, *label;
    uint8_t expected[KMS_FINGERPRINT_LEN];
    bool expects, dry_run;
    struct kms_escrow escrow; /* what @in holds */
};

static const struct argp_option import_argp_options[] = {
    { "in", IN, "FILE", 0, "the escrow file", 0 },
    { "expect-fingerprint", EXPECT, "HEX", 0, "what key escrow export printed", 0 },
    { "label-like", LABEL_LIKE, "LABEL", 0,
      "what the first token calls the key (<ring>.v<generation>@<activation>), once it is "
      "committed "
      "there",
      0 },
    { "dry-run", DRY_RUN, NULL, 0, "unwrap and compare it, and keep nothing", 0 },
    { 0 },
};

static error_t parse_import(int key, char *arg, struct argp_state *state)
{
    struct import_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case IN:
        options->in = arg;
        return 0;
    case EXPECT:
        options->expects = true;
        if (!kms_hex_decode(arg, options->expected, KMS_FINGERPRINT_LEN))
            argp_error(state, "--expect-fingerprint is 64 hexadecimal digits");
        return 0;
    case LABEL_LIKE:
        options->label = arg;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        if (options->in == NULL)
            argp_error(state, "--in, please");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum kms_code check_label(const struct kms_key_stage *stage, const char *label,
                                 struct kms_error *err)
{
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    if (label == NULL || kms_label_parse(stage->scene.ring, label, &generation, &activation_utc_s))
        return KMS_OK;
    return kms_fail(err, KMS_E_INVALID,
                    "--label-like is a label of the ring, like %s.v2@20261201T120000Z, exactly as "
                    "the first token has it",
                    stage->scene.ring);
}

static enum kms_code act_import(const struct kms_key_stage *stage, const void *input,
                                struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct import_options *options = input;
    const struct kms_escrow *escrow = &options->escrow;
    const struct kms_keyring_token *only = NULL;
    char pending[KMS_PENDING_LABEL_LEN + 1];
    if (strcmp(escrow->ring, stage->scene.ring) != 0)
        return kms_key_refuse(outcome, "the file holds a key of ring '%s', not of '%s'",
                              escrow->ring, stage->scene.ring);
    if (options->expects &&
        memcmp(options->expected, escrow->fingerprint, KMS_FINGERPRINT_LEN) != 0)
        return kms_key_refuse(outcome, "the file holds another key than --expect-fingerprint");
    enum kms_code rc = kms_keyring_one(&stage->keyring, &only, err);
    if (rc == KMS_OK)
        rc = check_label(stage, options->label, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_key_guest guest = { .blob = { escrow->blob.data, escrow->blob.len } };
    memcpy(guest.fingerprint, escrow->fingerprint, KMS_FINGERPRINT_LEN);
    kms_pending_label_format(stage->scene.ring, escrow->id, pending);
    return kms_key_adopt_escrow(&stage->scene, &guest,
                                options->label != NULL ? options->label : pending, options->dry_run,
                                outcome, err);
}

static enum kms_code read_escrow(struct import_options *options, struct kms_error *err)
{
    bool found = false;
    enum kms_code rc = kms_escrow_read(options->in, &found, &options->escrow, err);
    if (rc == KMS_OK && !found)
        return kms_fail(err, KMS_E_INVALID, "%.200s isn't there", options->in);
    if (rc == KMS_OK && !options->escrow.complete)
        return kms_fail(err, KMS_E_INVALID,
                        "%.200s holds no key yet: key escrow export was interrupted, run it again "
                        "with the same --out",
                        options->in);
    return rc;
}

static int run_import(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = import_argp_options,
        .parser = parse_import,
        .doc = "Puts a key of key escrow export on this token, proved by its fingerprint.  Under "
               "the label that the first token has for it (--label-like) it is the same KEK here, "
               "once each node has been told to trust it.",
        .children = children,
    };
    struct import_options options = { .dry_run = false };
    struct kms_error err = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    if (read_escrow(&options, &err) != KMS_OK)
        return kms_command_fail(&err);
    const struct kms_key_job job = {
        .name = "key-escrow-import",
        .keyring = &options.keyring,
        .blind = options.label == NULL, /* then it takes no number */
        .dry_run = options.dry_run,
        .input = &options,
        .act = act_import,
    };
    return kms_key_job_run(&job);
}

int kms_command_key_escrow(int argc, char **argv)
{
    static const struct kms_command commands[] = {
        { "export", run_export, "prepare a key with a copy for another token" },
        { "import", run_import, "put such a key on this token" },
        { NULL, NULL, NULL },
    };
    return kms_command_dispatch(commands, argc, argv);
}
