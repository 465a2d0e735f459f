/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the configured tokens a command works on, and with which PINs. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "account.h"
#include "ask_pin.h"
#include "command.h"
#include "keyring.h"
#include "pin.h"

/* --- choosing --- */

static struct kms_keyring_token *find_token(struct kms_keyring *keyring, const char *name)
{
    for (size_t i = 0; i < keyring->token_count; i++)
        if (strcmp(keyring->tokens[i].config->name, name) == 0)
            return &keyring->tokens[i];
    return NULL;
}

static void name_all(const struct kms_keyring *keyring, char ret_text[static KMS_NAMES_TEXT_MAX])
{
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < keyring->token_count && used < KMS_NAMES_TEXT_MAX; i++)
        used += (size_t)snprintf(ret_text + used, KMS_NAMES_TEXT_MAX - used, "%s%s",
                                 i > 0 ? ", " : "", keyring->tokens[i].config->name);
}

static enum kms_code fail_unknown(const struct kms_keyring *keyring, const char *option,
                                  const char *name, struct kms_error *err)
{
    char names[KMS_NAMES_TEXT_MAX];
    name_all(keyring, names);
    return kms_fail(err, KMS_E_INVALID, "%s %.32s: the configuration names no such token, but %s",
                    option, name, names);
}

enum kms_code kms_keyring_choose(struct kms_keyring *keyring,
                                 const struct kms_keyring_options *options, struct kms_error *err)
{
    bool any = false;
    keyring->token_count = keyring->config.token_count;
    for (size_t i = 0; i < keyring->token_count; i++) {
        const struct kms_config_token *config = &keyring->config.tokens[i];
        bool named = options->token != NULL && strcmp(options->token, config->name) == 0;
        keyring->tokens[i].config = config;
        keyring->tokens[i].chosen = options->token == NULL || named;
        any = any || keyring->tokens[i].chosen;
    }
    if (!any)
        return fail_unknown(keyring, "--token", options->token, err);
    for (size_t i = 0; i < options->without_count; i++) {
        struct kms_keyring_token *token = find_token(keyring, options->without[i]);
        if (token == NULL)
            return fail_unknown(keyring, "--without", options->without[i], err);
        token->chosen = false;
        token->waived = true;
    }
    for (size_t i = 0; i < keyring->token_count; i++)
        if (keyring->tokens[i].chosen)
            return KMS_OK;
    return kms_fail(err, KMS_E_INVALID, "--without leaves no token to work on");
}

/* --- PINs --- */

static size_t count_chosen(const struct kms_keyring *keyring)
{
    size_t count = 0;
    for (size_t i = 0; i < keyring->token_count; i++)
        count += keyring->tokens[i].chosen ? 1 : 0;
    return count;
}

/* The token that a --pin-file is for; the rest is the file's path.  NULL: it doesn't say. */
static struct kms_keyring_token *addressee(struct kms_keyring *keyring, const char *arg,
                                           const char **ret_path)
{
    char name[KMS_TOKEN_NAME_MAX + 1] = "";
    const char *equals = strchr(arg, '=');
    if (equals == NULL || equals - arg > KMS_TOKEN_NAME_MAX)
        return NULL;
    memcpy(name, arg, (size_t)(equals - arg));
    *ret_path = equals + 1;
    return find_token(keyring, name);
}

static enum kms_code fail_bare(const struct kms_keyring *keyring, const char *path,
                               struct kms_error *err)
{
    char names[KMS_NAMES_TEXT_MAX];
    name_all(keyring, names);
    return kms_fail(err, KMS_E_INVALID,
                    "--pin-file %.100s: of which token? Several are worked on: give --pin-file "
                    "NAME=FILE for each, of %s",
                    path, names);
}

static struct kms_keyring_token *only_chosen(struct kms_keyring *keyring)
{
    struct kms_keyring_token *only = NULL;
    for (size_t i = 0; i < keyring->token_count; i++)
        if (keyring->tokens[i].chosen)
            only = &keyring->tokens[i];
    return count_chosen(keyring) == 1 ? only : NULL;
}

/* Of each token the administrator's file; NULL: the service's. */
static enum kms_code assign_files(struct kms_keyring *keyring,
                                  const struct kms_keyring_options *options,
                                  const char *ret_files[KMS_TOKENS_MAX], struct kms_error *err)
{
    for (size_t i = 0; i < options->pin_file_count; i++) {
        const char *path = options->pin_files[i];
        struct kms_keyring_token *token = addressee(keyring, options->pin_files[i], &path);
        if (token == NULL) {
            path = options->pin_files[i];
            token = only_chosen(keyring);
        }
        if (token == NULL)
            return fail_bare(keyring, path, err);
        if (ret_files[token - keyring->tokens] != NULL)
            return kms_fail(err, KMS_E_INVALID, "--pin-file is given twice for token '%s'",
                            token->config->name);
        ret_files[token - keyring->tokens] = path;
    }
    return KMS_OK;
}

static enum kms_code ask(const struct kms_keyring *keyring, struct kms_keyring_token *token,
                         struct kms_error *err)
{
    char prompt[KMS_TOKEN_NAME_MAX + 32] = "PIN: ";
    if (keyring->token_count > 1)
        (void)snprintf(prompt, sizeof(prompt), "PIN of token %s: ", token->config->name);
    return kms_ask_pin(prompt, &token->pin, err);
}

/* A file of the service's own account can be read only as that: root's rule for PIN files wants
 * root's ownership.  All others may be out of reach once root is gone. */
static bool is_read_as_service(const struct kms_account *account, const char *pin_file)
{
    struct stat st;
    return account->other && stat(pin_file, &st) == 0 && st.st_uid == account->uid;
}

static enum kms_code read_pins(struct kms_keyring *keyring, const char *const files[KMS_TOKENS_MAX],
                               const struct kms_account *account, bool as_service,
                               struct kms_error *err)
{
    enum kms_code rc = KMS_OK;
    for (size_t i = 0; i < keyring->token_count && rc == KMS_OK; i++) {
        struct kms_keyring_token *token = &keyring->tokens[i];
        const char *path = files[i] != NULL ? files[i] : token->config->pin_file;
        if (!token->chosen || token->pin.data != NULL ||
            (!as_service && is_read_as_service(account, path)))
            continue;
        token->of_service = strcmp(path, token->config->pin_file) == 0;
        rc = pkcs11_pin_read(path, &token->pin, err);
    }
    return rc;
}

static void note_service_pins(const struct kms_keyring *keyring,
                              const char *const files[KMS_TOKENS_MAX])
{
    bool given = false, missing = false;
    for (size_t i = 0; i < keyring->token_count; i++) {
        given = given || files[i] != NULL;
        missing = missing || (keyring->tokens[i].chosen && files[i] == NULL);
    }
    if (missing && !given)
        kms_command_note(
            "using the service's PIN; --pin-file or --ask-pin give an administrator's");
    for (size_t i = 0; i < keyring->token_count && given; i++)
        if (keyring->tokens[i].chosen && files[i] == NULL)
            kms_command_note("using the service's PIN of token '%s'; --pin-file %s=FILE gives an "
                             "administrator's",
                             keyring->tokens[i].config->name, keyring->tokens[i].config->name);
}

enum kms_code kms_keyring_get_pins(struct kms_keyring *keyring,
                                   const struct kms_keyring_options *options, struct kms_error *err)
{
    const char *files[KMS_TOKENS_MAX] = { NULL };
    struct kms_account account = kms_account_of(keyring->config.state_dir);
    enum kms_code rc = assign_files(keyring, options, files, err);
    for (size_t i = 0; options->ask_pin && i < keyring->token_count && rc == KMS_OK; i++)
        if (keyring->tokens[i].chosen)
            rc = ask(keyring, &keyring->tokens[i], err);
    if (rc == KMS_OK && !options->ask_pin)
        note_service_pins(keyring, files);
    if (rc == KMS_OK)
        rc = read_pins(keyring, files, &account, false, err);
    if (rc == KMS_OK)
        rc = kms_account_become(&account, err);
    return rc == KMS_OK ? read_pins(keyring, files, &account, true, err) : rc;
}
