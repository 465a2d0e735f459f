/* SPDX-License-Identifier: Apache-2.0 */
/* The program's own handlers of Status, Encrypt and Decrypt, with a witness beside them inside the
 * server: an Encrypt counts for it when it arrived, a Status while its handler ran.  Both are on the
 * poller, so that their times are in the order in which they took and published a snapshot. */
#ifndef TEST_WATCHED_RPC_H
#define TEST_WATCHED_RPC_H

#include "rpc.h"
#include "witness.h"

extern const struct kms_rpc_method watched_methods[];

/* With planted faults: Encrypt uses what is promoted when a worker takes the call up, … */
extern const struct kms_rpc_method late_methods[];
/* … or what was promoted when the first Encrypt after watch_start() arrived. */
extern const struct kms_rpc_method stale_methods[];

/* Forgets what was seen.  No server runs. */
void watch_start(void);
/* All that was seen since.  The server has stopped. */
void watch_end(struct witness *ret_seen);

/* Generation in a key_id of ring `prod`; 0: it isn't one. */
uint32_t watch_generation(struct kms_bytes key_id);

#endif
