/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "command.h"
#include "disabled.h"
#include "etcd/registry.h"
#include "etcd/snapshot.h"
#include "key_stage.h"
#include "key_wait.h"
#include "ledger.h"
#include "verify.h"

enum { BACKUPS_MAX = 64, SOURCES_MAX = 1 + BACKUPS_MAX };

struct options {
    struct kms_key_options key;
    struct kms_node_sources nodes;
    struct kms_etcd_choice etcd;
    const char *prefix;
    const char *backups[BACKUPS_MAX];
    size_t backup_count;
    const char *verified;
    bool now, dry_run;
};

enum { DRY_RUN = 896, VERIFIED, BACKUP, PREFIX, NOW }; /* beside the keys of the children */
static const struct argp_option argp_options[] = {
    { "backup", BACKUP, "FILE", 0,
      "with --etcd: an etcd snapshot that you keep and that must not need it; repeatable", 2 },
    { "prefix", PREFIX, "PREFIX", 0,
      "kube-apiserver's --etcd-prefix (default /registry); what is encrypted beyond it counts, too",
      2 },
    { "i-have-verified", VERIFIED, "RING.vN", 0,
      "instead of --etcd, if that is lost: nothing needs it, you answer for that", 3 },
    { "now", NOW, NULL, 0, "don't wait, as by policy in the configuration; it is still proven", 3 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 3 },
    { 0 },
};

static void check(const struct options *options, struct argp_state *state)
{
    if (options->etcd.endpoints != NULL && options->verified != NULL)
        argp_error(state, "--etcd or --i-have-verified, not both");
    if (options->backup_count > 0 && options->verified != NULL)
        argp_error(state, "--backup or --i-have-verified, not both");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->key;
        state->child_inputs[1] = &options->nodes;
        state->child_inputs[2] = &options->etcd;
        return 0;
    case BACKUP:
        if (options->backup_count == BACKUPS_MAX)
            argp_error(state, "--backup may be given %d times at most", (int)BACKUPS_MAX);
        options->backups[options->backup_count++] = arg;
        return 0;
    case PREFIX:
        options->prefix = arg;
        return 0;
    case VERIFIED:
        options->verified = arg;
        return 0;
    case NOW:
        options->now = true;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        check(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- where the proof comes from --- */

/* Caller owns the struct, which starts as zeros. */
struct sources {
    struct kms_etcd_source *items[SOURCES_MAX]; /* owned; the first is the running etcd */
    const char *names[SOURCES_MAX];             /* for messages */
    size_t count;                               /* 0: nobody can prove anything */
};

static void sources_done(struct sources *sources)
{
    for (size_t i = 0; i < sources->count; i++)
        kms_etcd_close(sources->items[i]);
    *sources = (struct sources){ .count = 0 };
}

/* As whoever runs the command: before it becomes the owner of state_dir. */
static enum kms_code open_sources(struct sources *sources, const struct options *options,
                                  struct kms_error *err)
{
    struct kms_error why = { .code = KMS_OK };
    enum kms_code rc = kms_etcd_choice_open(&options->etcd, &sources->items[0], err);
    if (rc != KMS_OK)
        return rc;
    sources->names[sources->count++] = "etcd";
    for (size_t i = 0; i < options->backup_count && rc == KMS_OK; i++) {
        rc = kms_etcd_snapshot_open(options->backups[i], &sources->items[sources->count], &why);
        if (rc != KMS_OK)
            return kms_fail(err, rc, "%.150s: %s", options->backups[i], why.msg);
        sources->names[sources->count++] = options->backups[i];
    }
    return rc;
}

/* --- the proof --- */

struct proof {
    struct kms_verify_question question;
    struct kms_key_wait wait;
    const struct sources *sources;
};

static bool is_wait_over(void *context, struct kms_key_outcome *outcome)
{
    const struct proof *proof = context;
    return kms_key_wait_is_over(&proof->wait, outcome);
}

/* --now: the operator sees what is passed over. */
static bool skip_wait(void *context, struct kms_key_outcome *outcome)
{
    (void)outcome;
    const struct proof *proof = context;
    struct kms_key_outcome waited_for = { .refused = false };
    if (!kms_key_wait_is_over(&proof->wait, &waited_for))
        kms_command_note("--now skips this: %s", waited_for.text);
    return true;
}

/* Again it is etcd alone that is asked, for what was written since: a snapshot stays as it is. */
static bool prove(void *context, bool again, struct kms_key_outcome *outcome)
{
    const struct proof *proof = context;
    size_t count = again ? 1 : proof->sources->count;
    char why[KMS_VERIFY_WHY_MAX];
    for (size_t i = 0; i < count; i++) {
        if (kms_verify_can_destroy(&proof->question, proof->sources->items[i], why))
            continue;
        (void)kms_key_refuse(outcome,
                             "generation %" PRIu32 ", by %.150s: %s; hsm-kms verify --can-destroy "
                             "%" PRIu32 " lists all",
                             proof->question.generation, proof->sources->names[i], why,
                             proof->question.generation);
        return false;
    }
    return true;
}

/* --- the command --- */

struct input {
    const struct options *options;
    const struct sources *sources;
};

/* False as well if it can't be told. */
static bool is_disabled_here(const char *state_dir, uint32_t generation)
{
    struct kms_error ignored = { .code = KMS_OK };
    int64_t since_utc_s = 0;
    return kms_disabled_since(state_dir, generation, &since_utc_s, &ignored) == KMS_OK &&
           since_utc_s != 0;
}

static enum kms_code act(const struct kms_key_stage *stage, const void *context,
                         struct kms_key_outcome *outcome, struct kms_error *err)
{
    const struct input *input = context;
    const struct options *options = input->options;
    const struct kms_key_target *target = &options->key.target;
    const struct kms_config *config = &stage->keyring.config;
    struct proof proof = { .question = { .ring = stage->scene.ring,
                                         .prefix = options->prefix,
                                         .keystore = stage->scene.keystore,
                                         .snapshot = stage->scene.snapshot,
                                         .generation = target->generation,
                                         .promoted = kms_key_promoted(&stage->scene) },
                           .wait = { .state_dir = stage->scene.state_dir,
                                     .ring = stage->scene.ring,
                                     .generation = target->generation,
                                     .now_utc_s = stage->scene.now_utc_s,
                                     .destroy_wait_ms = config->policy.destroy_wait_ms,
                                     .backup_retention_ms = config->policy.backup_retention_ms },
                           .sources = input->sources };
    struct kms_key_warrant warrant = {
        .verified = options->verified,
        .disabled_here = is_disabled_here(stage->scene.state_dir, target->generation),
    };
    if (input->sources->count > 0) {
        warrant.prove = prove;
        warrant.wait = options->now ? skip_wait : is_wait_over;
        warrant.context = &proof;
    }
    if (warrant.prove != NULL && proof.wait.backup_retention_ms > 0 &&
        !kms_ledger_exists(stage->scene.state_dir))
        kms_command_note("no snapshot was recorded on this node (hsm-kms verify --snapshot FILE "
                         "--record), so policy.backup_retention has nothing to go by");
    outcome->facts[0].name = "verified_by";
    (void)snprintf(outcome->facts[0].value, sizeof(outcome->facts[0].value), "%s",
                   warrant.prove != NULL ? "proof" : "operator");
    outcome->facts[1].name = "wait";
    (void)snprintf(outcome->facts[1].value, sizeof(outcome->facts[1].value), "%s",
                   warrant.wait == is_wait_over ? "kept" : "skipped");
    enum kms_code rc = kms_key_destroy(&stage->scene, target, &warrant, options->dry_run, outcome,
                                       err);
    /* of a number that never returns it does no harm */
    struct kms_error ignored = { .code = KMS_OK };
    if (rc == KMS_OK && !outcome->refused && !options->dry_run)
        (void)!kms_disabled_forget(stage->scene.state_dir, target->generation, &ignored);
    return rc;
}

static int run(struct options *options)
{
    KMS_CLEANUP(sources_done) struct sources sources = { .count = 0 };
    struct kms_error err = { .code = KMS_OK };
    if (options->etcd.endpoints != NULL && open_sources(&sources, options, &err) != KMS_OK) {
        (void)kms_command_error("refused: it can't be told whether anything needs it: %s", err.msg);
        return KMS_EXIT_REFUSED;
    }
    const struct input input = { options, &sources };
    const struct kms_key_job job = {
        .name = "key-destroy",
        .keyring = &options->key.keyring,
        .ask_node = true,
        .sources = &options->nodes,
        .generation = options->key.target.generation,
        .dry_run = options->dry_run,
        .reach = KMS_REACH_ALL,
        .input = &input,
        .act = act,
    };
    return kms_key_job_run(&job);
}

static void options_done(struct options *options)
{
    kms_node_sources_done(&options->nodes);
}

int kms_command_key_destroy(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_generation_argp, 0, NULL, 0 },
                                                  { &kms_node_sources_argp, 0, NULL, 0 },
                                                  { &kms_etcd_server_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Destroys a disabled generation for ever and buries its number: never the promoted "
            "one, and only if it is proven, as by hsm-kms verify --can-destroy, that nothing in "
            "etcd and in the snapshots of --backup needs it.  What it encrypted can't be read any "
            "more.  A rerun finishes what a first run began.\v"
            "With --socket or --nodes every named node is asked first, and the command refuses if "
            "one of them has the generation promoted, may promote it at any moment, or doesn't "
            "answer.  Give GENERATION before the files of --nodes.",
        .children = children,
    };
    KMS_CLEANUP(options_done) struct options options = { .prefix = KMS_REGISTRY_PREFIX };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    return run(&options);
}
