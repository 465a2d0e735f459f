/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "json.h"
#include "kms/clock.h"
#include "node_source.h"
#include "node_view.h"

struct options {
    struct kms_node_sources sources;
    const char *config;
    bool export;
    bool json;
};

enum { EXPORT = 256 };
static const struct argp_option argp_options[] = {
    { "config", 'c', "FILE", 0, "take the socket from this configuration", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { "export", EXPORT, NULL, 0, "print the local node as JSON, for --nodes on another host", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->sources;
        return 0;
    case 'c':
        options->config = arg;
        return 0;
    case 'o':
        options->json = kms_command_output_is_json(state, arg);
        return 0;
    case EXPORT:
        options->export = true;
        return 0;
    case ARGP_KEY_END:
        if (options->export &&
            (options->sources.socket_count > 1 || options->sources.file_count > 0))
            argp_error(state, "--export is of one node: one --socket, no --nodes");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void ask(const char *socket, struct kms_node *ret_node)
{
    KMS_CLEANUP(kms_client_close_ptr) struct kms_client *client = NULL;
    struct kms_error err = { 0 };
    enum kms_code rc = kms_client_open(socket, &client, &err);
    if (rc == KMS_OK)
        rc = kms_node_ask(client, socket, ret_node, NULL, &err);
    if (rc == KMS_OK)
        return;
    *ret_node = (struct kms_node){ .source = socket };
    (void)snprintf(ret_node->health, sizeof(ret_node->health), "no answer: %.200s", err.msg);
}

/* "" if all are well and agree. */
static const char *finding_of(const struct kms_node *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!nodes[i].reached)
            return "a node doesn't answer: see its service and its log";
    for (size_t i = 0; i < count; i++)
        if (!nodes[i].healthy)
            return "a node is not healthy: hsm-kms status there says what to do";
    for (size_t i = 1; i < count; i++)
        if (strcmp(nodes[i].ring, nodes[0].ring) != 0)
            return "the nodes serve different rings: compare their configurations";
    for (size_t i = 1; i < count; i++)
        if (nodes[i].promoted != nodes[0].promoted)
            return "the nodes have promoted different generations: within a refresh and a minute "
                   "they should agree, else see hsm-kms status there";
    for (size_t i = 1; i < count; i++)
        if (strcmp(nodes[i].key_id, nodes[0].key_id) != 0)
            return "the nodes have different keys of one generation: they can't read each other's "
                   "data; compare their tokens before anything is written";
    return "";
}

static void print_json(const struct kms_node *nodes, size_t count, const char *finding)
{
    json_t *object = kms_json_open("key-nodes");
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        kms_json_append(array, kms_node_json(&nodes[i]));
    kms_json_set(object, "agree", json_boolean(finding[0] == '\0'));
    kms_json_set(object, "finding", kms_json_text(finding));
    kms_json_set(object, "nodes", array);
    kms_json_print(object);
}

static void print_text(const struct kms_node *nodes, size_t count, const char *finding)
{
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_node_table();
    for (size_t i = 0; i < count; i++)
        kms_node_row(&nodes[i], table);
    kms_table_print(table, stdout);
    (void)printf("next: %s\n", finding[0] != '\0' ? finding : "nothing to do; the nodes agree");
}

static int show(const struct options *options, struct kms_node *nodes)
{
    const struct kms_node_sources *sources = &options->sources;
    size_t count = 0;
    for (size_t i = 0; i < sources->socket_count; i++)
        ask(sources->sockets[i], &nodes[count++]);
    for (size_t i = 0; i < sources->file_count; i++) {
        struct kms_error err = { 0 };
        if (kms_node_read(sources->files[i], kms_utc_ms(), &nodes[count++], &err) != KMS_OK)
            return kms_command_fail(&err);
    }
    const char *finding = finding_of(nodes, count);
    if (options->json)
        print_json(nodes, count, finding);
    else
        print_text(nodes, count, finding);
    return kms_command_finish(finding[0] != '\0' ? KMS_EXIT_FINDINGS : KMS_EXIT_OK);
}

static int export_node(const char *socket)
{
    KMS_CLEANUP(kms_client_close_ptr) struct kms_client *client = NULL;
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    struct kms_node node = { .source = socket };
    struct kms_error err = { 0 };
    enum kms_code rc = kms_client_open(socket, &client, &err);
    if (rc == KMS_OK)
        rc = kms_node_ask(client, socket, &node, &description, &err);
    if (rc != KMS_OK)
        return kms_command_error("%s: %s; %s", socket, err.msg, kms_command_advice(rc));
    json_t *object = kms_json_open(KMS_NODE_EXPORT);
    kms_node_describe_json(description, object);
    kms_json_print(object);
    kms_client_free_describe(description);
    return kms_command_finish(KMS_EXIT_OK);
}

int kms_command_key_nodes(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_node_sources_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Shows the nodes of a ring side by side: local ones by --socket, those of other "
               "hosts by --nodes.  Exits 2 if one doesn't answer, is not healthy, or has another "
               "ring or generation than the others.  --export writes the file that --nodes reads.",
        .children = children,
    };
    struct options options = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    struct kms_error err = { 0 };
    int code = KMS_EXIT_OK;
    if (kms_node_sources_default(&options.sources, options.config, &err) != KMS_OK)
        code = kms_command_fail(&err);
    else if (options.export)
        code = export_node(options.sources.sockets[0]);
    else {
        const size_t count = options.sources.socket_count + options.sources.file_count;
        struct kms_node *nodes = kms_must_alloc(calloc(count, sizeof(nodes[0])));
        code = show(&options, nodes);
        free(nodes);
    }
    kms_node_sources_done(&options.sources);
    return code;
}
