/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is or was a DEK seed, PIN or key lives here: in OpenSSL's secure heap (locked, guarded,
 * out of core dumps) where kms_secret_heap_open() could make one, and wiped on release always. */
#ifndef KMS_SECRET_H
#define KMS_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/bytes.h"
#include "kms/error.h"

/* Caller owns the struct; a zeroed one is empty.  @len may be lowered by the owner after filling;
 * @cap is what is wiped. */
struct kms_secret {
    uint8_t *data;
    size_t len; /* bytes in use */
    size_t cap; /* bytes allocated */
};

/* Makes the process's secure heap (OpenSSL CRYPTO_secure_malloc_init) and the process not dumpable.
 * Call once from main before any thread.  False if memory can't be locked: secrets then live in the
 * ordinary heap, wiped all the same, and the caller should warn. */
KMS_MUST_CHECK bool kms_secret_heap_open(void);
void kms_secret_heap_close(void);

/* Gives @secret (empty) @len zeroed bytes.  KMS_E_BUSY when out of memory.  Thread-safe. */
KMS_MUST_CHECK enum kms_code kms_secret_init(struct kms_secret *secret, size_t len,
                                             struct kms_error *err);

/* The same, filled with a copy of @bytes. */
KMS_MUST_CHECK enum kms_code kms_secret_copy(struct kms_secret *secret, struct kms_bytes bytes,
                                             struct kms_error *err);

/* Wipes the whole capacity, frees it and leaves @secret empty.  Twice is safe. */
void kms_secret_done(struct kms_secret *secret);

/* Moves: returns the value and empties the source. */
struct kms_secret kms_secret_take(struct kms_secret *secret);

struct kms_bytes kms_secret_bytes(const struct kms_secret *secret);

/* Constant-time in the contents (not in the length). */
bool kms_secret_equal(const struct kms_secret *a, const struct kms_secret *b);

/* The allocator underneath, for owners that need a bare pointer (protobuf-c, gRPC slices): @cap
 * bytes, zeroed; free wipes.  NULL when out of memory. */
void *kms_secret_alloc(size_t cap);
void kms_secret_free(void *data, size_t cap);

/* Overwrites about 16 KiB of stack below the caller's frame: what a token call left there. */
void kms_secret_wipe_stack(void);

#endif
