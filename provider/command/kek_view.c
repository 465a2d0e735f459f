/* SPDX-License-Identifier: Apache-2.0 */
#include "kek_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "kms/clock.h"

static const struct {
    enum kms_kek_attribute bit;
    const char *name;
} attribute_names[] = {
    { KMS_KEK_SENSITIVE, "sensitive" },
    { KMS_KEK_ALWAYS_SENSITIVE, "always-sensitive" },
    { KMS_KEK_EXTRACTABLE, "extractable" },
    { KMS_KEK_NEVER_EXTRACTABLE, "never-extractable" },
    { KMS_KEK_LOCAL, "local" },
    { KMS_KEK_PRIVATE, "private" },
    { KMS_KEK_WRAP, "wrap" },
    { KMS_KEK_UNWRAP, "unwrap" },
    { KMS_KEK_ENCRYPT, "encrypt" },
    { KMS_KEK_DECRYPT, "decrypt" },
};
enum {
    ATTRIBUTE_COUNT = sizeof(attribute_names) / sizeof(attribute_names[0]),
    ATTRIBUTES_MAX = 256, /* bytes: all names, with "not" before them */
};

/* Of a key of `key create`. */
static const uint32_t usual_attributes = KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE |
                                         KMS_KEK_NEVER_EXTRACTABLE | KMS_KEK_LOCAL |
                                         KMS_KEK_PRIVATE | KMS_KEK_WRAP | KMS_KEK_UNWRAP;

/* What it has as well where the token's wrap profile needs it. */
static const uint32_t profiles_attributes = KMS_KEK_ENCRYPT | KMS_KEK_DECRYPT;

void kms_key_id_hash(const char *key_id, char ret_hash[static KMS_KEY_ID_HASH_LEN + 1])
{
    uint8_t digest[KMS_SHA256_LEN];
    ret_hash[0] = '\0';
    if (key_id[0] == '\0')
        return;
    kms_sha256(kms_bytes_of(key_id), digest);
    memcpy(ret_hash, "sha256:", 7);
    kms_hex_encode((struct kms_bytes){ digest, sizeof(digest) }, ret_hash + 7);
}

struct kms_kek_view kms_kek_view_of(const struct kms_ring_entry *entry)
{
    const struct kms_kek_info *kek = &entry->kek;
    return (struct kms_kek_view){
        .label = kek->label,
        .key_id = entry->key_id,
        .state = kms_kek_state_name(entry->state),
        .reason = entry->reason,
        .generation = entry->generation,
        .activation_utc_s = entry->activation_utc_s,
        .fingerprint = { kek->fingerprint, kek->fingerprinted ? sizeof(kek->fingerprint) : 0 },
        .attributes = kek->attributes & kek->known,
    };
}

void kms_kek_view_json(const struct kms_kek_view *view, json_t *object)
{
    char hash[KMS_KEY_ID_HASH_LEN + 1];
    kms_key_id_hash(view->key_id, hash);
    json_t *attributes = json_array();
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
        if ((view->attributes & (uint32_t)attribute_names[i].bit) != 0)
            kms_json_append(attributes, kms_json_text(attribute_names[i].name));
    kms_json_set(object, "generation", json_integer(view->generation));
    kms_json_set(object, "label", kms_json_text(view->label));
    kms_json_set(object, "key_id", kms_json_text(view->key_id));
    kms_json_set(object, "key_id_hash", kms_json_text(hash));
    if (view->state != NULL) {
        kms_json_set(object, "state", kms_json_text(view->state));
        kms_json_set(object, "reason", kms_json_text(view->reason));
    }
    kms_json_set(object, "activation", kms_json_time(view->activation_utc_s));
    kms_json_set(object, "attributes", attributes);
    kms_json_set(object, "fingerprint",
                 view->fingerprint.len > 0 ? kms_json_hex(view->fingerprint) : json_null());
}

void kms_time_text(int64_t utc_s, char *ret_text, size_t size)
{
    char stamp[KMS_RFC3339_LEN + 1] = "-";
    if (utc_s != 0)
        kms_rfc3339_format(utc_s, stamp);
    (void)snprintf(ret_text, size, "%s", stamp);
}

/* --- rows --- */

struct kms_table *kms_kek_view_table(bool wide)
{
    static const char *const narrow_head[] = { "GEN", "STATE", "ACTIVATION", "KEY_ID",
                                               "SHA256(KEY_ID)" };
    static const char *const wide_head[] = { "GEN",        "STATE",       "ACTIVATION",
                                             "LABEL",      "KEY_ID",      "SHA256(KEY_ID)",
                                             "ATTRIBUTES", "FINGERPRINT", "REASON" };
    const char *const *head = wide ? wide_head : narrow_head;
    size_t columns = wide ? sizeof(wide_head) / sizeof(wide_head[0])
                          : sizeof(narrow_head) / sizeof(narrow_head[0]);
    struct kms_table *table = kms_table_open(columns);
    for (size_t i = 0; i < columns; i++)
        kms_table_add(table, head[i]);
    return table;
}

static bool has(const struct kms_kek_view *view, size_t i)
{
    return (view->attributes & (uint32_t)attribute_names[i].bit) != 0;
}

static void add_attributes(const struct kms_kek_view *view, struct kms_table *table)
{
    char text[ATTRIBUTES_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
        if (has(view, i))
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? "," : "",
                                    attribute_names[i].name);
    kms_table_add(table, text);
}

static void note_label(const struct kms_kek_view *view, struct kms_table *table)
{
    char usual[KMS_KEK_LABEL_LEN + 1] = "", text[KMS_LABEL_MAX + 16];
    if (view->generation != 0 && view->activation_utc_s != 0)
        kms_label_format("", view->generation, view->activation_utc_s, usual); /* after the ring */
    size_t len = strlen(view->label), usual_len = strlen(usual);
    if (usual_len > 0 && len >= usual_len && strcmp(view->label + len - usual_len, usual) == 0)
        return;
    (void)snprintf(text, sizeof(text), "label: %s", view->label);
    kms_table_note(table, text);
}

/* How it differs from a key of `key create`. */
static void note_attributes(const struct kms_kek_view *view, struct kms_table *table)
{
    static const char begin[] = "unlike a key made by key create: ";
    char text[ATTRIBUTES_MAX] = "";
    size_t len = 0;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++) {
        bool usual = (usual_attributes & (uint32_t)attribute_names[i].bit) != 0;
        if ((profiles_attributes & (uint32_t)attribute_names[i].bit) != 0)
            continue;
        if (has(view, i) != usual)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s",
                                    len > 0 ? ", " : begin, usual ? "not " : "",
                                    attribute_names[i].name);
    }
    if (len > 0)
        kms_table_note(table, text);
}

static void add_notes(const struct kms_kek_view *view, struct kms_table *table)
{
    if (view->reason[0] != '\0')
        kms_table_note(table, view->reason);
    if (strcmp(view->state, kms_kek_state_name(KMS_KEK_MISSING)) == 0)
        return; /* it has neither label nor attributes */
    note_label(view, table);
    note_attributes(view, table);
}

static void add_all(const struct kms_kek_view *view, const char *hash, struct kms_table *table)
{
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1] = "";
    if (view->fingerprint.len == KMS_FINGERPRINT_LEN)
        kms_hex_encode(view->fingerprint, fingerprint);
    kms_table_add(table, view->label);
    kms_table_add(table, view->key_id);
    kms_table_add(table, hash);
    add_attributes(view, table);
    kms_table_add(table, fingerprint);
    kms_table_add(table, view->reason);
}

static void add_short(const struct kms_kek_view *view, char hash[static KMS_KEY_ID_HASH_LEN + 1],
                      struct kms_table *table)
{
    enum { SHORT_LEN = 7 + 12 }; /* "sha256:" and digits */
    hash[SHORT_LEN] = '\0';
    kms_table_add(table, view->key_id);
    kms_table_add(table, hash);
    add_notes(view, table);
}

void kms_kek_view_row(const struct kms_kek_view *view, bool wide, struct kms_table *table)
{
    char generation[16], activation[KMS_RFC3339_LEN + 1], hash[KMS_KEY_ID_HASH_LEN + 1] = "";
    (void)snprintf(generation, sizeof(generation), "%" PRIu32, view->generation);
    kms_time_text(view->activation_utc_s, activation, sizeof(activation));
    kms_key_id_hash(view->key_id, hash);
    kms_table_add(table, generation);
    kms_table_add(table, view->state);
    kms_table_add(table, activation);
    if (wide)
        add_all(view, hash, table);
    else
        add_short(view, hash, table);
}
