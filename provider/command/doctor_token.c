/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the configuration, the PKCS#11 library, the token and its PIN. */
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"

static void check_config(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (doctor->config_fault.code != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "mend what the message names; hsm-kms config reference lists all fields",
                       "%s", doctor->config_fault.msg);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "ring '%s', %zu token(s), socket %s",
                       doctor->config.ring, doctor->config.token_count, doctor->config.socket.path);
}

static void check_module(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_doctor_token *token = &doctor->tokens[i];
        if (token->presence.module_fault.code == KMS_OK)
            kms_doctor_say(finding, KMS_DOCTOR_OK, "", "the library of %s loads and starts",
                           token->name);
        else if (token->missing[0] != '\0')
            kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                           "install these libraries where the loader finds them (ldd shows each)",
                           "%s: %.300s; missing: %s", token->name, token->presence.module_fault.msg,
                           token->missing);
        else
            kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                           "mend tokens[].module, or what the library's own configuration lacks",
                           "%s: %s", token->name, token->presence.module_fault.msg);
    }
}

static void check_token(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_doctor_token *token = &doctor->tokens[i];
        const struct pkcs11_presence *presence = &token->presence;
        if (presence->module_fault.code != KMS_OK)
            kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the check 'module'",
                           "%s: not looked for, its library doesn't load", token->name);
        else if (presence->token_fault.code != KMS_OK)
            kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                           "make tokens[].uri name one token that is there, by label and serial",
                           "%s: %s", token->name, presence->token_fault.msg);
        else
            kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                           "%s is '%s', serial %s, and no other matches", token->name,
                           presence->label, presence->serial);
    }
}

/* Where systemd puts credentials: their group only names the service. */
static bool is_credential(const char *path)
{
    return kms_path_is_below(path, "/run/credentials");
}

static void look_at_pin_file(const struct kms_doctor *doctor, const char *path,
                             struct kms_doctor_finding *finding)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "write the PIN there, mode 0400",
                       "the PIN file isn't there, or isn't a regular file");
        return;
    }
    unsigned mode = st.st_mode & 07777;
    bool root = st.st_uid == 0 && (doctor->service_uid == 0 || is_credential(path));
    if (st.st_uid != doctor->service_uid && !root)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chown it to the account that runs the plugin",
                       "the PIN file belongs to uid %u; the plugin runs as uid %u",
                       (unsigned)st.st_uid, (unsigned)doctor->service_uid);
    else if ((mode & S_IRWXO) != 0 || ((mode & S_IRWXG) != 0 && !is_credential(path)))
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "chmod 0400 it",
                       "the PIN file is open to others than its owner (mode %04o)", mode);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "mode %04o, of uid %u", mode,
                       (unsigned)st.st_uid);
}

static void check_pin_file(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->config.token_count; i++)
        look_at_pin_file(doctor, doctor->config.tokens[i].pin_file, finding);
}

static void look_at_counter(const struct kms_doctor_token *token,
                            struct kms_doctor_finding *finding)
{
    const struct pkcs11_pin_flags *pin = &token->presence.pin;
    if (pin->locked)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "have the security officer set the PIN anew, then write it to the PIN file",
                       "%s: the user PIN is locked", token->name);
    else if (pin->final_try)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "make sure of the PIN before hsm-kms pin check --last-attempt",
                       "%s: one more wrong PIN locks it", token->name);
    else if (token->presence.login_required && !token->presence.pin_initialized)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "have the security officer set the user PIN",
                       "%s: the user PIN isn't set", token->name);
    else if (pin->count_low)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "find out who tried; a good login (hsm-kms pin check) sets the count back",
                       "%s: wrong PINs were entered since the last good login", token->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s tells of no wrong PIN", token->name);
}

static void check_pin_counter(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        if (doctor->tokens[i].presence.token_fault.code == KMS_OK)
            look_at_counter(&doctor->tokens[i], finding);
    }
}

static void look_at_pin(const struct kms_doctor_token *token, struct kms_doctor_finding *finding)
{
    static const char by_hand[] = "make sure of the PIN, then try it knowingly: hsm-kms pin check";
    if (!token->presence.login_required) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "have the token require a login",
                       "%s needs no login: whoever reaches it may use the KEK", token->name);
        return;
    }
    if (token->pin_fault.code != KMS_OK) {
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, by_hand, "%s: the PIN couldn't be tried: %.400s",
                       token->name, token->pin_fault.msg);
        return;
    }
    switch (token->trial.outcome) {
    case PKCS11_PIN_GOOD:
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s accepted it", token->name);
        return;
    case PKCS11_PIN_NOT_TRIED:
    case PKCS11_PIN_WITHHELD:
        kms_doctor_say(finding, KMS_DOCTOR_WARN, by_hand,
                       "%s: not tried, since a wrong PIN would bring it nearer to its lock",
                       token->name);
        return;
    case PKCS11_PIN_REFUSED:
    case PKCS11_PIN_LOCKED:
        break;
    }
    kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                   "write the right PIN to the PIN file; one attempt is spent", "%s: %.400s",
                   token->name, token->trial.why.msg);
}

static void check_pin_accepted(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        if (doctor->tokens[i].presence.token_fault.code == KMS_OK)
            look_at_pin(&doctor->tokens[i], finding);
    }
}

static void look_at_rights(const struct kms_doctor_token *token, struct kms_doctor_finding *finding)
{
    size_t count = token->inventory.count;
    if (token->presence.write_protected)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s is read-only for this login", token->name);
    else if (token->limited)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "%s: the plugin's login is a crypto user's, whose role may neither change "
                       "nor destroy keys",
                       token->name);
    else if (token->modifiable > 0 || token->destroyable > 0)
        kms_doctor_say(
            finding, KMS_DOCTOR_WARN,
            "give the plugin a login that may only use keys, and make KEKs with an "
            "administrator's (--pin-file); or have the HSM fix CKA_MODIFIABLE and "
            "CKA_DESTROYABLE to false",
            "%s: of %zu KEK(s) the plugin's login, a user's, may change %zu and destroy %zu: who "
            "takes over the plugin could destroy them, and with them all that is encrypted (read "
            "from role and attributes; nothing was tried)",
            token->name, token->inspected, token->modifiable, token->destroyable);
    else if (count == 0 || token->inspected < count)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "hsm-kms key describe reads each",
                       "unknown: %s told it of %zu out of %zu KEK(s)", token->name,
                       token->inspected, count);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                       "%s: none of %zu KEK(s) may be changed or destroyed", token->name,
                       token->inspected);
}

static void check_login_rights(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        if (doctor->tokens[i].snapshot != NULL)
            look_at_rights(&doctor->tokens[i], finding);
    }
}

static void check_profile(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->token_count; i++) {
        const struct kms_doctor_token *token = &doctor->tokens[i];
        if (token->survey_fault.code != KMS_OK)
            kms_doctor_say(finding, KMS_DOCTOR_WARN, "see the checks of token and PIN",
                           "%s wasn't asked: %.400s", token->name, token->survey_fault.msg);
        else if (!token->survey.usable)
            kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                           "allow CKM_AES_KEY_WRAP on the HSM; hsm-kms token describe says more",
                           "%s wraps in no way that is known: %.400s", token->name,
                           token->survey.reason);
        else if (!token->survey.compared)
            kms_doctor_say(finding, KMS_DOCTOR_WARN,
                           "compare by hand once, as docs/hsm.md says for HSMs that import no key",
                           "%s: profile %s, by a round trip alone: %.400s", token->name,
                           token->survey.token.profile, token->survey.reason);
        else
            kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                           "%s: profile %s, compared with a known answer", token->name,
                           token->survey.token.profile);
    }
}

const struct kms_doctor_check kms_doctor_token_checks[] = {
    { "config", "the configuration loads", 0, check_config },
    { "module",
      "the PKCS#11 library loads and starts; else the loader's reason and every library "
      "that it lacks",
      KMS_DOCTOR_CONFIG, check_module },
    { "token", "exactly one token matches `tokens[].uri`", KMS_DOCTOR_CONFIG, check_token },
    { "pin-file", "owner and mode of the PIN file", KMS_DOCTOR_CONFIG, check_pin_file },
    { "pin-counter", "what the token tells of wrong PINs", KMS_DOCTOR_CONFIG | KMS_DOCTOR_TOKEN,
      check_pin_counter },
    { "pin-accepted",
      "one login with the service's PIN; none where the token tells of wrong PINs or "
      "this PIN was refused before",
      KMS_DOCTOR_CONFIG | KMS_DOCTOR_TOKEN, check_pin_accepted },
    { "login-rights",
      "whether the plugin's login may change or destroy KEKs, as role and attributes "
      "say; nothing is tried",
      KMS_DOCTOR_CONFIG | KMS_DOCTOR_LISTING, check_login_rights },
    { "profile", "a way to wrap is found", KMS_DOCTOR_CONFIG | KMS_DOCTOR_TOKEN, check_profile },
    { NULL, NULL, 0, NULL },
};
