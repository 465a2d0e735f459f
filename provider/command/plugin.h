/* SPDX-License-Identifier: Apache-2.0 */
/* All parts of a serving plugin put together and taken apart in the right order. */
#ifndef KMS_PLUGIN_H
#define KMS_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "kms/error.h"

struct kms_plugin;

/* Listens and starts all threads; the token may be away.  Call with signals blocked and before any
 * thread.  Fails only for what waiting can't cure: an occupied socket, a damaged or foreign state
 * file, a configuration that contradicts itself. */
KMS_MUST_CHECK enum kms_code kms_plugin_open(const struct kms_config *config,
                                             struct kms_plugin **ret_plugin, struct kms_error *err);

/* What Status would say now, without a promotion step.  Tries an audit log again that couldn't be
 * written, so call it now and then; else it doesn't block. */
KMS_MUST_CHECK enum kms_code kms_plugin_health(struct kms_plugin *plugin, struct kms_error *err);

/* SIGHUP: a refused PIN may be tried again; the token is listed anew; `pins:` of @config take the
 * place of the old ones, unless they contradict ring.json.  NULL: the configuration can't be read. */
void kms_plugin_reload(struct kms_plugin *plugin, const struct kms_config *config);

/* Stops accepting, drains calls in flight for @grace_ms, leaves the token (C_Finalize), frees.
 * False: a call is stuck in the module; nothing was freed, the process must _exit. */
bool kms_plugin_close(struct kms_plugin *plugin, int64_t grace_ms);

#endif
