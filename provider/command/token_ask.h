/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands share that speak of tokens with the node's plugin, and never with a token. */
#ifndef KMS_TOKEN_ASK_H
#define KMS_TOKEN_ASK_H

#include <argp.h>
#include <stdbool.h>

#include "client.h"
#include "config.h"
#include "kms/error.h"
#include "proto/node.pb-c.h"
#include "state.h"

struct kms_token_ask {
    const char *config_path;
    const char *socket; /* NULL: as configured */
    bool json;
};
/* --config, --socket and --output; an argp child whose input is a kms_token_ask. */
extern const struct argp kms_token_ask_argp;
/* A parser that only hands its input on to that child. */
error_t kms_token_ask_parse(int key, char *arg, struct argp_state *state);

/* Zeroed but for @ask before; kms_token_scene_done(). */
struct kms_token_scene {
    struct kms_token_ask ask;
    struct kms_config config;
    struct kms_state state; /* ring.json, with the requests that wait; empty if it can't be read */
    struct kms_client *client;
    Hsmkms__Node__V1__DescribeResponse *description; /* once asked; its health isn't NULL */
};
/* Loads the configuration, becomes the owner of state_dir, and reads what it remembers of tokens. */
KMS_MUST_CHECK enum kms_code kms_token_scene_init(struct kms_token_scene *scene,
                                                  struct kms_error *err);
/* Asks the plugin.  KMS_E_PRECONDITION: it serves another ring. */
KMS_MUST_CHECK enum kms_code kms_token_ask(struct kms_token_scene *scene, struct kms_error *err);
void kms_token_scene_done(struct kms_token_scene *scene);

/* KMS_E_INVALID: the configuration has no token @name. */
KMS_MUST_CHECK enum kms_code kms_token_check_name(const struct kms_token_scene *scene,
                                                  const char *name, struct kms_error *err);

#endif
