/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms token can-stop`, `drain` and `resume`: maintenance of one of several tokens. */
#include <stdio.h>
#include <string.h>

#include "audit_log.h"
#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "kms/clock.h"
#include "request.h"
#include "text.h"
#include "token_ask.h"
#include "token_cover.h"

enum { MS_PER_S = 1000, TEXT_MAX = 512 };

struct run {
    struct kms_token_scene scene;
    const char *name;
    int64_t for_ms;      /* 0: not given */
    int64_t until_utc_s; /* 0: not given */
    bool dry_run;
    bool changed;
    const char *outcome; /* one word, for JSON */
    char text[TEXT_MAX], next[TEXT_MAX];
};

enum { DRY_RUN = 256, FOR, UNTIL };
static const struct argp_option drain_options[] = {
    { "for", FOR, "DURATION", 0, "how long, from now: 2h", 0 },
    { "until", UNTIL, "TIME", 0, "the same as a UTC time: 2026-12-01T12:00:00Z", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};
static const struct argp_option resume_options[] = {
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct run *run = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &run->scene.ask;
        return 0;
    case FOR:
        if (!kms_duration_parse(arg, &run->for_ms) || run->for_ms < MS_PER_S)
            argp_error(state, "--for is a duration from 1s, like 2h");
        return 0;
    case UNTIL:
        if (!kms_rfc3339_parse(arg, &run->until_utc_s) || run->until_utc_s <= kms_utc_s())
            argp_error(state, "--until is a UTC time to come, like 2026-12-01T12:00:00Z");
        return 0;
    case DRY_RUN:
        run->dry_run = true;
        return 0;
    case ARGP_KEY_ARG:
        if (run->name != NULL)
            argp_error(state, "one token at a time");
        run->name = arg;
        return 0;
    case ARGP_KEY_END:
        if (run->name == NULL)
            argp_error(state, "which token? hsm-kms token list names them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_drain(int key, char *arg, struct argp_state *state)
{
    const struct run *run = state->input;
    if (key == ARGP_KEY_END && (run->for_ms != 0) == (run->until_utc_s != 0))
        argp_error(state, "--for DURATION or --until TIME: a drain always ends by itself");
    return parse(key, arg, state);
}

static int refuse(const char *why)
{
    (void)kms_command_error("refused: %s", why);
    return KMS_EXIT_REFUSED;
}

static void print(const char *command, const struct run *run)
{
    if (!run->scene.ask.json) {
        kms_text_put(stdout, run->text);
        (void)printf("\nnext: ");
        kms_text_put(stdout, run->next);
        (void)putchar('\n');
        return;
    }
    json_t *object = kms_json_open(command);
    kms_json_set(object, "changed", json_boolean(run->changed));
    kms_json_set(object, "dry_run", json_boolean(run->dry_run));
    kms_json_set(object, "outcome", kms_json_text(run->outcome));
    kms_json_set(object, "message", kms_json_text(run->text));
    kms_json_set(object, "token", kms_json_text(run->name));
    kms_json_set(object, "drained_until", kms_json_time(run->until_utc_s));
    kms_json_print(object);
}

static void run_done(struct run *run)
{
    kms_token_scene_done(&run->scene);
}

static enum kms_code init(struct run *run, struct kms_error *err)
{
    enum kms_code rc = kms_token_scene_init(&run->scene, err);
    return rc == KMS_OK ? kms_token_check_name(&run->scene, run->name, err) : rc;
}

static int64_t drained_until(const struct run *run)
{
    int64_t until_utc_s = kms_state_drained_until(&run->scene.state, run->name);
    return until_utc_s > kms_utc_s() ? until_utc_s : 0;
}

/* Nothing is done that the audit log doesn't have.  Without a time the drain ends. */
static int ask_plugin(const struct run *run, const char *command, struct kms_error *err)
{
    const struct kms_config *config = &run->scene.config;
    struct kms_audit_command line = { .op = command, .token = run->name };
    if (kms_audit_log_begin_on(config, command, run->name, err) != KMS_OK)
        return refuse(err->msg);
    line.code = run->until_utc_s != 0
                    ? kms_request_drain(config->state_dir, run->name, run->until_utc_s, err)
                    : kms_request_resume(config->state_dir, run->name, err);
    if (line.code == KMS_OK)
        line.outcome = run->outcome;
    kms_audit_log_done(config, &line);
    return line.code == KMS_OK ? KMS_EXIT_OK : kms_command_fail(err);
}

/* The whole of a command that changes something: @plan says what, and does it. */
static int change(int argc, char **argv, const struct argp *argp, const char *command,
                  int (*plan)(struct run *run, struct kms_error *err))
{
    KMS_CLEANUP(run_done) struct run run = { .dry_run = false };
    struct kms_error err = { 0 };
    if (kms_command_parse(argp, argc, argv, &run) != 0)
        return KMS_EXIT_ERROR;
    if (init(&run, &err) != KMS_OK)
        return kms_command_fail(&err);
    int code = plan(&run, &err);
    if (code != KMS_EXIT_OK)
        return code;
    if (run.changed && !run.dry_run)
        code = ask_plugin(&run, command, &err);
    if (code != KMS_EXIT_OK)
        return code;
    run.changed = run.changed && !run.dry_run;
    print(command, &run);
    return kms_command_finish(KMS_EXIT_OK);
}

/* --- can-stop --- */

int kms_command_token_can_stop(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_token_ask_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .parser = parse,
        .args_doc = "NAME",
        .doc =
            "Exits 0 if the plugin on this node could do without the token now: every generation "
            "that is on it is on another one, too, which is in use and passes its canary.  Else "
            "it exits 3, and says what is missing; so it does where no plugin answers.  Logs in "
            "nowhere.",
        .children = children,
    };
    KMS_CLEANUP(run_done) struct run run = { .outcome = "can-stop" };
    struct kms_error err = { 0 };
    char why[KMS_TOKEN_WHY_MAX];
    if (kms_command_parse(&argp, argc, argv, &run) != 0)
        return KMS_EXIT_ERROR;
    if (init(&run, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (kms_token_ask(&run.scene, &err) != KMS_OK)
        return refuse(err.msg);
    if (!kms_token_can_stop(run.scene.description, &run.scene.state, run.name, why))
        return refuse(why);
    run.until_utc_s = drained_until(&run);
    (void)snprintf(run.text, sizeof(run.text), "this node can do without token '%s'", run.name);
    (void)snprintf(run.next, sizeof(run.next),
                   "the same on every other node; then hsm-kms token drain %s --for 2h, on each",
                   run.name);
    print("token-can-stop", &run);
    return kms_command_finish(KMS_EXIT_OK);
}

/* --- drain --- */

static int drain(struct run *run, struct kms_error *err)
{
    char why[KMS_TOKEN_WHY_MAX], until[KMS_RFC3339_LEN + 1], refresh[KMS_DURATION_LEN + 1];
    if (run->for_ms != 0)
        run->until_utc_s = kms_utc_s() + run->for_ms / MS_PER_S;
    run->changed = drained_until(run) != run->until_utc_s;
    kms_rfc3339_format(run->until_utc_s, until);
    kms_duration_format(run->scene.config.refresh_ms, refresh);
    if (run->changed && kms_token_ask(&run->scene, err) != KMS_OK)
        return refuse(err->msg);
    if (run->changed &&
        !kms_token_can_stop(run->scene.description, &run->scene.state, run->name, why))
        return refuse(why);
    run->outcome = run->dry_run && run->changed ? "planned" : "drained";
    (void)snprintf(run->text, sizeof(run->text), "token '%s' %s until %s", run->name,
                   !run->changed  ? "is drained already"
                   : run->dry_run ? "would be drained"
                                  : "is drained",
                   until);
    (void)snprintf(
        run->next, sizeof(run->next),
        "this node's plugin leaves it alone from its next refresh (%s) on: hsm-kms token "
        "list shows it. The same on every other node; hsm-kms token resume %s ends it "
        "before its time",
        refresh, run->name);
    return KMS_EXIT_OK;
}

int kms_command_token_drain(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_token_ask_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = drain_options,
        .parser = parse_drain,
        .args_doc = "NAME",
        .doc = "Asks this node's plugin to leave the token alone for a while: for maintenance.  "
               "Refused (exit 3) if the others couldn't do without it, as token can-stop says.",
        .children = children,
    };
    return change(argc, argv, &argp, "token-drain", drain);
}

/* --- resume --- */

static int resume(struct run *run, struct kms_error *err)
{
    (void)err;
    run->changed = drained_until(run) != 0;
    run->outcome = run->dry_run && run->changed ? "planned" : "resumed";
    (void)snprintf(run->text, sizeof(run->text), "token '%s' %s", run->name,
                   !run->changed  ? "isn't drained"
                   : run->dry_run ? "would be used again"
                                  : "is used again");
    (void)snprintf(run->next, sizeof(run->next),
                   "this node's plugin takes it back at its next refresh, once its canary is good: "
                   "hsm-kms token list; the same on every other node");
    return KMS_EXIT_OK;
}

int kms_command_token_resume(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_token_ask_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = resume_options,
        .parser = parse,
        .args_doc = "NAME",
        .doc = "Ends token drain before its time, on this node.",
        .children = children,
    };
    return change(argc, argv, &argp, "token-resume", resume);
}
