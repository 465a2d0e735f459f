/* SPDX-License-Identifier: Apache-2.0 */
/* What all subcommands share: dispatch, exit codes, options, and how they speak to people. */
#ifndef KMS_COMMAND_H
#define KMS_COMMAND_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "kms/error.h"

enum kms_exit {
    KMS_EXIT_OK = 0,
    KMS_EXIT_ERROR = 1,
    KMS_EXIT_FINDINGS = 2, /* it worked, and found something that wants mending */
    KMS_EXIT_REFUSED = 3,  /* refused for safety; the text says what overrides it */
    KMS_EXIT_LOST = 4,     /* not recoverable; no command can know that yet */
};

/* A subcommand. Its argv[0] is its full name ("hsm-kms key create"), fit for argp. */
struct kms_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
};

/* Runs the one of @commands (ends with a NULL name) that argv[1] names, and returns its exit code.
 * --help lists them; an unknown name is an error with a suggestion. */
int kms_command_dispatch(const struct kms_command *commands, int argc, char **argv);

int kms_command_audit(int argc, char **argv);
int kms_command_audit_key(int argc, char **argv);
int kms_command_audit_show(int argc, char **argv);
int kms_command_serve(int argc, char **argv);
int kms_command_key(int argc, char **argv);
int kms_command_key_accept(int argc, char **argv);
int kms_command_key_create(int argc, char **argv);
int kms_command_key_rotate(int argc, char **argv);
int kms_command_key_list(int argc, char **argv);
int kms_command_key_nodes(int argc, char **argv);
int kms_command_key_ready(int argc, char **argv);
int kms_command_key_cancel(int argc, char **argv);
int kms_command_key_commit(int argc, char **argv);
int kms_command_key_describe(int argc, char **argv);
int kms_command_key_destroy(int argc, char **argv);
int kms_command_key_disable(int argc, char **argv);
int kms_command_key_enable(int argc, char **argv);
int kms_command_key_prepare(int argc, char **argv);
int kms_command_key_revert(int argc, char **argv);
int kms_command_key_escrow(int argc, char **argv);
int kms_command_key_import(int argc, char **argv);
int kms_command_key_transport(int argc, char **argv);
int kms_command_key_wrap(int argc, char **argv);
int kms_command_pin(int argc, char **argv);
int kms_command_probe(int argc, char **argv);
int kms_command_token(int argc, char **argv);
int kms_command_token_can_stop(int argc, char **argv);
int kms_command_token_drain(int argc, char **argv);
int kms_command_token_host(int argc, char **argv);
int kms_command_token_list(int argc, char **argv);
int kms_command_token_resume(int argc, char **argv);
int kms_command_verify(int argc, char **argv);
int kms_command_inspect(int argc, char **argv);
int kms_command_status(int argc, char **argv);
int kms_command_config(int argc, char **argv);
int kms_command_config_policy(int argc, char **argv);
int kms_command_config_show(int argc, char **argv);
int kms_command_doctor(int argc, char **argv);
int kms_command_evidence(int argc, char **argv);

/* argp_parse() with usage errors that exit 1.  Returns 0, or the errno to give up with. */
int kms_command_parse(const struct argp *argp, int argc, char **argv, void *input);

/* One line to stderr, "hsm-kms: …", escaped. Returns KMS_EXIT_ERROR. */
int kms_command_error(const char *fmt, ...) KMS_PRINTF(1, 2);
/* The same of @err, with the token's operation and CKR where the text doesn't name them. */
int kms_command_fail(const struct kms_error *err);
/* One line to stderr that is no failure: "hsm-kms: note: …". */
void kms_command_note(const char *fmt, ...) KMS_PRINTF(1, 2);

/* What an operator does about @code. Static. */
const char *kms_command_advice(enum kms_code code);

/* Reports a stdout that could not be written: call last. Returns @code or KMS_EXIT_ERROR. */
int kms_command_finish(int code);

/* "json" → true, "text" → false; anything else is a usage error. */
bool kms_command_output_is_json(struct argp_state *state, const char *arg);

/* Where the plugin listens: @socket if given, else what the configuration says (@config, or the
 * default file where there is one), else the default path.  *ret_path is owned: free(). */
KMS_MUST_CHECK enum kms_code kms_command_socket_path(const char *socket, const char *config,
                                                     char **ret_path, struct kms_error *err);

#endif
