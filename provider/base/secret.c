/* SPDX-License-Identifier: Apache-2.0 */
#include "kms/secret.h"

#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <openssl/crypto.h>

enum {
    HEAP_BYTES = 1 << 20, /* room for thousands of seeds; must be a power of two */
    HEAP_SMALLEST = 32,   /* bytes: one DEK seed */
    STACK_WIPE_BYTES = 16 * 1024,
};

bool kms_secret_heap_open(void)
{
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    /* 1: locked and guarded; 2: made, but not locked (RLIMIT_MEMLOCK). */
    return CRYPTO_secure_malloc_init(HEAP_BYTES, HEAP_SMALLEST) == 1;
}

void kms_secret_heap_close(void)
{
    CRYPTO_secure_malloc_done(); /* fails, harmlessly, while anything is still in use */
}

/* A full secure heap must not refuse service: the ordinary one, wiped as well, takes over.
 * OPENSSL_secure_clear_free() tells the two apart by address. */
void *kms_secret_alloc(size_t cap)
{
    void *data = OPENSSL_secure_zalloc(cap);
    return data != NULL ? data : OPENSSL_zalloc(cap);
}

void kms_secret_free(void *data, size_t cap)
{
    OPENSSL_secure_clear_free(data, cap);
}

enum kms_code kms_secret_init(struct kms_secret *secret, size_t len, struct kms_error *err)
{
    size_t cap = len > 0 ? len : 1;
    uint8_t *data = kms_secret_alloc(cap);
    if (data == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a secret of %zu bytes", len);
    *secret = (struct kms_secret){ .data = data, .len = len, .cap = cap };
    return KMS_OK;
}

enum kms_code kms_secret_copy(struct kms_secret *secret, struct kms_bytes bytes,
                              struct kms_error *err)
{
    enum kms_code rc = kms_secret_init(secret, bytes.len, err);
    if (rc != KMS_OK)
        return rc;
    if (bytes.len > 0)
        memcpy(secret->data, bytes.data, bytes.len);
    return KMS_OK;
}

void kms_secret_done(struct kms_secret *secret)
{
    if (secret->data != NULL)
        kms_secret_free(secret->data, secret->cap);
    *secret = (struct kms_secret){ 0 };
}

struct kms_secret kms_secret_take(struct kms_secret *secret)
{
    struct kms_secret taken = *secret;
    *secret = (struct kms_secret){ 0 };
    return taken;
}

struct kms_bytes kms_secret_bytes(const struct kms_secret *secret)
{
    return (struct kms_bytes){ .data = secret->data, .len = secret->len };
}

bool kms_secret_equal(const struct kms_secret *a, const struct kms_secret *b)
{
    return a->len == b->len && (a->len == 0 || CRYPTO_memcmp(a->data, b->data, a->len) == 0);
}

KMS_NOINLINE void kms_secret_wipe_stack(void)
{
    uint8_t below[STACK_WIPE_BYTES];
    OPENSSL_cleanse(below, sizeof below);
}
