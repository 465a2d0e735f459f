/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "command.h"
#include "json.h"
#include "kms/clock.h"
#include "node_source.h"
#include "node_view.h"
#include "plugin_choice.h"

enum { PAUSE_MS = 250 };

struct options {
    struct kms_plugin_choice plugin;
    uint32_t generation;
    int64_t wait_ms;
};

/* What the node said last. */
struct answer {
    int code; /* how the command exits if it stays so */
    bool promoted;
    struct kms_node node;
    char why[KMS_NODE_WHY_MAX]; /* "" if ready */
};

enum { GENERATION = 256, WAIT };
static const struct argp_option argp_options[] = {
    { "generation", GENERATION, "N", 0, "the generation that must be usable", 0 },
    { "wait", WAIT, "DURATION", 0, "ask again until then (default: ask once)", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->plugin;
        return 0;
    case GENERATION:
        options->generation = kms_generation_option(state, "--generation", arg);
        return 0;
    case WAIT:
        if (!kms_duration_parse(arg, &options->wait_ms))
            argp_error(state, "--wait is a duration, like 5m");
        return 0;
    case ARGP_KEY_END:
        if (options->generation == 0)
            argp_error(state, "--generation is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void ask(struct kms_client *client, const char *socket, uint32_t generation,
                struct answer *answer)
{
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    struct kms_error err = { 0 };
    *answer = (struct answer){ .code = KMS_EXIT_ERROR };
    if (kms_node_ask(client, socket, &answer->node, &description, &err) != KMS_OK) {
        (void)snprintf(answer->why, sizeof(answer->why), "%.300s", err.msg);
        return;
    }
    const struct kms_bytes any = { 0 };
    enum kms_node_sight sight = kms_node_sees(description, generation, any, answer->why);
    answer->code = sight == KMS_NODE_ABSENT ? KMS_EXIT_FINDINGS : KMS_EXIT_OK;
    answer->promoted = sight == KMS_NODE_PROMOTED;
    kms_client_free_describe(description);
}

static void ask_until_ready(struct kms_client *client, const char *socket,
                            const struct options *options, struct answer *answer)
{
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000L * 1000L };
    int64_t give_up_ms = kms_monotonic_ms() + options->wait_ms;
    ask(client, socket, options->generation, answer);
    while (answer->code != KMS_EXIT_OK && kms_monotonic_ms() < give_up_ms) {
        (void)nanosleep(&pause, NULL);
        ask(client, socket, options->generation, answer);
    }
}

static void print_json(const struct options *options, const struct answer *answer)
{
    json_t *object = kms_json_open("key-ready");
    kms_json_set(object, "ready", json_boolean(answer->code == KMS_EXIT_OK));
    kms_json_set(object, "promoted", json_boolean(answer->promoted));
    kms_json_set(object, "generation", json_integer(options->generation));
    kms_json_set(object, "node", kms_json_text(answer->node.name));
    kms_json_set(object, "reason", kms_json_text(answer->why));
    kms_json_print(object);
}

static void print_text(const struct options *options, const struct answer *answer)
{
    char title[KMS_NODE_TITLE_MAX];
    kms_node_title(&answer->node, title);
    kms_text_put(stdout, title);
    if (answer->code == KMS_EXIT_OK)
        (void)printf(": generation %" PRIu32 " is usable%s\nnext: nothing to do here\n",
                     options->generation, answer->promoted ? ", and promoted" : "");
    else
        (void)printf(": not ready: %s\nnext: wait a refresh and ask again (--wait 5m); hsm-kms "
                     "status shows what the node has\n",
                     answer->why);
}

int kms_command_key_ready(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Whether this node knows a generation: a barrier for scripts that rotate on several "
            "hosts.  Exits 0 if its plugin lists the generation as usable, 2 if not yet, 1 if it "
            "can't be reached.",
        .children = kms_plugin_choice_child,
    };
    struct options options = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    char *socket = NULL;
    struct kms_error err = { 0 };
    if (kms_plugin_choice_path(&options.plugin, &socket, &err) != KMS_OK)
        return kms_command_fail(&err);
    KMS_CLEANUP(kms_client_close_ptr) struct kms_client *client = NULL;
    struct answer answer = { .code = KMS_EXIT_ERROR };
    if (kms_client_open(socket, &client, &err) == KMS_OK)
        ask_until_ready(client, socket, &options, &answer);
    else
        (void)snprintf(answer.why, sizeof(answer.why), "%.300s", err.msg);
    if (answer.code == KMS_EXIT_ERROR)
        (void)kms_command_error("%s: %s", socket, answer.why);
    else if (options.plugin.json)
        print_json(&options, &answer);
    else
        print_text(&options, &answer);
    free(socket);
    return kms_command_finish(answer.code);
}
