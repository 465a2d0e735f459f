/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_log.h"
#include "audit_signer.h"
#include "kms/log.h"
#include "refresher.h"
#include "ring.h"
#include "rpc.h"
#include "server.h"
#include "service.h"
#include "socket.h"
#include "state.h"
#include "token_open.h"

struct kms_plugin {
    char node[HOST_NAME_MAX + 1];
    struct kms_audit *audit; /* NULL: none is configured */
    struct kms_audit_options admin_audit;
    char audit_label[KMS_AUDIT_KEY_LABEL_LEN + 1];
    struct kms_audit_signer *signer;
    struct kms_socket *socket;
    struct kms_state_dir *state_dir;
    struct kms_keystore *keystore;
    struct kms_ring *ring;
    struct kms_refresher *refresher;
    struct kms_service *service;
    struct kms_server *server;
};

/* For a plugin that never served a call, and for one whose server has stopped. */
static void close_parts(struct kms_plugin *plugin)
{
    if (plugin == NULL)
        return;
    kms_audit_signer_close(plugin->signer); /* with a last use of the token */
    kms_socket_stop(plugin->socket);
    kms_service_close(plugin->service);
    kms_refresher_close(plugin->refresher);
    kms_ring_close(plugin->ring);
    kms_keystore_close(plugin->keystore);
    kms_state_dir_close(plugin->state_dir);
    kms_socket_close(plugin->socket);
    kms_audit_close(plugin->audit);
    free(plugin);
}
KMS_DEFINE_CLOSE_PTR(struct kms_plugin *, close_parts)

static enum kms_code open_audit(struct kms_plugin *plugin, const struct kms_config *config,
                                struct kms_error *err)
{
    gethostname(plugin->node, sizeof plugin->node - 1);
    struct kms_audit_options options = kms_audit_log_options(config, "serve", plugin->node);
    return options.path != NULL ? kms_audit_open(&options, &plugin->audit, err) : KMS_OK;
}

static enum kms_code open_signer(struct kms_plugin *plugin, const struct kms_config *config,
                                 struct kms_error *err)
{
    if (plugin->audit == NULL)
        return KMS_OK;
    plugin->admin_audit = kms_audit_log_options(config, "admin", plugin->node);
    plugin->admin_audit.one_shot = true;
    plugin->admin_audit.existing = true; /* its first line is a command's */
    plugin->admin_audit.encrypt = NULL;  /* checkpoints aren't sealed, so it needs no key */
    kms_audit_key_label(config->ring, plugin->audit_label);
    const struct kms_audit_signer_options options = {
        .audit = plugin->audit,
        .admin = &plugin->admin_audit,
        .keystore = plugin->keystore,
        .label = plugin->audit_label,
    };
    return kms_audit_signer_open(&options, &plugin->signer, err);
}

static enum kms_code open_socket(struct kms_plugin *plugin, const struct kms_config *config,
                                 struct kms_error *err)
{
    struct kms_socket_options options = {
        .path = config->socket.path,
        .mode = config->socket.mode,
        .group = config->socket.group,
        .allow_uids = config->socket.allow_uids,
        .allow_uid_count = config->socket.allow_uid_count,
        .audit = plugin->audit,
    };
    return kms_socket_open(&options, &plugin->socket, err);
}

static void set_token_rules(const struct kms_config *config, struct kms_token_rules *ret_rules)
{
    ret_rules->count = config->token_count;
    for (size_t i = 0; i < config->token_count; i++) {
        (void)snprintf(ret_rules->items[i].name, sizeof ret_rules->items[i].name, "%s",
                       config->tokens[i].name);
        ret_rules->items[i].required = config->tokens[i].required;
    }
}

static enum kms_code open_ring(struct kms_plugin *plugin, const struct kms_config *config,
                               struct kms_error *err)
{
    enum kms_code rc = kms_state_dir_open(config->state_dir, config->ring, &plugin->state_dir, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    bool is_new;
    rc = kms_state_read(config->state_dir, config->ring, &state, &is_new, err);
    if (rc != KMS_OK)
        return rc;

    struct kms_ring_options options = { .name = config->ring };
    set_token_rules(config, &options.tokens);
    rc = kms_config_vouched(config, &options.vouched, err);
    if (rc != KMS_OK)
        return rc;
    rc = kms_ring_open(&options, &state, is_new, &plugin->ring, err);
    kms_vouched_done(&options.vouched);
    return rc;
}

static enum kms_code open_service(struct kms_plugin *plugin, const struct kms_config *config,
                                  struct kms_error *err)
{
    struct kms_refresher_options refresher = {
        .ring = config->ring,
        .keystore = plugin->keystore,
        .keks = plugin->ring,
        .state_dir = plugin->state_dir,
        .audit = plugin->audit,
        .refresh_ms = config->refresh_ms,
        .canary_ms = config->canary_ms,
    };
    enum kms_code rc = kms_refresher_open(&refresher, &plugin->refresher, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_service_options service = {
        .ring = config->ring,
        .version = KMS_VERSION,
        .node = plugin->node,
        .keystore = plugin->keystore,
        .keks = plugin->ring,
        .refresher = plugin->refresher,
        .audit = plugin->audit,
        .refresh_ms = config->refresh_ms,
        .canary_ms = config->canary_ms,
        .clock_skew_ms = config->clock_skew_ms,
        .max_age_ms = config->policy.max_age_ms,
        .settings = config->settings,
    };
    return kms_service_open(&service, &plugin->service, err);
}

/* As many as the token with the most sessions can use, since any may be the one that serves; on one
 * with fewer, calls wait for a session. */
static unsigned count_workers(const struct kms_config *config)
{
    unsigned workers = 0;
    for (size_t i = 0; i < config->token_count; i++)
        if (config->tokens[i].sessions > workers)
            workers = config->tokens[i].sessions;
    return workers;
}

/* Threads start here: the server's, the refresher's, and last the one that accepts. */
static enum kms_code start(struct kms_plugin *plugin, const struct kms_config *config,
                           struct kms_error *err)
{
    struct kms_server_options options = {
        .service = plugin->service,
        .methods = kms_rpc_methods,
        .workers = count_workers(config),
    };
    enum kms_code rc = kms_server_open(&options, &plugin->server, err);
    if (rc == KMS_OK)
        rc = kms_refresher_start(plugin->refresher, err);
    if (rc == KMS_OK)
        rc = kms_socket_serve(plugin->socket, plugin->server, err);
    if (rc != KMS_OK && plugin->server != NULL)
        kms_server_stop(plugin->server, 0);
    return rc;
}

enum kms_code kms_plugin_open(const struct kms_config *config, struct kms_plugin **ret_plugin,
                              struct kms_error *err)
{
    KMS_CLEANUP(close_parts_ptr) struct kms_plugin *plugin = calloc(1, sizeof *plugin);
    if (plugin == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    enum kms_code rc = open_audit(plugin, config, err);
    if (rc == KMS_OK)
        rc = open_socket(plugin, config, err);
    if (rc == KMS_OK)
        rc = open_ring(plugin, config, err);
    if (rc == KMS_OK)
        rc = kms_token_open(config, &plugin->keystore, err);
    if (rc == KMS_OK)
        rc = open_service(plugin, config, err);
    if (rc == KMS_OK)
        rc = open_signer(plugin, config, err);
    if (rc == KMS_OK)
        rc = start(plugin, config, err);
    if (rc != KMS_OK)
        return rc;
    kms_audit_write_event(plugin->audit, &(struct kms_audit_event){ .op = "started" });
    kms_log(KMS_LOG_INFO, "serving", KMS_F_TEXT("version", KMS_VERSION),
            KMS_F_TEXT("ring", config->ring), KMS_F_TEXT("socket", config->socket.path));
    *ret_plugin = plugin;
    plugin = NULL;
    return KMS_OK;
}

enum kms_code kms_plugin_health(struct kms_plugin *plugin, struct kms_error *err)
{
    kms_audit_signer_tick(plugin->signer);
    return kms_service_health(plugin->service, err);
}

static enum kms_code reload_vouched(struct kms_plugin *plugin, const struct kms_config *config,
                                    struct kms_error *err)
{
    KMS_CLEANUP(kms_vouched_done) struct kms_vouched vouched = { 0 };
    enum kms_code rc = kms_config_vouched(config, &vouched, err);
    return rc == KMS_OK ? kms_ring_offer(plugin->ring, &vouched, err) : rc;
}

void kms_plugin_reload(struct kms_plugin *plugin, const struct kms_config *config)
{
    struct kms_error err;
    if (config != NULL && reload_vouched(plugin, config, &err) != KMS_OK)
        kms_log_error(KMS_LOG_ERROR, "pins and adoptions not reloaded, the old ones stay", &err,
                      NULL, 0);
    kms_keystore_reload(plugin->keystore);
    kms_refresher_kick(plugin->refresher);
}

bool kms_plugin_close(struct kms_plugin *plugin, int64_t grace_ms)
{
    kms_socket_stop(plugin->socket);
    if (!kms_server_stop(plugin->server, grace_ms))
        return false;
    kms_audit_write_event(plugin->audit, &(struct kms_audit_event){ .op = "stopped" });
    close_parts(plugin);
    return true;
}
