/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms config show` and `config policy`: what the file and state_dir say now.  No field of the configuration
 * is a secret: a PIN is in a file of its own, and a URI with one isn't taken. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "account.h"
#include "backups.h"
#include "command.h"
#include "disabled.h"
#include "json.h"
#include "kms/clock.h"
#include "state.h"
#include "text.h"

struct options {
    const char *config;
    bool json;
};

static const struct argp_option argp_options[] = {
    { "config", 'c', "FILE", 0, "configuration (default " KMS_CONFIG_PATH ")", 0 },
    { "output", 'o', "FORMAT", 0, "text (default) or json", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'c':
        options->config = arg;
        return 0;
    case 'o':
        options->json = kms_command_output_is_json(state, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- fields --- */

static json_t *value_json(const struct kms_config_value *value)
{
    switch (value->kind) {
    case KMS_CONFIG_NONE:
        break;
    case KMS_CONFIG_TEXT:
        return kms_json_text(value->text);
    case KMS_CONFIG_NUMBER:
        return json_integer(value->number);
    case KMS_CONFIG_BOOL:
        return json_boolean(value->truth);
    }
    return json_null();
}

static void add_field(void *context, const struct kms_config_value *value)
{
    kms_json_set(context, value->field, value_json(value));
}

static json_t *mark_json(const struct kms_source_mark *mark)
{
    return kms_json_hex((struct kms_bytes){ mark->sha256, sizeof(mark->sha256) });
}

static void print_field(void *context, const struct kms_config_value *value)
{
    (void)context;
    kms_text_put(stdout, value->field);
    (void)fputs(" = ", stdout);
    switch (value->kind) {
    case KMS_CONFIG_NONE:
        (void)puts("(none)");
        return;
    case KMS_CONFIG_TEXT:
        kms_text_put(stdout, value->text);
        (void)putchar('\n');
        return;
    case KMS_CONFIG_NUMBER:
        (void)printf("%" PRId64 "\n", value->number);
        return;
    case KMS_CONFIG_BOOL:
        (void)puts(value->truth ? "true" : "false");
        return;
    }
}

/* What decides about keys: how they wrap, appear, may end, who must have them, what is recorded. */
static bool is_policy(const char *field)
{
    static const char *const whole[] = { "profile",    "refresh", "canary",
                                         "clock_skew", "pins",    "adopt" };
    static const char *const begun[] = { "rotation.", "policy.", "pins[",
                                         "adopt[",    "audit.",  "verify." };
    static const char *const of_token[] = { ".name", ".required", ".sync", ".user_type" };
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
        if (strcmp(field, whole[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof(begun) / sizeof(begun[0]); i++)
        if (strncmp(field, begun[i], strlen(begun[i])) == 0)
            return true;
    const char *end = strncmp(field, "tokens[", strlen("tokens[")) == 0 ? strchr(field, ']') : NULL;
    for (size_t i = 0; end != NULL && i < sizeof(of_token) / sizeof(of_token[0]); i++)
        if (strcmp(end + 1, of_token[i]) == 0)
            return true;
    return false;
}

static void add_policy(void *context, const struct kms_config_value *value)
{
    if (is_policy(value->field))
        add_field(context, value);
}

static void print_policy(void *context, const struct kms_config_value *value)
{
    if (is_policy(value->field))
        print_field(context, value);
}

/* --- what the node remembers --- */

struct memory {
    struct kms_config config;
    struct kms_state state;
    bool known;               /* there is a ring.json, and it can be read */
    struct kms_error problem; /* code not KMS_OK: something can't be */
};

static void memory_done(struct memory *memory)
{
    kms_state_done(&memory->state);
    kms_config_done(&memory->config);
}

/* As the owner of state_dir, whose files these are. */
static enum kms_code remember(struct memory *memory, struct kms_error *err)
{
    bool is_new = false;
    struct kms_account account = kms_account_of(memory->config.state_dir);
    enum kms_code rc = kms_account_become(&account, err);
    if (rc != KMS_OK)
        return rc;
    rc = kms_state_read(memory->config.state_dir, memory->config.ring, &memory->state, &is_new,
                        &memory->problem);
    memory->known = rc == KMS_OK && !is_new;
    return KMS_OK;
}

static int64_t disabled_since(struct memory *memory, uint32_t generation)
{
    struct kms_error why = { .code = KMS_OK };
    int64_t utc_s = 0;
    if (kms_disabled_since(memory->config.state_dir, generation, &utc_s, &why) != KMS_OK)
        memory->problem = why;
    return utc_s;
}

/* False: none is recorded. */
static bool find_backup(struct memory *memory, const uint8_t *fingerprint,
                        struct kms_backup *ret_backup)
{
    struct kms_error why = { .code = KMS_OK };
    bool found = false;
    if (kms_backups_find(memory->config.state_dir, NULL, fingerprint, &found, ret_backup, &why) !=
        KMS_OK)
        memory->problem = why;
    return found;
}

static json_t *confirmations_json(const struct kms_pin *pin)
{
    json_t *array = json_array();
    for (size_t i = 0; i < pin->token_count; i++) {
        json_t *token = json_object();
        kms_json_set(token, "token", kms_json_text(pin->tokens[i].name));
        kms_json_set(token, "serial", kms_json_text(pin->tokens[i].serial));
        kms_json_append(array, token);
    }
    return array;
}

static json_t *pin_json(struct memory *memory, const struct kms_pin *pin)
{
    struct kms_backup backup;
    bool backed_up = find_backup(memory, pin->fingerprint, &backup);
    json_t *object = json_object();
    kms_json_set(object, "generation", json_integer(pin->generation));
    kms_json_set(object, "fingerprint",
                 kms_json_hex((struct kms_bytes){ pin->fingerprint, KMS_FINGERPRINT_LEN }));
    kms_json_set(object, "confirmed_by", confirmations_json(pin));
    kms_json_set(object, "disabled_since", kms_json_time(disabled_since(memory, pin->generation)));
    kms_json_set(object, "backup", kms_json_text(backed_up ? backup.reference : NULL));
    kms_json_set(object, "backup_recorded", kms_json_time(backed_up ? backup.recorded_utc_s : 0));
    return object;
}

static json_t *drains_json(const struct kms_state *state)
{
    json_t *array = json_array();
    for (size_t i = 0; i < state->drain_count; i++) {
        json_t *drain = json_object();
        kms_json_set(drain, "token", kms_json_text(state->drains[i].token));
        kms_json_set(drain, "until", kms_json_time(state->drains[i].until_utc_s));
        kms_json_append(array, drain);
    }
    return array;
}

static json_t *waivers_json(const struct kms_state *state)
{
    json_t *array = json_array();
    for (size_t i = 0; i < state->waiver_count; i++) {
        json_t *waiver = json_object();
        kms_json_set(waiver, "generation", json_integer(state->waivers[i].generation));
        kms_json_set(waiver, "token", kms_json_text(state->waivers[i].token));
        kms_json_append(array, waiver);
    }
    return array;
}

static void print_memory_json(struct memory *memory)
{
    const struct kms_state *state = &memory->state;
    json_t *object = kms_json_open("config-policy"), *fields = json_object();
    json_t *pins = json_array(), *tombstones = json_array();
    kms_config_walk(&memory->config, add_policy, fields);
    for (size_t i = 0; i < state->pin_count; i++)
        kms_json_append(pins, pin_json(memory, &state->pins[i]));
    for (size_t i = 0; i < state->tombstone_count; i++)
        kms_json_append(tombstones, json_integer(state->tombstones[i]));
    kms_json_set(object, "ring", kms_json_text(memory->config.ring));
    kms_json_set(object, "fields", fields);
    kms_json_set(object, "node_state_known", json_boolean(memory->known));
    kms_json_set(object, "promoted", json_integer(state->promoted));
    kms_json_set(object, "pins", pins);
    kms_json_set(object, "tombstones", tombstones);
    kms_json_set(object, "drained", drains_json(state));
    kms_json_set(object, "waivers", waivers_json(state));
    kms_json_set(object, "problem",
                 kms_json_text(memory->problem.code != KMS_OK ? memory->problem.msg : NULL));
    kms_json_print(object);
}

static void print_pin(struct memory *memory, const struct kms_pin *pin)
{
    struct kms_backup backup;
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1], since[KMS_RFC3339_LEN + 1];
    int64_t utc_s = disabled_since(memory, pin->generation);
    kms_hex_encode((struct kms_bytes){ pin->fingerprint, KMS_FINGERPRINT_LEN }, fingerprint);
    (void)printf("generation %" PRIu32 " is pinned to %s", pin->generation, fingerprint);
    if (utc_s != 0) {
        kms_rfc3339_format(utc_s, since);
        (void)printf(", disabled since %s", since);
    }
    if (find_backup(memory, pin->fingerprint, &backup)) {
        (void)fputs(", backed up as ", stdout);
        kms_text_put(stdout, backup.reference);
    }
    (void)putchar('\n');
}

static void print_memory_text(struct memory *memory)
{
    const struct kms_state *state = &memory->state;
    kms_config_walk(&memory->config, print_policy, NULL);
    (void)printf("promoted generation %" PRIu32 "%s\n", state->promoted,
                 memory->known ? "" : ": this node remembers nothing");
    for (size_t i = 0; i < state->pin_count; i++)
        print_pin(memory, &state->pins[i]);
    for (size_t i = 0; i < state->tombstone_count; i++)
        (void)printf("generation %" PRIu32 " is buried: it never comes back\n",
                     state->tombstones[i]);
    if (memory->problem.code != KMS_OK)
        (void)kms_command_error("%s", memory->problem.msg);
    (void)puts("next: hsm-kms key list shows the KEKs that this is about");
}

/* --- the commands --- */

int kms_command_config_show(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "Shows every field of the configuration as the file says now: as written, else its "
               "default.  A running plugin uses what it read: status -o json has the same two "
               "SHA-256 of that.  Touches no token.",
    };
    struct options options = { .config = KMS_CONFIG_PATH };
    KMS_CLEANUP(kms_config_done) struct kms_config config = { 0 };
    struct kms_error err = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    if (kms_config_load(options.config, &config, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (!options.json) {
        kms_config_walk(&config, print_field, NULL);
        return kms_command_finish(KMS_EXIT_OK);
    }
    json_t *object = kms_json_open("config-show"), *fields = json_object();
    kms_config_walk(&config, add_field, fields);
    kms_json_set(object, "file", kms_json_text(options.config));
    kms_json_set(object, "settings_sha256", mark_json(&config.settings));
    kms_json_set(object, "vouched_sha256", mark_json(&config.vouched));
    kms_json_set(object, "fields", fields);
    kms_json_print(object);
    return kms_command_finish(KMS_EXIT_OK);
}

int kms_command_config_policy(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Shows what decides about keys on this node: settings as the file says now, and what "
            "state_dir remembers (promoted, pinned, disabled, buried, backed up, drained).  "
            "Touches no token.  Exits 2 if state_dir can't be read.",
    };
    struct options options = { .config = KMS_CONFIG_PATH };
    KMS_CLEANUP(memory_done) struct memory memory = { .known = false };
    struct kms_error err = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    if (kms_config_load(options.config, &memory.config, &err) != KMS_OK ||
        remember(&memory, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (options.json)
        print_memory_json(&memory);
    else
        print_memory_text(&memory);
    return kms_command_finish(memory.problem.code != KMS_OK ? KMS_EXIT_FINDINGS : KMS_EXIT_OK);
}
