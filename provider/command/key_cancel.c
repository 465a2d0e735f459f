/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "key_stage.h"

struct options {
    struct kms_key_options key;
    struct kms_node_sources sources;
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
        state->child_inputs[1] = &options->sources;
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
    const struct kms_spread spread = kms_keyring_spread(&stage->keyring, &stage->inventory);
    uint32_t generation = options->key.target.generation;
    size_t count = 0;
    enum kms_code rc = kms_key_cancel(&stage->scene, &options->key.target, options->dry_run,
                                      outcome, err);
    if (rc != KMS_OK || outcome->refused || stage->keyring.token_count == 1)
        return rc;
    rc = kms_spread_discard(&spread, generation, options->dry_run, &count, err);
    outcome->changed = outcome->changed || (count > 0 && !options->dry_run);
    return rc;
}

static void options_done(struct options *options)
{
    kms_node_sources_done(&options->sources);
}

int kms_command_key_cancel(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_generation_argp, 0, NULL, 0 },
                                                  { &kms_node_sources_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Destroys a generation whose activation is still to come, so that no node can have "
               "promoted it, and buries its number.  A rerun finishes what a first run began.\v"
               "With --socket or --nodes every named node is asked first, and the command refuses "
               "if one of them has promoted the generation or a later one, may promote it at any "
               "moment, or doesn't answer.  Give GENERATION before the files of --nodes.",
        .children = children,
    };
    KMS_CLEANUP(options_done) struct options options = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    const struct kms_key_job job = {
        .name = "key-cancel",
        .keyring = &options.key.keyring,
        .ask_node = true,
        .sources = &options.sources,
        .generation = options.key.target.generation,
        .dry_run = options.dry_run,
        .reach = KMS_REACH_ALL,
        .input = &options,
        .act = act,
    };
    return kms_key_job_run(&job);
}
