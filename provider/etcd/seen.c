/* SPDX-License-Identifier: Apache-2.0 */
#include "seen.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

enum {
    HASH_LEN = 12,         /* bytes of SHA-256 that are kept */
    HEADS_FIRST = 1 << 10, /* chains at the beginning; always a power of two */
    NODES_FIRST = 1 << 14, /* enough that malloc maps it, so that growing moves no bytes */
};
#define NODES_MAX (UINT32_MAX - 1)

/* Of a chain.  Nodes are numbered from 1 on; 0 ends it. */
struct node {
    uint8_t hash[HASH_LEN];
    uint32_t next;
};

struct kms_etcd_seen {
    uint8_t prefix[KMS_SHA256_LEN];
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    struct node
        *nodes; /* owned; what lies behind @count has never been touched and takes no memory */
    uint32_t count, cap;
    uint32_t *heads; /* owned */
    uint32_t head_count;
};

static enum kms_code fail_memory(struct kms_error *err)
{
    return kms_fail(err, KMS_E_BUSY, "out of memory");
}

enum kms_code kms_etcd_seen_open(struct kms_etcd_seen **ret_seen, struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_seen_close_ptr) struct kms_etcd_seen *seen = calloc(1, sizeof *seen);
    if (seen == NULL)
        return fail_memory(err);
    seen->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    seen->digest = EVP_MD_CTX_new();
    seen->heads = calloc(HEADS_FIRST, sizeof *seen->heads);
    seen->head_count = HEADS_FIRST;
    if (seen->sha256 == NULL || seen->digest == NULL || seen->heads == NULL)
        return fail_memory(err);
    if (RAND_bytes(seen->prefix, sizeof seen->prefix) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL gives no random bytes");
    *ret_seen = seen;
    seen = NULL;
    return KMS_OK;
}

void kms_etcd_seen_close(struct kms_etcd_seen *seen)
{
    if (seen == NULL)
        return;
    EVP_MD_CTX_free(seen->digest);
    EVP_MD_free(seen->sha256);
    free(seen->nodes);
    free(seen->heads);
    free(seen);
}

static uint32_t *head_of(const struct kms_etcd_seen *seen, const uint8_t hash[static HASH_LEN])
{
    uint32_t at;
    memcpy(&at, hash, sizeof at);
    return &seen->heads[at & (seen->head_count - 1)];
}

static void link_node(struct kms_etcd_seen *seen, uint32_t number)
{
    struct node *node = &seen->nodes[number - 1];
    uint32_t *head = head_of(seen, node->hash);
    node->next = *head;
    *head = number;
}

static enum kms_code grow_heads(struct kms_etcd_seen *seen, struct kms_error *err)
{
    if (seen->count < seen->head_count || seen->head_count > UINT32_MAX / 2)
        return KMS_OK;
    uint32_t *heads = calloc((size_t)seen->head_count * 2, sizeof *heads);
    if (heads == NULL)
        return fail_memory(err);
    free(seen->heads);
    seen->heads = heads;
    seen->head_count *= 2;
    for (uint32_t number = 1; number <= seen->count; number++)
        link_node(seen, number);
    return KMS_OK;
}

static enum kms_code grow_nodes(struct kms_etcd_seen *seen, struct kms_error *err)
{
    if (seen->count < seen->cap)
        return KMS_OK;
    if (seen->cap == NODES_MAX)
        return kms_fail(err, KMS_E_BUSY, "more than 4 billion keys");
    uint64_t cap = seen->cap == 0 ? NODES_FIRST : (uint64_t)seen->cap * 2;
    if (cap > NODES_MAX)
        cap = NODES_MAX;
    struct node *nodes = realloc(seen->nodes, cap * sizeof *nodes);
    if (nodes == NULL)
        return fail_memory(err);
    seen->nodes = nodes;
    seen->cap = (uint32_t)cap;
    return KMS_OK;
}

static bool hash_key(const struct kms_etcd_seen *seen, struct kms_bytes key,
                     uint8_t ret_hash[static KMS_SHA256_LEN])
{
    return EVP_DigestInit_ex(seen->digest, seen->sha256, NULL) == 1 &&
           EVP_DigestUpdate(seen->digest, seen->prefix, sizeof seen->prefix) == 1 &&
           EVP_DigestUpdate(seen->digest, key.data, key.len) == 1 &&
           EVP_DigestFinal_ex(seen->digest, ret_hash, NULL) == 1;
}

static bool holds(const struct kms_etcd_seen *seen, const uint8_t hash[static HASH_LEN])
{
    for (uint32_t number = *head_of(seen, hash); number != 0; number = seen->nodes[number - 1].next)
        if (memcmp(seen->nodes[number - 1].hash, hash, HASH_LEN) == 0)
            return true;
    return false;
}

enum kms_code kms_etcd_seen_add(struct kms_etcd_seen *seen, struct kms_bytes key, bool *ret_new,
                                struct kms_error *err)
{
    uint8_t hash[KMS_SHA256_LEN];
    if (!hash_key(seen, key, hash))
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL doesn't do SHA-256");
    if (holds(seen, hash)) {
        *ret_new = false;
        return KMS_OK;
    }
    enum kms_code rc = grow_nodes(seen, err);
    if (rc == KMS_OK)
        rc = grow_heads(seen, err);
    if (rc != KMS_OK)
        return rc;
    memcpy(seen->nodes[seen->count++].hash, hash, HASH_LEN);
    link_node(seen, seen->count);
    *ret_new = true;
    return KMS_OK;
}
