/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "account.h"
#include "audit_log.h"
#include "command.h"
#include "inspect.h"
#include "kms/clock.h"
#include "own_file.h"
#include "unwrapper.h"

enum { OUTCOME_MAX = 600 };

/* --- whose PIN it is --- */

static bool is_same_file(const char *a, const char *b)
{
    struct stat of_a, of_b;
    if (strcmp(a, b) == 0)
        return true;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

static bool is_of_service(const struct kms_config *config, const char *pin_file)
{
    const char *equals = strchr(pin_file, '='); /* NAME=FILE */
    for (size_t i = 0; i < config->token_count; i++)
        if (is_same_file(pin_file, config->tokens[i].pin_file) ||
            (equals != NULL && is_same_file(equals + 1, config->tokens[i].pin_file)))
            return true;
    return false;
}

/* NULL: it is the caller's own. */
static const char *judge_pin(const struct kms_inspect_options *options,
                             const struct kms_config *config)
{
    const struct kms_keyring_options *keyring = &options->keyring;
    if (keyring->ask_pin)
        return NULL;
    if (keyring->pin_file_count == 0)
        return "it needs a PIN of your own: --ask-pin, or --pin-file FILE";
    for (size_t i = 0; i < keyring->pin_file_count; i++)
        if (is_of_service(config, keyring->pin_files[i]))
            return "that is the service's PIN file; it needs a PIN of your own: --ask-pin, or "
                   "another --pin-file";
    return NULL;
}

/* --- the audit log --- */

static struct kms_audit_command line_of(const struct kms_inspected *inspected, const char *what,
                                        const char *key, char ret_outcome[static OUTCOME_MAX],
                                        char ret_key_id[static KMS_VALUE_KEY_ID_MAX + 1])
{
    (void)snprintf(ret_outcome, OUTCOME_MAX, "%s: %s", what, key);
    (void)snprintf(ret_key_id, KMS_VALUE_KEY_ID_MAX + 1, "%.*s", (int)inspected->value.key_id.len,
                   (const char *)inspected->value.key_id.data);
    return (struct kms_audit_command){ .op = "inspect-decrypt",
                                       .outcome = ret_outcome,
                                       .key_id = ret_key_id };
}

static enum kms_code record(const struct kms_config *config,
                            const struct kms_inspect_options *options,
                            const struct kms_inspected *inspected, const char *what, bool done,
                            enum kms_code code, struct kms_error *err)
{
    char outcome[OUTCOME_MAX], key_id[KMS_VALUE_KEY_ID_MAX + 1];
    struct kms_audit_command line = line_of(inspected, what, options->key, outcome, key_id);
    line.done = done;
    line.code = code;
    return kms_audit_log_line(config, &line, err);
}

/* Written as the owner of state_dir, whose file it is. */
static int refuse(const struct kms_config *config, const struct kms_inspect_options *options,
                  const struct kms_inspected *inspected, const char *why)
{
    struct kms_error err = { .code = KMS_OK };
    struct kms_account account = kms_account_of(config->state_dir);
    enum kms_code rc = kms_account_become(&account, &err);
    if (rc == KMS_OK)
        rc = record(config, options, inspected, "refused", true, KMS_E_PRECONDITION, &err);
    if (rc != KMS_OK)
        kms_command_note("this refusal is missing from the audit log: %s", err.msg);
    (void)kms_command_error("refused: %s", why);
    return KMS_EXIT_REFUSED;
}

/* --- the object --- */

static enum kms_code unwrap(struct kms_keyring *keyring, const struct kms_value *value,
                            struct kms_proof *ret_proof, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { .count = 0 };
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = NULL;
    enum kms_code rc = kms_keyring_list(keyring, &inventory, err);
    if (rc == KMS_OK)
        rc = kms_keyring_judge(keyring, &inventory, kms_utc_s(), &snapshot, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_unwrapper unwrapper = { .ring = keyring->config.ring,
                                       .keystore = keyring->keystore,
                                       .snapshot = snapshot };
    return kms_unwrapper_prove(&unwrapper, value, ret_proof, err);
}

static enum kms_code fail_proof(const struct kms_proof *proof, struct kms_error *err)
{
    switch (proof->result) {
    case KMS_PROOF_GOOD:
        break;
    case KMS_PROOF_SWAPPED:
        return kms_fail(err, KMS_E_CORRUPT, "its key_id was changed: %s", proof->why);
    case KMS_PROOF_CORRUPT:
        return kms_fail(err, KMS_E_CORRUPT, "the DEK source unwraps under no KEK of the ring%s%s",
                        proof->why[0] != '\0' ? ": " : "", proof->why);
    case KMS_PROOF_LOST:
        return kms_fail(err, KMS_E_KEY_UNKNOWN, "%s", proof->why);
    case KMS_PROOF_BARRED:
        return kms_fail(err, KMS_E_PRECONDITION, "%s", proof->why);
    case KMS_PROOF_FOREIGN:
        return kms_fail(err, KMS_E_INVALID, "the key_id is of another ring or plugin");
    }
    return kms_fail(err, KMS_E_INTERNAL, "no proof");
}

static enum kms_code decrypt(struct kms_keyring *keyring, const struct kms_inspect_options *options,
                             const struct kms_value *value, struct kms_plaintext *ret_object,
                             struct kms_error *err)
{
    KMS_CLEANUP(kms_proof_done) struct kms_proof proof = { .generation = 0 };
    enum kms_code rc = unwrap(keyring, value, &proof, err);
    if (rc != KMS_OK)
        return rc;
    if (proof.result != KMS_PROOF_GOOD)
        return fail_proof(&proof, err);
    return kms_object_open(value, kms_bytes_of(options->key), &proof.seed, ret_object, err);
}

/* Unbuffered: the object is in no memory but its own, which is wiped. */
static enum kms_code write_object(FILE *out, const char *path, const struct kms_plaintext *object,
                                  struct kms_error *err)
{
    (void)setvbuf(out, NULL, _IONBF, 0);
    if (fwrite(object->data, 1, object->len, out) == object->len)
        return KMS_OK;
    return kms_fail_errno(err, KMS_E_PRECONDITION, "write", errno, "can't write %.200s", path);
}

static int fail(const struct kms_error *err)
{
    (void)kms_command_fail(err);
    return err->code == KMS_E_KEY_UNKNOWN ? KMS_EXIT_LOST : KMS_EXIT_ERROR;
}

static int open_object(const struct kms_inspect_options *options,
                       const struct kms_inspected *inspected, FILE *out)
{
    const char *path = options->to_stdout ? "stdout" : options->out_path;
    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { .token_count = 0 };
    KMS_CLEANUP(kms_plaintext_done) struct kms_plaintext object = { .data = NULL };
    struct kms_error err = { .code = KMS_OK }, unrecorded = { .code = KMS_OK };
    if (kms_keyring_init(&keyring, &options->keyring, &err) != KMS_OK)
        return fail(&err);
    if (record(&keyring.config, options, inspected, "object", false, KMS_OK, &err) != KMS_OK)
        return kms_audit_log_refuse(&err);
    enum kms_code rc = decrypt(&keyring, options, &inspected->value, &object, &err);
    if (rc == KMS_OK)
        rc = write_object(out, path, &object, &err);
    if (record(&keyring.config, options, inspected, rc == KMS_OK ? "written" : "failed", true, rc,
               &unrecorded) != KMS_OK)
        kms_command_note("what came of it is missing from the audit log: %s", unrecorded.msg);
    return rc == KMS_OK ? KMS_EXIT_OK : fail(&err);
}

/* As whoever runs the command: the file is made before that becomes the owner of state_dir. */
static int open_to_file(const struct kms_inspect_options *options,
                        const struct kms_inspected *inspected)
{
    struct kms_error err = { .code = KMS_OK };
    FILE *out = NULL;
    if (kms_own_file_open(options->out_path, &out, &err) != KMS_OK)
        return kms_command_fail(&err);
    int code = open_object(options, inspected, out);
    if (kms_own_file_finish(out, options->out_path, &err) != KMS_OK)
        code = kms_command_fail(&err);
    if (code != KMS_EXIT_OK && unlink(options->out_path) != 0)
        kms_command_note("%s stays: delete it", options->out_path);
    return code;
}

int kms_inspect_open(const struct kms_inspect_options *options,
                     const struct kms_inspected *inspected)
{
    KMS_CLEANUP(kms_config_done) struct kms_config config = { 0 };
    struct kms_error err = { .code = KMS_OK };
    const char *path = options->keyring.config_path;
    if (kms_config_load(path != NULL ? path : KMS_CONFIG_PATH, &config, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (config.audit.path == NULL)
        kms_command_note("no audit log is configured: nothing records this but the HSM");
    const char *why = judge_pin(options, &config);
    if (why != NULL)
        return refuse(&config, options, inspected, why);
    if (inspected->value.class != KMS_VALUE_KMS_V2)
        return kms_command_error("the value is %s; only kms-v2 can be opened%s%s",
                                 kms_value_class_name(inspected->value.class),
                                 inspected->value.problem != NULL ? ": " : "",
                                 inspected->value.problem != NULL ? inspected->value.problem : "");
    return options->to_stdout ? open_object(options, inspected, stdout)
                              : open_to_file(options, inspected);
}
