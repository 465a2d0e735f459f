/* SPDX-License-Identifier: Apache-2.0 */
#include "node_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "kms/clock.h"

enum { MS_PER_S = 1000 };

enum kms_code kms_node_health_code(const Hsmkms__Node__V1__Health *health)
{
    for (int code = KMS_OK; code < KMS_CODE_COUNT; code++)
        if (strcmp(kms_code_name((enum kms_code)code), health->code) == 0)
            return (enum kms_code)code;
    return KMS_E_INTERNAL; /* a name that a later version gave */
}

bool kms_node_kek_is_usable(const char *state)
{
    static const enum kms_kek_state usable[] = { KMS_KEK_ACTIVE, KMS_KEK_PREACTIVE, KMS_KEK_PENDING,
                                                 KMS_KEK_DECRYPT_ONLY };
    for (size_t i = 0; i < sizeof(usable) / sizeof(usable[0]); i++)
        if (strcmp(state, kms_kek_state_name(usable[i])) == 0)
            return true;
    return false;
}

static void set_text(char *ret_text, size_t size, const char *text)
{
    (void)snprintf(ret_text, size, "%s", text);
}

static void set_configuration(const Hsmkms__Node__V1__DescribeResponse *description,
                              struct kms_node *node)
{
    if (description->settings.len != sizeof(node->settings) ||
        description->vouched.len != sizeof(node->vouched))
        return;
    node->tells_configuration = true;
    memcpy(node->settings, description->settings.data, sizeof(node->settings));
    memcpy(node->vouched, description->vouched.data, sizeof(node->vouched));
}

void kms_node_of(const Hsmkms__Node__V1__DescribeResponse *description, int64_t sent_utc_ms,
                 int64_t received_utc_ms, struct kms_node *ret_node)
{
    const Hsmkms__Node__V1__Health *health = description->health;
    struct kms_node node = {
        .source = ret_node->source,
        .is_export = ret_node->is_export,
        .reached = true,
        .healthy = health != NULL && health->ok,
        .promoted = description->promoted,
        .refresh_ms = description->refresh,
        .clock_skew_ms = description->clock_skew,
        .listed_utc_s = description->listed,
        .told_utc_s = description->now / MS_PER_S,
        .offset_ms = description->now - (sent_utc_ms + (received_utc_ms - sent_utc_ms) / 2),
        .doubt_ms = (received_utc_ms - sent_utc_ms + 1) / 2,
    };
    set_text(node.name, sizeof(node.name), description->node);
    set_text(node.version, sizeof(node.version), description->version);
    set_text(node.ring, sizeof(node.ring), description->ring);
    set_text(node.key_id, sizeof(node.key_id), description->key_id);
    if (!node.healthy)
        set_text(node.health, sizeof(node.health),
                 health != NULL ? health->message : "the answer lacks the health");
    set_configuration(description, &node);
    *ret_node = node;
}

/* --- exports --- */

/* null for an empty text, as kms_json_text() writes it. */
static bool get_text(const json_t *object, const char *key, char *ret_text, size_t size)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value) && !json_is_null(value))
        return false;
    set_text(ret_text, size, json_is_string(value) ? json_string_value(value) : "");
    return true;
}

static bool get_number(const json_t *object, const char *key, int64_t max, int64_t *ret_number)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > max)
        return false;
    *ret_number = json_integer_value(value);
    return true;
}

static bool get_time(const json_t *object, const char *key, int64_t *ret_utc_s)
{
    const json_t *value = json_object_get(object, key);
    *ret_utc_s = 0;
    return json_is_null(value) ||
           (json_is_string(value) && kms_rfc3339_parse(json_string_value(value), ret_utc_s));
}

static bool get_node(const json_t *object, int64_t now_utc_ms, struct kms_node *node)
{
    const int64_t year_ms = INT64_C(365) * 24 * 3600 * 1000;
    const json_t *health = json_object_get(object, "health");
    int64_t promoted = 0, then_utc_ms = 0;
    if (!get_text(object, "node", node->name, sizeof(node->name)) ||
        !get_text(object, "version", node->version, sizeof(node->version)) ||
        !get_text(object, "ring", node->ring, sizeof(node->ring)) ||
        !get_text(object, "key_id", node->key_id, sizeof(node->key_id)) ||
        !get_text(health, "message", node->health, sizeof(node->health)) ||
        !get_number(object, "promoted", UINT32_MAX, &promoted) ||
        !get_number(object, "refresh_ms", year_ms, &node->refresh_ms) ||
        !get_number(object, "clock_skew_ms", year_ms, &node->clock_skew_ms) ||
        !get_number(object, "now_ms", INT64_MAX, &then_utc_ms) ||
        !get_time(object, "listed", &node->listed_utc_s))
        return false;
    node->healthy = json_is_true(json_object_get(health, "ok"));
    node->promoted = (uint32_t)promoted;
    node->told_utc_s = then_utc_ms / MS_PER_S;
    /* It was written in the past: a later time can only come from a clock that is ahead. */
    node->offset_ms = then_utc_ms > now_utc_ms ? then_utc_ms - now_utc_ms : 0;
    return true;
}

enum kms_code kms_node_read(const char *path, int64_t now_utc_ms, struct kms_node *ret_node,
                            struct kms_error *err)
{
    json_error_t fault;
    json_t *object = json_load_file(path, JSON_REJECT_DUPLICATES, &fault);
    if (object == NULL)
        return kms_fail(err, KMS_E_INVALID, "%s: %s", path, fault.text);
    struct kms_node node = { .source = path, .is_export = true, .reached = true };
    const char *schema = json_string_value(json_object_get(object, "schema"));
    bool good = schema != NULL && strcmp(schema, "hsm-kms/" KMS_NODE_EXPORT "/v1") == 0 &&
                get_node(object, now_utc_ms, &node);
    json_decref(object);
    if (!good)
        return kms_fail(err, KMS_E_INVALID,
                        "%s is not what this version's 'hsm-kms key nodes --export' writes", path);
    *ret_node = node;
    return KMS_OK;
}

/* --- JSON of a Describe --- */

static json_t *health_json(const Hsmkms__Node__V1__Health *health)
{
    json_t *object = json_object();
    kms_json_set(object, "ok", json_boolean(health->ok));
    kms_json_set(object, "code", kms_json_text(health->code));
    kms_json_set(object, "message", kms_json_text(health->message));
    kms_json_set(object, "since", kms_json_time(health->since));
    return object;
}

static json_t *audit_json(const Hsmkms__Node__V1__Audit *audit)
{
    if (audit == NULL)
        return json_null();
    json_t *object = json_object();
    kms_json_set(object, "ok", json_boolean(audit->ok));
    kms_json_set(object, "reason", kms_json_text(audit->message));
    kms_json_set(object, "written", json_integer((json_int_t)audit->written));
    kms_json_set(object, "lost", json_integer((json_int_t)audit->lost));
    kms_json_set(object, "late", json_integer((json_int_t)audit->late));
    kms_json_set(object, "uncopied", json_integer((json_int_t)audit->uncopied));
    return object;
}

static json_t *configuration_json(const Hsmkms__Node__V1__DescribeResponse *description)
{
    json_t *object = json_object();
    kms_json_set(
        object, "settings_sha256",
        kms_json_hex((struct kms_bytes){ description->settings.data, description->settings.len }));
    kms_json_set(object, "settings_read", kms_json_time(description->settings_read));
    kms_json_set(
        object, "vouched_sha256",
        kms_json_hex((struct kms_bytes){ description->vouched.data, description->vouched.len }));
    kms_json_set(object, "vouched_read", kms_json_time(description->vouched_read));
    return object;
}

static json_t *tokens_json(const Hsmkms__Node__V1__DescribeResponse *description)
{
    json_t *array = json_array();
    for (size_t i = 0; i < description->n_tokens; i++) {
        const Hsmkms__Node__V1__Token *token = description->tokens[i];
        json_t *object = json_object();
        kms_json_set(object, "name", kms_json_text(token->name));
        kms_json_set(object, "label", kms_json_text(token->label));
        kms_json_set(object, "serial", kms_json_text(token->serial));
        kms_json_set(object, "model", kms_json_text(token->model));
        kms_json_set(object, "manufacturer", kms_json_text(token->manufacturer));
        kms_json_set(object, "firmware", kms_json_text(token->firmware));
        kms_json_set(object, "library", kms_json_text(token->library));
        kms_json_set(object, "profile", kms_json_text(token->profile));
        kms_json_set(object, "connected", json_boolean(token->connected));
        kms_json_set(object, "in_use", json_boolean(token->in_use));
        kms_json_set(object, "required", json_boolean(token->required));
        kms_json_set(object, "resting", json_boolean(token->resting));
        kms_json_set(object, "drained_until", kms_json_time(token->drained_until));
        kms_json_set(object, "problem", kms_json_text(token->problem));
        kms_json_append(array, object);
    }
    return array;
}

static struct kms_kek_view view_of(const Hsmkms__Node__V1__Kek *kek)
{
    return (struct kms_kek_view){
        .label = kek->label,
        .key_id = kek->key_id,
        .state = kek->state,
        .reason = kek->reason,
        .generation = kek->generation,
        .activation_utc_s = kek->activation,
        .fingerprint = { kek->fingerprint.data, kek->fingerprint.len },
        .attributes = kek->attributes & kek->known,
    };
}

static json_t *holders_json(const Hsmkms__Node__V1__Kek *kek)
{
    json_t *array = json_array();
    for (size_t i = 0; i < kek->n_holders; i++)
        kms_json_append(array, kms_json_text(kek->holders[i]));
    return array;
}

static json_t *keks_json(const Hsmkms__Node__V1__DescribeResponse *description)
{
    json_t *keks = json_array();
    for (size_t i = 0; i < description->n_keks; i++) {
        struct kms_kek_view view = view_of(description->keks[i]);
        json_t *kek = json_object();
        kms_kek_view_json(&view, kek);
        kms_json_set(kek, "seen_since", kms_json_time(description->keks[i]->seen_since));
        kms_json_set(kek, "may_unwrap", json_boolean(description->keks[i]->may_unwrap));
        kms_json_set(kek, "holders", holders_json(description->keks[i]));
        kms_json_append(keks, kek);
    }
    return keks;
}

void kms_node_describe_json(const Hsmkms__Node__V1__DescribeResponse *description, json_t *object)
{
    kms_json_set(object, "node", kms_json_text(description->node));
    kms_json_set(object, "now_ms", json_integer(description->now));
    kms_json_set(object, "version", kms_json_text(description->version));
    kms_json_set(object, "health", health_json(description->health));
    kms_json_set(object, "ring", kms_json_text(description->ring));
    kms_json_set(object, "promoted", json_integer(description->promoted));
    kms_json_set(object, "key_id", kms_json_text(description->key_id));
    kms_json_set(object, "listed", kms_json_time(description->listed));
    kms_json_set(object, "refresh_ms", json_integer(description->refresh));
    kms_json_set(object, "canary_ms", json_integer(description->canary));
    kms_json_set(object, "clock_skew_ms", json_integer(description->clock_skew));
    kms_json_set(object, "max_age_ms",
                 description->max_age > 0 ? json_integer(description->max_age) : json_null());
    kms_json_set(object, "configuration", configuration_json(description));
    kms_json_set(object, "audit", audit_json(description->audit));
    kms_json_set(object, "tokens", tokens_json(description));
    kms_json_set(object, "keks", keks_json(description));
}

/* --- one node in a list --- */

struct kms_table *kms_node_table(void)
{
    static const char *const head[] = { "NODE",    "VERSION", "RING",   "PROMOTED", "KEY_ID",
                                        "REFRESH", "CLOCK",   "LISTED", "SOURCE",   "HEALTH" };
    enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
    struct kms_table *table = kms_table_open(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        kms_table_add(table, head[i]);
    return table;
}

static void add_clock(const struct kms_node *node, struct kms_table *table)
{
    char text[64] = "";
    if (node->reached && !node->is_export)
        (void)snprintf(text, sizeof(text), "%+" PRId64 " ms", node->offset_ms);
    kms_table_add(table, text);
}

void kms_node_row(const struct kms_node *node, struct kms_table *table)
{
    char promoted[16] = "", refresh[KMS_DURATION_LEN + 1] = "", listed[KMS_RFC3339_LEN + 1];
    if (node->promoted != 0)
        (void)snprintf(promoted, sizeof(promoted), "%" PRIu32, node->promoted);
    if (node->reached)
        kms_duration_format(node->refresh_ms, refresh);
    kms_time_text(node->listed_utc_s, listed, sizeof(listed));
    kms_table_add(table, node->name);
    kms_table_add(table, node->version);
    kms_table_add(table, node->ring);
    kms_table_add(table, promoted);
    kms_table_add(table, node->key_id);
    kms_table_add(table, refresh);
    add_clock(node, table);
    kms_table_add(table, listed);
    kms_table_add(table, node->source);
    kms_table_add(table, node->healthy ? "healthy" : node->health);
}

json_t *kms_node_json(const struct kms_node *node)
{
    json_t *object = json_object();
    bool timed = node->reached && !node->is_export;
    kms_json_set(object, "source", kms_json_text(node->source));
    kms_json_set(object, "is_export", json_boolean(node->is_export));
    kms_json_set(object, "reached", json_boolean(node->reached));
    kms_json_set(object, "node", kms_json_text(node->name));
    kms_json_set(object, "version", kms_json_text(node->version));
    kms_json_set(object, "ring", kms_json_text(node->ring));
    kms_json_set(object, "promoted", json_integer(node->promoted));
    kms_json_set(object, "key_id", kms_json_text(node->key_id));
    kms_json_set(object, "healthy", json_boolean(node->healthy));
    kms_json_set(object, "health", kms_json_text(node->health));
    kms_json_set(object, "refresh_ms", json_integer(node->refresh_ms));
    kms_json_set(object, "clock_skew_ms", json_integer(node->clock_skew_ms));
    kms_json_set(object, "clock_offset_ms", timed ? json_integer(node->offset_ms) : json_null());
    kms_json_set(object, "listed", kms_json_time(node->listed_utc_s));
    return object;
}

void kms_node_title(const struct kms_node *node, char ret_title[static KMS_NODE_TITLE_MAX])
{
    (void)snprintf(ret_title, KMS_NODE_TITLE_MAX, "%s (%s)", node->name, node->source);
}
