/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "failover.h"
#include "keystore.h"
#include "kms/log.h"
#include "remote.h"
#include "token_open.h"

enum { MIB = 1 << 20, MORE_LANES = 1, ARGUMENTS_MAX = 32, NUMBER_TEXT = 16 };

/* What libraries are known to read, and what the C library and sanitizers do.  Nothing here says where
 * code comes from (LD_PRELOAD …). */
static const char *const known_variables[] = {
    "HOME",
    "PATH",
    "LANG",
    "TZ",
    "CREDENTIALS_DIRECTORY",      /* systemd: where a PIN file may be */
    "SOFTHSM2_CONF",              /* SoftHSM */
    "ChrystokiConfigurationPath", /* Thales Luna */
    "CKNFAST_*",                  /* Entrust nShield */
    "NFAST_*",
    "CS_PKCS11_R3_CFG", /* Utimaco */
    "CS_PKCS11_R2_CFG",
    "KRYOPTIC_CONF",
    "YUBIHSM_PKCS11_CONF",
    "PKCS11SPY", /* OpenSC's pass-through module */
    "PKCS11SPY_OUTPUT",
    "GLIBC_TUNABLES",
    "MALLOC_ARENA_MAX",
    "ASAN_OPTIONS",
    "LSAN_OPTIONS",
    "TSAN_OPTIONS",
    "UBSAN_OPTIONS",
};
enum { KNOWN_COUNT = sizeof(known_variables) / sizeof(known_variables[0]) };

static const char *level_name(enum kms_log_level level)
{
    switch (level) {
    case KMS_LOG_DEBUG:
        return "debug";
    case KMS_LOG_INFO:
        return "info";
    case KMS_LOG_WARN:
        return "warn";
    case KMS_LOG_ERROR:
        break;
    }
    return "error";
}

struct arguments {
    const char *list[ARGUMENTS_MAX];
    size_t count;
};

/* Nothing without a value. */
static void add(struct arguments *arguments, const char *option, const char *value)
{
    if (value == NULL)
        return;
    arguments->list[arguments->count++] = option;
    arguments->list[arguments->count++] = value;
}

static enum kms_code open_remote(const struct kms_config *config,
                                 const struct kms_config_token *token,
                                 const struct pkcs11_keystore_options *options,
                                 struct kms_keystore **ret_keystore, struct kms_error *err)
{
    const char **environment = calloc(KNOWN_COUNT + token->environment_count + 1,
                                      sizeof(*environment));
    if (environment == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    for (size_t i = 0; i < KNOWN_COUNT; i++)
        environment[i] = known_variables[i];
    for (size_t i = 0; i < token->environment_count; i++)
        environment[KNOWN_COUNT + i] = token->environment[i];

    char sessions[NUMBER_TEXT];
    (void)snprintf(sessions, sizeof(sessions), "%u", options->sessions);
    struct arguments arguments = { .list = { "hsm-kms", "token-host" }, .count = 2 };
    add(&arguments, "--module", options->module);
    add(&arguments, "--uri", options->uri);
    add(&arguments, "--pin-file", options->pin_file);
    add(&arguments, "--user", options->user);
    add(&arguments, "--user-type", kms_user_type_name(options->user_type));
    add(&arguments, "--profile", kms_profile_name(options->profile));
    add(&arguments, "--sessions", sessions);
    add(&arguments, "--latch-dir", options->latch_dir);
    add(&arguments, "--log-format", config->log_format == KMS_LOG_JSON ? "json" : "text");
    add(&arguments, "--log-level", level_name(config->log_level));
    /* the refresher's calls come on top of the workers' */
    const struct kms_remote_options remote = {
        .command = { "/proc/self/exe", arguments.list, environment },
        .profile_option = "--profile",
        .lanes = options->sessions + MORE_LANES,
        .memory_limit = (size_t)token->memory_limit_mib * MIB,
    };
    enum kms_code rc = kms_remote_open(&remote, ret_keystore, err);
    free((void *)environment);
    return rc;
}

static enum kms_code open_one(const struct kms_config *config, const struct kms_config_token *token,
                              struct kms_keystore **ret_keystore, struct kms_error *err)
{
    const struct pkcs11_keystore_options options = {
        .module = token->module,
        .uri = token->uri,
        .pin_file = token->pin_file,
        .user = token->user,
        .user_type = token->user_type,
        .profile = config->profile,
        .sessions = token->sessions,
        .latch_dir = config->state_dir,
    };
    /* Bad options are the configuration's fault, and end `serve` before a child could say so. */
    struct kms_keystore *here = NULL;
    enum kms_code rc = pkcs11_keystore_open(&options, &here, err);
    if (rc != KMS_OK)
        return rc;
    if (token->isolation == KMS_ISOLATION_NONE) {
        *ret_keystore = here;
        return KMS_OK;
    }
    kms_keystore_close(here);
    return open_remote(config, token, &options, ret_keystore, err);
}

static void close_all(struct kms_failover_token *tokens, size_t count)
{
    for (size_t i = 0; i < count; i++)
        kms_keystore_close(tokens[i].keystore);
}

enum kms_code kms_token_open(const struct kms_config *config, struct kms_keystore **ret_keystore,
                             struct kms_error *err)
{
    struct kms_failover_token tokens[KMS_CONFIG_TOKENS_MAX] = { 0 };
    for (size_t i = 0; i < config->token_count; i++) {
        const struct kms_config_token *token = &config->tokens[i];
        struct kms_error why;
        tokens[i].name = token->name;
        tokens[i].copies_itself = token->sync == KMS_SYNC_NATIVE;
        enum kms_code rc = open_one(config, token, &tokens[i].keystore, &why);
        if (rc != KMS_OK) {
            close_all(tokens, i);
            return kms_fail(err, rc, "tokens[%zu]: %.480s", i, why.msg);
        }
    }
    if (config->token_count > 1)
        return kms_failover_open(tokens, config->token_count, ret_keystore, err);
    *ret_keystore = tokens[0].keystore;
    return KMS_OK;
}
