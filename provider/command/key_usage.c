/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "command.h"
#include "disabled.h"
#include "key_stage.h"
#include "kms/clock.h"

struct options {
    struct kms_key_options key;
    struct kms_node_sources sources; /* of disable */
    bool usable;
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
        if (!options->usable)
            state->child_inputs[1] = &options->sources;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Since when it is disabled, for key destroy.  What is recorded stays true if the key was found so. */
static enum kms_code record(const char *state_dir, uint32_t generation,
                            const struct kms_key_outcome *outcome, struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    int64_t since_utc_s = 0;
    enum kms_code rc = KMS_OK;
    if (!outcome->changed)
        rc = kms_disabled_since(state_dir, generation, &since_utc_s, &why);
    if (rc == KMS_OK && since_utc_s == 0)
        rc = kms_disabled_record(state_dir, generation, kms_utc_s(), &why);
    if (rc == KMS_OK)
        return KMS_OK;
    return kms_fail(err, rc,
                    "generation %" PRIu32
                    " is disabled, but since when isn't recorded: %.300s; run it again",
                    generation, why.msg);
}

static enum kms_code disable(const struct kms_key_scene *scene, const struct options *options,
                             struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct kms_key_target *target = &options->key.target;
    enum kms_code rc = kms_key_set_usable(scene, target, false, options->dry_run, outcome, err);
    if (rc != KMS_OK || outcome->refused || options->dry_run)
        return rc;
    return record(scene->state_dir, target->generation, outcome, err);
}

/* It is forgotten first: a key in use must not look as if it had been disabled for long.  But nothing
 * keeps a key from being enabled. */
static enum kms_code enable(const struct kms_key_scene *scene, const struct options *options,
                            struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct kms_key_target *target = &options->key.target;
    struct kms_error why = { .code = KMS_OK };
    if (options->dry_run)
        return kms_key_set_usable(scene, target, true, true, outcome, err);
    enum kms_code forgotten = kms_disabled_forget(scene->state_dir, target->generation, &why);
    enum kms_code rc = kms_key_set_usable(scene, target, true, false, outcome, err);
    if (rc != KMS_OK || outcome->refused || forgotten == KMS_OK)
        return rc;
    return kms_fail(err, forgotten,
                    "generation %" PRIu32
                    " is enabled, but still recorded as disabled: %.300s; run it again",
                    target->generation, why.msg);
}

static enum kms_code act(const struct kms_key_stage *stage, const void *input,
                         struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct options *options = input;
    return options->usable ? enable(&stage->scene, options, outcome, err)
                           : disable(&stage->scene, options, outcome, err);
}

static void options_done(struct options *options)
{
    kms_node_sources_done(&options->sources);
}

static int run(const struct argp *argp, const char *name, bool usable, int argc, char **argv)
{
    KMS_CLEANUP(options_done) struct options options = { .usable = usable };
    if (kms_command_parse(argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    const struct kms_key_job job = {
        .name = name,
        .keyring = &options.key.keyring,
        .ask_node = true,
        .sources = usable ? NULL : &options.sources,
        .generation = options.key.target.generation,
        .dry_run = options.dry_run,
        .reach = KMS_REACH_ALL,
        .input = &options,
        .act = act,
    };
    return kms_key_job_run(&job);
}

int kms_command_key_disable(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_generation_argp, 0, NULL, 0 },
                                                  { &kms_node_sources_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Clears CKA_WRAP, UNWRAP, ENCRYPT and DECRYPT of a generation that isn't promoted: "
               "every plugin stops using it at its next refresh, and key enable undoes it.  A "
               "safety catch before key destroy, and no defence against a thief of a PIN that may "
               "modify keys.\v"
               "With --socket or --nodes every named node is asked first, and the command refuses "
               "if one of them has the generation promoted, may promote it at any moment, or "
               "doesn't answer.  Give GENERATION before the files of --nodes.",
        .children = children,
    };
    return run(&argp, "key-disable", false, argc, argv);
}

int kms_command_key_enable(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_generation_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Sets CKA_WRAP and CKA_UNWRAP of a generation: undoes key disable.",
        .children = children,
    };
    return run(&argp, "key-enable", true, argc, argv);
}
