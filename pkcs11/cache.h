/* SPDX-License-Identifier: Apache-2.0 */
/* Which handle a KEK had when it was last seen. */
#ifndef PKCS11_CACHE_H
#define PKCS11_CACHE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "kek.h"

/* The KEKs found so far.  Handles are good for one epoch of the connection. */
struct pkcs11_cache {
    pthread_mutex_t mutex; /* guards what follows; never held across a Cryptoki call */
    uint64_t epoch;
    struct pkcs11_kek_list list;
};

/* *ret_rung: by which it is used. */
bool pkcs11_cache_find(struct pkcs11_cache *cache, uint64_t epoch, const struct kms_kek_ref *ref,
                       CK_OBJECT_HANDLE *ret_handle, enum pkcs11_rung *ret_rung);

/* That there was such a KEK stays known: the next inventory must miss it if it is gone. */
void pkcs11_cache_forget_handles(struct pkcs11_cache *cache, const struct kms_kek_ref *ref);

/* It was changed or destroyed by us: nothing of it stays known. */
void pkcs11_cache_drop(struct pkcs11_cache *cache, const struct kms_object *object);

/* Out of memory: then it is found again next time. */
void pkcs11_cache_remember(struct pkcs11_cache *cache, uint64_t epoch,
                           const struct kms_kek_ref *ref, const struct pkcs11_kek *kek);

/* Replaces the cache's contents with a copy of @list. */
KMS_MUST_CHECK enum kms_code pkcs11_cache_replace(struct pkcs11_cache *cache, uint64_t epoch,
                                                  const struct pkcs11_kek_list *list,
                                                  struct kms_error *err);
/* A copy of the KEKs of @epoch (or of whichever was the last) that @filter takes. */
#define PKCS11_ANY_EPOCH UINT64_MAX
KMS_MUST_CHECK enum kms_code pkcs11_cache_copy(struct pkcs11_cache *cache, uint64_t epoch,
                                               const struct kms_kek_filter *filter,
                                               struct pkcs11_kek_list *ret_list,
                                               struct kms_error *err);

#endif
