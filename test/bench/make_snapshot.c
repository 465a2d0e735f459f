/* SPDX-License-Identifier: Apache-2.0 */
/* usage: make_snapshot FILE KEYS VALUE_LEN [SEEDS KEY_ID]
 *
 * Writes what `etcdctl snapshot save` would give for KEYS Secrets of VALUE_LEN random-looking bytes; with
 * SEEDS as KMS v2 values under KEY_ID and so many DEK seeds, wrapped under the KEK 00 01 02 … 1f. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "fake/etcd_file.h"

enum {
    PAGE_SIZE = 4096,
    FIRST_REVISION = 2,
    HEAD_MAX = 256,    /* bytes of a value before its encrypted data */
    SEED_LEN = 32,     /* bytes */
    WRAPPED_LEN = 40,  /* the same by RFC 3394 */
    FIELD_DATA = 0x0a, /* tags of the EncryptedObject's fields */
    FIELD_KEY_ID = 0x12,
    FIELD_WRAPPED = 0x1a,
    FIELD_TYPE = 0x28,
};

static const char provider[] = "k8s:enc:kms:v2:hsm:";

/* What all values have in common. */
struct sealer {
    const char *key_id;
    long seeds;
    EVP_CIPHER_CTX *wrap; /* owned; under the KEK */
};

static struct sealer open_sealer(const char *key_id, long seeds)
{
    uint8_t kek[SEED_LEN];
    for (size_t i = 0; i < sizeof kek; i++)
        kek[i] = (uint8_t)i;
    struct sealer sealer = { .key_id = key_id, .seeds = seeds, .wrap = EVP_CIPHER_CTX_new() };
    if (sealer.wrap == NULL)
        exit(1);
    EVP_CIPHER_CTX_set_flags(sealer.wrap, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    if (EVP_EncryptInit_ex(sealer.wrap, EVP_aes_256_wrap(), NULL, kek, NULL) != 1)
        exit(1);
    return sealer;
}

static void wrap_seed(const struct sealer *sealer, long number, uint8_t wrapped[static WRAPPED_LEN])
{
    uint8_t seed[SEED_LEN] = { 0 };
    int len = 0;
    memcpy(seed, &number, sizeof number);
    if (EVP_EncryptInit_ex(sealer->wrap, NULL, NULL, NULL, NULL) != 1 ||
        EVP_EncryptUpdate(sealer->wrap, wrapped, &len, seed, sizeof seed) != 1 ||
        len != WRAPPED_LEN)
        exit(1);
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
    memcpy(at, data, len);
    return at + len;
}

/* All lengths in two bytes or one, as protobuf has them. */
static uint8_t *put_field(uint8_t *at, uint8_t tag, size_t len)
{
    *at++ = tag;
    if (len >= 0x80)
        *at++ = (uint8_t)(len & 0x7f) | 0x80;
    *at++ = (uint8_t)(len >= 0x80 ? len >> 7 : len);
    return at;
}

/* @data of @len bytes as kube-apiserver would store it; returns the length of @value. */
static size_t seal(const struct sealer *sealer, uint8_t *value, const uint8_t *data, size_t len,
                   long number)
{
    uint8_t wrapped[WRAPPED_LEN];
    size_t id_len = strlen(sealer->key_id);
    wrap_seed(sealer, number % sealer->seeds, wrapped);
    uint8_t *at = put(value, provider, strlen(provider));
    at = put(put_field(at, FIELD_DATA, len), data, len);
    at = put(put_field(at, FIELD_KEY_ID, id_len), sealer->key_id, id_len);
    at = put(put_field(at, FIELD_WRAPPED, WRAPPED_LEN), wrapped, WRAPPED_LEN);
    *at++ = FIELD_TYPE;
    *at++ = 1;
    return (size_t)(at - value);
}

/* @sealer: NULL if the values are to be what they are. */
static void write_all(struct etcd_file *file, long keys, size_t len, const struct sealer *sealer)
{
    uint8_t *data = malloc(len + sizeof(long)), *value = malloc(len + HEAD_MAX);
    if (data == NULL || value == NULL)
        exit(1);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 2654435761U >> 13);
    for (long i = 0; i < keys; i++) {
        char key[64];
        snprintf(key, sizeof key, "/registry/secrets/namespace-%ld/secret-%ld", i % 1000, i);
        memcpy(data, &i, sizeof i);
        struct kms_bytes stored = { data, len };
        if (sealer != NULL)
            stored = (struct kms_bytes){ value, seal(sealer, value, data, len, i) };
        etcd_file_put(file, FIRST_REVISION + i, 0, key, stored);
    }
    free(data);
    free(value);
}

int main(int argc, char **argv)
{
    size_t len = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    bool sealed = argc == 6;
    if ((argc != 4 && !sealed) ||
        (sealed && (len < 60 || len >= 1 << 14 || strlen(argv[5]) > 99))) {
        fprintf(stderr, "usage: make_snapshot FILE KEYS VALUE_LEN [SEEDS KEY_ID]\n"
                        "with SEEDS, VALUE_LEN is 60..16383, and KEY_ID has at most 99 bytes\n");
        return 2;
    }
    struct etcd_file *file = etcd_file_open(argv[1], PAGE_SIZE);
    struct sealer sealer = open_sealer(sealed ? argv[5] : "",
                                       sealed ? strtol(argv[4], NULL, 10) : 1);
    write_all(file, strtol(argv[2], NULL, 10), len, sealed ? &sealer : NULL);
    EVP_CIPHER_CTX_free(sealer.wrap);
    etcd_file_close(file, &(struct etcd_file_end){ .digest = true });
    return 0;
}
