/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors of vectors/etcd-values.json, and a writer of protobuf that writes what it is told. */
#ifndef TEST_ETCD_RIG_H
#define TEST_ETCD_RIG_H

#include <stddef.h>
#include <stdint.h>

#include "etcd/value.h"
#include "kms/bytes.h"

enum { ETCD_ANNOTATIONS_MAX = 4 };

/* As vectors/README.md has it.  What a class doesn't have is empty. */
struct etcd_vector {
    const char *etcd_key, *class, *provider, *key_id;
    enum kms_dek_type dek_type;
    struct kms_bytes value, wrapped, dek_source, plaintext;
    struct {
        const char *key;
        struct kms_bytes value;
    } annotations[ETCD_ANNOTATIONS_MAX];
    size_t annotation_count;
};

struct etcd_vectors {
    struct etcd_vector *items;
    size_t count;
    void *json;
};
/* cmocka group set-up and tear-down; *state is a struct etcd_vectors. */
int etcd_vectors_set_up(void **state);
int etcd_vectors_tear_down(void **state);
/* The one under @etcd_key with @class; fails the test if there is none. */
const struct etcd_vector *etcd_vectors_find(const struct etcd_vectors *vectors, const char *class,
                                            const char *etcd_key);

/* Bytes that grow; a zeroed one is empty. */
struct etcd_bytes {
    uint8_t *data;
    size_t len;
};
void etcd_bytes_done(struct etcd_bytes *bytes);
struct kms_bytes etcd_bytes_view(const struct etcd_bytes *bytes);

void etcd_put(struct etcd_bytes *bytes, const void *data, size_t len);
void etcd_put_text(struct etcd_bytes *bytes, const char *text);
void etcd_put_zeros(struct etcd_bytes *bytes, size_t len);
void etcd_put_varint(struct etcd_bytes *bytes, uint64_t value);
/* A field of wire type 0, and one of wire type 2. */
void etcd_put_number(struct etcd_bytes *bytes, unsigned field, uint64_t value);
void etcd_put_field(struct etcd_bytes *bytes, unsigned field, struct kms_bytes content);
/* Field 4 of an EncryptedObject: an entry with @key and the value "v". */
void etcd_put_annotation(struct etcd_bytes *bytes, const char *key);

/* "k8s:enc:kms:v2:hsm:", and fields 1 (60 zeros), 2 ("k1"), 3 (40 zeros) and 5 (1): well-formed. */
void etcd_put_good(struct etcd_bytes *bytes);

#endif
