/* SPDX-License-Identifier: Apache-2.0 */
/* `key create` and `key rotate`: one command under two names. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "audit_log.h"
#include "command.h"
#include "creation.h"
#include "key_plan.h"
#include "key_settle.h"
#include "key_tokens.h"
#include "key_watch.h"
#include "keyring.h"
#include "kms/clock.h"
#include "node_source.h"
#include "rotation_rule.h"
#include "text.h"

enum { MS_PER_S = 1000, TIMEOUT_DEFAULT_MS = 10 * 60 * MS_PER_S };

struct options {
    struct kms_keyring_options keyring;
    struct kms_node_sources sources;
    const char *activate;
    uint32_t from;
    bool force;
    bool dry_run;
    bool wait;
    int64_t timeout_ms; /* 0: not given */
};

/* One run. */
struct run {
    struct options options;
    struct kms_keyring keyring;
    struct kms_spread spread;
    struct kms_watch watch;
    struct kms_node exports[KMS_NODE_SOURCES_MAX];
    struct kms_creation creation;
    char waived[KMS_NAMES_TEXT_MAX];
    int64_t begun_utc_s;
    int64_t give_up_ms; /* CLOCK_MONOTONIC: the end of --wait */
};

enum { FORCE = 256, DRY_RUN, ACTIVATE, FROM, WAIT, TIMEOUT };
static const struct argp_option argp_options[] = {
    { "activate", ACTIVATE, "WHEN", 0,
      "now, +DURATION (+1h) or a UTC time (2026-12-01T12:00:00Z); default: now for the first key, "
      "else after 2 x refresh + clock_skew",
      0 },
    { "from", FROM, "N", 0,
      "compare-and-swap: only if generation N is promoted; nothing to do if N+1 is there", 0 },
    { "wait", WAIT, NULL, 0,
      "follow the nodes on --socket until each has proved that it can use the key, and uses it",
      0 },
    { "timeout", TIMEOUT, "DURATION", 0, "of --wait (default 10m)", 0 },
    { "force", FORCE, NULL, 0,
      "allow an activation before all nodes can know the key, or a damaged ring.json", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static void check_options(const struct options *options, struct argp_state *state)
{
    if (options->timeout_ms != 0 && !options->wait)
        argp_error(state, "--timeout belongs to --wait");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        state->child_inputs[1] = &options->sources;
        return 0;
    case ACTIVATE:
        options->activate = arg;
        return 0;
    case FROM:
        options->from = kms_generation_option(state, "--from", arg);
        return 0;
    case WAIT:
        options->wait = true;
        return 0;
    case TIMEOUT:
        if (!kms_duration_parse(arg, &options->timeout_ms) || options->timeout_ms < 1)
            argp_error(state, "--timeout is a duration, like 10m");
        return 0;
    case FORCE:
        options->force = true;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int refuse(const char *why)
{
    (void)kms_command_error("refused: %s", why);
    return KMS_EXIT_REFUSED;
}

/* --- before: nodes --- */

/* Without --wait, --socket and --nodes no node is asked: a first key is made before any serves. */
static bool asks_nodes(const struct options *options)
{
    return options->wait || options->sources.socket_count > 0 || options->sources.file_count > 0;
}

static enum kms_code read_exports(struct run *run, struct kms_error *err)
{
    const struct kms_node_sources *sources = &run->options.sources;
    for (size_t i = 0; i < sources->file_count; i++) {
        enum kms_code rc = kms_node_read(sources->files[i], kms_utc_ms(), &run->exports[i], err);
        if (rc != KMS_OK)
            return rc;
    }
    run->creation.export_count = sources->file_count;
    return KMS_OK;
}

/* Returns an exit code. */
static int ask_nodes(struct run *run)
{
    struct kms_error err = { 0 };
    if (kms_node_sources_default(&run->options.sources, run->options.keyring.config_path, &err) !=
            KMS_OK ||
        read_exports(run, &err) != KMS_OK ||
        kms_watch_init(&run->watch, &run->options.sources, &err) != KMS_OK)
        return kms_command_fail(&err);
    return kms_watch_describe(&run->watch, &err) == KMS_OK ? KMS_EXIT_OK : refuse(err.msg);
}

static enum kms_code check_nodes(const struct run *run, int64_t now_utc_s, struct kms_error *err)
{
    if (run->watch.count == 0)
        return KMS_OK;
    const struct kms_key_plan *plan = &run->creation.plan;
    const struct kms_node_demand demand = {
        .ring = run->keyring.config.ring,
        .promoted = run->watch.nodes[0].node.promoted,
        .lead_counts = !plan->is_first && !run->options.force,
        .lead_s = plan->activation_utc_s - now_utc_s,
        .clock_skew_ms = run->keyring.config.clock_skew_ms,
    };
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; i < run->watch.count && rc == KMS_OK; i++)
        rc = kms_node_check(&run->watch.nodes[i].node, &demand, err);
    for (size_t i = 0; i < run->creation.export_count && rc == KMS_OK; i++)
        rc = kms_node_check(&run->exports[i], &demand, err);
    return rc;
}

/* --- the plan --- */

static void note_missing(const struct kms_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->count; i++)
        if (snapshot->entries[i].state == KMS_KEK_MISSING)
            kms_command_note("generation %" PRIu32 ": %s", snapshot->entries[i].generation,
                             snapshot->entries[i].reason);
}

static int refuse_early(const struct kms_key_plan *plan)
{
    char wanted[KMS_RFC3339_LEN + 1], earliest[KMS_RFC3339_LEN + 1], why[256];
    kms_rfc3339_format(plan->activation_utc_s, wanted);
    kms_rfc3339_format(plan->earliest_utc_s, earliest);
    (void)snprintf(why, sizeof(why),
                   "activation %s is before %s (now + 2 x refresh + clock_skew): a node could use "
                   "the key while another doesn't know it yet; --force does it all the same",
                   wanted, earliest);
    return refuse(why);
}

static int refuse_moved_on(uint32_t from, uint32_t promoted)
{
    char why[256], now[48] = "none is";
    if (promoted != 0)
        (void)snprintf(now, sizeof(now), "generation %" PRIu32 " is", promoted);
    (void)snprintf(why, sizeof(why),
                   "--from %" PRIu32 " wants generation %" PRIu32 " or %" PRIu32
                   " promoted on this node, but %s; see hsm-kms key list",
                   from, from, from + 1, now);
    return refuse(why);
}

/* Whether following the nodes can end in time. */
static int check_patience(const struct run *run, int64_t now_utc_s)
{
    int64_t left_ms = (run->creation.plan.activation_utc_s - now_utc_s) * MS_PER_S;
    if (!run->options.wait || left_ms < run->options.timeout_ms)
        return KMS_EXIT_OK;
    char stamp[KMS_RFC3339_LEN + 1], timeout[KMS_DURATION_LEN + 1];
    kms_rfc3339_format(run->creation.plan.activation_utc_s, stamp);
    kms_duration_format(run->options.timeout_ms, timeout);
    return kms_command_error(
        "the activation is at %s, later than --timeout %s waits: give a longer "
        "one, or leave --wait out",
        stamp, timeout);
}

/* Returns an exit code: whether the plan may be carried out. */
static int check_plan(const struct run *run, const struct kms_key_plan_input *input,
                      struct kms_key_plan *plan)
{
    if (plan->kind == KMS_KEY_MOVED_ON)
        return refuse_moved_on(run->options.from, plan->promoted);
    if (plan->kind == KMS_KEY_CREATE || plan->kind == KMS_KEY_TOO_EARLY) {
        char why[KMS_ERROR_MSG_MAX] = "";
        struct kms_error err = { 0 };
        if (!kms_rotation_allows(&run->keyring.config.rotation, KMS_ROTATION_ONE_STEP, input, plan,
                                 why, sizeof(why)))
            return refuse(why);
        if (plan->kind == KMS_KEY_TOO_EARLY)
            return refuse_early(plan);
        if (check_nodes(run, input->now_utc_s, &err) != KMS_OK)
            return refuse(err.msg);
    }
    return check_patience(run, input->now_utc_s);
}

/* Returns an exit code. */
static int make_plan(struct run *run)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = NULL;
    const struct kms_keyring *keyring = &run->keyring;
    struct kms_key_plan *plan = &run->creation.plan;
    struct kms_error err = { 0 };
    const struct kms_kek_filter filter = kms_keyring_filter(keyring);
    char why[KMS_REACH_TEXT_MAX];
    enum kms_code rc = kms_key_list_settled(keyring->keystore, keyring->config.ring, &filter,
                                            2 * (int64_t)KMS_KEY_PATIENCE_MS, &inventory, &err);
    struct kms_key_plan_input input = {
        .ring = keyring->config.ring,
        .state = &keyring->state,
        .state_known = keyring->state_known,
        .activate = run->options.activate,
        .force = run->options.force,
        .from = run->options.from,
        .now_utc_s = kms_utc_s(),
        .begun_utc_s = run->begun_utc_s,
        .refresh_ms = keyring->config.refresh_ms,
        .clock_skew_ms = keyring->config.clock_skew_ms,
    };
    if (rc == KMS_OK)
        rc = kms_keyring_judge(keyring, &inventory, input.now_utc_s, &snapshot, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    kms_keyring_note_unlisted(&inventory);
    if (!kms_keyring_reaches(keyring, &inventory, KMS_REACH_NEW, why))
        return refuse(why);
    note_missing(snapshot);
    input.snapshot = snapshot;
    if (kms_key_plan(&input, plan, &err) != KMS_OK)
        return kms_command_fail(&err);
    int code = check_plan(run, &input, plan);
    if (plan->standing != NULL)
        run->creation.kek = plan->standing->kek;
    else
        memcpy(run->creation.kek.label, plan->label, sizeof(plan->label));
    plan->standing = NULL; /* the snapshot goes */
    return code;
}

/* --- the key --- */

static const char *name_of(enum kms_key_plan_kind kind)
{
    if (kind == KMS_KEY_IS_PENDING)
        return "pending";
    return kind == KMS_KEY_IS_THERE ? "there" : "planned";
}

/* A key that this node's plugin has pinned is no command's to withdraw any more, and what is adopted was
 * none's. */
static bool is_settled(const struct run *run)
{
    const struct kms_kek_info *kek = &run->creation.kek;
    struct kms_membership member;
    if (run->creation.plan.promoted >= run->creation.plan.generation)
        return true;
    if (kms_vouched_identify(&run->keyring.vouched, run->keyring.config.ring, kek, &member) &&
        member.adopted)
        return true;
    const struct kms_pin *pin = kms_state_pin(&run->keyring.state, run->creation.plan.generation);
    return pin != NULL && kek->fingerprinted &&
           memcmp(pin->fingerprint, kek->fingerprint, sizeof(pin->fingerprint)) == 0;
}

/* What another command made may be about to go: only what stays is reported. */
static enum kms_code confirm(struct run *run, struct kms_error *err)
{
    if (is_settled(run))
        return KMS_OK;
    return kms_key_confirm(run->keyring.keystore, run->keyring.config.ring, KMS_KEY_PATIENCE_MS,
                           3 * (int64_t)KMS_KEY_PATIENCE_MS, &run->creation.kek, err);
}

/* Half of the lead is for the tokens, the other half for the nodes. */
static int64_t give_up_utc_s(const struct run *run)
{
    const struct kms_key_plan *plan = &run->creation.plan;
    if (plan->is_first || run->options.force)
        return INT64_MAX;
    return run->begun_utc_s + (plan->activation_utc_s - run->begun_utc_s) / 2;
}

static enum kms_code generate(const struct run *run, struct kms_kek_info *ret_kek,
                              struct kms_error *err)
{
    const char *label = run->creation.plan.label;
    if (kms_spread_is_needed(&run->spread))
        return kms_spread_make(&run->spread, label, give_up_utc_s(run), ret_kek, err);
    return kms_keystore_generate(run->keyring.keystore, label, kms_keyring_deadline(), ret_kek,
                                 err);
}

static enum kms_code create(struct run *run, struct kms_error *err)
{
    struct kms_creation *creation = &run->creation;
    struct kms_keystore *keystore = run->keyring.keystore;
    struct kms_kek_info made = { 0 };
    enum kms_code rc = generate(run, &made, err);
    if (rc != KMS_OK)
        return rc;
    bool yielded = false;
    rc = kms_key_settle(keystore, run->keyring.config.ring, KMS_KEY_PATIENCE_MS, &made, &yielded,
                        err);
    if (rc != KMS_OK)
        return rc;
    creation->kek = made;
    creation->name = yielded ? "yielded" : "created";
    creation->changed = creation->changed || !yielded;
    return yielded ? confirm(run, err) : KMS_OK;
}

static enum kms_code act(struct run *run, struct kms_error *err)
{
    struct kms_creation *creation = &run->creation;
    creation->name = name_of(creation->plan.kind);
    if (creation->plan.kind != KMS_KEY_CREATE)
        return confirm(run, err);
    return run->options.dry_run ? KMS_OK : create(run, err);
}

/* --- several tokens --- */

/* For this node's plugin; a rerun that finds the key asks again, on other nodes, too. */
static enum kms_code waive(const struct run *run, struct kms_error *err)
{
    if (run->options.dry_run || run->creation.generation <= run->creation.plan.promoted)
        return KMS_OK;
    return kms_keyring_waive(&run->keyring, run->creation.generation, err);
}

/* --- after: nodes --- */

static void follow(struct run *run)
{
    struct kms_creation *creation = &run->creation;
    const struct kms_watch_goal goal = {
        .keystore = run->keyring.keystore,
        .kek = &creation->kek,
        .key_id = creation->key_id,
        .generation = creation->generation,
        .activation_utc_s = creation->activation_utc_s,
    };
    if (creation->changed) {
        char stamp[KMS_RFC3339_LEN + 1], activation[KMS_RFC3339_LEN + 1];
        kms_rfc3339_format(kms_utc_s(), stamp);
        kms_rfc3339_format(goal.activation_utc_s, activation);
        (void)fprintf(stderr, "%s  generation %" PRIu32 " is created, activation %s\n", stamp,
                      goal.generation, activation);
    }
    creation->waited = true;
    creation->through = kms_watch_follow(&run->watch, &goal, run->give_up_ms);
}

static void print(const struct run *run)
{
    if (run->options.keyring.json)
        kms_creation_print_json(&run->creation, &run->keyring.config);
    else
        kms_creation_print_text(&run->creation, &run->keyring.config);
}

/* What changes nothing is no command for the audit log. */
static int act_recorded(struct run *run)
{
    struct kms_error err = { 0 };
    struct kms_creation *creation = &run->creation;
    const struct kms_config *config = &run->keyring.config;
    bool acts = creation->plan.kind == KMS_KEY_CREATE && !run->options.dry_run;
    if (acts &&
        kms_audit_log_begin(config, creation->command, creation->plan.generation, &err) != KMS_OK)
        return refuse(err.msg);
    enum kms_code rc = act(run, &err);
    if (rc == KMS_OK)
        kms_creation_name(creation, config->ring);
    const struct kms_audit_command line = { .op = creation->command,
                                            .outcome = creation->name,
                                            .generation = creation->plan.generation,
                                            .key_id = creation->key_id,
                                            .code = rc };
    if (acts)
        kms_audit_log_done(config, &line);
    return rc == KMS_OK ? KMS_EXIT_OK : kms_command_fail(&err);
}

static int run_all(struct run *run)
{
    struct kms_error err = { 0 };
    if (kms_keyring_init(&run->keyring, &run->options.keyring, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (run->keyring.state_fault.code != KMS_OK && !run->options.force)
        return refuse("without ring.json a number that was used before could be used again; mend "
                      "it first, or --force");
    int code = asks_nodes(&run->options) ? ask_nodes(run) : KMS_EXIT_OK;
    if (code == KMS_EXIT_OK)
        code = kms_key_tokens_ready(&run->keyring, run->creation.command, run->options.dry_run,
                                    run->options.force, &run->spread, &run->creation.changed);
    if (code == KMS_EXIT_OK)
        code = make_plan(run);
    if (code == KMS_EXIT_OK)
        code = act_recorded(run);
    if (code != KMS_EXIT_OK)
        return code;
    kms_keyring_name_waived(&run->keyring, run->waived);
    run->give_up_ms = kms_monotonic_ms() + run->options.timeout_ms;
    enum kms_code rc = waive(run, &err);
    if (rc == KMS_OK)
        rc = kms_key_tokens_see(&run->keyring, run->options.wait ? run->give_up_ms : 0,
                                &run->creation, &err);
    if (rc == KMS_OK && run->options.wait && !run->options.dry_run)
        follow(run);
    print(run); /* whatever failed since, the key is there */
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    bool is_missing = run->creation.waited && !run->creation.through;
    return kms_command_finish(is_missing ? KMS_EXIT_FINDINGS : KMS_EXIT_OK);
}

static void run_done(struct run *run)
{
    kms_watch_done(&run->watch);
    kms_keyring_done(&run->keyring);
    kms_node_sources_done(&run->options.sources);
}

static int run_as(const char *command, int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 },
                                                  { &kms_node_sources_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Generates the ring's next KEK on the token.  Every node promotes it by itself once "
               "its activation has passed.  A rerun that finds an unpromoted key reports it and "
               "changes nothing.  'key create' and 'key rotate' are the same.\v"
               "With --wait, --socket or --nodes every named node is asked first, and a key is "
               "refused that one of them could meet too late: refresh, clock, ring and promoted "
               "generation.  --wait exits 2 if a node doesn't use the key in time; nothing is lost "
               "then.",
        .children = children,
    };
    KMS_CLEANUP(run_done)
    struct run run = { .creation.command = command, .begun_utc_s = kms_utc_s() };
    if (kms_command_parse(&argp, argc, argv, &run.options) != 0)
        return KMS_EXIT_ERROR;
    if (run.options.keyring.token != NULL)
        return kms_command_error(
            "--token %s: this command works on all tokens; --without leaves one "
            "out",
            run.options.keyring.token);
    if (run.options.timeout_ms == 0)
        run.options.timeout_ms = TIMEOUT_DEFAULT_MS;
    run.creation.dry_run = run.options.dry_run;
    run.creation.watch = &run.watch;
    run.creation.waived = run.waived;
    return run_all(&run);
}

int kms_command_key_create(int argc, char **argv)
{
    return run_as("key-create", argc, argv);
}

int kms_command_key_rotate(int argc, char **argv)
{
    return run_as("key-rotate", argc, argv);
}
