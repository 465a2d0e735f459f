/* SPDX-License-Identifier: Apache-2.0 */
/* Which running plugin a command asks, and how it prints the answer. */
#ifndef KMS_PLUGIN_CHOICE_H
#define KMS_PLUGIN_CHOICE_H

#include <argp.h>
#include <stdbool.h>

#include "kms/error.h"

/* Borrowed; NULL: not given. */
struct kms_plugin_choice {
    const char *socket;
    const char *config;
    bool json;
};
/* An argp child whose input is a kms_plugin_choice: --socket, --config, --output. */
extern const struct argp kms_plugin_choice_argp;
/* The children of a command that has this one alone. */
extern const struct argp_child kms_plugin_choice_child[];

/* As kms_command_socket_path(). */
KMS_MUST_CHECK enum kms_code kms_plugin_choice_path(const struct kms_plugin_choice *choice,
                                                    char **ret_path, struct kms_error *err);

#endif
