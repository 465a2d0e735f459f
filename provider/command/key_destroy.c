/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "key_stage.h"

struct options {
    struct kms_key_options key;
    struct kms_node_sources sources;
    const char *verified;
    bool dry_run;
};

enum { DRY_RUN = 256, VERIFIED };
static const struct argp_option argp_options[] = {
    { "i-have-verified", VERIFIED, "RING.vN", 0, "that nothing needs the key any more", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->key;
        state->child_inputs[1] = &options->sources;
        return 0;
    case VERIFIED:
        options->verified = arg;
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
    return kms_key_destroy(&stage->scene, &options->key.target, options->verified, options->dry_run,
                           outcome, err);
}

static void options_done(struct options *options)
{
    kms_node_sources_done(&options->sources);
}

int kms_command_key_destroy(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_generation_argp, 0, NULL, 0 },
                                                  { &kms_node_sources_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Destroys a disabled generation for ever and buries its number: never the promoted "
            "one, and only with --i-have-verified.  What it encrypted can't be read any more.  A "
            "rerun finishes what a first run began.\v"
            "With --socket or --nodes every named node is asked first, and the command refuses if "
            "one of them has the generation promoted, may promote it at any moment, or doesn't "
            "answer.  Give GENERATION before the files of --nodes.",
        .children = children,
    };
    KMS_CLEANUP(options_done) struct options options = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    const struct kms_key_job job = {
        .name = "key-destroy",
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
