/* SPDX-License-Identifier: Apache-2.0 */
#include "node_source.h"

#include <stdlib.h>

#include "command.h"
#include "keyid.h"
#include "kms/clock.h"

enum { SOCKET = 512, NODES, TIMEOUT_MS = 5000 }; /* beside the keys of the other children */

static const struct argp_option argp_options[] = {
    { "socket", SOCKET, "PATH", 0, "a plugin's socket (default: as configured); repeatable", 0 },
    { "nodes", NODES, "FILE", 0,
      "another host's node, from 'hsm-kms key nodes --export' there; repeatable", 0 },
    { 0 },
};

static void add(const char **list, size_t *count, const char *what, const char *arg,
                struct argp_state *state)
{
    if (*count == KMS_NODE_SOURCES_MAX)
        argp_error(state, "at most %d %s", KMS_NODE_SOURCES_MAX, what);
    else
        list[(*count)++] = arg;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct kms_node_sources *sources = state->input;
    switch (key) {
    case SOCKET:
        add(sources->sockets, &sources->socket_count, "--socket", arg, state);
        return 0;
    case ARGP_KEY_ARG:
        if (sources->file_count == 0)
            return ARGP_ERR_UNKNOWN;
        add(sources->files, &sources->file_count, "--nodes", arg, state);
        return 0;
    case NODES:
        add(sources->files, &sources->file_count, "--nodes", arg, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp kms_node_sources_argp = { .options = argp_options, .parser = parse_option };

enum kms_code kms_node_sources_default(struct kms_node_sources *sources, const char *config,
                                       struct kms_error *err)
{
    if (sources->socket_count > 0)
        return KMS_OK;
    enum kms_code rc = kms_command_socket_path(NULL, config, &sources->configured, err);
    if (rc == KMS_OK)
        sources->sockets[sources->socket_count++] = sources->configured;
    return rc;
}

void kms_node_sources_done(struct kms_node_sources *sources)
{
    free(sources->configured);
    *sources = (struct kms_node_sources){ 0 };
}

uint32_t kms_generation_option(struct argp_state *state, const char *option, const char *arg)
{
    uint32_t number = 0;
    const char *at = arg;
    while (*at >= '0' && *at <= '9' && number <= KMS_GENERATION_MAX / 10)
        number = 10 * number + (uint32_t)(*at++ - '0');
    if (at == arg || *at != '\0' || number == 0 || number > KMS_GENERATION_MAX)
        argp_error(state, "%s is a generation, 1..%d", option, KMS_GENERATION_MAX);
    return number;
}

enum kms_code kms_node_ask(struct kms_client *client, const char *socket, struct kms_node *ret_node,
                           Hsmkms__Node__V1__DescribeResponse **ret_description,
                           struct kms_error *err)
{
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    int64_t sent_utc_ms = kms_utc_ms();
    enum kms_code rc = kms_client_describe(client, kms_monotonic_ms() + TIMEOUT_MS, &description,
                                           err);
    if (rc != KMS_OK)
        return rc;
    struct kms_node node = { .source = socket };
    kms_node_of(description, sent_utc_ms, kms_utc_ms(), &node);
    if (description->health == NULL) {
        kms_client_free_describe(description);
        return kms_fail(err, KMS_E_INTERNAL, "the answer lacks the health");
    }
    *ret_node = node;
    if (ret_description != NULL)
        *ret_description = description;
    else
        kms_client_free_describe(description);
    return KMS_OK;
}
