/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_choice.h"

#include <stddef.h>

#include "etcd/client.h"
#include "etcd/snapshot.h"

enum {
    ETCD = 640, /* beside the keys of the other children */
    CA,
    CERT,
    KEY,
    SNAPSHOT,
    PAGE_TIMEOUT_MS = 30 * 1000,
};

static const struct argp_option server_options[] = {
    { "etcd", ETCD, "URL[,URL...]", 0, "a running etcd, as for etcdctl --endpoints", 1 },
    { "cacert", CA, "FILE", 0, "who signed etcd's certificate (PEM)", 1 },
    { "cert", CERT, "FILE", 0, "certificate to show to etcd (PEM)", 1 },
    { "key", KEY, "FILE", 0, "its private key (PEM)", 1 },
    { 0 },
};
static const struct argp_option snapshot_options[] = {
    { "snapshot", SNAPSHOT, "FILE", 0, "a file that etcdctl snapshot save wrote", 1 },
    { 0 },
};

static error_t parse_server(int key, char *arg, struct argp_state *state)
{
    struct kms_etcd_choice *choice = state->input;
    switch (key) {
    case ETCD:
        choice->endpoints = arg;
        return 0;
    case CA:
        choice->ca_path = arg;
        return 0;
    case CERT:
        choice->cert_path = arg;
        return 0;
    case KEY:
        choice->key_path = arg;
        return 0;
    case ARGP_KEY_END:
        if (choice->endpoints == NULL &&
            (choice->ca_path != NULL || choice->cert_path != NULL || choice->key_path != NULL))
            argp_error(state, "--cacert, --cert and --key go with --etcd");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_choice(int key, char *arg, struct argp_state *state)
{
    struct kms_etcd_choice *choice = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = choice;
        return 0;
    case SNAPSHOT:
        choice->snapshot = arg;
        return 0;
    case ARGP_KEY_END:
        if (choice->endpoints != NULL && choice->snapshot != NULL)
            argp_error(state, "--etcd or --snapshot, not both");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp kms_etcd_server_argp = { .options = server_options, .parser = parse_server };
static const struct argp_child server_child[] = { { &kms_etcd_server_argp, 0, NULL, 0 }, { 0 } };
const struct argp kms_etcd_choice_argp = { .options = snapshot_options,
                                           .parser = parse_choice,
                                           .children = server_child };

enum kms_code kms_etcd_choice_open(const struct kms_etcd_choice *choice,
                                   struct kms_etcd_source **ret_source, struct kms_error *err)
{
    if (choice->snapshot != NULL)
        return kms_etcd_snapshot_open(choice->snapshot, ret_source, err);
    const struct kms_etcd_options options = {
        .endpoints = choice->endpoints,
        .ca_path = choice->ca_path,
        .cert_path = choice->cert_path,
        .key_path = choice->key_path,
        .timeout_ms = PAGE_TIMEOUT_MS,
    };
    return kms_etcd_client_open(&options, ret_source, err);
}

const char *kms_etcd_kind_name(enum kms_etcd_kind kind)
{
    switch (kind) {
    case KMS_ETCD_SERVER:
        return "server";
    case KMS_ETCD_SNAPSHOT:
        return "snapshot";
    case KMS_ETCD_MEMBER_DB:
        return "member-db";
    }
    return "server";
}
