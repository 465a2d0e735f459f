/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms key accept`: an operator vouches for a key that this node wouldn't trust by itself. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit_log.h"
#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "key_plan.h"
#include "keyring.h"
#include "kms/clock.h"
#include "request.h"
#include "text.h"

enum { KEK_BYTES = 32, WARNING_MAX = 320 };

struct options {
    struct kms_keyring_options keyring;
    uint32_t generation;
    bool named; /* --fingerprint was given */
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    bool dry_run;
};

/* The token as this node judges it, and what the command says in the end. */
struct outcome {
    const char *name; /* shown, planned, requested, waiting, unchanged */
    bool changed;
    struct kms_snapshot *snapshot;
    const struct kms_pin *pin; /* this node's, of the generation; NULL: none */
    char warning[WARNING_MAX]; /* "" if there is time to accept it elsewhere, too */
};

enum { GENERATION = 256, FINGERPRINT, DRY_RUN };
static const struct argp_option argp_options[] = {
    { "generation", GENERATION, "N", 0, "the generation whose key is meant", 0 },
    { "fingerprint", FINGERPRINT, "HEX", 0,
      "its fingerprint as the key's custodian told you; without it the keys are only shown", 0 },
    { "dry-run", DRY_RUN, NULL, 0, "say what would be done", 0 },
    { 0 },
};

static uint32_t parse_generation(const char *arg, struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(arg, &end, 10);
    if (arg[0] < '0' || arg[0] > '9' || *end != '\0' || errno != 0 || number < 1 ||
        number > KMS_GENERATION_MAX)
        argp_error(state, "--generation: '%.32s' is not a number from 1 to %d", arg,
                   (int)KMS_GENERATION_MAX);
    return (uint32_t)number;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->keyring;
        return 0;
    case GENERATION:
        options->generation = parse_generation(arg, state);
        return 0;
    case FINGERPRINT:
        options->named = kms_hex_decode(arg, options->fingerprint, KMS_FINGERPRINT_LEN);
        if (!options->named)
            argp_error(state, "--fingerprint wants all %d hexadecimal digits",
                       2 * (int)KMS_FINGERPRINT_LEN);
        return 0;
    case DRY_RUN:
        options->dry_run = true;
        return 0;
    case ARGP_KEY_END:
        if (options->generation == 0)
            argp_error(state, "--generation N is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* --- deciding --- */

static bool is_on_token(const struct kms_ring_entry *entry, uint32_t generation)
{
    return entry->generation == generation && entry->state != KMS_KEK_MISSING;
}

static const struct kms_ring_entry *find_key(const struct kms_snapshot *snapshot,
                                             uint32_t generation, const uint8_t *fingerprint)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (is_on_token(entry, generation) && entry->kek.fingerprinted &&
            memcmp(entry->kek.fingerprint, fingerprint, KMS_FINGERPRINT_LEN) == 0)
            return entry;
    }
    return NULL;
}

/* Why no operator can make this key a KEK; NULL: nothing. */
static const char *unfit(const struct kms_kek_info *kek)
{
    uint32_t is = kek->attributes & kek->known, is_not = ~kek->attributes & kek->known;
    if ((is & KMS_KEK_EXTRACTABLE) != 0)
        return "CKA_EXTRACTABLE is true: the key could leave the token";
    if ((is_not & KMS_KEK_SENSITIVE) != 0)
        return "CKA_SENSITIVE is false: the key can be read";
    if (kek->value_len != 0 && kek->value_len != KEK_BYTES)
        return "it is not an AES-256 key";
    return NULL;
}

static bool contradicts_config(const struct kms_keyring *keyring, const struct options *options)
{
    const struct kms_pin *pin = kms_vouched_pin(&keyring->vouched, options->generation);
    return pin != NULL && memcmp(pin->fingerprint, options->fingerprint, KMS_FINGERPRINT_LEN) != 0;
}

/* KMS_EXIT_REFUSED with the reason on stderr, or KMS_EXIT_OK. */
static int check(const struct kms_keyring *keyring, const struct options *options,
                 const struct outcome *outcome)
{
    const struct kms_ring_entry *meant = find_key(outcome->snapshot, options->generation,
                                                  options->fingerprint);
    const char *problem = NULL;
    if (meant == NULL)
        problem = "no key of this generation has that fingerprint: compare it with the custodian's";
    else if (kms_state_is_buried(&keyring->state, options->generation))
        problem = "the generation was destroyed, its number is never used again: give the key "
                  "another one";
    else if (unfit(&meant->kek) != NULL)
        problem = unfit(&meant->kek);
    else if (contradicts_config(keyring, options))
        problem = "pins: in the configuration vouches for another key: take that entry out and "
                  "send SIGHUP first";
    else if (outcome->pin != NULL &&
             memcmp(outcome->pin->fingerprint, options->fingerprint, KMS_FINGERPRINT_LEN) != 0 &&
             find_key(outcome->snapshot, options->generation, outcome->pin->fingerprint) != NULL)
        problem = "the pinned key is on the token too, and what it wrapped couldn't be read any "
                  "more: take the wrong one of the two off the token first";
    if (problem == NULL)
        return KMS_EXIT_OK;
    (void)kms_command_error("refused: generation %" PRIu32 ": %s", options->generation, problem);
    return KMS_EXIT_REFUSED;
}

static bool is_pinned_so(const struct outcome *outcome, const struct options *options)
{
    return outcome->pin != NULL &&
           memcmp(outcome->pin->fingerprint, options->fingerprint, KMS_FINGERPRINT_LEN) == 0;
}

/* What an earlier run asked for this generation and no daemon applied yet; false: nothing. */
static bool find_request(const struct kms_keyring *keyring, uint32_t generation,
                         struct kms_request *ret_request)
{
    KMS_CLEANUP(kms_request_list_done) struct kms_request_list list = { 0 };
    struct kms_error ignored; /* then it is asked for again */
    if (kms_request_read(keyring->config.state_dir, &list, &ignored) != KMS_OK)
        return false;
    for (size_t i = 0; i < list.count; i++) {
        const struct kms_request *request = &list.files[i].request;
        if (list.files[i].fault.code != KMS_OK || request->kind != KMS_REQUEST_ACCEPT ||
            request->generation != generation)
            continue;
        *ret_request = *request;
        return true;
    }
    return false;
}

static enum kms_code act(const struct kms_keyring *keyring, const struct options *options,
                         struct outcome *outcome, struct kms_error *err)
{
    struct kms_request waiting;
    bool is_waiting = find_request(keyring, options->generation, &waiting);
    if (is_waiting && memcmp(waiting.fingerprint, options->fingerprint, KMS_FINGERPRINT_LEN) == 0) {
        outcome->name = "waiting";
        return KMS_OK;
    }
    if (!is_waiting && is_pinned_so(outcome, options)) {
        outcome->name = "unchanged";
        return KMS_OK;
    }
    outcome->name = options->dry_run ? "planned" : "requested";
    if (options->dry_run)
        return KMS_OK;
    enum kms_code rc = kms_request_accept(keyring->config.state_dir, options->generation,
                                          options->fingerprint, err);
    outcome->changed = rc == KMS_OK;
    return rc;
}

/* From the activation on a node that trusts the key wraps with it, and one that doesn't can't unwrap
 * that.  A number at or below the promoted one is never promoted again. */
static void warn_if_late(const struct kms_keyring *keyring, const struct options *options,
                         struct outcome *outcome)
{
    const struct kms_config *config = &keyring->config;
    const struct kms_ring_entry *meant = find_key(outcome->snapshot, options->generation,
                                                  options->fingerprint);
    int64_t now_utc_s = kms_utc_s();
    int64_t lead_s = kms_key_lead_s(config->refresh_ms, config->clock_skew_ms);
    if (meant == NULL || options->generation <= keyring->state.promoted ||
        meant->activation_utc_s > now_utc_s + lead_s)
        return;
    char stamp[KMS_RFC3339_LEN + 1];
    kms_rfc3339_format(meant->activation_utc_s, stamp);
    (void)snprintf(
        outcome->warning, sizeof(outcome->warning),
        "the activation of generation %" PRIu32
        " %s %s: this node wraps with it as soon as it has pinned and promoted it, and a "
        "node that hasn't accepted it can't decrypt that: accept it there at once",
        options->generation, meant->activation_utc_s > now_utc_s ? "is near," : "has passed,",
        stamp);
}

/* --- saying --- */

static const char *origin_of(const struct kms_kek_info *kek)
{
    if ((kek->known & KMS_KEK_LOCAL) == 0)
        return "unknown (the token doesn't tell CKA_LOCAL)";
    return (kek->attributes & KMS_KEK_LOCAL) != 0 ? "made on a token (CKA_LOCAL is true)"
                                                  : "foreign (CKA_LOCAL is false)";
}

static void print_json(const struct kms_keyring *keyring, const struct options *options,
                       const struct outcome *outcome)
{
    json_t *object = kms_json_open("key-accept");
    json_t *keks = json_array();
    for (size_t i = 0; i < outcome->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &outcome->snapshot->entries[i];
        if (!is_on_token(entry, options->generation))
            continue;
        struct kms_kek_view view = kms_kek_view_of(entry);
        json_t *kek = json_object();
        kms_kek_view_json(&view, kek);
        kms_json_set(kek, "origin", kms_json_text(origin_of(&entry->kek)));
        kms_json_append(keks, kek);
    }
    const struct kms_pin *pin = outcome->pin;
    kms_json_set(object, "changed", json_boolean(outcome->changed));
    kms_json_set(object, "dry_run", json_boolean(options->dry_run));
    kms_json_set(object, "outcome", kms_json_text(outcome->name));
    kms_json_set(object, "ring", kms_json_text(keyring->config.ring));
    kms_json_set(object, "generation", json_integer(options->generation));
    kms_json_set(object, "pinned",
                 pin != NULL
                     ? kms_json_hex((struct kms_bytes){ pin->fingerprint, KMS_FINGERPRINT_LEN })
                     : json_null());
    kms_json_set(object, "warning", kms_json_text(outcome->warning));
    kms_json_set(object, "keks", keks);
    kms_json_print(object);
}

/* All of it: it is to be compared, and typed. */
static void note_fingerprint(const struct kms_kek_view *view, struct kms_table *table)
{
    char digits[2 * KMS_FINGERPRINT_LEN + 1], text[sizeof(digits) + 16];
    if (view->fingerprint.len != KMS_FINGERPRINT_LEN)
        return;
    kms_hex_encode(view->fingerprint, digits);
    (void)snprintf(text, sizeof(text), "fingerprint: %s", digits);
    kms_table_note(table, text);
}

static void print_keys(const struct options *options, const struct outcome *outcome)
{
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_kek_view_table(false);
    for (size_t i = 0; i < outcome->snapshot->count; i++) {
        const struct kms_ring_entry *entry = &outcome->snapshot->entries[i];
        if (!is_on_token(entry, options->generation))
            continue;
        struct kms_kek_view view = kms_kek_view_of(entry);
        kms_kek_view_row(&view, false, table);
        note_fingerprint(&view, table);
        (void)printf("origin: ");
        kms_text_put(stdout, entry->kek.label);
        (void)printf(" was %s\n", origin_of(&entry->kek));
    }
    kms_table_print(table, stdout);
    if (outcome->pin == NULL)
        return;
    char digits[2 * KMS_FINGERPRINT_LEN + 1];
    kms_hex_encode((struct kms_bytes){ outcome->pin->fingerprint, KMS_FINGERPRINT_LEN }, digits);
    (void)printf("pinned on this node: %s\n", digits);
    if (options->named && !is_pinned_so(outcome, options))
        (void)puts(
            "what the pinned key wrapped can't be read any more while the other is accepted");
}

static void print_next(const struct kms_keyring *keyring, const struct options *options,
                       const struct outcome *outcome)
{
    char digits[2 * KMS_FINGERPRINT_LEN + 1], refresh[KMS_DURATION_LEN + 1];
    kms_hex_encode((struct kms_bytes){ options->fingerprint, KMS_FINGERPRINT_LEN }, digits);
    kms_duration_format(keyring->config.refresh_ms, refresh);
    if (outcome->warning[0] != '\0')
        (void)printf("warning: %s\n", outcome->warning);
    if (strcmp(outcome->name, "planned") == 0) {
        (void)puts("would leave the request to pin this key\nnext: run it again without --dry-run");
        return;
    }
    if (strcmp(outcome->name, "unchanged") == 0)
        (void)puts("this node pins this key already; nothing was changed");
    else
        (void)printf("%s: the plugin pins it at its next refresh (%s), or when it starts\n",
                     outcome->changed ? "requested" : "requested before, not yet applied", refresh);
    (void)printf("next: hsm-kms key accept --generation %" PRIu32
                 " --fingerprint %s on every other control-plane node of ring %s (each keeps its "
                 "own pins); then hsm-kms key ready --generation %" PRIu32 " --wait 5m on each\n",
                 options->generation, digits, keyring->config.ring, options->generation);
}

static int finish(const struct kms_keyring *keyring, const struct options *options,
                  const struct outcome *outcome)
{
    if (options->keyring.json)
        print_json(keyring, options, outcome);
    else
        print_keys(options, outcome);
    if (!options->named) {
        (void)kms_command_error(
            "refused: compare the fingerprint with the custodian's, then name it: hsm-kms key "
            "accept --generation %" PRIu32 " --fingerprint HEX",
            options->generation);
        return kms_command_finish(KMS_EXIT_REFUSED);
    }
    if (!options->keyring.json)
        print_next(keyring, options, outcome);
    return kms_command_finish(KMS_EXIT_OK);
}

/* --- running --- */

static enum kms_code look(struct kms_keyring *keyring, const struct options *options,
                          struct outcome *outcome, struct kms_error *err)
{
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { 0 };
    enum kms_code rc = kms_keyring_list(keyring, &inventory, err);
    if (rc == KMS_OK)
        rc = kms_keyring_judge(keyring, &inventory, kms_utc_s(), &outcome->snapshot, err);
    if (rc != KMS_OK)
        return rc;
    outcome->pin = kms_state_pin(&keyring->state, options->generation);
    for (size_t i = 0; i < outcome->snapshot->count; i++)
        if (is_on_token(&outcome->snapshot->entries[i], options->generation))
            return KMS_OK;
    return kms_fail(err, KMS_E_PRECONDITION,
                    "no key of generation %" PRIu32 " of ring %s is on the token; see hsm-kms key "
                    "list",
                    options->generation, keyring->config.ring);
}

static enum kms_code act_recorded(struct kms_keyring *keyring, const struct options *options,
                                  struct outcome *outcome, struct kms_error *err)
{
    enum kms_code rc = act(keyring, options, outcome, err);
    const struct kms_audit_command line = {
        .op = "key-accept", .outcome = outcome->name, .generation = options->generation, .code = rc
    };
    kms_audit_log_done(&keyring->config, &line);
    return rc;
}

static int accept_key(struct kms_keyring *keyring, const struct options *options,
                      struct outcome *outcome)
{
    struct kms_error err = { 0 };
    enum kms_code rc = look(keyring, options, outcome, &err);
    if (rc == KMS_OK && options->named) {
        int code = check(keyring, options, outcome);
        if (code != KMS_EXIT_OK)
            return code;
        warn_if_late(keyring, options, outcome);
        if (kms_audit_log_begin(&keyring->config, "key-accept", options->generation, &err) !=
            KMS_OK) {
            (void)kms_command_error("refused: %s", err.msg);
            return KMS_EXIT_REFUSED;
        }
        rc = act_recorded(keyring, options, outcome, &err);
    }
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    return finish(keyring, options, outcome);
}

int kms_command_key_accept(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc =
            "Makes this node trust the key of a generation that it doesn't trust by itself: one "
            "that was imported, or that knowingly took another's place.  The plugin applies it "
            "at its next refresh, or when it starts.  Each node keeps its own pins: repeat it on "
            "every node, before the activation; it warns when that is near or past.",
        .children = children,
    };
    struct options options = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;

    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { 0 };
    struct outcome outcome = { .name = "shown" };
    struct kms_error err = { 0 };
    if (kms_keyring_init(&keyring, &options.keyring, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (keyring.state_fault.code != KMS_OK) {
        (void)kms_command_error("refused: without ring.json nothing tells which key is pinned; "
                                "mend it first");
        return KMS_EXIT_REFUSED;
    }
    int code = accept_key(&keyring, &options, &outcome);
    kms_snapshot_release(outcome.snapshot);
    return code;
}
