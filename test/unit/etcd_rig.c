/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_rig.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "check.h"

/* Owned by the caller; freed by free_bytes(). */
static struct kms_bytes from_hex(const char *hex)
{
    size_t len = hex != NULL ? strlen(hex) / 2 : 0;
    uint8_t *data = malloc(len + 1);
    assert_non_null(data);
    assert_true(hex == NULL || kms_hex_decode(hex, data, len));
    return (struct kms_bytes){ data, len };
}

static void free_bytes(struct kms_bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static const char *text_of(const json_t *item, const char *name)
{
    return json_string_value(json_object_get(item, name));
}

static void load_annotations(struct etcd_vector *vector, const json_t *pairs)
{
    size_t i;
    json_t *pair;
    json_array_foreach (pairs, i, pair) {
        assert_true(i < ETCD_ANNOTATIONS_MAX);
        vector->annotations[i].key = json_string_value(json_array_get(pair, 0));
        vector->annotations[i].value = from_hex(json_string_value(json_array_get(pair, 1)));
        vector->annotation_count++;
    }
}

static struct etcd_vector load(const json_t *item)
{
    json_int_t dek_type = json_integer_value(json_object_get(item, "dek_type"));
    struct etcd_vector vector = {
        .etcd_key = text_of(item, "etcd_key"),
        .class = text_of(item, "class"),
        .provider = text_of(item, "provider"),
        .key_id = text_of(item, "key_id"),
        .dek_type = dek_type == 1 ? KMS_DEK_SEED : KMS_DEK_KEY,
        .value = from_hex(text_of(item, "value")),
        .wrapped = from_hex(text_of(item, "wrapped")),
        .dek_source = from_hex(text_of(item, "dek_source")),
        .plaintext = from_hex(text_of(item, "plaintext")),
    };
    load_annotations(&vector, json_object_get(item, "annotations"));
    return vector;
}

int etcd_vectors_set_up(void **state)
{
    json_error_t error;
    json_t *json = json_load_file(ETCD_VECTORS, 0, &error);
    if (json == NULL)
        fail_msg("%s: %s", ETCD_VECTORS, error.text);
    struct etcd_vectors *vectors = calloc(1, sizeof *vectors);
    assert_non_null(vectors);
    vectors->json = json;
    vectors->count = json_array_size(json);
    assert_true(vectors->count > 0);
    vectors->items = calloc(vectors->count + 1, sizeof *vectors->items);
    assert_non_null(vectors->items);
    for (size_t i = 0; i < vectors->count; i++)
        vectors->items[i] = load(json_array_get(json, i));
    *state = vectors;
    return 0;
}

int etcd_vectors_tear_down(void **state)
{
    struct etcd_vectors *vectors = *state;
    for (size_t i = 0; i < vectors->count; i++) {
        struct etcd_vector *vector = &vectors->items[i];
        free_bytes(vector->value);
        free_bytes(vector->wrapped);
        free_bytes(vector->dek_source);
        free_bytes(vector->plaintext);
        for (size_t k = 0; k < vector->annotation_count; k++)
            free_bytes(vector->annotations[k].value);
    }
    json_decref(vectors->json);
    free(vectors->items);
    free(vectors);
    return 0;
}

const struct etcd_vector *etcd_vectors_find(const struct etcd_vectors *vectors, const char *class,
                                            const char *etcd_key)
{
    for (size_t i = 0; i < vectors->count; i++) {
        const struct etcd_vector *vector = &vectors->items[i];
        if (strcmp(vector->class, class) == 0 && strcmp(vector->etcd_key, etcd_key) == 0)
            return vector;
    }
    fail_msg("no vector of class %s under %s", class, etcd_key);
    return NULL;
}

void etcd_bytes_done(struct etcd_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct etcd_bytes){ 0 };
}

/* In a block of just that size, so that a sanitizer sees a read behind it. */
struct kms_bytes etcd_bytes_view(const struct etcd_bytes *bytes)
{
    return (struct kms_bytes){ bytes->data, bytes->len };
}

void etcd_put(struct etcd_bytes *bytes, const void *data, size_t len)
{
    if (len == 0)
        return;
    bytes->data = realloc(bytes->data, bytes->len + len);
    assert_non_null(bytes->data);
    memcpy(bytes->data + bytes->len, data, len);
    bytes->len += len;
}

void etcd_put_text(struct etcd_bytes *bytes, const char *text)
{
    etcd_put(bytes, text, strlen(text));
}

void etcd_put_zeros(struct etcd_bytes *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        etcd_put(bytes, "", 1);
}

void etcd_put_varint(struct etcd_bytes *bytes, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        uint8_t byte = (uint8_t)(value & 0x7f) | 0x80;
        etcd_put(bytes, &byte, 1);
    }
    uint8_t last = (uint8_t)value;
    etcd_put(bytes, &last, 1);
}

void etcd_put_number(struct etcd_bytes *bytes, unsigned field, uint64_t value)
{
    etcd_put_varint(bytes, (uint64_t)field << 3);
    etcd_put_varint(bytes, value);
}

void etcd_put_field(struct etcd_bytes *bytes, unsigned field, struct kms_bytes content)
{
    etcd_put_varint(bytes, (uint64_t)field << 3 | 2);
    etcd_put_varint(bytes, content.len);
    etcd_put(bytes, content.data, content.len);
}

void etcd_put_annotation(struct etcd_bytes *bytes, const char *key)
{
    KMS_CLEANUP(etcd_bytes_done) struct etcd_bytes entry = { 0 };
    etcd_put_field(&entry, 1, kms_bytes_of(key));
    etcd_put_field(&entry, 2, kms_bytes_of("v"));
    etcd_put_field(bytes, 4, etcd_bytes_view(&entry));
}

void etcd_put_good(struct etcd_bytes *bytes)
{
    static const uint8_t zeros[60];
    etcd_put_text(bytes, "k8s:enc:kms:v2:hsm:");
    etcd_put_field(bytes, 1, (struct kms_bytes){ zeros, sizeof zeros });
    etcd_put_field(bytes, 2, kms_bytes_of("k1"));
    etcd_put_field(bytes, 3, (struct kms_bytes){ zeros, 40 });
    etcd_put_number(bytes, 5, 1);
}
