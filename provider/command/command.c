/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

struct dispatch {
    const struct kms_command *commands;
    int first; /* where the command's name stands in argv; 0: nowhere */
};

static const char *nearest(const struct kms_command *commands, const char *name)
{
    enum { EDITS_MAX = 2 };
    const char *best = NULL;
    size_t best_edits = EDITS_MAX + 1;
    for (const struct kms_command *command = commands; command->name != NULL; command++) {
        size_t edits = kms_text_distance(command->name, name);
        if (edits < best_edits) {
            best_edits = edits;
            best = command->name;
        }
    }
    return best;
}

static int run_named(const struct kms_command *commands, const char *prefix, int argc, char **argv)
{
    for (const struct kms_command *command = commands; command->name != NULL; command++) {
        if (strcmp(command->name, argv[0]) != 0)
            continue;
        char name[64];
        (void)snprintf(name, sizeof(name), "%s %s", prefix, command->name);
        char *given = argv[0];
        argv[0] = name;
        int code = command->run(argc, argv);
        argv[0] = given;
        return code;
    }
    const char *suggestion = nearest(commands, argv[0]);
    if (suggestion != NULL)
        return kms_command_error("unknown command '%s'; did you mean '%s %s'?", argv[0], prefix,
                                 suggestion);
    return kms_command_error("unknown command '%s'; '%s --help' lists all", argv[0], prefix);
}

static error_t parse_command(int key, char *arg, struct argp_state *state)
{
    struct dispatch *dispatch = state->input;
    (void)arg;
    if (key == ARGP_KEY_ARG) {
        dispatch->first = state->next - 1;
        state->next = state->argc; /* the rest is the command's own */
        return 0;
    }
    if (key == ARGP_KEY_NO_ARGS)
        argp_usage(state);
    return key == ARGP_KEY_END || key == ARGP_KEY_INIT ? 0 : ARGP_ERR_UNKNOWN;
}

/* argp frees what differs from @text. */
static char *list_commands(int key, const char *text, void *input)
{
    const struct dispatch *dispatch = input;
    if (key != ARGP_KEY_HELP_POST_DOC || dispatch == NULL)
        return (char *)(uintptr_t)text;
    char *list = NULL;
    size_t len = 0;
    FILE *out = kms_must_alloc(open_memstream(&list, &len));
    (void)fputs("Commands:\n", out);
    for (const struct kms_command *command = dispatch->commands; command->name != NULL; command++)
        (void)fprintf(out, "  %-12s %s\n", command->name, command->summary);
    (void)fputs("\nCOMMAND --help says more.", out);
    (void)fclose(out);
    return kms_must_alloc(list);
}

int kms_command_dispatch(const struct kms_command *commands, int argc, char **argv)
{
    struct dispatch dispatch = { .commands = commands };
    const struct argp argp = {
        .parser = parse_command,
        .args_doc = "COMMAND [OPTION...]",
        .doc = "Kubernetes KMS v2 plugin that wraps DEK seeds inside an HSM.\v",
        .help_filter = list_commands,
    };
    argp_err_exit_status = KMS_EXIT_ERROR;
    error_t rc = argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &dispatch);
    if (rc != 0 || dispatch.first == 0)
        return KMS_EXIT_ERROR;
    return run_named(commands, argv[0], argc - dispatch.first, argv + dispatch.first);
}

int kms_command_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    argp_err_exit_status = KMS_EXIT_ERROR;
    error_t rc = argp_parse(argp, argc, argv, 0, NULL, input);
    if (rc != 0)
        (void)kms_command_error("%s", strerror(rc));
    return rc;
}

enum { MESSAGE_MAX = 2048 };

static void say(const char *kind, const char *text)
{
    (void)fprintf(stderr, "hsm-kms: %s", kind);
    kms_text_put(stderr, text);
    (void)fputc('\n', stderr);
}

int kms_command_error(const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    say("", text);
    return KMS_EXIT_ERROR;
}

void kms_command_note(const char *fmt, ...)
{
    char text[MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    say("note: ", text);
}

int kms_command_fail(const struct kms_error *err)
{
    if (err->ckr == 0 || err->op == NULL || strstr(err->msg, err->op) != NULL)
        return kms_command_error("%s", err->msg);
    return kms_command_error("%s: %s (CKR 0x%lx)", err->op, err->msg, err->ckr);
}

const char *kms_command_advice(enum kms_code code)
{
    switch (code) {
    case KMS_OK:
        return "nothing to do";
    case KMS_E_INVALID:
        return "client and plugin disagree: use the same version of both";
    case KMS_E_KEY_UNKNOWN:
        return "restore the KEK to the token; do not delete objects";
    case KMS_E_CORRUPT:
        return "the token gives other bytes than it should: check the token and its KEK";
    case KMS_E_PRECONDITION:
        return "mend what the message names; the plugin then recovers by itself";
    case KMS_E_UNAVAILABLE:
        return "see that hsm-kms serve runs, listens on this socket and reaches its HSM; it "
               "reconnects by itself";
    case KMS_E_BUSY:
        return "try again; if it stays, allow more sessions";
    case KMS_E_DEADLINE:
        return "the plugin or its HSM is slow: try again, or see its log";
    case KMS_E_INTERNAL:
        return "see the plugin's log";
    }
    return "see the plugin's log";
}

int kms_command_finish(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0)
        return kms_command_error("stdout: %s", strerror(errno));
    return code;
}

bool kms_command_output_is_json(struct argp_state *state, const char *arg)
{
    if (strcmp(arg, "json") != 0 && strcmp(arg, "text") != 0)
        argp_error(state, "--output is text or json");
    return strcmp(arg, "json") == 0;
}

enum kms_code kms_command_socket_path(const char *socket, const char *config, char **ret_path,
                                      struct kms_error *err)
{
    if (socket != NULL || (config == NULL && access(KMS_CONFIG_PATH, F_OK) != 0)) {
        *ret_path = kms_must_alloc(strdup(socket != NULL ? socket : KMS_CONFIG_SOCKET_PATH));
        return KMS_OK;
    }
    KMS_CLEANUP(kms_config_done) struct kms_config loaded = { 0 };
    enum kms_code rc = kms_config_load(config != NULL ? config : KMS_CONFIG_PATH, &loaded, err);
    if (rc != KMS_OK)
        return rc;
    *ret_path = loaded.socket.path;
    loaded.socket.path = NULL;
    return KMS_OK;
}
