/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "key_renew.h"
#include "key_stage.h"

struct options {
    struct kms_keyring_options keyring;
    struct kms_key_timing timing;
    const char *id;
    const char *reference;
    bool dry_run;
};

enum { DRY_RUN = 256, REFERENCE, ACTIVATE, FORCE };
static const struct argp_option argp_options[] = {
    { "backup-ref", REFERENCE, "TEXT", 0, "what leads to the key's backup: a ticket, a safe", 0 },
    { "activate", ACTIVATE, "WHEN", 0,
      "now, +DURATION (+1h) or a UTC time (2026-12-01T12:00:00Z); default: now for the first key, "
      "else after 2 x refresh + clock_skew, and not before rotation.min_lead",
      0 },
    { "force", FORCE, NULL, 0,
      "allow an activation before all nodes can know the key, or a damaged ring.json; never one "
      "before rotation.min_lead",
      0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case REFERENCE:
        options->reference = arg;
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
    case ARGP_KEY_ARG:
        if (options->id != NULL)
            argp_error(state, "one ID, please");
        options->id = arg;
        return 0;
    case ARGP_KEY_END:
        if (options->id == NULL || options->reference == NULL)
            argp_error(state, "the ID that key prepare printed, and --backup-ref");
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
    timing.rule = stage->keyring.config.rotation;
    return kms_key_commit(&stage->scene, options->id, options->reference, &timing, options->dry_run,
                          outcome, err);
}

int kms_command_key_commit(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .args_doc = "ID",
        .doc = "The second of two steps: records the backup of a prepared key in state_dir, and "
               "makes it the ring's next generation.  A rerun finishes what a first run began.",
        .children = children,
    };
    struct options options = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    const struct kms_key_job job = {
        .name = "key-commit",
        .keyring = &options.keyring,
        .blind = options.timing.force,
        .can_force = true,
        .dry_run = options.dry_run,
        .reach = KMS_REACH_NEW,
        .input = &options,
        .act = act,
    };
    return kms_key_job_run(&job);
}
