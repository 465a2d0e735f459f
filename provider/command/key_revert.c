/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "key_renew.h"
#include "key_stage.h"

struct options {
    struct kms_key_options key;
    struct kms_key_timing timing;
    bool dry_run;
};

enum { DRY_RUN = 256, TO, ACTIVATE, FORCE };
static const struct argp_option argp_options[] = {
    { "to", TO, "GENERATION", 0, "whose material becomes active again", 0 },
    { "activate", ACTIVATE, "WHEN", 0,
      "now, +DURATION (+1h) or a UTC time (2026-12-01T12:00:00Z); default: after 2 x refresh + "
      "clock_skew",
      0 },
    { "force", FORCE, NULL, 0,
      "allow an activation before all nodes can know the key, or a damaged ring.json", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->key;
        return 0;
    case TO:
        options->key.target.generation = kms_key_parse_generation(state, arg);
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
        if (options->key.target.generation == 0)
            argp_error(state, "--to which generation?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum kms_code act(const struct kms_key_stage *stage, const void *input,
                         struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct options *options = input;
    return kms_key_revert(&stage->scene, &options->key.target, &options->timing, options->dry_run,
                          outcome, err);
}

int kms_command_key_revert(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_options_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Makes old material active again: copies it on the token, under the next generation "
               "and so under a key_id that was never used.  A rerun that finds the copy reports it "
               "and changes nothing.",
        .children = children,
    };
    struct options options = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    const struct kms_key_job job = {
        .name = "key-revert",
        .keyring = &options.key.keyring,
        .ask_node = true,
        .blind = options.timing.force,
        .can_force = true,
        .dry_run = options.dry_run,
        .reach = KMS_REACH_NEW,
        .input = &options,
        .act = act,
    };
    return kms_key_job_run(&job);
}
