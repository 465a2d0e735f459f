/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backups.h"
#include "command.h"
#include "json.h"
#include "kek_view.h"
#include "key_stage.h"
#include "kms/clock.h"
#include "text.h"

/* Everything that is told of one key. */
struct description {
    const struct kms_ring_entry *entry;
    struct kms_kek_details details;
    struct kms_token_info token;
    struct kms_backup backup; /* reference "" if none is known */
    int64_t age_s;            /* since the activation; below 0: it is still to come */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

static enum kms_code find_backup(const struct kms_key_scene *scene, struct description *description,
                                 struct kms_error *err)
{
    bool found = false;
    if (!description->entry->kek.fingerprinted)
        return KMS_OK;
    return kms_backups_find(scene->state_dir, NULL, description->entry->kek.fingerprint, &found,
                            &description->backup, err);
}

static enum kms_code describe(const struct kms_key_scene *scene, const struct kms_ring_entry *entry,
                              struct description *description, struct kms_error *err)
{
    const struct kms_object object = { entry->kek.label,
                                       { entry->kek.cka_id, entry->kek.cka_id_len } };
    description->entry = entry;
    description->age_s = scene->now_utc_s - entry->activation_utc_s;
    struct kms_token_info tokens[KMS_TOKENS_MAX];
    (void)kms_keystore_describe(scene->keystore, tokens);
    /* of several the first that has it, which is the one to be inspected */
    const uint32_t holders = entry->kek.holders;
    description->token = tokens[holders != 0 ? __builtin_ctz(holders) : 0];
    enum kms_code rc = kms_keystore_inspect(scene->keystore, &object, kms_keyring_deadline(),
                                            &description->details, err);
    if (rc != KMS_OK)
        return rc;
    struct kms_error why = { 0 };
    if (find_backup(scene, description, &why) != KMS_OK) /* the key is what was asked for */
        kms_command_note("its backup isn't known: %s", why.msg);
    return KMS_OK;
}

static const char *origin_of(const struct kms_kek_info *kek)
{
    if ((kek->known & KMS_KEK_LOCAL) == 0)
        return "unknown";
    return (kek->attributes & KMS_KEK_LOCAL) != 0 ? "generated on the token" : "imported";
}

/* NULL: it could never leave the token, or nobody told. */
static const char *could_leave(const struct kms_kek_info *kek)
{
    bool left_once = (kek->known & KMS_KEK_NEVER_EXTRACTABLE) != 0 &&
                     (kek->attributes & KMS_KEK_NEVER_EXTRACTABLE) == 0;
    if (!left_once)
        return NULL;
    return (kek->known & kek->attributes & KMS_KEK_LOCAL) != 0
               ? "it was extractable until it was sealed, as key escrow export does"
               : "it was made elsewhere and came in from there";
}

/* The four that say whether the key could ever be elsewhere, and what it may do. */
static const struct {
    enum kms_kek_attribute bit;
    const char *name;
} asserted[] = {
    { KMS_KEK_SENSITIVE, "CKA_SENSITIVE" },
    { KMS_KEK_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE" },
    { KMS_KEK_EXTRACTABLE, "CKA_EXTRACTABLE" },
    { KMS_KEK_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE" },
    { KMS_KEK_LOCAL, "CKA_LOCAL" },
    { KMS_KEK_PRIVATE, "CKA_PRIVATE" },
    { KMS_KEK_WRAP, "CKA_WRAP" },
    { KMS_KEK_UNWRAP, "CKA_UNWRAP" },
    { KMS_KEK_ENCRYPT, "CKA_ENCRYPT" },
    { KMS_KEK_DECRYPT, "CKA_DECRYPT" },
};
enum { ASSERTED_COUNT = sizeof(asserted) / sizeof(asserted[0]) };

/* CKM_AES_KEY_GEN is what our own keys say; other mechanisms are shown as numbers. */
static void mechanism_text(const struct kms_kek_details *details, char *ret_text, size_t size)
{
    const unsigned long aes_key_gen = 0x1080, unavailable = ~0UL;
    if (!details->has_mechanism)
        (void)snprintf(ret_text, size, "unknown");
    else if (details->key_gen_mechanism == unavailable)
        (void)snprintf(ret_text, size, "none: not generated on a token");
    else if (details->key_gen_mechanism == aes_key_gen)
        (void)snprintf(ret_text, size, "CKM_AES_KEY_GEN");
    else
        (void)snprintf(ret_text, size, "0x%lx", details->key_gen_mechanism);
}

/* --- JSON --- */

static json_t *token_json(const struct kms_token_info *token)
{
    json_t *object = json_object();
    kms_json_set(object, "label", kms_json_text(token->label));
    kms_json_set(object, "serial", kms_json_text(token->serial));
    kms_json_set(object, "manufacturer", kms_json_text(token->manufacturer));
    kms_json_set(object, "model", kms_json_text(token->model));
    kms_json_set(object, "firmware", kms_json_text(token->firmware));
    kms_json_set(object, "library", kms_json_text(token->library));
    kms_json_set(object, "profile", kms_json_text(token->profile));
    return object;
}

/* null: the token didn't tell. */
static json_t *asserted_json(const struct kms_kek_details *details)
{
    char mechanism[32];
    const struct kms_kek_info *kek = &details->info;
    json_t *object = json_object();
    for (size_t i = 0; i < ASSERTED_COUNT; i++) {
        uint32_t bit = (uint32_t)asserted[i].bit;
        bool known = (kek->known & bit) != 0;
        kms_json_set(object, asserted[i].name,
                     known ? json_boolean((kek->attributes & bit) != 0) : json_null());
    }
    mechanism_text(details, mechanism, sizeof(mechanism));
    kms_json_set(object, "CKA_KEY_GEN_MECHANISM", kms_json_text(mechanism));
    kms_json_set(object, "CKA_VALUE_LEN",
                 kek->value_len != 0 ? json_integer((json_int_t)kek->value_len) : json_null());
    const struct kms_bytes check = { details->check_value, sizeof(details->check_value) };
    kms_json_set(object, "CKA_CHECK_VALUE",
                 details->has_check_value ? kms_json_hex(check) : json_null());
    kms_json_set(object, "CKA_MODIFIABLE", json_boolean(details->modifiable));
    kms_json_set(object, "CKA_COPYABLE", json_boolean(details->copyable));
    kms_json_set(object, "CKA_DESTROYABLE", json_boolean(details->destroyable));
    kms_json_set(object, "CKA_ID",
                 kms_json_hex((struct kms_bytes){ kek->cka_id, kek->cka_id_len }));
    return object;
}

static json_t *backup_json(const struct kms_backup *backup)
{
    if (backup->reference[0] == '\0')
        return json_null();
    json_t *object = json_object();
    kms_json_set(object, "reference", kms_json_text(backup->reference));
    kms_json_set(object, "recorded", kms_json_time(backup->recorded_utc_s));
    return object;
}

static void print_json(const char *ring, const struct description *description)
{
    json_t *object = kms_json_open("key-describe");
    struct kms_kek_view view = kms_kek_view_of(description->entry);
    kms_json_set(object, "changed", json_false());
    kms_json_set(object, "ring", kms_json_text(ring));
    kms_kek_view_json(&view, object);
    kms_json_set(object, "age_s", json_integer(description->age_s));
    kms_json_set(object, "adopted", json_boolean(description->entry->adopted));
    kms_json_set(object, "origin", kms_json_text(origin_of(&description->details.info)));
    kms_json_set(object, "could_leave_because",
                 could_leave(&description->details.info) != NULL
                     ? kms_json_text(could_leave(&description->details.info))
                     : json_null());
    kms_json_set(object, "token", token_json(&description->token));
    kms_json_set(object, "asserted_by_token", asserted_json(&description->details));
    kms_json_set(object, "backup", backup_json(&description->backup));
    kms_json_print(object);
}

/* --- text --- */

static void print_field(const char *name, const char *text)
{
    (void)printf("%-24s", name);
    kms_text_put(stdout, text != NULL && text[0] != '\0' ? text : "-");
    (void)putchar('\n');
}

static void print_age(int64_t age_s)
{
    char text[48];
    const int64_t day_s = INT64_C(86400);
    if (age_s < 0)
        (void)snprintf(text, sizeof(text), "active in %" PRId64 " s", -age_s);
    else
        (void)snprintf(text, sizeof(text), "%" PRId64 " days since its activation", age_s / day_s);
    print_field("age", text);
}

static void print_ring(const struct description *description)
{
    struct kms_kek_view view = kms_kek_view_of(description->entry);
    char text[96], hash[KMS_KEY_ID_HASH_LEN + 1], digits[2 * KMS_FINGERPRINT_LEN + 1] = "";
    (void)snprintf(text, sizeof(text), "%" PRIu32, view.generation);
    print_field("generation", text);
    print_field("label", view.label);
    print_field("state", view.state);
    if (view.reason[0] != '\0')
        print_field("", view.reason);
    kms_time_text(view.activation_utc_s, text, sizeof(text));
    print_field("activation", text);
    print_age(description->age_s);
    print_field("key_id", view.key_id);
    kms_key_id_hash(view.key_id, hash);
    print_field("sha256(key_id)", hash);
    if (view.fingerprint.len > 0)
        kms_hex_encode(view.fingerprint, digits);
    print_field("fingerprint", digits);
    print_field("origin", origin_of(&description->details.info));
    if (could_leave(&description->details.info) != NULL)
        print_field("could leave because", could_leave(&description->details.info));
    print_field("backup", description->backup.reference);
    if (description->entry->adopted)
        print_field("joined by", "adopt: in the configuration");
}

static void print_token(const struct kms_token_info *token)
{
    print_field("token", token->label);
    print_field("  serial", token->serial);
    print_field("  manufacturer", token->manufacturer);
    print_field("  model", token->model);
    print_field("  firmware", token->firmware);
    print_field("  library", token->library);
}

static void print_asserted(const struct kms_kek_details *details)
{
    const struct kms_kek_info *kek = &details->info;
    char text[2 * KMS_CKA_ID_MAX + 1];
    (void)puts("asserted by the token:");
    for (size_t i = 0; i < ASSERTED_COUNT; i++) {
        uint32_t bit = (uint32_t)asserted[i].bit;
        const char *value = (kek->attributes & bit) != 0 ? "true" : "false";
        char name[32];
        (void)snprintf(name, sizeof(name), "  %s", asserted[i].name);
        print_field(name, (kek->known & bit) != 0 ? value : "not told");
    }
    mechanism_text(details, text, sizeof(text));
    print_field("  mechanism", text);
    (void)snprintf(text, sizeof(text), "%zu bits", kek->value_len * 8);
    print_field("  size", kek->value_len != 0 ? text : "not told");
    text[0] = '\0';
    if (details->has_check_value)
        kms_hex_encode((struct kms_bytes){ details->check_value, sizeof(details->check_value) },
                       text);
    print_field("  check value", text);
    kms_hex_encode((struct kms_bytes){ kek->cka_id, kek->cka_id_len }, text);
    print_field("  CKA_ID", text);
}

static int tell(const struct kms_key_stage *stage, const struct kms_key_options *options)
{
    const struct kms_key_scene *scene = &stage->scene;
    struct kms_key_outcome outcome = { .name = "" };
    struct description description = { .age_s = 0 };
    struct kms_error err = { 0 };
    const struct kms_ring_entry *entry = kms_key_pick(scene, &options->target, &outcome);
    if (outcome.refused) {
        (void)kms_command_error("refused: %s", outcome.text);
        return KMS_EXIT_REFUSED;
    }
    if (entry == NULL)
        return kms_command_error("no such key of generation %" PRIu32 " is on the token",
                                 options->target.generation);
    if (describe(scene, entry, &description, &err) != KMS_OK)
        return kms_command_fail(&err);
    if (options->keyring.json) {
        print_json(scene->ring, &description);
        return KMS_EXIT_OK;
    }
    print_ring(&description);
    print_token(&description.token);
    print_asserted(&description.details);
    (void)puts("next: hsm-kms status shows what the running plugin does with it");
    return KMS_EXIT_OK;
}

int kms_command_key_describe(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_key_generation_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .parser = parse,
        .doc = "Shows everything that an auditor asks of a KEK: where it is, whether it can leave, "
               "what it may do, where it comes from, how old it is.  Attributes are what the token "
               "asserts.",
        .children = children,
    };
    struct kms_key_options options = { .target = { .generation = 0 } };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    KMS_CLEANUP(kms_key_stage_done) struct kms_key_stage stage = { .snapshot = NULL };
    const struct kms_key_inquiry nobody = { .ask_node = false };
    struct kms_error err = { 0 };
    if (kms_key_stage_init(&stage, &options.keyring, &nobody, &err) != KMS_OK)
        return kms_command_fail(&err);
    return kms_command_finish(tell(&stage, &options));
}
