/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <stdio.h>

#include "keystore.h"
#include "text.h"

static error_t parse_config(int key, char *arg, struct argp_state *state)
{
    const char **path = state->input;
    if (key != 'c')
        return ARGP_ERR_UNKNOWN;
    *path = arg;
    return 0;
}

/* What the schema can't tell of a token's URI and module, without touching either. */
static enum kms_code check_token(const struct kms_config_token *token, struct kms_error *err)
{
    const struct pkcs11_keystore_options options = { .module = token->module,
                                                     .uri = token->uri,
                                                     .pin_file = token->pin_file,
                                                     .user = token->user,
                                                     .sessions = token->sessions };
    KMS_CLEANUP(kms_keystore_close_ptr) struct kms_keystore *keystore = NULL;
    return pkcs11_keystore_open(&options, &keystore, err);
}

static enum kms_code check_tokens(const struct kms_config *config, struct kms_error *err)
{
    for (size_t i = 0; i < config->token_count; i++) {
        struct kms_error why;
        enum kms_code rc = check_token(&config->tokens[i], &why);
        if (rc != KMS_OK)
            return kms_fail(err, rc, "tokens[%zu]: %.480s", i, why.msg);
    }
    return KMS_OK;
}

static int run_check(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "config", 'c', "FILE", 0, "the file to check (default " KMS_CONFIG_PATH ")", 0 },
        { 0 },
    };
    static const struct argp argp = {
        .options = options,
        .parser = parse_config,
        .doc = "Checks a configuration file: syntax, names, types and ranges.  Touches no token.",
    };
    const char *path = KMS_CONFIG_PATH;
    if (kms_command_parse(&argp, argc, argv, &path) != 0)
        return KMS_EXIT_ERROR;
    KMS_CLEANUP(kms_config_done) struct kms_config config = { 0 };
    struct kms_error err = { 0 };
    if (kms_config_load(path, &config, &err) != KMS_OK || check_tokens(&config, &err) != KMS_OK)
        return kms_command_fail(&err);
    kms_text_put(stdout, path);
    (void)printf(": ok\nnext: hsm-kms key list --config ");
    kms_text_put(stdout, path);
    (void)putchar('\n');
    return kms_command_finish(KMS_EXIT_OK);
}

static int run_reference(int argc, char **argv)
{
    static const struct argp argp = {
        .doc = "Prints the fields of the configuration file as a Markdown table.",
    };
    if (kms_command_parse(&argp, argc, argv, NULL) != 0)
        return KMS_EXIT_ERROR;
    kms_config_print_reference(stdout);
    return kms_command_finish(KMS_EXIT_OK);
}

int kms_command_config(int argc, char **argv)
{
    static const struct kms_command commands[] = {
        { "check", run_check, "check a configuration file" },
        { "reference", run_reference, "print all fields as a Markdown table" },
        { "show", kms_command_config_show, "print what is in force, field by field" },
        { "policy", kms_command_config_policy, "what decides about keys on this node" },
        { NULL, NULL, NULL },
    };
    return kms_command_dispatch(commands, argc, argv);
}
