/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "command.h"
#include "json.h"
#include "keyring.h"
#include "survey.h"
#include "text.h"

enum { COLUMNS = 5, PROFILE_COLUMNS = 4, NUMBER_TEXT = 24, SIZES_TEXT = 48, USES_TEXT = 64 };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

/* --- in words --- */

static const char *flags_text(const struct pkcs11_pin_flags *flags)
{
    if (flags->locked)
        return "locked";
    if (flags->final_try)
        return "one attempt is left";
    return flags->count_low ? "wrong PINs were entered since the last login" : "no wrong PIN known";
}

static const char *login_text(const struct pkcs11_survey *survey)
{
    if (!survey->login_required)
        return "not required";
    return survey->pin_initialized ? "required" : "required, and the user PIN isn't set";
}

static void count_text(unsigned long count, char ret_text[static NUMBER_TEXT])
{
    if (count == ~0UL)
        (void)snprintf(ret_text, NUMBER_TEXT, "not told");
    else
        (void)snprintf(ret_text, NUMBER_TEXT, "%lu", count);
}

static const char *template_text(const struct pkcs11_survey *survey)
{
    return survey->tell_value_len ? "with CKA_VALUE_LEN" : "without CKA_VALUE_LEN";
}

static const char *rights_text(const struct pkcs11_survey *survey)
{
    return survey->cipher ? "CKA_WRAP, CKA_UNWRAP, CKA_ENCRYPT, CKA_DECRYPT"
                          : "CKA_WRAP, CKA_UNWRAP";
}

static const char *next_step(const struct pkcs11_survey *survey)
{
    if (!survey->usable)
        return "allow CKM_AES_KEY_WRAP on the HSM, or give the service a user that may use it; "
               "this token can't hold KEKs as it is";
    if (survey->write_protected)
        return "the token is read-only: KEKs must be made by its administrator";
    return "nothing to do: hsm-kms key create makes a KEK here";
}

/* --- text --- */

static void uses_text(const struct pkcs11_survey_mechanism *mechanism,
                      char ret_text[static USES_TEXT])
{
    const struct {
        bool is;
        const char *name;
    } uses[] = {
        { mechanism->wraps, "wrap" },         { mechanism->unwraps, "unwrap" },
        { mechanism->encrypts, "encrypt" },   { mechanism->decrypts, "decrypt" },
        { mechanism->generates, "generate" }, { mechanism->hardware, "hw" },
    };
    size_t used = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        if (uses[i].is)
            used += (size_t)snprintf(ret_text + used, USES_TEXT - used, "%s%s", used > 0 ? " " : "",
                                     uses[i].name);
    }
}

static void add_row(struct kms_table *table, const struct pkcs11_survey_mechanism *mechanism)
{
    char number[NUMBER_TEXT], uses[USES_TEXT], sizes[SIZES_TEXT] = "";
    (void)snprintf(number, sizeof(number), "0x%lx", mechanism->number);
    uses_text(mechanism, uses);
    if (mechanism->told)
        (void)snprintf(sizes, sizeof(sizes), "%lu..%lu", mechanism->min_size, mechanism->max_size);
    kms_table_add(table, mechanism->name);
    kms_table_add(table, number);
    kms_table_add(table, mechanism->listed ? "yes" : "no");
    kms_table_add(table, mechanism->told ? uses : mechanism->refusal);
    kms_table_add(table, sizes);
}

static void print_mechanisms(const struct pkcs11_survey *survey)
{
    static const char *const header[COLUMNS] = { "MECHANISM", "NUMBER", "LISTED", "USES",
                                                 "KEY SIZES" };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_table_open(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        kms_table_add(table, header[i]);
    for (size_t i = 0; i < survey->mechanism_count; i++)
        add_row(table, &survey->mechanisms[i]);
    kms_table_print(table, stdout);
}

static void print_profiles(const struct pkcs11_survey *survey)
{
    static const char *const header[PROFILE_COLUMNS] = { "PROFILE", "NUMBER", "WORKS", "ANSWER" };
    KMS_CLEANUP(kms_table_close_ptr) struct kms_table *table = kms_table_open(PROFILE_COLUMNS);
    for (size_t i = 0; i < PROFILE_COLUMNS; i++)
        kms_table_add(table, header[i]);
    for (size_t i = 0; i < survey->profile_count; i++) {
        const struct pkcs11_survey_profile *profile = &survey->profiles[i];
        char number[NUMBER_TEXT];
        (void)snprintf(number, sizeof(number), "0x%lx", profile->number);
        kms_table_add(table, profile->name);
        kms_table_add(table, number);
        kms_table_add(table, profile->chosen ? "chosen" : (profile->works ? "yes" : "no"));
        kms_table_add(table, profile->works ? profile->proof : profile->answer);
    }
    kms_table_print(table, stdout);
}

static void print_line(const char *name, const char *text)
{
    (void)printf("%-15s", name);
    kms_text_put(stdout, text);
    (void)putchar('\n');
}

static void print_token(const struct pkcs11_survey *survey)
{
    const struct kms_token_info *token = &survey->token;
    char max[NUMBER_TEXT], open[NUMBER_TEXT];
    count_text(survey->sessions_max, max);
    count_text(survey->sessions_open, open);
    print_line("token", token->label);
    print_line("serial", token->serial);
    print_line("model", token->model);
    print_line("manufacturer", token->manufacturer);
    print_line("firmware", token->firmware);
    print_line("library", token->library);
    print_line("known as", survey->vendor[0] != '\0' ? survey->vendor : "no special case");
    print_line("login", login_text(survey));
    print_line("PIN", flags_text(&survey->pin));
    (void)printf("%-15s%lu..%lu bytes\n", "PIN length", survey->pin_min, survey->pin_max);
    print_line("sessions", survey->sessions_max == 0 ? "unlimited" : max);
    print_line("now open", open);
    print_line("writable", survey->write_protected ? "no" : "yes");
}

static void print_text(const struct pkcs11_survey *survey)
{
    print_token(survey);
    (void)putchar('\n');
    print_mechanisms(survey);
    (void)putchar('\n');
    print_profiles(survey);
    (void)putchar('\n');
    print_line("profile", survey->usable ? survey->token.profile : "none");
    if (survey->usable) {
        (void)printf("%-15s0x%lx\n", "mechanism", survey->number);
        print_line("test key", survey->test_key);
        print_line("compared", survey->compared ? "with the right answer" : "no");
        print_line("templates", template_text(survey));
        print_line("KEKs need", rights_text(survey));
    }
    print_line("reason", survey->reason);
    (void)printf("next: %s\n", next_step(survey));
}

/* --- JSON --- */

/* PKCS#11 says "not told" by the largest number. */
static json_t *count_json(unsigned long count)
{
    return count == ~0UL ? json_null() : json_integer((json_int_t)count);
}

static json_t *mechanism_json(const struct pkcs11_survey_mechanism *mechanism)
{
    json_t *object = json_object();
    kms_json_set(object, "name", kms_json_text(mechanism->name));
    kms_json_set(object, "number", json_integer((json_int_t)mechanism->number));
    kms_json_set(object, "listed", json_boolean(mechanism->listed));
    kms_json_set(object, "refusal", kms_json_text(mechanism->refusal));
    kms_json_set(object, "wrap", json_boolean(mechanism->wraps));
    kms_json_set(object, "unwrap", json_boolean(mechanism->unwraps));
    kms_json_set(object, "encrypt", json_boolean(mechanism->encrypts));
    kms_json_set(object, "decrypt", json_boolean(mechanism->decrypts));
    kms_json_set(object, "generate", json_boolean(mechanism->generates));
    kms_json_set(object, "hardware", json_boolean(mechanism->hardware));
    kms_json_set(object, "min_key_size", count_json(mechanism->min_size));
    kms_json_set(object, "max_key_size", count_json(mechanism->max_size));
    return object;
}

static json_t *token_json(const struct pkcs11_survey *survey)
{
    const struct kms_token_info *token = &survey->token;
    json_t *object = json_object();
    kms_json_set(object, "label", kms_json_text(token->label));
    kms_json_set(object, "serial", kms_json_text(token->serial));
    kms_json_set(object, "model", kms_json_text(token->model));
    kms_json_set(object, "manufacturer", kms_json_text(token->manufacturer));
    kms_json_set(object, "firmware", kms_json_text(token->firmware));
    kms_json_set(object, "library", kms_json_text(token->library));
    kms_json_set(object, "vendor", kms_json_text(survey->vendor));
    kms_json_set(object, "login_required", json_boolean(survey->login_required));
    kms_json_set(object, "pin_initialized", json_boolean(survey->pin_initialized));
    kms_json_set(object, "pin_count_low", json_boolean(survey->pin.count_low));
    kms_json_set(object, "pin_final_try", json_boolean(survey->pin.final_try));
    kms_json_set(object, "pin_locked", json_boolean(survey->pin.locked));
    kms_json_set(object, "pin_min", count_json(survey->pin_min));
    kms_json_set(object, "pin_max", count_json(survey->pin_max));
    kms_json_set(object, "sessions_max", count_json(survey->sessions_max));
    kms_json_set(object, "sessions_open", count_json(survey->sessions_open));
    kms_json_set(object, "write_protected", json_boolean(survey->write_protected));
    return object;
}

static json_t *tried_json(const struct pkcs11_survey *survey)
{
    json_t *list = json_array();
    for (size_t i = 0; i < survey->profile_count; i++) {
        const struct pkcs11_survey_profile *profile = &survey->profiles[i];
        json_t *object = json_object();
        kms_json_set(object, "name", kms_json_text(profile->name));
        kms_json_set(object, "mechanism", json_integer((json_int_t)profile->number));
        kms_json_set(object, "works", json_boolean(profile->works));
        kms_json_set(object, "chosen", json_boolean(profile->chosen));
        kms_json_set(object, "proof", kms_json_text(profile->proof));
        kms_json_set(object, "answer", kms_json_text(profile->answer));
        kms_json_append(list, object);
    }
    return list;
}

static json_t *profile_json(const struct pkcs11_survey *survey)
{
    json_t *object = json_object();
    kms_json_set(object, "usable", json_boolean(survey->usable));
    kms_json_set(object, "name", kms_json_text(survey->token.profile));
    kms_json_set(object, "mechanism",
                 survey->usable ? json_integer((json_int_t)survey->number) : json_null());
    kms_json_set(object, "test_key", kms_json_text(survey->test_key));
    kms_json_set(object, "compared", json_boolean(survey->compared));
    kms_json_set(object, "tell_value_len", json_boolean(survey->tell_value_len));
    kms_json_set(object, "kek_encrypts", json_boolean(survey->cipher));
    kms_json_set(object, "reason", kms_json_text(survey->reason));
    return object;
}

static void print_json(const struct pkcs11_survey *survey)
{
    json_t *object = kms_json_open("token-describe");
    json_t *mechanisms = json_array();
    for (size_t i = 0; i < survey->mechanism_count; i++)
        kms_json_append(mechanisms, mechanism_json(&survey->mechanisms[i]));
    kms_json_set(object, "token", token_json(survey));
    kms_json_set(object, "mechanisms", mechanisms);
    kms_json_set(object, "profiles", tried_json(survey));
    kms_json_set(object, "profile", profile_json(survey));
    kms_json_set(object, "next", kms_json_text(next_step(survey)));
    kms_json_print(object);
}

/* --- running --- */

static enum kms_code survey_token(const struct kms_keyring *keyring, struct pkcs11_survey *survey,
                                  struct kms_error *err)
{
    const struct kms_keyring_token *token = NULL;
    enum kms_code rc = kms_keyring_one(keyring, &token, err);
    if (rc != KMS_OK)
        return rc;
    const struct pkcs11_keystore_options options = kms_keyring_open_options(keyring, token);
    return pkcs11_survey(&options, NULL, kms_keyring_deadline(), survey, err);
}

static int run_describe(int argc, char **argv)
{
    static const struct argp_child children[] = { { &kms_keyring_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        .parser = parse,
        .doc =
            "Logs in, and says what the token is, which mechanisms it has, and by which of them "
            "it wraps: chosen as the plugin does, by trying with a throwaway key.  Nothing stays "
            "on the token.",
        .children = children,
    };
    struct kms_keyring_options options = { 0 };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { 0 };
    struct kms_error err = { 0 };
    struct pkcs11_survey survey;
    enum kms_code rc = kms_keyring_init(&keyring, &options, &err);
    if (rc == KMS_OK)
        rc = survey_token(&keyring, &survey, &err);
    if (rc != KMS_OK)
        return kms_command_fail(&err);
    if (options.json)
        print_json(&survey);
    else
        print_text(&survey);
    return kms_command_finish(survey.usable ? KMS_EXIT_OK : KMS_EXIT_FINDINGS);
}

int kms_command_token(int argc, char **argv)
{
    static const struct kms_command commands[] = {
        { "list", kms_command_token_list,
          "the configured tokens, as the running plugin uses them" },
        { "can-stop", kms_command_token_can_stop, "whether this node can do without a token" },
        { "drain", kms_command_token_drain, "let the plugin leave a token alone for a while" },
        { "resume", kms_command_token_resume, "let the plugin use it again" },
        { "describe", run_describe, "say what the token is, can do, and how it wraps" },
        { NULL, NULL, NULL },
    };
    return kms_command_dispatch(commands, argc, argv);
}
