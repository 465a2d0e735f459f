/* SPDX-License-Identifier: Apache-2.0 */
/* The schema as a list of what is in force. */
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "kms/bytes.h"
#include "kms/clock.h"
#include "schema.h"

enum { SHOWN_MAX = 2 * KMS_SCHEMA_PATH_MAX };

struct walk {
    void (*visit)(void *context, const struct kms_config_value *value);
    void *context;
};

static void tell(const struct walk *walk, const char *shown, struct kms_config_value value)
{
    value.field = shown;
    walk->visit(walk->context, &value);
}

static void tell_text(const struct walk *walk, const char *shown, const char *text)
{
    tell(walk, shown,
         (struct kms_config_value){ .kind = text != NULL ? KMS_CONFIG_TEXT : KMS_CONFIG_NONE,
                                    .text = text });
}

static void tell_number(const struct walk *walk, const char *shown, const char *at)
{
    uint32_t number = 0;
    memcpy(&number, at, sizeof(number));
    tell(walk, shown,
         (struct kms_config_value){ .kind = KMS_CONFIG_NUMBER, .number = (int64_t)number });
}

/* 0 stands for what isn't given where there is no default. */
static void tell_duration(const struct walk *walk, const struct kms_schema_field *field,
                          const char *shown, const char *at)
{
    char text[KMS_DURATION_LEN + 1];
    int64_t ms = 0;
    memcpy(&ms, at, sizeof(ms));
    kms_duration_format(ms, text);
    tell_text(walk, shown, ms == 0 && field->fallback == NULL ? NULL : text);
}

static void tell_bool(const struct walk *walk, const char *shown, const char *at)
{
    bool truth = false;
    memcpy(&truth, at, sizeof(truth));
    tell(walk, shown, (struct kms_config_value){ .kind = KMS_CONFIG_BOOL, .truth = truth });
}

static void tell_mode(const struct walk *walk, const char *shown, const char *at)
{
    char text[16];
    mode_t mode = 0;
    memcpy(&mode, at, sizeof(mode));
    (void)snprintf(text, sizeof(text), "%04o", (unsigned)mode);
    tell_text(walk, shown, text);
}

static void tell_time(const struct walk *walk, const char *shown, const char *at)
{
    char text[KMS_RFC3339_LEN + 1];
    int64_t utc_s = 0;
    memcpy(&utc_s, at, sizeof(utc_s));
    kms_rfc3339_format(utc_s, text);
    tell_text(walk, shown, text);
}

static void tell_hex(const struct walk *walk, const char *shown, struct kms_bytes bytes)
{
    char text[2 * KMS_CKA_ID_MAX + 1];
    kms_hex_encode(bytes, text);
    tell_text(walk, shown, bytes.len > 0 ? text : NULL);
}

static void tell_cka_id(const struct walk *walk, const char *shown, const char *at)
{
    struct kms_config_cka_id id;
    memcpy(&id, at, sizeof(id));
    tell_hex(walk, shown, (struct kms_bytes){ id.data, id.len });
}

static void tell_choice(const struct walk *walk, const struct kms_schema_field *field,
                        const char *shown, const char *at)
{
    unsigned chosen = 0;
    memcpy(&chosen, at, sizeof(chosen));
    tell_text(walk, shown, field->choices[chosen]);
}

static void tell_log(const struct walk *walk, enum kms_schema_type type, const char *shown,
                     const char *at)
{
    static const char *const formats[] = { [KMS_LOG_TEXT] = "text", [KMS_LOG_JSON] = "json" };
    static const char *const levels[] = { [KMS_LOG_DEBUG] = "debug",
                                          [KMS_LOG_INFO] = "info",
                                          [KMS_LOG_WARN] = "warn",
                                          [KMS_LOG_ERROR] = "error" };
    unsigned chosen = 0;
    memcpy(&chosen, at, sizeof(chosen));
    tell_text(walk, shown, type == KMS_SCHEMA_LOG_FORMAT ? formats[chosen] : levels[chosen]);
}

static void walk_mapping(const struct walk *walk, const char *schema, const char *shown,
                         const char *base);

static void tell_field(const struct walk *walk, const struct kms_schema_field *field,
                       const char *shown, const char *at);

/* An empty list is a field without a value. */
static void walk_list(const struct walk *walk, const struct kms_schema_field *list,
                      const char *shown, const char *base)
{
    const struct kms_schema_field *scalar = kms_schema_item(list->path);
    const char *items = NULL;
    size_t count = 0;
    memcpy(&items, base + list->offset, sizeof(items));
    memcpy(&count, base + list->count_offset, sizeof(count));
    if (count == 0)
        tell_text(walk, shown, NULL);
    for (size_t i = 0; i < count; i++) {
        char schema[KMS_SCHEMA_PATH_MAX], item[SHOWN_MAX];
        const char *at = items + i * list->item_size;
        (void)snprintf(schema, sizeof(schema), "%s[]", list->path);
        (void)snprintf(item, sizeof(item), "%.*s[%zu]", KMS_SCHEMA_PATH_MAX, shown, i);
        if (scalar != NULL)
            tell_field(walk, scalar, item, at);
        else
            walk_mapping(walk, schema, item, at);
    }
}

static void tell_field(const struct walk *walk, const struct kms_schema_field *field,
                       const char *shown, const char *at)
{
    const char *text = NULL;
    switch (field->type) {
    case KMS_SCHEMA_TEXT:
        memcpy(&text, at, sizeof(text));
        tell_text(walk, shown, text);
        return;
    case KMS_SCHEMA_NUMBER:
        tell_number(walk, shown, at);
        return;
    case KMS_SCHEMA_DURATION:
        tell_duration(walk, field, shown, at);
        return;
    case KMS_SCHEMA_BOOL:
        tell_bool(walk, shown, at);
        return;
    case KMS_SCHEMA_MODE:
        tell_mode(walk, shown, at);
        return;
    case KMS_SCHEMA_FINGERPRINT:
        tell_hex(walk, shown, (struct kms_bytes){ (const uint8_t *)at, KMS_FINGERPRINT_LEN });
        return;
    case KMS_SCHEMA_CKA_ID:
        tell_cka_id(walk, shown, at);
        return;
    case KMS_SCHEMA_TIME:
        tell_time(walk, shown, at);
        return;
    case KMS_SCHEMA_CHOICE:
        tell_choice(walk, field, shown, at);
        return;
    case KMS_SCHEMA_LOG_FORMAT:
    case KMS_SCHEMA_LOG_LEVEL:
        tell_log(walk, field->type, shown, at);
        return;
    case KMS_SCHEMA_SECTION:
    case KMS_SCHEMA_LIST:
        return; /* walk_mapping()'s */
    }
}

static void walk_mapping(const struct walk *walk, const char *schema, const char *shown,
                         const char *base)
{
    for (size_t i = 0; i < kms_schema_field_count; i++) {
        const struct kms_schema_field *field = &kms_schema_fields[i];
        const char *name = kms_schema_name_below(i, schema);
        if (name == NULL)
            continue;
        char place[SHOWN_MAX];
        (void)snprintf(place, sizeof(place), "%.*s%s%s", KMS_SCHEMA_PATH_MAX, shown,
                       shown[0] != '\0' ? "." : "", name);
        if (field->type == KMS_SCHEMA_SECTION)
            walk_mapping(walk, field->path, place, base);
        else if (field->type == KMS_SCHEMA_LIST)
            walk_list(walk, field, place, base);
        else
            tell_field(walk, field, place, base + field->offset);
    }
}

void kms_config_walk(const struct kms_config *config,
                     void (*visit)(void *context, const struct kms_config_value *value),
                     void *context)
{
    const struct walk walk = { visit, context };
    walk_mapping(&walk, "", "", (const char *)config);
}

/* --- digests --- */

static bool is_vouched(const char *field)
{
    static const char *const names[] = { "pins", "adopt" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t len = strlen(names[i]);
        if (strncmp(field, names[i], len) == 0 && (field[len] == '\0' || field[len] == '['))
            return true;
    }
    return false;
}

/* The digest so far, then the field: a chain needs no memory. */
static void add_to_digest(void *context, const struct kms_config_value *value)
{
    struct kms_config *config = context;
    uint8_t *digest = is_vouched(value->field) ? config->vouched.sha256 : config->settings.sha256;
    uint8_t text[KMS_SHA256_LEN];
    char before[2 * KMS_SHA256_LEN + 1], of_text[2 * KMS_SHA256_LEN + 1];
    char line[SHOWN_MAX + sizeof(before) + sizeof(of_text) + 64];
    kms_sha256(kms_bytes_of(value->text != NULL ? value->text : ""), text);
    kms_hex_encode((struct kms_bytes){ text, sizeof(text) }, of_text);
    kms_hex_encode((struct kms_bytes){ digest, KMS_SHA256_LEN }, before);
    (void)snprintf(line, sizeof(line), "%s %s %d %lld %d %s", before, value->field,
                   (int)value->kind, (long long)value->number, (int)value->truth, of_text);
    kms_sha256(kms_bytes_of(line), digest);
}

void kms_config_set_marks(struct kms_config *config)
{
    config->settings = config->vouched = (struct kms_source_mark){ .read_utc_s = kms_utc_s() };
    kms_config_walk(config, add_to_digest, config);
}
