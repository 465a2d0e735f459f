/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "key_stage.h"

struct options {
    struct kms_key_options key;
    bool dry_run;
};

enum { DRY_RUN = 256 };
static const struct argp_option argp_options[] = {
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->key;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum kms_code act(const struct kms_key_stage *stage, const void *input,
                         struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct options *options = input;
    return kms_key_cancel(&stage->scene, &options->key.target, options->dry_run, outcome, err);
}

int kms_command_key_cancel(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_generation_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Destroys a generation whose activation is still to come, so that no node can have "
               "promoted it, and buries its number.  A rerun finishes what a first run began.",
        .children = children,
    };
    struct options options = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    const struct kms_key_job job = {
        .name = "key-cancel",
        .keyring = &options.key.keyring,
        .ask_node = true,
        .dry_run = options.dry_run,
        .input = &options,
        .act = act,
    };
    return kms_key_job_run(&job);
}
