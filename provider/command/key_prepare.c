/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"
#include "key_renew.h"
#include "key_stage.h"

struct options {
    struct kms_keyring_options keyring;
    bool another;
    bool dry_run;
};

enum { DRY_RUN = 256, ANOTHER };
static const struct argp_option argp_options[] = {
    { "another", ANOTHER, NULL, 0, "generate a key beside one that is prepared already", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case ANOTHER:
        options->another = true;
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
    if (kms_spread_is_needed(&spread))
        return kms_key_refuse(
            outcome, "a token of sync: escrow would never get a key that is prepared here: "
                     "hsm-kms key create makes one on all tokens, key escrow export "
                     "prepares one with a copy for another token");
    return kms_key_prepare(&stage->scene, options->another, options->dry_run, outcome, err);
}

int kms_command_key_prepare(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "The first of two steps: generates a key that no node knows as a KEK, so that it can "
            "be backed up before key commit makes it one.  A rerun reports a key that is "
            "prepared.",
        .children = children,
    };
    struct options options = { .dry_run = false };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    const struct kms_key_job job = {
        .name = "key-prepare",
        .keyring = &options.keyring,
        .blind = true, /* it takes no number */
        .dry_run = options.dry_run,
        .reach = KMS_REACH_NEW,
        .input = &options,
        .act = act,
    };
    return kms_key_job_run(&job);
}
