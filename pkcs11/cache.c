/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include <string.h>

#include "kms/log.h"

bool pkcs11_cache_find(struct pkcs11_cache *cache, uint64_t epoch, const struct kms_kek_ref *ref,
                       CK_OBJECT_HANDLE *ret_handle, enum pkcs11_rung *ret_rung)
{
    bool found = false;
    (void)pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < cache->list.count && cache->epoch == epoch && !found; i++) {
        const struct pkcs11_kek *kek = &cache->list.keks[i];
        found = kek->handle != CK_INVALID_HANDLE && kms_kek_is(&kek->info, ref);
        if (found) {
            *ret_handle = kek->handle;
            *ret_rung = kek->rung;
        }
    }
    (void)pthread_mutex_unlock(&cache->mutex);
    return found;
}

void pkcs11_cache_forget_handles(struct pkcs11_cache *cache, const struct kms_kek_ref *ref)
{
    (void)pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < cache->list.count; i++) {
        if (kms_kek_is(&cache->list.keks[i].info, ref))
            cache->list.keks[i].handle = CK_INVALID_HANDLE;
    }
    (void)pthread_mutex_unlock(&cache->mutex);
}

void pkcs11_cache_drop(struct pkcs11_cache *cache, const struct kms_object *object)
{
    size_t kept = 0;
    (void)pthread_mutex_lock(&cache->mutex);
    for (size_t i = 0; i < cache->list.count; i++) {
        const struct kms_kek_info *info = &cache->list.keks[i].info;
        struct kms_bytes id = { info->cka_id, info->cka_id_len };
        if (strcmp(info->label, object->label) != 0 || !kms_bytes_equal(id, object->cka_id))
            cache->list.keks[kept++] = cache->list.keks[i];
    }
    cache->list.count = kept;
    (void)pthread_mutex_unlock(&cache->mutex);
}

static struct pkcs11_kek *cached(struct pkcs11_cache *cache, const struct kms_kek_ref *ref)
{
    for (size_t i = 0; i < cache->list.count; i++) {
        if (kms_kek_is(&cache->list.keks[i].info, ref))
            return &cache->list.keks[i];
    }
    return NULL;
}

void pkcs11_cache_remember(struct pkcs11_cache *cache, uint64_t epoch,
                           const struct kms_kek_ref *ref, const struct pkcs11_kek *kek)
{
    (void)pthread_mutex_lock(&cache->mutex);
    if (cache->epoch != epoch)
        pkcs11_kek_list_done(&cache->list);
    cache->epoch = epoch;
    struct pkcs11_kek *before = cached(cache, ref);
    if (before != NULL)
        *before = *kek;
    else if (pkcs11_kek_list_add(&cache->list, kek, NULL) != KMS_OK)
        kms_log(KMS_LOG_DEBUG, "KEK not cached: out of memory", KMS_F_TEXT("label", ref->label));
    (void)pthread_mutex_unlock(&cache->mutex);
}

static enum kms_code copy_list(const struct pkcs11_kek_list *from,
                               const struct kms_kek_filter *filter, struct pkcs11_kek_list *ret_to,
                               struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_kek_list_done) struct pkcs11_kek_list copy = { 0 };
    for (size_t i = 0; i < from->count; i++) {
        if (!kms_kek_filter_takes(filter, &from->keks[i].info))
            continue;
        enum kms_code rc = pkcs11_kek_list_add(&copy, &from->keks[i], err);
        if (rc != KMS_OK)
            return rc;
    }
    *ret_to = copy;
    copy = (struct pkcs11_kek_list){ 0 };
    return KMS_OK;
}

enum kms_code pkcs11_cache_replace(struct pkcs11_cache *cache, uint64_t epoch,
                                   const struct pkcs11_kek_list *list, struct kms_error *err)
{
    struct pkcs11_kek_list copy = { 0 };
    const struct kms_kek_filter all = { .label_prefix = "" };
    enum kms_code rc = copy_list(list, &all, &copy, err);
    if (rc != KMS_OK)
        return rc;
    (void)pthread_mutex_lock(&cache->mutex);
    pkcs11_kek_list_done(&cache->list);
    cache->list = copy;
    cache->epoch = epoch;
    (void)pthread_mutex_unlock(&cache->mutex);
    return KMS_OK;
}

enum kms_code pkcs11_cache_copy(struct pkcs11_cache *cache, uint64_t epoch,
                                const struct kms_kek_filter *filter,
                                struct pkcs11_kek_list *ret_list, struct kms_error *err)
{
    const struct pkcs11_kek_list none = { 0 };
    (void)pthread_mutex_lock(&cache->mutex);
    enum kms_code rc = copy_list(epoch == PKCS11_ANY_EPOCH || cache->epoch == epoch ? &cache->list
                                                                                    : &none,
                                 filter, ret_list, err);
    (void)pthread_mutex_unlock(&cache->mutex);
    return rc;
}
