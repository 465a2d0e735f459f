/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "failover.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "request.h"

enum { TOKEN_TIMEOUT_MS = 10 * 1000, ASK_PIN = 256, PIN_FILE, TOKEN, WITHOUT };

static const struct argp_option argp_options[] = {
    { "config", 'c', "FILE", 0, "configuration (default " KMS_CONFIG_PATH ")", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { "pin-file", PIN_FILE, "[NAME=]FILE", 0,
      "file with an administrator's PIN; with several tokens NAME=FILE, for each", 0 },
    { "ask-pin", ASK_PIN, NULL, 0, "ask for an administrator's PIN on the terminal, for each token",
      0 },
    { "token", TOKEN, "NAME", 0, "of several tokens work on this one alone", 0 },
    { "without", WITHOUT, "NAME", 0,
      "of several tokens leave this one out; may be given more than once", 0 },
    { 0 },
};

static void add_to(const char **list, size_t *count, const char *option, const char *arg,
                   struct argp_state *state)
{
    if (*count == KMS_TOKENS_MAX)
        argp_error(state, "%s may be given %d times at most", option, (int)KMS_TOKENS_MAX);
    list[(*count)++] = arg;
}

static void check_options(const struct kms_keyring_options *options, struct argp_state *state)
{
    if (options->ask_pin && options->pin_file_count > 0)
        argp_error(state, "--pin-file or --ask-pin, not both");
    if (options->token != NULL && options->without_count > 0)
        argp_error(state, "--token or --without, not both");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct kms_keyring_options *options = state->input;
    switch (key) {
    case 'c':
        options->config_path = arg;
        return 0;
    case 'o':
        options->json = kms_command_output_is_json(state, arg);
        return 0;
    case PIN_FILE:
        add_to(options->pin_files, &options->pin_file_count, "--pin-file", arg, state);
        return 0;
    case ASK_PIN:
        options->ask_pin = true;
        return 0;
    case TOKEN:
        options->token = arg;
        return 0;
    case WITHOUT:
        add_to(options->without, &options->without_count, "--without", arg, state);
        return 0;
    case ARGP_KEY_END:
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp kms_keyring_argp = { .options = argp_options, .parser = parse_option };

int64_t kms_keyring_deadline(void)
{
    return kms_monotonic_ms() + TOKEN_TIMEOUT_MS;
}

/* What the daemon was asked counts, though ring.json doesn't say so yet: numbers that are used up, tokens
 * to be left alone.  Whom it trusts it decides itself. */
static void apply_requests(const struct kms_request_list *requests, struct kms_state *state)
{
    for (size_t i = 0; i < requests->count; i++) {
        const struct kms_request_file *file = &requests->files[i];
        bool changed = false;
        struct kms_error why = { 0 };
        if (file->fault.code != KMS_OK || file->request.kind == KMS_REQUEST_ACCEPT)
            continue;
        if (kms_request_apply(&file->request, state, &changed, &why) != KMS_OK)
            kms_command_note("a request that the plugin will not apply: %s", why.msg);
    }
}

/* Without ring.json the commands still work, on what the labels say.  The requests are read first:
 * the daemon writes ring.json before it deletes them. */
static void read_state(struct kms_keyring *keyring)
{
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list requests = { 0 };
    struct kms_error why = { 0 };
    bool readable = kms_request_read(keyring->config.state_dir, &requests, &why) == KMS_OK;
    bool is_new = false;
    enum kms_code rc = kms_state_read(keyring->config.state_dir, keyring->config.ring,
                                      &keyring->state, &is_new, &keyring->state_fault);
    keyring->state_known = rc == KMS_OK && !is_new;
    if (keyring->state_known && !readable)
        kms_command_note("requests to this node can't be read: %s", why.msg);
    if (rc != KMS_OK)
        kms_command_note("this node's memory can't be read, going by the labels alone: %s",
                         keyring->state_fault.msg);
    else
        apply_requests(&requests, &keyring->state);
}

/* --- opening --- */

/* A token that is drained isn't touched, unless the command names it or all are. */
static void leave_drained(struct kms_keyring *keyring, const struct kms_keyring_options *options)
{
    int64_t now_utc_s = kms_utc_s();
    bool any_left = false;
    for (size_t i = 0; i < keyring->token_count; i++) {
        struct kms_keyring_token *token = &keyring->tokens[i];
        int64_t until_utc_s = kms_state_drained_until(&keyring->state, token->config->name);
        token->drained_until_utc_s = until_utc_s > now_utc_s ? until_utc_s : 0;
        any_left = any_left || (token->chosen && token->drained_until_utc_s == 0);
    }
    for (size_t i = 0; i < keyring->token_count && any_left && options->token == NULL; i++) {
        struct kms_keyring_token *token = &keyring->tokens[i];
        if (!token->chosen || token->drained_until_utc_s == 0)
            continue;
        token->chosen = false;
        kms_command_note("token '%s' is drained, and left alone", token->config->name);
    }
}

struct pkcs11_keystore_options kms_keyring_open_options(const struct kms_keyring *keyring,
                                                        const struct kms_keyring_token *token)
{
    return (struct pkcs11_keystore_options){
        .module = token->config->module,
        .uri = token->config->uri,
        .pin = &token->pin,
        .user = token->config->user,
        .user_type = token->config->user_type,
        .profile = keyring->config.profile,
        .sessions = 1,
        .latch_dir = keyring->config.state_dir,
        .administrator = !token->of_service,
    };
}

static enum kms_code open_tokens(struct kms_keyring *keyring, bool latched, struct kms_error *err)
{
    struct kms_failover_token opened[KMS_TOKENS_MAX] = { 0 };
    size_t count = 0;
    for (size_t i = 0; i < keyring->token_count; i++) {
        struct kms_keyring_token *token = &keyring->tokens[i];
        if (!token->chosen)
            continue;
        struct pkcs11_keystore_options options = kms_keyring_open_options(keyring, token);
        if (!latched)
            options.latch_dir = NULL;
        enum kms_code rc = pkcs11_keystore_open(&options, &token->keystore, err);
        if (rc != KMS_OK) {
            while (count > 0)
                kms_keystore_close(opened[--count].keystore);
            return rc;
        }
        opened[count++] = (struct kms_failover_token){
            .name = token->config->name,
            .keystore = token->keystore,
            .copies_itself = token->config->sync == KMS_SYNC_NATIVE,
        };
    }
    if (count > 1)
        return kms_failover_open(opened, count, &keyring->keystore, err);
    keyring->keystore = opened[0].keystore;
    return KMS_OK;
}

enum kms_code kms_keyring_init(struct kms_keyring *keyring,
                               const struct kms_keyring_options *options, struct kms_error *err)
{
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_WARN, STDERR_FILENO);
    if (!kms_secret_heap_open())
        kms_command_note("memory can't be locked (RLIMIT_MEMLOCK): the PIN may reach swap");
    const char *path = options->config_path != NULL ? options->config_path : KMS_CONFIG_PATH;
    enum kms_code rc = kms_config_load(path, &keyring->config, err);
    if (rc == KMS_OK)
        rc = kms_keyring_choose(keyring, options, err);
    if (rc == KMS_OK)
        rc = kms_keyring_get_pins(keyring, options, err);
    if (rc != KMS_OK)
        return rc;
    read_state(keyring);
    leave_drained(keyring, options);
    rc = kms_config_vouched(&keyring->config, &keyring->vouched, err);
    if (rc != KMS_OK)
        return rc;
    (void)snprintf(keyring->label_prefix, sizeof(keyring->label_prefix), "%s.v",
                   keyring->config.ring);
    return open_tokens(keyring, !options->ask_pin, err);
}

void kms_keyring_done(struct kms_keyring *keyring)
{
    kms_keystore_close(keyring->keystore);
    kms_state_done(&keyring->state);
    for (size_t i = 0; i < keyring->token_count; i++)
        kms_secret_done(&keyring->tokens[i].pin);
    kms_config_done(&keyring->config);
    kms_vouched_done(&keyring->vouched);
    *keyring = (struct kms_keyring){ 0 };
}

enum kms_code kms_keyring_one(const struct kms_keyring *keyring,
                              const struct kms_keyring_token **ret_token, struct kms_error *err)
{
    const struct kms_keyring_token *only = NULL;
    for (size_t i = 0; i < keyring->token_count; i++) {
        if (!keyring->tokens[i].chosen)
            continue;
        if (only != NULL)
            return kms_fail(err, KMS_E_INVALID,
                            "the configuration has several tokens; which? --token %s, or another",
                            only->config->name);
        only = &keyring->tokens[i];
    }
    *ret_token = only;
    return KMS_OK;
}

static bool is_unlisted(const struct kms_keyring_token *token,
                        const struct kms_inventory *inventory)
{
    for (size_t i = 0; i < inventory->token_count; i++)
        if (strcmp(inventory->tokens[i].name, token->config->name) == 0)
            return !inventory->tokens[i].listed;
    return false;
}

struct kms_spread kms_keyring_spread(const struct kms_keyring *keyring,
                                     const struct kms_inventory *inventory)
{
    struct kms_spread spread = { .ring = keyring->config.ring };
    for (size_t i = 0; i < keyring->token_count; i++) {
        const struct kms_keyring_token *token = &keyring->tokens[i];
        bool taken = token->chosen && !is_unlisted(token, inventory);
        spread.partial = spread.partial || !taken;
        if (taken)
            spread.tokens[spread.count++] = (struct kms_spread_token){
                .name = token->config->name,
                .keystore = token->keystore,
                .escrow = token->config->sync == KMS_SYNC_ESCROW,
            };
    }
    return spread;
}

/* --- listing --- */

struct kms_kek_filter kms_keyring_filter(const struct kms_keyring *keyring)
{
    return kms_vouched_filter(&keyring->vouched, keyring->label_prefix);
}

void kms_keyring_note_unlisted(const struct kms_inventory *inventory)
{
    for (size_t i = 0; i < inventory->token_count; i++) {
        const struct kms_token_listing *token = &inventory->tokens[i];
        if (!token->listed)
            kms_command_note("token '%s' wasn't listed, what only that has isn't seen: %s",
                             token->name, token->problem);
    }
}

enum kms_code kms_keyring_list(struct kms_keyring *keyring, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    const struct kms_kek_filter filter = kms_keyring_filter(keyring);
    enum kms_code rc = kms_keystore_list(keyring->keystore, &filter, kms_keyring_deadline(),
                                         ret_inventory, err);
    if (rc == KMS_OK)
        kms_keyring_note_unlisted(ret_inventory);
    return rc;
}

static struct kms_token_rules rules_of(const struct kms_keyring *keyring)
{
    struct kms_token_rules rules = { .count = keyring->token_count };
    for (size_t i = 0; i < rules.count; i++) {
        const struct kms_config_token *config = keyring->tokens[i].config;
        (void)snprintf(rules.items[i].name, sizeof(rules.items[i].name), "%s", config->name);
        rules.items[i].required = config->required;
    }
    return rules;
}

enum kms_code kms_keyring_judge(const struct kms_keyring *keyring,
                                const struct kms_inventory *inventory, int64_t now_utc_s,
                                struct kms_snapshot **ret_snapshot, struct kms_error *err)
{
    const struct kms_ring_options options = {
        .name = keyring->config.ring,
        .tokens = rules_of(keyring),
        .vouched = keyring->vouched,
    };
    return kms_ring_judge(&options, &keyring->state, !keyring->state_known, inventory, now_utc_s,
                          ret_snapshot, err);
}

/* --- reaching tokens --- */

/* Why @token isn't in @inventory; NULL if it is. */
static const char *find_absence(const struct kms_keyring_token *token,
                                const struct kms_inventory *inventory)
{
    if (token->drained_until_utc_s != 0 && !token->chosen)
        return "drained by an operator; hsm-kms token resume ends that";
    for (size_t i = 0; i < inventory->token_count; i++)
        if (strcmp(inventory->tokens[i].name, token->config->name) == 0)
            return inventory->tokens[i].listed ? NULL : inventory->tokens[i].problem;
    return NULL;
}

/* New keys are made there. */
static bool is_first(const struct kms_keyring *keyring, const struct kms_keyring_token *token)
{
    for (const struct kms_keyring_token *before = keyring->tokens; before < token; before++)
        if (!before->waived)
            return false;
    return true;
}

static bool must_reach(const struct kms_keyring *keyring, const struct kms_keyring_token *token,
                       enum kms_keyring_reach reach)
{
    switch (reach) {
    case KMS_REACH_ANY:
        return false;
    case KMS_REACH_NEW:
        return token->config->required || token->config->sync == KMS_SYNC_ESCROW ||
               is_first(keyring, token);
    case KMS_REACH_ALL:
        break;
    }
    return true;
}

static const char *reason_of(const struct kms_keyring *keyring,
                             const struct kms_keyring_token *token, enum kms_keyring_reach reach)
{
    if (reach == KMS_REACH_ALL)
        return "the key may be there, too, and would stay as it is";
    if (is_first(keyring, token))
        return "new keys are made there";
    if (token->config->sync == KMS_SYNC_ESCROW)
        return "a key that isn't brought there when it is made never gets there (sync: escrow)";
    return "a new key must be there before it is promoted (required)";
}

bool kms_keyring_reaches(const struct kms_keyring *keyring, const struct kms_inventory *inventory,
                         enum kms_keyring_reach reach, char ret_why[static KMS_REACH_TEXT_MAX])
{
    for (size_t i = 0; i < keyring->token_count; i++) {
        const struct kms_keyring_token *token = &keyring->tokens[i];
        if (token->waived || !must_reach(keyring, token, reach))
            continue;
        const char *absence = find_absence(token, inventory);
        if (absence == NULL)
            continue;
        (void)snprintf(
            ret_why, KMS_REACH_TEXT_MAX,
            "token '%s' can't be listed (%.150s): %s. Bring it back and run it again, or "
            "add --without %s to go on without it",
            token->config->name, absence, reason_of(keyring, token, reach), token->config->name);
        return false;
    }
    return true;
}

void kms_keyring_name_waived(const struct kms_keyring *keyring,
                             char ret_text[static KMS_NAMES_TEXT_MAX])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < keyring->token_count && used < KMS_NAMES_TEXT_MAX; i++)
        if (keyring->tokens[i].waived)
            used += (size_t)snprintf(ret_text + used, KMS_NAMES_TEXT_MAX - used, "%s'%s'",
                                     used > 0 ? ", " : "", keyring->tokens[i].config->name);
}

enum kms_code kms_keyring_waive(const struct kms_keyring *keyring, uint32_t generation,
                                struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    if (access(keyring->config.state_dir, F_OK) != 0) /* no plugin ever ran here */
        return KMS_OK;
    for (size_t i = 0; i < keyring->token_count && rc == KMS_OK; i++)
        if (keyring->tokens[i].waived)
            rc = kms_request_waive(keyring->config.state_dir, generation,
                                   keyring->tokens[i].config->name, err);
    return rc;
}
