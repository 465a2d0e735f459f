/* SPDX-License-Identifier: Apache-2.0 */
#include "bound.h"

#include <string.h>

enum { BOUND = KMS_GCM_IV_LEN + KMS_GCM_TAG_LEN - KMS_WRAP_OVERHEAD }; /* bytes */

static void digest(const char *key_id, uint8_t ret_digest[static KMS_SHA256_LEN])
{
    kms_sha256(kms_bytes_of(key_id != NULL ? key_id : ""), ret_digest);
}

void fake_bound_add(struct kms_wrapped *wrapped, enum kms_algorithm algorithm, const char *key_id)
{
    uint8_t of_key_id[KMS_SHA256_LEN];
    wrapped->algorithm = algorithm;
    if (algorithm != KMS_ALGORITHM_AES_GCM)
        return;
    digest(key_id, of_key_id);
    memmove(wrapped->data + BOUND, wrapped->data, wrapped->len);
    memcpy(wrapped->data, of_key_id, BOUND);
    wrapped->len += BOUND;
}

struct kms_bytes fake_bound_strip(enum kms_algorithm algorithm, const char *key_id,
                                  struct kms_bytes wrapped)
{
    static const uint8_t wrong[KMS_SEED_MIN + KMS_WRAP_OVERHEAD];
    uint8_t of_key_id[KMS_SHA256_LEN];
    if (algorithm != KMS_ALGORITHM_AES_GCM)
        return wrapped;
    digest(key_id, of_key_id);
    if (wrapped.len <= BOUND || memcmp(wrapped.data, of_key_id, BOUND) != 0)
        return (struct kms_bytes){ wrong, sizeof wrong };
    return (struct kms_bytes){ wrapped.data + BOUND, wrapped.len - BOUND };
}
