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
enum { ATTRIBUTE_COUNT = sizeof(attribute_names) / sizeof(attribute_names[0]) };

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

struct kms_table *kms_kek_view_table(void)
{
    static const char *const head[] = { "GEN",        "STATE",       "ACTIVATION",
                                        "LABEL",      "KEY_ID",      "SHA256(KEY_ID)",
                                        "ATTRIBUTES", "FINGERPRINT", "REASON" };
    enum { COLUMNS = sizeof(head) / sizeof(head[0]) };
    struct kms_table *table = kms_table_open(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        kms_table_add(table, head[i]);
    return table;
}

void kms_kek_view_row(const struct kms_kek_view *view, struct kms_table *table)
{
    char generation[16], activation[KMS_RFC3339_LEN + 1], hash[KMS_KEY_ID_HASH_LEN + 1];
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1] = "", attributes[128] = "";
    (void)snprintf(generation, sizeof(generation), "%" PRIu32, view->generation);
    kms_time_text(view->activation_utc_s, activation, sizeof(activation));
    kms_key_id_hash(view->key_id, hash);
    if (view->fingerprint.len == KMS_FINGERPRINT_LEN)
        kms_hex_encode(view->fingerprint, fingerprint);
    size_t len = 0;
    for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
        if ((view->attributes & (uint32_t)attribute_names[i].bit) != 0)
            len += (size_t)snprintf(attributes + len, sizeof(attributes) - len, "%s%s",
                                    len > 0 ? "," : "", attribute_names[i].name);
    kms_table_add(table, generation);
    kms_table_add(table, view->state);
    kms_table_add(table, activation);
    kms_table_add(table, view->label);
    kms_table_add(table, view->key_id);
    kms_table_add(table, hash);
    kms_table_add(table, attributes);
    kms_table_add(table, fingerprint);
    kms_table_add(table, view->reason);
}
