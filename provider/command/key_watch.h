/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes around a rotation: asked before a key is made, followed until each of them uses it. */
#ifndef KMS_KEY_WATCH_H
#define KMS_KEY_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "node_source.h"
#include "node_view.h"

/* One node whose socket is in reach, and how far it is. */
struct kms_watched {
    struct kms_client *client;
    struct kms_node node;
    bool listed;                 /* it lists the generation with the right fingerprint */
    bool proved;                 /* its Decrypt gave back a seed that we wrapped */
    bool active;                 /* its Status answers the new key_id */
    char why[KMS_NODE_WHY_MAX];  /* what the next step waits for; "" if nothing is amiss */
    char said[KMS_NODE_WHY_MAX]; /* the last @why that was shown */
};

/* Caller owns the struct. */
struct kms_watch {
    struct kms_watched *nodes; /* owned */
    size_t count;
};

/* A client for each socket of @sources; the paths are borrowed. Starts threads: drop privileges
 * before. Afterwards kms_watch_done(), also after a failure. */
KMS_MUST_CHECK enum kms_code kms_watch_init(struct kms_watch *watch,
                                            const struct kms_node_sources *sources,
                                            struct kms_error *err);
void kms_watch_done(struct kms_watch *watch);

/* Describes every node, after a Status that brings out a promotion which waits for one.  Fails with
 * the first that doesn't answer; the text names it. */
KMS_MUST_CHECK enum kms_code kms_watch_describe(struct kms_watch *watch, struct kms_error *err);

struct kms_watch_goal {
    struct kms_keystore *keystore; /* the command's own; connected */
    const struct kms_kek_info *kek;
    const char *key_id;
    uint32_t generation;
    int64_t activation_utc_s;
};

/* Looks at every node once, and takes the steps that are due: sees the key listed, proves it by a
 * Decrypt, asks for Status.  Each step done is one line on stderr.  True: all nodes are through. */
bool kms_watch_look(struct kms_watch *watch, const struct kms_watch_goal *goal);

/* Looks until all nodes are through, or @deadline_ms.  False: the nodes say what is missing. */
bool kms_watch_follow(struct kms_watch *watch, const struct kms_watch_goal *goal,
                      int64_t deadline_ms);

#endif
