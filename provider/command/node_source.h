/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes a command speaks to or hears of: --socket and --nodes. */
#ifndef KMS_NODE_SOURCE_H
#define KMS_NODE_SOURCE_H

#include <argp.h>
#include <stddef.h>

#include "client.h"
#include "kms/error.h"
#include "node_view.h"

enum { KMS_NODE_SOURCES_MAX = 64 };

/* Zeroed before; kms_node_sources_done(). */
struct kms_node_sources {
    const char *sockets[KMS_NODE_SOURCES_MAX]; /* borrowed, but for the configured one */
    size_t socket_count;
    const char *files[KMS_NODE_SOURCES_MAX]; /* exports of nodes whose sockets are out of reach */
    size_t file_count;
    char *configured; /* owned */
};
/* An argp child whose input is a kms_node_sources.  Arguments after --nodes are files too, so that
 * a shell may expand `--nodes *.json`. */
extern const struct argp kms_node_sources_argp;

/* Where no --socket was given: the configured one (@config, or the default file), else the default
 * path. */
KMS_MUST_CHECK enum kms_code kms_node_sources_default(struct kms_node_sources *sources,
                                                      const char *config, struct kms_error *err);
void kms_node_sources_done(struct kms_node_sources *sources);

/* The value of an option that names a generation; anything else is a usage error. */
uint32_t kms_generation_option(struct argp_state *state, const char *option, const char *arg);

/* One Describe on @socket, in 5 s.  *ret_node borrows @socket.  *ret_description (unless NULL) is
 * the caller's: kms_client_free_describe(); its health isn't NULL. */
KMS_MUST_CHECK enum kms_code kms_node_ask(struct kms_client *client, const char *socket,
                                          struct kms_node *ret_node,
                                          Hsmkms__Node__V1__DescribeResponse **ret_description,
                                          struct kms_error *err);

#endif
