/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms token list`: the configured tokens, as the running plugin uses them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "kms/clock.h"
#include "text.h"
#include "token_ask.h"
#include "token_cover.h"

enum { COLUMNS = 7, STATE_MAX = 64 };

/* @token NULL: the plugin doesn't know it. */
static const char *state_name(const Hsmkms__Node__V1__Token *token)
{
    if (token == NULL)
        return "unknown";
    if (token->drained_until != 0)
        return "drained";
    if (!token->connected)
        return "away";
    if (!token->in_use)
        return "not-in-use";
    return token->resting ? "resting" : "in-use";
}

static void state_text(const Hsmkms__Node__V1__Token *token, char ret_text[static STATE_MAX])
{
    char until[KMS_RFC3339_LEN + 1];
    (void)snprintf(ret_text, STATE_MAX, "%s", state_name(token));
    if (token == NULL || token->drained_until == 0)
        return;
    kms_time_text(token->drained_until, until, sizeof(until));
    (void)snprintf(ret_text, STATE_MAX, "drained until %s", until);
}

static const char *sync_name(const struct kms_config *config, size_t i)
{
    if (i == 0)
        return "first";
    return config->tokens[i].sync == KMS_SYNC_ESCROW ? "escrow" : "native";
}

static void generations_text(const Hsmkms__Node__V1__DescribeResponse *description,
                             const Hsmkms__Node__V1__Token *token, char *ret_text, size_t size)
{
    uint32_t last = 0;
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < description->n_keks && token != NULL && used < size; i++) {
        const Hsmkms__Node__V1__Kek *kek = description->keks[i];
        if (kek->generation == last || !kms_token_has(description, token, kek))
            continue;
        used += (size_t)snprintf(ret_text + used, size - used, "%s%" PRIu32, used > 0 ? " " : "",
                                 kek->generation);
        last = kek->generation;
    }
}

static void add_row(struct kms_table *table, const struct kms_config *config, size_t i,
                    const Hsmkms__Node__V1__DescribeResponse *description)
{
    const Hsmkms__Node__V1__Token *token = kms_token_find(description, config->tokens[i].name);
    char state[STATE_MAX], generations[256];
    state_text(token, state);
    generations_text(description, token, generations, sizeof(generations));
    kms_table_add(table, config->tokens[i].name);
    kms_table_add(table, state);
    kms_table_add(table, generations);
    kms_table_add(table, sync_name(config, i));
    kms_table_add(table, config->tokens[i].required ? "yes" : "no");
    kms_table_add(table, token != NULL ? token->label : NULL);
    kms_table_add(table, token != NULL ? token->serial : NULL);
    if (token != NULL && token->problem[0] != '\0')
        kms_table_note(table, token->problem);
}

static void print_text(const struct kms_token_scene *scene)
{
    static const char *const head[COLUMNS] = { "TOKEN",    "STATE", "GENERATIONS", "SYNC",
                                               "REQUIRED", "LABEL", "SERIAL" };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_table_open(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        kms_table_add(table, head[i]);
    for (size_t i = 0; i < scene->config.token_count; i++)
        add_row(table, &scene->config, i, scene->description);
    kms_table_print(table, stdout);
    (void)puts("next: hsm-kms token can-stop NAME says whether the others can do without one");
}

static json_t *generations_json(const Hsmkms__Node__V1__DescribeResponse *description,
                                const Hsmkms__Node__V1__Token *token)
{
    json_t *array = json_array();
    uint32_t last = 0;
    for (size_t i = 0; i < description->n_keks && token != NULL; i++) {
        const Hsmkms__Node__V1__Kek *kek = description->keks[i];
        if (kek->generation == last || !kms_token_has(description, token, kek))
            continue;
        kms_json_append(array, json_integer(kek->generation));
        last = kek->generation;
    }
    return array;
}

static json_t *token_json(const struct kms_config *config, size_t i,
                          const Hsmkms__Node__V1__DescribeResponse *description)
{
    const Hsmkms__Node__V1__Token *token = kms_token_find(description, config->tokens[i].name);
    json_t *object = json_object();
    kms_json_set(object, "name", kms_json_text(config->tokens[i].name));
    kms_json_set(object, "uri", kms_json_text(config->tokens[i].uri));
    kms_json_set(object, "sync", kms_json_text(sync_name(config, i)));
    kms_json_set(object, "required", json_boolean(config->tokens[i].required));
    kms_json_set(object, "state", kms_json_text(state_name(token)));
    kms_json_set(object, "label", kms_json_text(token != NULL ? token->label : NULL));
    kms_json_set(object, "serial", kms_json_text(token != NULL ? token->serial : NULL));
    kms_json_set(object, "drained_until", kms_json_time(token != NULL ? token->drained_until : 0));
    kms_json_set(object, "problem", kms_json_text(token != NULL ? token->problem : NULL));
    kms_json_set(object, "generations", generations_json(description, token));
    return object;
}

static void print_json(const struct kms_token_scene *scene)
{
    json_t *object = kms_json_open("token-list");
    json_t *tokens = json_array();
    for (size_t i = 0; i < scene->config.token_count; i++)
        kms_json_append(tokens, token_json(&scene->config, i, scene->description));
    kms_json_set(object, "node", kms_json_text(scene->description->node));
    kms_json_set(object, "ring", kms_json_text(scene->config.ring));
    kms_json_set(object, "tokens", tokens);
    kms_json_print(object);
}

int kms_command_token_list(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_token_ask_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .parser = kms_token_ask_parse,
        .doc =
            "Lists the configured tokens: what the plugin on this node's socket says of each, and "
            "which generations are on it.  Logs in nowhere.",
        .children = children,
    };
    KMS_CLEANUP(kms_token_scene_done) struct kms_token_scene scene = { .ask = { .json = false } };
    struct kms_error err = { 0 };
    if (kms_command_parse(&argp, argc, argv, &scene.ask) != 0)
        return KMS_EXIT_ERROR;
    if (kms_token_scene_init(&scene, &err) != KMS_OK || kms_token_ask(&scene, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (scene.ask.json)
        print_json(&scene);
    else
        print_text(&scene);
    return kms_command_finish(KMS_EXIT_OK);
}
