/* SPDX-License-Identifier: Apache-2.0 */
#include "schema.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "config.h"
#include "keyid.h"
#include "kms/bytes.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "schema_check.h"

/* In the order of the enums' members. */
static const char *const profiles[] = { "auto", "aes-kw", "aes-kwp", "aes-gcm", NULL };
static const char *const user_types[] = { "user", "crypto-user", NULL };
static const char *const isolations[] = { "process", "none", NULL };
static const char *const key_syncs[] = { "native", "escrow", NULL };
static const char *const syncs[] = { "batch", "always", "none", NULL };
static const char *const on_errors[] = { "continue", "refuse", NULL };
static const char *const sinks[] = { "journald", "syslog", NULL };

#define CONFIG(member) offsetof(struct kms_config, member)
#define TOKEN(member) offsetof(struct kms_config_token, member)
#define PIN(member) offsetof(struct kms_config_pin, member)
#define ADOPT(member) offsetof(struct kms_config_adoption, member)
#define PATH_BYTES 1, 4095
#define SECONDS(from, to) (from) * INT64_C(1000), (to)*INT64_C(1000)

#define ROW(path_, type_, offset_, ...)                                                            \
    {                                                                                              \
        .path = (path_), .type = KMS_SCHEMA_##type_, .offset = (offset_), __VA_ARGS__              \
    }
#define RANGE(...) RANGE_(__VA_ARGS__)
#define RANGE_(min_, max_) .min = (min_), .max = (max_)

/* clang-format off: one row a field */
const struct kms_schema_field kms_schema_fields[] = {
    ROW("ring", TEXT, CONFIG(ring), RANGE(1, KMS_RING_MAX), .required = true,
        .check = kms_schema_check_ring, .form = "1 to 24 of `a-z`, `0-9`, `-`",
        .meaning = "Name of the family of KEKs; the first part of every label and key ID."),
    ROW("profile", CHOICE, CONFIG(profile), .fallback = "auto", .choices = profiles,
        .form = "auto, aes-kw, aes-kwp or aes-gcm",
        .meaning = "How the tokens wrap seeds; `auto` is AES key wrap wherever that can be had, "
                   "and with several tokens `aes-kw`."),
    ROW("socket", SECTION, 0, .meaning = ""),
    ROW("socket.path", TEXT, CONFIG(socket.path), RANGE(PATH_BYTES),
        .fallback = KMS_CONFIG_SOCKET_PATH, .check = kms_schema_check_socket_path,
        .form = "absolute path, at most 90 bytes",
        .meaning = "Unix socket that kube-apiserver connects to. Abstract sockets are refused."),
    ROW("socket.mode", MODE, CONFIG(socket.mode), RANGE(0600, 0666), .fallback = "0660",
        .meaning = "Permissions of the socket."),
    ROW("socket.group", TEXT, CONFIG(socket.group), RANGE(1, 64), .check = kms_schema_check_group,
        .form = "name or number of a group; the service's own if not given",
        .meaning = "Group of the socket; peers that belong to it may speak."),
    ROW("socket.allow_uids", LIST, CONFIG(socket.allow_uids), RANGE(0, 64),
        .item_size = sizeof(uint32_t), .count_offset = CONFIG(socket.allow_uid_count),
        .meaning = "Peers that may speak besides root, the service's own user and the group."),
    ROW("socket.allow_uids[]", NUMBER, 0, RANGE(0, UINT32_MAX - INT64_C(1)), .meaning = ""),
    ROW("tokens", LIST, CONFIG(tokens), RANGE(1, KMS_CONFIG_TOKENS_MAX), .required = true,
        .item_size = sizeof(struct kms_config_token), .count_offset = CONFIG(token_count),
        .check_items = kms_schema_check_tokens,
        .meaning = "The tokens that hold the KEKs, the one to use first first; one is enough."),
    ROW("tokens[].name", TEXT, TOKEN(name), RANGE(1, KMS_TOKEN_NAME_MAX),
        .check = kms_schema_check_token_name,
        .form = "1 to 32 of `a-z`, `0-9`, `-`; `token-1`, `token-2` … by its place if not given",
        .meaning = "What the token is called here and on every node; no two alike."),
    ROW("tokens[].module", TEXT, TOKEN(module), RANGE(PATH_BYTES), .required = true,
        .check = kms_schema_check_module, .form = "absolute path, or name of a p11-kit module",
        .meaning = "The vendor's PKCS#11 library."),
    ROW("tokens[].uri", TEXT, TOKEN(uri), RANGE(1, 1024), .required = true,
        .check = kms_schema_check_uri, .form = "`pkcs11:` URI (RFC 7512) without a PIN",
        .meaning = "Selects the token; exactly one must match."),
    ROW("tokens[].pin_file", TEXT, TOKEN(pin_file), RANGE(PATH_BYTES), .required = true,
        .check = kms_schema_check_absolute, .form = "absolute path",
        .meaning = "File with the user PIN; owner root or the service user, mode 0400 or 0600."),
    ROW("tokens[].user", TEXT, TOKEN(user), RANGE(1, 64), .form = "text",
        .meaning = "For vendors whose PIN is `user:password`: the user."),
    ROW("tokens[].user_type", CHOICE, TOKEN(user_type), .fallback = "user", .choices = user_types,
        .form = "user or crypto-user",
        .meaning = "As whom to log in; `crypto-user` is Thales Luna's limited user."),
    ROW("tokens[].sessions", NUMBER, TOKEN(sessions), RANGE(1, 64), .fallback = "4",
        .meaning = "Sessions on the token, and so the operations at a time."),
    ROW("tokens[].required", BOOL, TOKEN(required), .fallback = "true",
        .meaning = "Of several: no new KEK is promoted before this token was seen to have it."),
    ROW("tokens[].sync", CHOICE, TOKEN(sync), .fallback = "native", .choices = key_syncs,
        .form = "native or escrow",
        .meaning = "Of several, how new KEKs get from the first token to this one: by the vendor's "
                   "own means, or (`escrow`) wrapped by `rotate`."),
    ROW("tokens[].isolation", CHOICE, TOKEN(isolation), .fallback = "process",
        .choices = isolations, .form = "process or none",
        .meaning = "Where `serve` has the library: in a child process, or (`none`) in its own."),
    ROW("tokens[].memory_limit", NUMBER, TOKEN(memory_limit_mib), RANGE(0, 1048576),
        .fallback = "512",
        .meaning =
            "MiB; a child process that has more is replaced between two calls. 0: no limit."),
    ROW("tokens[].environment", LIST, TOKEN(environment), RANGE(0, 32), .item_size = sizeof(char *),
        .count_offset = TOKEN(environment_count),
        .meaning = "Variables that the child process sees besides those of well-known libraries."),
    ROW("tokens[].environment[]", TEXT, 0, RANGE(1, 128), .check = kms_schema_check_variable,
        .form = "name of an environment variable", .meaning = ""),
    ROW("state_dir", TEXT, CONFIG(state_dir), RANGE(PATH_BYTES), .fallback = "/var/lib/hsm-kms",
        .check = kms_schema_check_absolute, .form = "absolute path",
        .meaning = "What the node remembers: `ring.json`. Mode 0700, owner the service user."),
    ROW("refresh", DURATION, CONFIG(refresh_ms), RANGE(SECONDS(1, 600)), .fallback = "30s",
        .meaning = "How often the token is listed for new and vanished KEKs."),
    ROW("canary", DURATION, CONFIG(canary_ms), RANGE(SECONDS(1, 600)), .fallback = "30s",
        .meaning = "How often the KEK in use is tried; Status is good for twice that."),
    ROW("clock_skew", DURATION, CONFIG(clock_skew_ms), RANGE(SECONDS(0, 600)), .fallback = "30s",
        .meaning = "How far the nodes' clocks may be apart; part of a new KEK's lead time."),
    ROW("ready_timeout", DURATION, CONFIG(ready_timeout_ms), RANGE(SECONDS(0, 600)),
        .fallback = "60s",
        .meaning = "How long a start waits for the token before it tells systemd READY anyway."),
    ROW("rotation", SECTION, 0, .meaning = ""),
    ROW("rotation.two_step", BOOL, CONFIG(rotation.two_step), .fallback = "false",
        .meaning = "Only `key prepare` and `key commit` make KEKs, with a backup in between."),
    ROW("rotation.min_lead", DURATION, CONFIG(rotation.min_lead_ms), RANGE(SECONDS(0, 30 * 86400)),
        .fallback = "0s",
        .meaning = "Least time between a new KEK and its activation; the ring's first has none."),
    ROW("policy", SECTION, 0, .meaning = ""),
    ROW("policy.destroy_wait", DURATION, CONFIG(policy.destroy_wait_ms),
        RANGE(SECONDS(0, 3650 * 86400)), .fallback = "30d",
        .meaning = "How long a KEK must have been disabled before `key destroy` ends it."),
    ROW("policy.backup_retention", DURATION, CONFIG(policy.backup_retention_ms),
        RANGE(SECONDS(0, 3650 * 86400)), .fallback = "0s",
        .meaning = "How long after `verify --record` saw it in a snapshot a KEK is kept. 0: not."),
    ROW("policy.max_age", DURATION, CONFIG(policy.max_age_ms), RANGE(SECONDS(3600, 3650 * 86400)),
        .meaning = "Age that the promoted KEK may have. Beyond it `doctor` fails, `status` and "
                   "`key list` say so; nothing is ever refused for it."),
    ROW("pins", LIST, CONFIG(pins), RANGE(0, 1000), .item_size = sizeof(struct kms_config_pin),
        .count_offset = CONFIG(pin_count), .check_items = kms_schema_check_pins,
        .meaning = "KEKs that the operator vouches for: trusted wherever they were generated."),
    ROW("pins[].generation", NUMBER, PIN(generation), RANGE(1, KMS_GENERATION_MAX),
        .required = true, .meaning = "Generation, as in the label."),
    ROW("pins[].fingerprint", FINGERPRINT, PIN(fingerprint), .required = true,
        .meaning = "Its fingerprint, as `key list` shows it."),
    ROW("adopt", LIST, CONFIG(adopt), RANGE(0, 100),
        .item_size = sizeof(struct kms_config_adoption), .count_offset = CONFIG(adopt_count),
        .check_items = kms_schema_check_adopt,
        .meaning = "Keys on the token that join the ring under labels of somebody else's choice."),
    ROW("adopt[].generation", NUMBER, ADOPT(generation), RANGE(1, KMS_GENERATION_MAX),
        .required = true, .meaning = "Generation that the key is to have; the same on every node."),
    ROW("adopt[].label", TEXT, ADOPT(label), RANGE(1, KMS_LABEL_MAX), .form = "text",
        .meaning = "Its CKA_LABEL. This, `cka_id` or both must lead to one AES key."),
    ROW("adopt[].cka_id", CKA_ID, ADOPT(cka_id), .meaning = "Its CKA_ID."),
    ROW("adopt[].activation", TIME, ADOPT(activation_utc_s), .required = true,
        .meaning = "When it may be promoted; the same on every node."),
    ROW("audit", SECTION, 0, .meaning = ""),
    ROW("audit.path", TEXT, CONFIG(audit.path), RANGE(1, 4000), .check = kms_schema_check_absolute,
        .form = "absolute path; no audit log if not given",
        .meaning =
            "`<path>.serve` and `<path>.admin` are written there, and what belongs to them."),
    ROW("audit.cluster", TEXT, CONFIG(audit.cluster), RANGE(1, 64), .form = "text",
        .meaning = "Name of the cluster, for its lines."),
    ROW("audit.sync", CHOICE, CONFIG(audit.sync), .fallback = "batch", .choices = syncs,
        .form = "batch, always or none",
        .meaning =
            "Lines are durable before the answer, several at a time or each by itself; or not."),
    ROW("audit.on_error", CHOICE, CONFIG(audit.on_error), .fallback = "continue",
        .choices = on_errors, .form = "continue or refuse",
        .meaning = "What calls do while no line can be written. Key commands always refuse."),
    ROW("audit.rotate_size", NUMBER, CONFIG(audit.rotate_size_mib), RANGE(0, 65536),
        .fallback = "64", .meaning = "MiB that a file may have. 0: it is never rotated."),
    ROW("audit.rotate_keep", NUMBER, CONFIG(audit.rotate_keep), RANGE(0, 10000), .fallback = "0",
        .meaning = "Rotated files that are kept. 0: all."),
    ROW("audit.sinks", LIST, CONFIG(audit.sinks), RANGE(0, 2), .item_size = sizeof(unsigned),
        .count_offset = CONFIG(audit.sink_count), .meaning = "Who gets a copy of each line."),
    ROW("audit.sinks[]", CHOICE, 0, .choices = sinks, .form = "journald or syslog", .meaning = ""),
    ROW("audit.encrypt", TEXT, CONFIG(audit.encrypt), RANGE(1, 4000),
        .check = kms_schema_check_absolute, .form = "absolute path; not sealed if not given",
        .meaning = "X.509 certificate in PEM of who alone may read the lines."),
    ROW("audit.syslog", TEXT, CONFIG(audit.syslog), RANGE(1, 90), .fallback = "/dev/log",
        .check = kms_schema_check_syslog, .form = "absolute path, at most 90 bytes",
        .meaning = "Datagram socket for RFC 5424 messages."),
    ROW("verify", SECTION, 0, .meaning = ""),
    ROW("verify.exempt", LIST, CONFIG(verify.exempt), RANGE(0, 32), .item_size = sizeof(char *),
        .count_offset = CONFIG(verify.exempt_count),
        .meaning = "Resources that may be in the clear, for `hsm-kms verify`."),
    ROW("verify.exempt[]", TEXT, 0, RANGE(1, KMS_RESOURCE_NAME_MAX),
        .check = kms_schema_check_resource, .form = "resource, as `leases.coordination.k8s.io`",
        .meaning = ""),
    ROW("log", SECTION, 0, .meaning = ""),
    ROW("log.format", LOG_FORMAT, CONFIG(log_format), .fallback = "text",
        .meaning = "Form of the lines on stderr."),
    ROW("log.level", LOG_LEVEL, CONFIG(log_level), .fallback = "info",
        .meaning = "The least important lines that are written."),
};
/* clang-format on */
const size_t kms_schema_field_count = sizeof(kms_schema_fields) / sizeof(kms_schema_fields[0]);
_Static_assert(sizeof(kms_schema_fields) / sizeof(kms_schema_fields[0]) <= KMS_SCHEMA_FIELDS_MAX,
               "raise KMS_SCHEMA_FIELDS_MAX");
_Static_assert(sizeof(unsigned) == sizeof(uint32_t), "KMS_SCHEMA_NUMBER stores uint32_t");
_Static_assert(sizeof(unsigned) == sizeof(enum kms_isolation), "KMS_SCHEMA_CHOICE stores unsigned");

const char *kms_schema_name_below(size_t index, const char *parent)
{
    const char *name = kms_schema_fields[index].path;
    size_t parent_len = strlen(parent);
    if (parent_len > 0) {
        if (strncmp(name, parent, parent_len) != 0 || name[parent_len] != '.')
            return NULL;
        name += parent_len + 1;
    }
    return name[strcspn(name, ".[")] == '\0' ? name : NULL;
}

size_t kms_schema_find(const char *parent, const char *key)
{
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        const char *name = kms_schema_name_below(i, parent);
        if (name != NULL && strcmp(name, key) == 0)
            return i;
    }
    return kms_schema_field_count;
}

const struct kms_schema_field *kms_schema_item(const char *path)
{
    size_t len = strlen(path);
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        const struct kms_schema_field *field = &kms_schema_fields[i];
        if (strncmp(field->path, path, len) == 0 && strcmp(field->path + len, "[]") == 0)
            return field;
    }
    return NULL;
}

const char *kms_schema_quote(const char *text, size_t len,
                             char ret_text[static KMS_SCHEMA_QUOTE_MAX])
{
    enum { SHOWN_MAX = 32 };
    size_t at = 0;
    ret_text[at++] = '"';
    for (size_t i = 0; i < len && i < SHOWN_MAX; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            ret_text[at++] = (char)c;
        else
            at += (size_t)snprintf(ret_text + at, KMS_SCHEMA_QUOTE_MAX - at, "\\x%02x", c);
    }
    (void)snprintf(ret_text + at, KMS_SCHEMA_QUOTE_MAX - at, "%s\"", len > SHOWN_MAX ? "..." : "");
    return ret_text;
}

const char *kms_schema_type_text(enum kms_schema_type type)
{
    switch (type) {
    case KMS_SCHEMA_SECTION:
        return "a mapping";
    case KMS_SCHEMA_LIST:
        return "a list";
    case KMS_SCHEMA_TEXT:
        return "text";
    case KMS_SCHEMA_NUMBER:
        return "a whole number";
    case KMS_SCHEMA_DURATION:
        return "a duration (a whole number and a unit: 500ms, 30s, 5m)";
    case KMS_SCHEMA_BOOL:
        return "true or false";
    case KMS_SCHEMA_MODE:
        return "an octal mode in quotes (\"0660\")";
    case KMS_SCHEMA_FINGERPRINT:
        return "64 hexadecimal digits";
    case KMS_SCHEMA_CKA_ID:
        return "1 to 64 pairs of hexadecimal digits";
    case KMS_SCHEMA_TIME:
        return "a UTC time (2026-12-01T12:00:00Z)";
    case KMS_SCHEMA_CHOICE:
        return "a word";
    case KMS_SCHEMA_LOG_FORMAT:
        return "text or json";
    case KMS_SCHEMA_LOG_LEVEL:
        return "debug, info, warn or error";
    }
    return "nothing";
}

static enum kms_code not_of_type(const struct kms_schema_field *field,
                                 const struct kms_schema_value *value, struct kms_error *err)
{
    char quoted[KMS_SCHEMA_QUOTE_MAX];
    return kms_fail(
        err, KMS_E_INVALID, "%s is not %s", kms_schema_quote(value->text, value->len, quoted),
        field->type == KMS_SCHEMA_CHOICE ? field->form : kms_schema_type_text(field->type));
}

static enum kms_code set_text(const struct kms_schema_field *field,
                              const struct kms_schema_value *value, void *at, struct kms_error *err)
{
    if (!kms_text_is_clean((struct kms_bytes){ (const uint8_t *)value->text, value->len }))
        return kms_fail(err, KMS_E_INVALID, "must be UTF-8 text without control characters");
    if ((int64_t)value->len < field->min)
        return kms_fail(err, KMS_E_INVALID, "must not be empty");
    const char *problem = field->check != NULL ? field->check(value->text) : NULL;
    if (problem != NULL)
        return kms_fail(err, KMS_E_INVALID, "%s", problem);
    if ((int64_t)value->len > field->max)
        return kms_fail(err, KMS_E_INVALID, "must be at most %" PRId64 " bytes long", field->max);
    char *copy = strndup(value->text, value->len);
    if (copy == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    memcpy(at, &copy, sizeof(copy));
    return KMS_OK;
}

/* Strict decimal: YAML readers disagree about 010, 0x10 and 1_000. */
static bool is_decimal(const struct kms_schema_value *value)
{
    const char *digits = value->text + (value->text[0] == '-' ? 1 : 0);
    size_t len = strspn(digits, "0123456789");
    return len > 0 && digits[len] == '\0' && (digits[0] != '0' || len == 1) &&
           digits + len == value->text + value->len;
}

static enum kms_code set_number(const struct kms_schema_field *field,
                                const struct kms_schema_value *value, void *at,
                                struct kms_error *err)
{
    enum { DIGITS_MAX = 18 };
    if (value->quoted || !is_decimal(value))
        return not_of_type(field, value, err);
    if (value->len > DIGITS_MAX)
        return kms_fail(err, KMS_E_INVALID, "%.*s... is out of range %" PRId64 "..%" PRId64,
                        DIGITS_MAX, value->text, field->min, field->max);
    long long number = strtoll(value->text, NULL, 10);
    if (number < field->min || number > field->max)
        return kms_fail(err, KMS_E_INVALID, "%lld is out of range %" PRId64 "..%" PRId64, number,
                        field->min, field->max);
    uint32_t stored = (uint32_t)number;
    memcpy(at, &stored, sizeof(stored));
    return KMS_OK;
}

static enum kms_code set_duration(const struct kms_schema_field *field,
                                  const struct kms_schema_value *value, void *at,
                                  struct kms_error *err)
{
    int64_t ms = 0;
    if (strlen(value->text) != value->len || !kms_duration_parse(value->text, &ms))
        return not_of_type(field, value, err);
    if (ms < field->min || ms > field->max) {
        char given[KMS_DURATION_LEN + 1], min[KMS_DURATION_LEN + 1], max[KMS_DURATION_LEN + 1];
        kms_duration_format(ms, given);
        kms_duration_format(field->min, min);
        kms_duration_format(field->max, max);
        return kms_fail(err, KMS_E_INVALID, "%s is out of range %s..%s", given, min, max);
    }
    memcpy(at, &ms, sizeof(ms));
    return KMS_OK;
}

/* YAML 1.1 readers know yes, on and more; we take one spelling. */
static enum kms_code set_bool(const struct kms_schema_field *field,
                              const struct kms_schema_value *value, void *at, struct kms_error *err)
{
    bool stored = strcmp(value->text, "true") == 0;
    if (value->quoted || strlen(value->text) != value->len ||
        (!stored && strcmp(value->text, "false") != 0))
        return not_of_type(field, value, err);
    memcpy(at, &stored, sizeof(stored));
    return KMS_OK;
}

static enum kms_code set_mode(const struct kms_schema_field *field,
                              const struct kms_schema_value *value, void *at, struct kms_error *err)
{
    size_t digits = strspn(value->text, "01234567");
    if (!value->quoted || digits != value->len || (digits != 4 && digits != 3))
        return not_of_type(field, value, err);
    mode_t mode = (mode_t)strtoul(value->text, NULL, 8);
    bool owner_may = (mode & field->min) == field->min;
    if (!owner_may || (mode & ~(mode_t)field->max) != 0)
        return kms_fail(err, KMS_E_INVALID, "%04o is out of range 0600..0666 (no execute bits)",
                        mode);
    memcpy(at, &mode, sizeof(mode));
    return KMS_OK;
}

static enum kms_code set_fingerprint(const struct kms_schema_field *field,
                                     const struct kms_schema_value *value, void *at,
                                     struct kms_error *err)
{
    uint8_t fingerprint[KMS_FINGERPRINT_LEN] = { 0 };
    if (strlen(value->text) != value->len ||
        !kms_hex_decode(value->text, fingerprint, sizeof(fingerprint)))
        return not_of_type(field, value, err);
    memcpy(at, fingerprint, sizeof(fingerprint));
    return KMS_OK;
}

static enum kms_code set_cka_id(const struct kms_schema_field *field,
                                const struct kms_schema_value *value, void *at,
                                struct kms_error *err)
{
    struct kms_config_cka_id id = { .len = value->len / 2 };
    if (value->len == 0 || value->len % 2 != 0 || id.len > sizeof(id.data) ||
        strlen(value->text) != value->len || !kms_hex_decode(value->text, id.data, id.len))
        return not_of_type(field, value, err);
    memcpy(at, &id, sizeof(id));
    return KMS_OK;
}

static enum kms_code set_time(const struct kms_schema_field *field,
                              const struct kms_schema_value *value, void *at, struct kms_error *err)
{
    int64_t utc_s = 0;
    if (strlen(value->text) != value->len || !kms_rfc3339_parse(value->text, &utc_s) || utc_s <= 0)
        return not_of_type(field, value, err);
    memcpy(at, &utc_s, sizeof(utc_s));
    return KMS_OK;
}

static enum kms_code set_choice(const struct kms_schema_field *field,
                                const struct kms_schema_value *value, void *at,
                                struct kms_error *err)
{
    unsigned chosen = 0;
    while (field->choices[chosen] != NULL && strcmp(field->choices[chosen], value->text) != 0)
        chosen++;
    if (field->choices[chosen] == NULL || strlen(value->text) != value->len)
        return not_of_type(field, value, err);
    memcpy(at, &chosen, sizeof(chosen));
    return KMS_OK;
}

static enum kms_code set_log_format(const struct kms_schema_field *field,
                                    const struct kms_schema_value *value, void *at,
                                    struct kms_error *err)
{
    enum kms_log_format format = KMS_LOG_TEXT;
    if (strlen(value->text) != value->len || !kms_log_format_parse(value->text, &format))
        return not_of_type(field, value, err);
    memcpy(at, &format, sizeof(format));
    return KMS_OK;
}

static enum kms_code set_log_level(const struct kms_schema_field *field,
                                   const struct kms_schema_value *value, void *at,
                                   struct kms_error *err)
{
    enum kms_log_level level = KMS_LOG_INFO;
    if (strlen(value->text) != value->len || !kms_log_level_parse(value->text, &level))
        return not_of_type(field, value, err);
    memcpy(at, &level, sizeof(level));
    return KMS_OK;
}

enum kms_code kms_schema_set(const struct kms_schema_field *field,
                             const struct kms_schema_value *value, void *base,
                             struct kms_error *err)
{
    char *at = (char *)base + field->offset;
    switch (field->type) {
    case KMS_SCHEMA_TEXT:
        return set_text(field, value, at, err);
    case KMS_SCHEMA_NUMBER:
        return set_number(field, value, at, err);
    case KMS_SCHEMA_DURATION:
        return set_duration(field, value, at, err);
    case KMS_SCHEMA_BOOL:
        return set_bool(field, value, at, err);
    case KMS_SCHEMA_MODE:
        return set_mode(field, value, at, err);
    case KMS_SCHEMA_FINGERPRINT:
        return set_fingerprint(field, value, at, err);
    case KMS_SCHEMA_CKA_ID:
        return set_cka_id(field, value, at, err);
    case KMS_SCHEMA_TIME:
        return set_time(field, value, at, err);
    case KMS_SCHEMA_CHOICE:
        return set_choice(field, value, at, err);
    case KMS_SCHEMA_LOG_FORMAT:
        return set_log_format(field, value, at, err);
    case KMS_SCHEMA_LOG_LEVEL:
        return set_log_level(field, value, at, err);
    case KMS_SCHEMA_SECTION:
    case KMS_SCHEMA_LIST:
        break;
    }
    return kms_fail(err, KMS_E_INTERNAL, "%s is no scalar", field->path);
}
