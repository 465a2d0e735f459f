/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "command.h"
#include "inspect.h"
#include "json.h"
#include "kms/clock.h"
#include "snapshot.h"
#include "text.h"

enum { TIMEOUT_MS = 5000 };

/* --- what the key_id is --- */

static void take_id(const char *ring, const struct kms_value *value, struct kms_inspect_kek *kek)
{
    struct kms_key_id key_id;
    kek->of_ring = kms_key_id_parse(ring, value->key_id, &key_id);
    kek->generation = kek->of_ring ? key_id.generation : 0;
}

static void set_kek(struct kms_inspect_kek *kek, const char *label, const char *state,
                    const char *reason)
{
    (void)snprintf(kek->label, sizeof(kek->label), "%s", label);
    (void)snprintf(kek->state, sizeof(kek->state), "%s", state);
    (void)snprintf(kek->reason, sizeof(kek->reason), "%s", reason);
}

static enum kms_code ask_plugin(const char *socket, const struct kms_value *value,
                                struct kms_inspect_kek *kek, struct kms_error *err)
{
    Hsmkms__Node__V1__DescribeResponse *description = NULL;
    enum kms_code rc = kms_client_describe_at(socket, kms_monotonic_ms() + TIMEOUT_MS, &description,
                                              err);
    if (rc != KMS_OK)
        return rc;
    kek->from = "the running plugin";
    take_id(description->ring, value, kek);
    for (size_t i = 0; i < description->n_keks; i++) {
        const Hsmkms__Node__V1__Kek *listed = description->keks[i];
        if (kms_bytes_equal(kms_bytes_of(listed->key_id), value->key_id))
            set_kek(kek, listed->label, listed->state, listed->reason);
    }
    kms_client_free_describe(description);
    return KMS_OK;
}

static enum kms_code ask_token(const struct kms_inspect_options *options,
                               const struct kms_value *value, struct kms_inspect_kek *kek,
                               struct kms_error *err)
{
    KMS_CLEANUP(kms_keyring_done) struct kms_keyring keyring = { .token_count = 0 };
    KMS_CLEANUP(kms_inventory_done) struct kms_inventory inventory = { .count = 0 };
    KMS_CLEANUP(kms_snapshot_release_ptr) struct kms_snapshot *snapshot = NULL;
    enum kms_code rc = kms_keyring_init(&keyring, &options->keyring, err);
    if (rc == KMS_OK)
        rc = kms_keyring_list(&keyring, &inventory, err);
    if (rc == KMS_OK)
        rc = kms_keyring_judge(&keyring, &inventory, kms_utc_s(), &snapshot, err);
    if (rc != KMS_OK)
        return rc;
    kek->from = "the token";
    take_id(keyring.config.ring, value, kek);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct kms_ring_entry *entry = &snapshot->entries[i];
        if (kms_bytes_equal(kms_bytes_of(entry->key_id), value->key_id))
            set_kek(kek, entry->kek.label, kms_kek_state_name(entry->state), entry->reason);
    }
    return KMS_OK;
}

void kms_inspect_find_kek(const struct kms_inspect_options *options, const struct kms_value *value,
                          struct kms_inspect_kek *ret_kek)
{
    bool configured = options->keyring.config_path != NULL || access(KMS_CONFIG_PATH, F_OK) == 0;
    if (value->class != KMS_VALUE_KMS_V2 || (!configured && options->socket == NULL))
        return;
    struct kms_error err = { .code = KMS_OK };
    char *socket = NULL;
    enum kms_code rc = kms_command_socket_path(options->socket, options->keyring.config_path,
                                               &socket, &err);
    if (rc == KMS_OK)
        rc = ask_plugin(socket, value, ret_kek, &err);
    if (rc != KMS_OK && options->socket == NULL)
        rc = ask_token(options, value, ret_kek, &err);
    if (rc != KMS_OK)
        (void)snprintf(ret_kek->problem, sizeof(ret_kek->problem), "%s", err.msg);
    free(socket);
}

static void meaning(const struct kms_inspect_kek *kek, char *ret_text, size_t size)
{
    if (kek->from == NULL)
        (void)snprintf(ret_text, size, "not looked up%s%s", kek->problem[0] != '\0' ? ": " : "",
                       kek->problem);
    else if (!kek->of_ring)
        (void)snprintf(ret_text, size, "not of this ring (by %s)", kek->from);
    else if (kek->state[0] == '\0')
        (void)snprintf(ret_text, size,
                       "generation %" PRIu32 " of this ring, which has no such KEK (by %s): "
                       "restore it; do not delete the object",
                       kek->generation, kek->from);
    else
        (void)snprintf(ret_text, size, "generation %" PRIu32 ", %s, '%.80s' (by %s)%s%s",
                       kek->generation, kek->state, kek->label, kek->from,
                       kek->reason[0] != '\0' ? ": " : "", kek->reason);
}

/* --- text --- */

static void print_bytes(const char *name, struct kms_bytes bytes)
{
    if (bytes.len == 0)
        return;
    char *text = kms_text_escape(bytes);
    (void)printf("%-12s%s\n", name, text);
    free(text);
}

static void print_text(const char *name, const char *text)
{
    print_bytes(name, kms_bytes_of(text));
}

static void print_hex(const char *name, struct kms_bytes bytes)
{
    char *digits = kms_must_alloc(malloc(2 * bytes.len + 1));
    kms_hex_encode(bytes, digits);
    print_text(name, digits);
    free(digits);
}

static const char *dek_type_name(enum kms_dek_type type)
{
    return type == KMS_DEK_SEED ? "HKDF_SHA256_XNONCE_AES_GCM_SEED" : "AES_GCM_KEY";
}

static void print_sealed(const struct kms_value *value)
{
    struct kms_bytes data = value->data;
    print_text("dek type", dek_type_name(value->dek_type));
    print_hex("wrapped", value->dek_source);
    struct kms_value_annotation annotation;
    for (struct kms_bytes rest = value->message; kms_value_annotation_next(&rest, &annotation);) {
        print_bytes("annotation", annotation.key);
        print_bytes("", annotation.value);
    }
    size_t info_len = value->dek_type == KMS_DEK_SEED ? KMS_VALUE_INFO_LEN : 0;
    print_hex("info", (struct kms_bytes){ data.data, info_len });
    print_hex("nonce", (struct kms_bytes){ data.data + info_len, KMS_VALUE_NONCE_LEN });
    print_hex("tag",
              (struct kms_bytes){ data.data + data.len - KMS_VALUE_TAG_LEN, KMS_VALUE_TAG_LEN });
    (void)printf("%-12s%zu bytes\n", "object",
                 data.len - info_len - KMS_VALUE_NONCE_LEN - KMS_VALUE_TAG_LEN);
}

static void print_object(const struct kms_inspect_options *options,
                         const struct kms_inspected *inspected)
{
    if (options->key != NULL)
        print_text("key", options->key);
    print_bytes("group", inspected->name.group);
    print_bytes("resource", inspected->name.resource);
    print_bytes("namespace", inspected->name.namespace);
    print_bytes("name", inspected->name.name);
    if (inspected->name.exempt != NULL)
        print_text("exempt", inspected->name.exempt);
    if (inspected->mod_revision != 0)
        (void)printf("%-12s%" PRId64 ", created at %" PRId64 ", version %" PRId64 "%s\n",
                     "revision", inspected->mod_revision, inspected->create_revision,
                     inspected->version, inspected->history ? ", history" : "");
}

static void print_all(const struct kms_inspect_options *options,
                      const struct kms_inspected *inspected, const struct kms_inspect_kek *kek)
{
    const struct kms_value *value = &inspected->value;
    char text[1024];
    print_object(options, inspected);
    print_text("encryption", kms_value_class_name(value->class));
    if (value->problem != NULL)
        print_text("problem", value->problem);
    print_bytes("provider", value->provider);
    (void)printf("%-12s%zu bytes\n", "stored", inspected->stored.len);
    if (value->class != KMS_VALUE_KMS_V2)
        return;
    print_bytes("key_id", value->key_id);
    meaning(kek, text, sizeof(text));
    print_text("means", text);
    print_sealed(value);
}

/* --- JSON --- */

static json_t *annotations_json(const struct kms_value *value)
{
    json_t *array = json_array();
    struct kms_value_annotation annotation;
    for (struct kms_bytes rest = value->message; kms_value_annotation_next(&rest, &annotation);) {
        json_t *item = json_object();
        kms_json_set(item, "key", kms_json_bytes(annotation.key));
        kms_json_set(item, "value_hex", kms_json_hex(annotation.value));
        kms_json_append(array, item);
    }
    return array;
}

static json_t *kek_json(const struct kms_inspect_kek *kek)
{
    if (kek->from == NULL)
        return json_null();
    json_t *object = json_object();
    kms_json_set(object, "by", kms_json_text(kek->from));
    kms_json_set(object, "of_ring", json_boolean(kek->of_ring));
    kms_json_set(object, "generation", json_integer(kek->generation));
    kms_json_set(object, "label", kms_json_text(kek->label));
    kms_json_set(object, "state", kms_json_text(kek->state));
    kms_json_set(object, "reason", kms_json_text(kek->reason));
    return object;
}

static void set_sealed(json_t *object, const struct kms_value *value)
{
    struct kms_bytes data = value->data;
    size_t info_len = value->dek_type == KMS_DEK_SEED ? KMS_VALUE_INFO_LEN : 0;
    kms_json_set(object, "key_id", kms_json_bytes(value->key_id));
    kms_json_set(object, "dek_type", kms_json_text(dek_type_name(value->dek_type)));
    kms_json_set(object, "wrapped_hex", kms_json_hex(value->dek_source));
    kms_json_set(object, "annotations", annotations_json(value));
    kms_json_set(object, "info_hex", kms_json_hex((struct kms_bytes){ data.data, info_len }));
    kms_json_set(object, "nonce_hex",
                 kms_json_hex((struct kms_bytes){ data.data + info_len, KMS_VALUE_NONCE_LEN }));
    kms_json_set(
        object, "object_len",
        json_integer((json_int_t)(data.len - info_len - KMS_VALUE_NONCE_LEN - KMS_VALUE_TAG_LEN)));
}

static void print_json(const struct kms_inspect_options *options,
                       const struct kms_inspected *inspected, const struct kms_inspect_kek *kek)
{
    const struct kms_value *value = &inspected->value;
    json_t *object = kms_json_open("inspect");
    kms_json_set(object, "key", kms_json_text(options->key));
    kms_json_set(object, "group", kms_json_bytes(inspected->name.group));
    kms_json_set(object, "resource", kms_json_bytes(inspected->name.resource));
    kms_json_set(object, "namespace", kms_json_bytes(inspected->name.namespace));
    kms_json_set(object, "name", kms_json_bytes(inspected->name.name));
    kms_json_set(object, "state", kms_json_text(inspected->history ? "history" : "current"));
    kms_json_set(object, "mod_revision", json_integer(inspected->mod_revision));
    kms_json_set(object, "create_revision", json_integer(inspected->create_revision));
    kms_json_set(object, "version", json_integer(inspected->version));
    kms_json_set(object, "encryption", kms_json_text(kms_value_class_name(value->class)));
    kms_json_set(object, "problem", kms_json_text(value->problem));
    kms_json_set(object, "provider", kms_json_bytes(value->provider));
    kms_json_set(object, "stored_len", json_integer((json_int_t)inspected->stored.len));
    if (value->class == KMS_VALUE_KMS_V2)
        set_sealed(object, value);
    kms_json_set(object, "kek", kek_json(kek));
    kms_json_set(object, "kek_problem", kms_json_text(kek->problem));
    kms_json_print(object);
}

void kms_inspect_print(const struct kms_inspect_options *options,
                       const struct kms_inspected *inspected, const struct kms_inspect_kek *kek)
{
    if (options->keyring.json)
        print_json(options, inspected, kek);
    else
        print_all(options, inspected, kek);
}
