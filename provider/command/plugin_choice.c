/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin_choice.h"

#include <stddef.h>

#include "command.h"

enum { SOCKET = 640 }; /* beside the keys of the parents */
static const struct argp_option argp_options[] = {
    { "socket", SOCKET, "PATH", 0, "the plugin's socket (default: as configured)", 0 },
    { "config", 'c', "FILE", 0, "take the socket from this configuration", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct kms_plugin_choice *choice = state->input;
    switch (key) {
    case SOCKET:
        choice->socket = arg;
        return 0;
    case 'c':
        choice->config = arg;
        return 0;
    case 'o':
        choice->json = kms_command_output_is_json(state, arg);
        return 0;
    case ARGP_KEY_END:
        if (choice->socket != NULL && choice->config != NULL)
            argp_error(state, "--socket or --config, not both");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp kms_plugin_choice_argp = { .options = argp_options, .parser = parse };
const struct argp_child kms_plugin_choice_child[] = { { &kms_plugin_choice_argp, 0, NULL, 0 },
                                                      { 0 } };

enum kms_code kms_plugin_choice_path(const struct kms_plugin_choice *choice, char **ret_path,
                                     struct kms_error *err)
{
    return kms_command_socket_path(choice->socket, choice->config, ret_path, err);
}
