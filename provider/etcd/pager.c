/* SPDX-License-Identifier: Apache-2.0 */
#include "pager.h"

#include <stdlib.h>
#include <string.h>

#include "pack.h"

enum {
    LIMIT_FIRST = 128,     /* keys: 2 MiB of objects of 16 KiB */
    LIMIT_MAX = 32 * 1024, /* keys */
    FAR_PAGES = 4,         /* that are left: then the range is too long */
};

static enum kms_code fail_memory(struct kms_error *err)
{
    return kms_fail(err, KMS_E_BUSY, "out of memory");
}

static struct kms_bytes view(const struct kms_etcd_key *key)
{
    return (struct kms_bytes){ .data = key->data, .len = key->len };
}

/* Leaves the bytes in it undefined. */
static enum kms_code resize(struct kms_etcd_key *key, size_t len, struct kms_error *err)
{
    if (len > key->cap) {
        uint8_t *grown = realloc(key->data, len * 2);
        if (grown == NULL)
            return fail_memory(err);
        key->data = grown;
        key->cap = len * 2;
    }
    key->len = len;
    return KMS_OK;
}

static enum kms_code set_key(struct kms_etcd_key *key, struct kms_bytes bytes,
                             struct kms_error *err)
{
    enum kms_code rc = resize(key, bytes.len, err);
    if (rc == KMS_OK && bytes.len > 0)
        memcpy(key->data, bytes.data, bytes.len);
    return rc;
}

/* The key right behind @bytes. */
static enum kms_code set_behind(struct kms_etcd_key *key, struct kms_bytes bytes,
                                struct kms_error *err)
{
    enum kms_code rc = resize(key, bytes.len + 1, err);
    if (rc != KMS_OK)
        return rc;
    if (bytes.len > 0)
        memcpy(key->data, bytes.data, bytes.len);
    key->data[bytes.len] = '\0';
    return KMS_OK;
}

/* The last byte that isn't 0xff grows by one; without such a byte the range is open (one NUL). */
static enum kms_code set_end(struct kms_etcd_pager *pager, struct kms_error *err)
{
    size_t len = pager->prefix.len;
    while (len > 0 && pager->prefix.data[len - 1] == 0xff)
        len--;
    if (len == 0)
        return set_behind(&pager->end, (struct kms_bytes){ 0 }, err);
    enum kms_code rc = set_key(&pager->end, (struct kms_bytes){ pager->prefix.data, len }, err);
    if (rc == KMS_OK)
        pager->end.data[len - 1]++;
    return rc;
}

enum kms_code kms_etcd_pager_init(struct kms_etcd_pager *pager, struct kms_bytes prefix,
                                  struct kms_error *err)
{
    KMS_CLEANUP(kms_etcd_pager_done)
    struct kms_etcd_pager made = { .prefix = prefix, .limit = LIMIT_FIRST };
    enum kms_code rc = set_end(&made, err);
    if (rc == KMS_OK)
        rc = set_key(&made.until, view(&made.end), err);
    if (rc == KMS_OK && prefix.len > 0)
        rc = set_key(&made.next, prefix, err);
    if (rc == KMS_OK && prefix.len == 0)
        rc = set_behind(&made.next, prefix, err); /* etcd's first key is one NUL */
    if (rc != KMS_OK)
        return rc;
    *pager = made;
    made = (struct kms_etcd_pager){ 0 };
    return KMS_OK;
}

void kms_etcd_pager_done(struct kms_etcd_pager *pager)
{
    free(pager->end.data);
    free(pager->until.data);
    free(pager->next.data);
    free(pager->first.data);
    *pager = (struct kms_etcd_pager){ 0 };
}

Etcd__RangeRequest kms_etcd_pager_request(const struct kms_etcd_pager *pager)
{
    Etcd__RangeRequest request = ETCD__RANGE_REQUEST__INIT;
    request.key = kms_pack_data(view(&pager->next));
    request.range_end = kms_pack_data(view(&pager->until));
    request.limit = pager->limit;
    request.revision = pager->revision;
    return request;
}

enum kms_code kms_etcd_pager_begin(struct kms_etcd_pager *pager, const Etcd__RangeResponse *page,
                                   struct kms_etcd_summary *summary, struct kms_error *err)
{
    if (page->header == NULL || page->header->revision <= 0)
        return kms_fail(err, KMS_E_UNAVAILABLE, "it answers without a revision: is it an etcd?");
    if (pager->cluster_id != 0 && page->header->cluster_id != pager->cluster_id)
        return kms_fail(err, KMS_E_UNAVAILABLE,
                        "it belongs to another cluster than the endpoint before: name endpoints of "
                        "one cluster");
    if (pager->revision == 0) {
        const struct kms_bytes from = pager->begun ? view(&pager->next) : pager->prefix;
        enum kms_code rc = kms_etcd_summary_add(summary, from, page->header->revision, err);
        if (rc != KMS_OK)
            return rc;
        pager->revision = page->header->revision;
    }
    if (!pager->begun)
        pager->total = page->count;
    pager->page_keys = 0;
    pager->cluster_id = page->header->cluster_id;
    summary->cluster_id = page->header->cluster_id;
    summary->member_id = page->header->member_id;
    return KMS_OK;
}

static bool is_below(struct kms_bytes a, struct kms_bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order < 0 || (order == 0 && a.len < b.len);
}

static bool is_open(const struct kms_etcd_key *end)
{
    return end->len == 1 && end->data[0] == '\0';
}

static bool was_asked_for(const struct kms_etcd_pager *pager, struct kms_bytes key)
{
    const struct kms_bytes head = { .data = key.data, .len = pager->prefix.len };
    return key.len >= head.len && kms_bytes_equal(head, pager->prefix) &&
           !is_below(key, view(&pager->next)) &&
           (is_open(&pager->until) || is_below(key, view(&pager->until)));
}

enum kms_code kms_etcd_pager_take(struct kms_etcd_pager *pager, struct kms_bytes key,
                                  struct kms_error *err)
{
    if (!was_asked_for(pager, key))
        return kms_fail(err, KMS_E_UNAVAILABLE,
                        "it sends keys that were not asked for: is it an etcd?");
    enum kms_code rc = pager->page_keys == 0 ? set_key(&pager->first, key, err) : KMS_OK;
    if (rc == KMS_OK)
        rc = set_behind(&pager->next, key, err);
    if (rc != KMS_OK)
        return rc;
    pager->begun = true;
    pager->page_keys++;
    pager->range_keys++;
    return KMS_OK;
}

static bool is_last_range(const struct kms_etcd_pager *pager)
{
    return kms_bytes_equal(view(&pager->until), view(&pager->end));
}

/* A range from @next on that has a few pages, as far as can be guessed. */
static enum kms_code choose_range(struct kms_etcd_pager *pager, struct kms_error *err)
{
    pager->range_keys = 0;
    if (pager->stride.step == 0)
        return KMS_OK; /* the first page had one key */
    enum kms_code rc = resize(&pager->until, pager->stride.at + KMS_ETCD_STRIDE_BYTES, err);
    if (rc != KMS_OK)
        return rc;
    if (kms_etcd_stride_from(&pager->stride, view(&pager->next), pager->until.data) &&
        (is_open(&pager->end) || is_below(view(&pager->until), view(&pager->end))))
        return KMS_OK;
    return set_key(&pager->until, view(&pager->end), err);
}

/* The range is read to its end. */
static enum kms_code next_range(struct kms_etcd_pager *pager, struct kms_error *err)
{
    pager->done = is_last_range(pager);
    if (pager->done)
        return KMS_OK;
    if (pager->range_keys < pager->limit)
        kms_etcd_stride_widen(&pager->stride);
    enum kms_code rc = set_key(&pager->next, view(&pager->until), err);
    return rc == KMS_OK ? choose_range(pager, err) : rc;
}

enum kms_code kms_etcd_pager_end(struct kms_etcd_pager *pager, const Etcd__RangeResponse *page,
                                 size_t len, struct kms_error *err)
{
    if (page->more && page->n_kvs == 0)
        return kms_fail(err, KMS_E_UNAVAILABLE, "it sends no key and says that there are more");
    if (pager->page_keys > 1) {
        const struct kms_bytes last = { .data = pager->next.data, .len = pager->next.len - 1 };
        kms_etcd_stride_measure(&pager->stride, view(&pager->first), last);
    }
    enum kms_code rc = KMS_OK;
    if (!page->more)
        rc = next_range(pager, err);
    if (page->more && page->count - pager->page_keys > FAR_PAGES * pager->limit)
        rc = choose_range(pager, err);
    if (len < KMS_ETCD_PAGE_MIN && page->more && pager->limit < LIMIT_MAX)
        pager->limit *= 2;
    return rc;
}

bool kms_etcd_pager_shrink(struct kms_etcd_pager *pager)
{
    if (pager->limit == 1)
        return false;
    pager->limit /= 2;
    return true;
}

bool kms_etcd_pager_restart(struct kms_etcd_pager *pager)
{
    if (pager->revision == 0)
        return false;
    pager->revision = 0;
    return true;
}
