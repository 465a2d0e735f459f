/* SPDX-License-Identifier: Apache-2.0 */
/* The whole plugin but the token: gRPC server and socket over the policy rig, and clients that behave
 * like kube-apiserver and note what they saw. */
#ifndef TEST_PROMOTION_RIG_H
#define TEST_PROMOTION_RIG_H

#include "client.h"
#include "policy_rig.h"
#include "server.h"
#include "socket.h"
#include "witness.h"

enum { PROMOTION_CALL_MS = 60000 };

struct promotion_rig {
    struct rig policy;
    char dir[64], path[80];
    struct kms_socket *socket;
    struct kms_server *server;
};

/* Serves @methods (of watched_rpc.h) with generation 1 promoted. */
void promotion_rig_open(struct promotion_rig *rig, const struct kms_rpc_method *methods,
                        unsigned workers, int64_t refresh_ms);
/* Stops the server; *ret_seen is what was seen inside. */
void promotion_rig_close(struct promotion_rig *rig, struct witness *ret_seen);

/* Label of @generation, active since long. Static storage. */
const char *promotion_label(uint32_t generation);

struct promotion_client {
    struct kms_client *rpc;
    struct witness seen; /* by a clock that all clients share */
    uint32_t believed;   /* generation that the last Status told */
    unsigned calls;
    char complaint[200]; /* of the call that failed; "": none */
};

void promotion_client_open(struct promotion_client *client, const struct promotion_rig *rig);
void promotion_client_close(struct promotion_client *client);

/* One call each; false: it failed, and @client complains. */
bool promotion_status(struct promotion_client *client);
/* Drops the answer and asks Status if it isn't under the key that Status told.  @ret_generation:
 * NULL, or what it was under. */
bool promotion_encrypt(struct promotion_client *client, uint32_t *ret_generation);
/* Encrypt, then Decrypt of the answer, which must give the seed. */
bool promotion_round_trip(struct promotion_client *client);

#endif
