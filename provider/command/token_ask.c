/* SPDX-License-Identifier: Apache-2.0 */
#include "token_ask.h"

#include <string.h>

#include "account.h"
#include "command.h"
#include "node_source.h"
#include "request.h"

enum { SOCKET = 256 };
static const struct argp_option argp_options[] = {
    { "config", 'c', "FILE", 0, "configuration (default " KMS_CONFIG_PATH ")", 0 },
    { "socket", SOCKET, "PATH", 0, "the plugin's socket (default: as configured)", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct kms_token_ask *ask = state->input;
    switch (key) {
    case 'c':
        ask->config_path = arg;
        return 0;
    case SOCKET:
        ask->socket = arg;
        return 0;
    case 'o':
        ask->json = kms_command_output_is_json(state, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp kms_token_ask_argp = { .options = argp_options, .parser = parse };

error_t kms_token_ask_parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

/* What can't be read is the daemon's to complain of. */
static void read_state(struct kms_token_scene *scene)
{
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list requests = { 0 };
    struct kms_error why = { 0 };
    bool is_new = false, changed = false;
    if (kms_request_read(scene->config.state_dir, &requests, &why) != KMS_OK ||
        kms_state_read(scene->config.state_dir, scene->config.ring, &scene->state, &is_new, &why) !=
            KMS_OK) {
        kms_command_note("this node's memory can't be read: %s", why.msg);
        return;
    }
    for (size_t i = 0; i < requests.count; i++)
        if (requests.files[i].fault.code == KMS_OK &&
            kms_request_apply(&requests.files[i].request, &scene->state, &changed, &why) != KMS_OK)
            kms_command_note("a request that the plugin will not apply: %s", why.msg);
}

enum kms_code kms_token_scene_init(struct kms_token_scene *scene, struct kms_error *err)
{
    const char *path = scene->ask.config_path != NULL ? scene->ask.config_path : KMS_CONFIG_PATH;
    enum kms_code rc = kms_config_load(path, &scene->config, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_account account = kms_account_of(scene->config.state_dir);
    rc = kms_account_become(&account, err);
    if (rc == KMS_OK)
        read_state(scene);
    return rc;
}

enum kms_code kms_token_ask(struct kms_token_scene *scene, struct kms_error *err)
{
    const char *socket = scene->ask.socket != NULL ? scene->ask.socket : scene->config.socket.path;
    struct kms_node node = { .source = socket };
    struct kms_error why = { 0 };
    enum kms_code rc = kms_client_open(socket, &scene->client, err);
    if (rc != KMS_OK)
        return rc;
    rc = kms_node_ask(scene->client, socket, &node, &scene->description, &why);
    if (rc != KMS_OK)
        return kms_fail(err, rc, "no plugin answers on %s, which would know its tokens: %s", socket,
                        why.msg);
    if (strcmp(scene->description->ring, scene->config.ring) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the plugin on %s serves ring '%.32s', not '%s': is it another "
                        "configuration's?",
                        socket, scene->description->ring, scene->config.ring);
    return KMS_OK;
}

void kms_token_scene_done(struct kms_token_scene *scene)
{
    if (scene->description != NULL)
        kms_client_free_describe(scene->description);
    kms_client_close(scene->client);
    kms_state_done(&scene->state);
    kms_config_done(&scene->config);
}

enum kms_code kms_token_check_name(const struct kms_token_scene *scene, const char *name,
                                   struct kms_error *err)
{
    for (size_t i = 0; i < scene->config.token_count; i++)
        if (strcmp(scene->config.tokens[i].name, name) == 0)
            return KMS_OK;
    return kms_fail(err, KMS_E_INVALID,
                    "the configuration has no token '%.40s'; hsm-kms token list names them", name);
}
