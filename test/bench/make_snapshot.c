/* SPDX-License-Identifier: Apache-2.0 */
/* usage: make_snapshot FILE KEYS VALUE_LEN [SEEDS]
 *
 * Writes what `etcdctl snapshot save` would give for KEYS Secrets of VALUE_LEN random-looking bytes; with
 * SEEDS as KMS v2 values under "prod.v1.00112233445566778899aabbccddeeff" and so many DEK seeds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake/etcd_file.h"

enum {
    PAGE_SIZE = 4096,
    FIRST_REVISION = 2,
    HEAD_MAX = 256,    /* bytes of a value before its encrypted data */
    WRAPPED_LEN = 40,  /* bytes: RFC 3394 of a 32-byte seed */
    FIELD_DATA = 0x0a, /* tags of the EncryptedObject's fields */
    FIELD_KEY_ID = 0x12,
    FIELD_WRAPPED = 0x1a,
    FIELD_TYPE = 0x28,
};

static const char provider[] = "k8s:enc:kms:v2:hsm:";
static const char key_id[] = "prod.v1.00112233445566778899aabbccddeeff";

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
static size_t seal(uint8_t *value, const uint8_t *data, size_t len, long seed)
{
    uint8_t wrapped[WRAPPED_LEN] = { 0 };
    memcpy(wrapped, &seed, sizeof seed);
    uint8_t *at = put(value, provider, strlen(provider));
    at = put(put_field(at, FIELD_DATA, len), data, len);
    at = put(put_field(at, FIELD_KEY_ID, strlen(key_id)), key_id, strlen(key_id));
    at = put(put_field(at, FIELD_WRAPPED, WRAPPED_LEN), wrapped, WRAPPED_LEN);
    *at++ = FIELD_TYPE;
    *at++ = 1;
    return (size_t)(at - value);
}

static void write_all(struct etcd_file *file, long keys, size_t len, long seeds)
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
        if (seeds > 0)
            stored = (struct kms_bytes){ value, seal(value, data, len, i % seeds) };
        etcd_file_put(file, FIRST_REVISION + i, 0, key, stored);
    }
    free(data);
    free(value);
}

int main(int argc, char **argv)
{
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: make_snapshot FILE KEYS VALUE_LEN [SEEDS]\n");
        return 2;
    }
    size_t len = strtoul(argv[3], NULL, 10);
    long seeds = argc > 4 ? strtol(argv[4], NULL, 10) : 0;
    if (seeds > 0 && (len < 60 || len >= 1 << 14)) {
        fprintf(stderr, "make_snapshot: an encrypted VALUE_LEN is 60..16383\n");
        return 2;
    }
    struct etcd_file *file = etcd_file_open(argv[1], PAGE_SIZE);
    write_all(file, strtol(argv[2], NULL, 10), len, seeds);
    etcd_file_close(file, &(struct etcd_file_end){ .digest = true });
    return 0;
}
