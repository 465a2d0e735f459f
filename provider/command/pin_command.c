/* SPDX-License-Identifier: Apache-2.0 */
#include "pin_check.h"

#include <stdio.h>

#include "audit_log.h"
#include "command.h"
#include "json.h"
#include "keyring.h"
#include "text.h"

struct options {
    struct kms_keyring_options keyring;
    bool last_attempt;
    bool dry_run;
};

enum { LAST_ATTEMPT = 256, DRY_RUN };
static const struct argp_option argp_options[] = {
    { "last-attempt", LAST_ATTEMPT, NULL, 0, "even if it is the last attempt before the lock", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what is known, and log in nowhere", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case LAST_ATTEMPT:
        options->last_attempt = true;
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- what it means --- */

static const char *const outcomes[] = {
    [PKCS11_PIN_NOT_TRIED] = "not-tried", [PKCS11_PIN_WITHHELD] = "withheld",
    [PKCS11_PIN_GOOD] = "good",           [PKCS11_PIN_REFUSED] = "refused",
    [PKCS11_PIN_LOCKED] = "locked",
};

static const char *const memories[] = {
    [PKCS11_PIN_MEMORY_NONE] = "nothing",    [PKCS11_PIN_MEMORY_GOOD] = "good",
    [PKCS11_PIN_MEMORY_REFUSED] = "refused", [PKCS11_PIN_MEMORY_UNFINISHED] = "unfinished",
    [PKCS11_PIN_MEMORY_DAMAGED] = "damaged", [PKCS11_PIN_MEMORY_UNKEPT] = "unkept",
};

static const char *memory_text(enum pkcs11_pin_memory memory)
{
    switch (memory) {
    case PKCS11_PIN_MEMORY_NONE:
        return "nothing was known of this PIN";
    case PKCS11_PIN_MEMORY_GOOD:
        return "this PIN was the last that worked";
    case PKCS11_PIN_MEMORY_REFUSED:
        return "the token refused this PIN before; no login tries it by itself";
    case PKCS11_PIN_MEMORY_UNFINISHED:
        return "a login with this PIN was cut short; whether it was refused isn't known";
    case PKCS11_PIN_MEMORY_DAMAGED:
        return "the file that remembers refused PINs can't be used; no login is made by itself";
    case PKCS11_PIN_MEMORY_UNKEPT:
        return "nothing can be remembered: state_dir isn't there, or can't be used";
    }
    return "";
}

/* PKCS#11 has three flags and no number. */
static const char *attempts_left(const struct pkcs11_pin_flags *flags)
{
    if (flags->locked)
        return "0";
    if (flags->final_try)
        return "1";
    return flags->count_low ? "at least 2" : "unknown: the token doesn't tell";
}

static const char *flags_text(const struct pkcs11_pin_flags *flags)
{
    if (flags->locked)
        return "locked";
    if (flags->final_try)
        return "final try";
    return flags->count_low ? "count low" : "none set";
}

static const char *next_step(const struct pkcs11_pin_trial *trial, bool of_service)
{
    switch (trial->outcome) {
    case PKCS11_PIN_NOT_TRIED:
        return "the same without --dry-run spends one attempt";
    case PKCS11_PIN_WITHHELD:
        return "be sure of the PIN, then add --last-attempt; a wrong one locks it";
    case PKCS11_PIN_GOOD:
        return of_service ? "nothing to do: the plugin logs in with it by itself"
                          : "if it is the service's, write it into tokens[].pin_file";
    case PKCS11_PIN_REFUSED:
        return "find out the right PIN before the next attempt; the plugin makes none with this "
               "one";
    case PKCS11_PIN_LOCKED:
        return "let the HSM's security officer unlock the user PIN, then run this again";
    }
    return "";
}

static int exit_code(enum pkcs11_pin_outcome outcome)
{
    switch (outcome) {
    case PKCS11_PIN_NOT_TRIED:
    case PKCS11_PIN_GOOD:
        return KMS_EXIT_OK;
    case PKCS11_PIN_REFUSED:
    case PKCS11_PIN_LOCKED:
        return KMS_EXIT_FINDINGS;
    case PKCS11_PIN_WITHHELD:
        return KMS_EXIT_REFUSED;
    }
    return KMS_EXIT_ERROR;
}

/* --- output --- */

static json_t *flags_json(const struct pkcs11_pin_flags *flags)
{
    json_t *object = json_object();
    kms_json_set(object, "count_low", json_boolean(flags->count_low));
    kms_json_set(object, "final_try", json_boolean(flags->final_try));
    kms_json_set(object, "locked", json_boolean(flags->locked));
    return object;
}

static void print_json(const struct pkcs11_pin_trial *trial, bool of_service)
{
    json_t *object = kms_json_open("pin-check");
    kms_json_set(object, "outcome", kms_json_text(outcomes[trial->outcome]));
    kms_json_set(object, "spent", json_boolean(trial->spent));
    kms_json_set(object, "token", kms_json_text(trial->token_label));
    kms_json_set(object, "serial", kms_json_text(trial->token_serial));
    kms_json_set(object, "before", flags_json(&trial->before));
    kms_json_set(object, "after", flags_json(&trial->after));
    kms_json_set(object, "attempts_left", kms_json_text(attempts_left(&trial->after)));
    kms_json_set(object, "was_known", kms_json_text(memories[trial->memory]));
    kms_json_set(object, "kept", json_boolean(trial->kept));
    kms_json_set(object, "reason", kms_json_text(trial->why.msg));
    kms_json_set(object, "next", kms_json_text(next_step(trial, of_service)));
    kms_json_print(object);
}

static void print_line(const char *name, const char *text)
{
    (void)printf("%-15s", name);
    kms_text_put(stdout, text);
    (void)putchar('\n');
}

static void print_text(const struct pkcs11_pin_trial *trial, bool of_service)
{
    (void)printf("PIN: %s", outcomes[trial->outcome]);
    if (trial->spent && trial->outcome != PKCS11_PIN_GOOD)
        (void)printf(" (one attempt was spent)");
    (void)putchar('\n');
    print_line("token", trial->token_label);
    print_line("serial", trial->token_serial);
    print_line("was known", memory_text(trial->memory));
    print_line("flags before", flags_text(&trial->before));
    if (trial->spent)
        print_line("flags after", flags_text(&trial->after));
    print_line("attempts left", attempts_left(&trial->after));
    if (trial->why.msg[0] != '\0')
        print_line("reason", trial->why.msg);
    (void)printf("next: %s\n", next_step(trial, of_service));
}

/* --- running --- */

static enum kms_code check_pin(const struct kms_keyring *keyring,
                               const struct kms_keyring_token *token,
                               struct pkcs11_pin_trial *trial, struct kms_error *err)
{
    const struct pkcs11_keystore_options options = kms_keyring_open_options(keyring, token);
    return pkcs11_pin_check(&options, NULL, kms_keyring_deadline(), trial, err);
}

/* No attempt is spent that the audit log doesn't have. */
static int check_recorded(const struct kms_keyring *keyring, const struct kms_keyring_token *token,
                          struct pkcs11_pin_trial *trial, struct kms_error *err)
{
    struct kms_audit_command line = { .op = "pin-check", .token = token->config->name };
    if (trial->spend &&
        kms_audit_log_begin_on(&keyring->config, line.op, line.token, err) != KMS_OK) {
        (void)kms_command_error("refused: %s", err->msg);
        return KMS_EXIT_REFUSED;
    }
    line.code = check_pin(keyring, token, trial, err);
    if (line.code == KMS_OK)
        line.outcome = outcomes[trial->outcome];
    if (trial->spend)
        kms_audit_log_done(&keyring->config, &line);
    return line.code == KMS_OK ? KMS_EXIT_OK : kms_command_fail(err);
}

static int run_check(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Logs in once to learn whether a PIN is the right one, also with one that the token "
               "refused before, and says how many attempts are thought left.  A wrong PIN spends "
               "one.  What comes out is remembered: the plugin tries a good PIN by itself, and a "
               "refused one no more.",
        .children = children,
    };
    struct options options = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { 0 };
    struct kms_error err = { 0 };
    struct pkcs11_pin_trial trial = { .spend = !options.dry_run,
                                      .last_attempt = options.last_attempt };
    const struct kms_keyring_token *token = NULL;
    enum kms_code rc = kms_keyring_init(&keyring, &options.keyring, &err);
    if (rc == KMS_OK)
        rc = kms_keyring_one(&keyring, &token, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    int code = check_recorded(&keyring, token, &trial, &err);
    if (code != KMS_EXIT_OK)
        return code;
    if (options.keyring.json)
        print_json(&trial, token->of_service);
    else
        print_text(&trial, token->of_service);
    return kms_command_finish(exit_code(trial.outcome));
}

int kms_command_pin(int argc, char **argv)
{
    static const struct kms_command commands[] = {
        { "check", run_check, "try a PIN once, knowingly" },
        { NULL, NULL, NULL },
    };
    return kms_command_dispatch(commands, argc, argv);
}
