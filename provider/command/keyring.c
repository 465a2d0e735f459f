/* SPDX-License-Identifier: Apache-2.0 */
#include "keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "ask_pin.h"
#include "command.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "pin.h"
#include "request.h"

enum { TOKEN_TIMEOUT_MS = 10 * 1000, ASK_PIN = 256, PIN_FILE };

static const struct argp_option argp_options[] = {
    { "config", 'c', "FILE", 0, "configuration (default " KMS_CONFIG_PATH ")", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { "pin-file", PIN_FILE, "FILE", 0, "file with an administrator's PIN", 0 },
    { "ask-pin", ASK_PIN, NULL, 0, "ask for an administrator's PIN on the terminal", 0 },
    { 0 },
};

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
        options->pin_file = arg;
        return 0;
    case ASK_PIN:
        options->ask_pin = true;
        return 0;
    case ARGP_KEY_END:
        if (options->ask_pin && options->pin_file != NULL)
            argp_error(state, "--pin-file or --ask-pin, not both");
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

bool kms_keyring_uses_service_pin(const struct kms_keyring_options *options,
                                  const struct kms_config *config)
{
    if (options->ask_pin)
        return false;
    return options->pin_file == NULL || strcmp(options->pin_file, config->tokens[0].pin_file) == 0;
}

static enum kms_code get_pin(const struct kms_keyring_options *options, const char *pin_file,
                             struct kms_secret *ret_pin, struct kms_error *err)
{
    if (options->ask_pin)
        return kms_ask_pin("PIN: ", ret_pin, err);
    if (options->pin_file == NULL)
        kms_command_note(
            "using the service's PIN; --pin-file or --ask-pin give an administrator's");
    return pkcs11_pin_read(pin_file, ret_pin, err);
}

/* A file of the service's own account can be read only as that: root's rule for PIN files wants
 * root's ownership.  All others may be out of reach once root is gone. */
static bool is_read_as_service(const struct kms_account *account, const char *pin_file)
{
    struct stat st;
    return account->other && stat(pin_file, &st) == 0 && st.st_uid == account->uid;
}

static enum kms_code get_pin_and_drop(struct kms_keyring *keyring,
                                      const struct kms_keyring_options *options,
                                      struct kms_error *err)
{
    const char *pin_file = options->pin_file != NULL ? options->pin_file
                                                     : keyring->config.tokens[0].pin_file;
    struct kms_account account = kms_account_of(keyring->config.state_dir);
    bool later = !options->ask_pin && is_read_as_service(&account, pin_file);
    enum kms_code rc = KMS_OK;
    if (!later)
        rc = get_pin(options, pin_file, &keyring->pin, err);
    if (rc == KMS_OK)
        rc = kms_account_become(&account, err);
    if (rc == KMS_OK && later)
        rc = get_pin(options, pin_file, &keyring->pin, err);
    return rc;
}

/* A number that the daemon was asked to bury is used up, though ring.json doesn't say so yet. */
static void bury_as_requested(const struct kms_request_list *requests, struct kms_state *state)
{
    for (size_t i = 0; i < requests->count; i++) {
        const struct kms_request_file *file = &requests->files[i];
        bool changed = false;
        struct kms_error why = { 0 };
        if (file->fault.code != KMS_OK || file->request.kind != KMS_REQUEST_TOMBSTONE)
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
        bury_as_requested(&requests, &keyring->state);
}

struct pkcs11_keystore_options kms_keyring_token(const struct kms_keyring *keyring, bool of_service)
{
    const struct kms_config_token *token = &keyring->config.tokens[0];
    return (struct pkcs11_keystore_options){
        .module = token->module,
        .uri = token->uri,
        .pin = &keyring->pin,
        .user = token->user,
        .sessions = 1,
        .latch_dir = keyring->config.state_dir,
        .administrator = !of_service,
    };
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
        rc = get_pin_and_drop(keyring, options, err);
    if (rc != KMS_OK)
        return rc;
    read_state(keyring);
    rc = kms_config_vouched(&keyring->config, &keyring->vouched, err);
    if (rc != KMS_OK)
        return rc;
    (void)snprintf(keyring->label_prefix, sizeof(keyring->label_prefix), "%s.v",
                   keyring->config.ring);
    bool of_service = kms_keyring_uses_service_pin(options, &keyring->config);
    struct pkcs11_keystore_options token = kms_keyring_token(keyring, of_service);
    if (options->ask_pin)
        token.latch_dir = NULL;
    return pkcs11_keystore_open(&token, &keyring->keystore, err);
}

void kms_keyring_done(struct kms_keyring *keyring)
{
    kms_keystore_close(keyring->keystore);
    kms_state_done(&keyring->state);
    kms_secret_done(&keyring->pin);
    kms_config_done(&keyring->config);
    kms_vouched_done(&keyring->vouched);
    *keyring = (struct kms_keyring){ 0 };
}

struct kms_kek_filter kms_keyring_filter(const struct kms_keyring *keyring)
{
    return kms_vouched_filter(&keyring->vouched, keyring->label_prefix);
}

enum kms_code kms_keyring_list(struct kms_keyring *keyring, struct kms_inventory *ret_inventory,
                               struct kms_error *err)
{
    const struct kms_kek_filter filter = kms_keyring_filter(keyring);
    return kms_keystore_list(keyring->keystore, &filter, kms_keyring_deadline(), ret_inventory,
                             err);
}

enum kms_code kms_keyring_judge(const struct kms_keyring *keyring,
                                const struct kms_inventory *inventory, int64_t now_utc_s,
                                struct kms_snapshot **ret_snapshot, struct kms_error *err)
{
    const struct kms_ring_options options = {
        .name = keyring->config.ring,
        .vouched = keyring->vouched,
    };
    return kms_ring_judge(&options, &keyring->state, !keyring->state_known, inventory, now_utc_s,
                          ret_snapshot, err);
}
