/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "key_bring.h"
#include "key_file.h"
#include "key_stage.h"

struct options {
    struct kms_keyring_options keyring;
    struct kms_key_timing timing;
    struct kms_key_guest guest;
    const char *wrapped, *label;
    bool expects, dry_run;
};

enum { DRY_RUN = 256, WRAPPED, EXPECT, ACTIVATE, FORCE, LABEL_LIKE };
static const struct argp_option argp_options[] = {
    { "wrapped", WRAPPED, "FILE", 0, "the key under this token's transport key, of key wrap", 0 },
    { "expect-fingerprint", EXPECT, "HEX", 0, "what the custodian says that its fingerprint is",
      0 },
    { "activate", ACTIVATE, "WHEN", 0,
      "now, +DURATION (+1h) or a UTC time (2026-12-01T12:00:00Z); default: now for the first key, "
      "else after 24h, or rotation.min_lead if that is longer",
      0 },
    { "force", FORCE, NULL, 0,
      "allow an activation before all nodes can know the key, or a damaged ring.json; never one "
      "before rotation.min_lead",
      0 },
    { "label-like", LABEL_LIKE, "LABEL", 0,
      "with --token: what the first token calls the key, once it was imported there", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "unwrap and compare it, and keep nothing", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case WRAPPED:
        options->wrapped = arg;
        return 0;
    case EXPECT:
        options->expects = true;
        if (!kms_hex_decode(arg, options->guest.fingerprint, KMS_FINGERPRINT_LEN))
            argp_error(state, "--expect-fingerprint is 64 hexadecimal digits");
        return 0;
    case LABEL_LIKE:
        options->label = arg;
        return 0;
    case ACTIVATE:
        options->timing.activate = arg;
        return 0;
    case FORCE:
        options->timing.force = true;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        if (options->wrapped == NULL || !options->expects)
            argp_error(state, "--wrapped and --expect-fingerprint, please");
        if ((options->label != NULL) != (options->keyring.token != NULL))
            argp_error(state, "--token and --label-like belong together");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum kms_code act(const struct kms_key_stage *stage, const void *input,
                         struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct options *options = input;
    struct kms_key_timing timing = options->timing;
    uint32_t generation = 0;
    int64_t activation_utc_s = 0;
    if (options->label != NULL &&
        !kms_label_parse(stage->scene.ring, options->label, &generation, &activation_utc_s))
        return kms_fail(err, KMS_E_INVALID,
                        "--label-like is a label of the ring, like %s.v2@20261201T120000Z, exactly "
                        "as the first token has it",
                        stage->scene.ring);
    if (options->label != NULL)
        return kms_key_adopt_escrow(&stage->scene, &options->guest, options->label,
                                    options->dry_run, outcome, err);
    timing.rule = stage->keyring.config.rotation;
    return kms_key_import(&stage->scene, &options->guest, &timing, options->dry_run, outcome, err);
}

int kms_command_key_import(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Makes a key from elsewhere the ring's next generation.  It is unwrapped inside the "
            "token, and stays there only if it has the expected fingerprint.  No node uses it "
            "before each has been told to trust it: key accept, or pins: in the configuration.  "
            "Do that on every node before the activation: from then on those that trust it write "
            "what the others can't read.",
        .children = children,
    };
    KMS_CLEANUP(kms_file_done) struct kms_file file = { 0 };
    struct options options = { .dry_run = false };
    struct kms_error err = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    if (kms_file_read(options.wrapped, &file, &err) != KMS_OK)
        return kms_command_fail(&err);
    options.guest.blob = (struct kms_bytes){ file.data, file.len };
    const struct kms_key_job job = {
        .name = "key-import",
        .keyring = &options.keyring,
        .ask_node = true,
        .blind = options.timing.force,
        .can_force = true,
        .dry_run = options.dry_run,
        .reach = options.label != NULL ? KMS_REACH_ANY : KMS_REACH_NEW,
        .input = &options,
        .act = act,
    };
    return kms_key_job_run(&job);
}
