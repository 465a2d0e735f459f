/* SPDX-License-Identifier: Apache-2.0 */
#include "bolt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "kms/fd.h"

enum {
    LEVEL_MAX = 32, /* pages from a root to a leaf: 2^32 keys have 32 if each page had two */
    RUN_MAX = 64 * 1024 *
              1024, /* bytes of a page with its overflow; etcd's requests end at 1.5 MiB */
    META_READ_LEN = KMS_BOLT_HEADER_LEN + KMS_BOLT_META_LEN,
};

struct level {
    uint8_t *data; /* owned */
    size_t cap;    /* bytes */
};

struct kms_bolt {
    int fd;
    struct kms_bolt_meta meta;
    struct level levels[LEVEL_MAX];
    size_t depth; /* levels in use */
};

/* What of a bucket is walked by one call. */
struct subtree {
    uint64_t page;
    struct kms_bytes low, high; /* keys are from @low on and below @high; without data: no bound */
    double from, to;            /* fractions */
    bool root;                  /* it may be empty */
};

/* --- meta pages --- */

static bool read_meta(int fd, uint64_t size, uint64_t offset, struct kms_bolt_meta *ret_meta)
{
    uint8_t page[META_READ_LEN];
    return offset + META_READ_LEN <= size && kms_fd_read_at(fd, page, sizeof page, offset) &&
           kms_bolt_meta_parse(page, ret_meta);
}

/* Page 1 when page 0 doesn't say how long a page is. */
static bool find_second_meta(int fd, uint64_t size, struct kms_bolt_meta *ret_meta)
{
    for (uint64_t at = KMS_BOLT_PAGE_MIN; at <= KMS_BOLT_PAGE_MAX; at *= 2) {
        struct kms_bolt_meta meta;
        if (read_meta(fd, size, at, &meta) && meta.page_size == at) {
            *ret_meta = meta;
            return true;
        }
    }
    return false;
}

static bool choose_meta(int fd, uint64_t size, struct kms_bolt_meta *ret_meta)
{
    struct kms_bolt_meta first, second;
    if (!read_meta(fd, size, 0, &first))
        return find_second_meta(fd, size, ret_meta);
    bool both = read_meta(fd, size, first.page_size, &second) &&
                second.page_size == first.page_size;
    *ret_meta = both && second.txid > first.txid ? second : first;
    return true;
}

static enum kms_code check_freelist(const struct kms_bolt *bolt, struct kms_error *err)
{
    uint64_t id = bolt->meta.freelist;
    if (id == KMS_BOLT_NO_FREELIST) /* etcd doesn't write one */
        return KMS_OK;
    uint8_t data[KMS_BOLT_HEADER_LEN];
    if (id < 2 || id >= bolt->meta.high_water ||
        !kms_fd_read_at(bolt->fd, data, sizeof data, id * bolt->meta.page_size))
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": no place for the freelist", id);
    const struct kms_bolt_header header = kms_bolt_header_read(data);
    if (header.id != id || header.flags != KMS_BOLT_FREELIST)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": not the freelist it should be", id);
    return KMS_OK;
}

enum kms_code kms_bolt_open(int fd, uint64_t size, struct kms_bolt **ret_bolt,
                            struct kms_error *err)
{
    KMS_CLEANUP(kms_bolt_close_ptr) struct kms_bolt *bolt = calloc(1, sizeof *bolt);
    if (bolt == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    bolt->fd = fd;
    if (!choose_meta(fd, size, &bolt->meta))
        return kms_fail(
            err, KMS_E_CORRUPT,
            "pages 0 and 1: neither is a valid meta page; it is not a database of etcd");
    if (bolt->meta.high_water > size / bolt->meta.page_size)
        return kms_fail(err, KMS_E_CORRUPT,
                        "page %" PRIu64
                        " is the last by the meta page, but the file ends before it",
                        bolt->meta.high_water - 1);
    enum kms_code rc = check_freelist(bolt, err);
    if (rc != KMS_OK)
        return rc;
    *ret_bolt = bolt;
    bolt = NULL;
    return KMS_OK;
}

void kms_bolt_close(struct kms_bolt *bolt)
{
    if (bolt == NULL)
        return;
    for (size_t i = 0; i < LEVEL_MAX; i++)
        free(bolt->levels[i].data);
    free(bolt);
}

/* --- pages --- */

static enum kms_code grow(struct level *level, size_t len, struct kms_error *err)
{
    if (level->cap >= len)
        return KMS_OK;
    uint8_t *data = realloc(level->data, len);
    if (data == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    *level = (struct level){ .data = data, .cap = len };
    return KMS_OK;
}

static enum kms_code fail_read(uint64_t page, struct kms_error *err)
{
    if (errno == 0)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": the file has become shorter", page);
    return kms_fail_errno(err, KMS_E_PRECONDITION, "pread", errno, "page %" PRIu64, page);
}

/* Bytes of page @id with its overflow.  @header is the page's. */
static enum kms_code run_len(const struct kms_bolt *bolt, uint64_t id,
                             const struct kms_bolt_header *header, size_t *ret_len,
                             struct kms_error *err)
{
    if (header->id != id)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": it says that it is page %" PRIu64,
                        id, header->id);
    uint64_t pages = (uint64_t)header->overflow + 1;
    if (pages > bolt->meta.high_water - id)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": its overflow leaves the file", id);
    if (pages * bolt->meta.page_size > RUN_MAX)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": %" PRIu64 " pages of overflow", id,
                        pages - 1);
    *ret_len = (size_t)(pages * bolt->meta.page_size);
    return KMS_OK;
}

static enum kms_code read_page(const struct kms_bolt *bolt, uint64_t id, struct level *level,
                               struct kms_bolt_page *ret_page, struct kms_error *err)
{
    if (id < 2 || id >= bolt->meta.high_water)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": there is no such page", id);
    size_t one = bolt->meta.page_size, len = 0;
    enum kms_code rc = grow(level, one, err);
    if (rc != KMS_OK)
        return rc;
    if (!kms_fd_read_at(bolt->fd, level->data, one, id * one))
        return fail_read(id, err);
    const struct kms_bolt_header header = kms_bolt_header_read(level->data);
    rc = run_len(bolt, id, &header, &len, err);
    if (rc == KMS_OK)
        rc = grow(level, len, err);
    if (rc != KMS_OK)
        return rc;
    if (!kms_fd_read_at(bolt->fd, level->data + one, len - one, (id + 1) * one))
        return fail_read(id, err);
    return kms_bolt_page_parse(id, (struct kms_bytes){ level->data, len }, ret_page, err);
}

/* --- the walk --- */

/* Also what makes each walk end: pages that are met twice can't be within both bounds. */
static enum kms_code check_bounds(const struct kms_bolt_page *page, const struct subtree *tree,
                                  struct kms_error *err)
{
    if (page->count == 0) {
        if (tree->root && page->leaf)
            return KMS_OK;
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": it is empty", page->id);
    }
    struct kms_bytes first = kms_bolt_page_item(page, 0).key;
    struct kms_bytes last = kms_bolt_page_item(page, page->count - 1).key;
    if ((tree->low.data != NULL && kms_bolt_compare(first, tree->low) < 0) ||
        (tree->high.data != NULL && kms_bolt_compare(last, tree->high) >= 0))
        return kms_fail(err, KMS_E_CORRUPT,
                        "page %" PRIu64 ": its keys are not those that lead to it", page->id);
    return KMS_OK;
}

static enum kms_code walk_subtree(struct kms_bolt *bolt, const struct subtree *tree,
                                  const struct kms_bolt_visitor *visitor, struct kms_error *err);

static enum kms_code walk_page(struct kms_bolt *bolt, const struct kms_bolt_page *page,
                               const struct subtree *tree, const struct kms_bolt_visitor *visitor,
                               struct kms_error *err)
{
    enum kms_code rc = check_bounds(page, tree, err);
    struct kms_bytes high = tree->high;
    for (size_t i = page->count; rc == KMS_OK && i-- > 0;) {
        const struct kms_bolt_item item = kms_bolt_page_item(page, i);
        double step = (tree->to - tree->from) / (double)page->count;
        double from = tree->from + step * (double)(page->count - 1 - i);
        if (page->leaf) {
            rc = visitor->visit(visitor->context, &item, page->id, from, err);
            continue;
        }
        const struct subtree child = {
            .page = item.child, .low = item.key, .high = high, .from = from, .to = from + step
        };
        rc = walk_subtree(bolt, &child, visitor, err);
        high = item.key;
    }
    return rc;
}

static enum kms_code walk_subtree(struct kms_bolt *bolt, const struct subtree *tree,
                                  const struct kms_bolt_visitor *visitor, struct kms_error *err)
{
    if (bolt->depth == LEVEL_MAX)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": the tree above it is too deep",
                        tree->page);
    struct kms_bolt_page page = { 0 };
    enum kms_code rc = read_page(bolt, tree->page, &bolt->levels[bolt->depth], &page, err);
    if (rc != KMS_OK)
        return rc;
    bolt->depth++;
    rc = walk_page(bolt, &page, tree, visitor, err);
    bolt->depth--;
    return rc;
}

/* @bucket is a bucket's value, which lies in page @page. */
static enum kms_code walk_bucket(struct kms_bolt *bolt, struct kms_bytes bucket, uint64_t page,
                                 const struct kms_bolt_visitor *visitor, struct kms_error *err)
{
    if (bucket.len < KMS_BOLT_BUCKET_LEN)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": a bucket of %zu bytes", page,
                        bucket.len);
    const struct subtree tree = { .page = kms_bolt_u64(bucket.data), .to = 1, .root = true };
    if (tree.page != 0)
        return walk_subtree(bolt, &tree, visitor, err);
    struct kms_bolt_page inlined = { 0 };
    const struct kms_bytes bytes = { .data = bucket.data + KMS_BOLT_BUCKET_LEN,
                                     .len = bucket.len - KMS_BOLT_BUCKET_LEN };
    enum kms_code rc = kms_bolt_page_parse(page, bytes, &inlined, err);
    if (rc != KMS_OK)
        return rc;
    if (!inlined.leaf)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": a branch inside a bucket", page);
    return walk_page(bolt, &inlined, &tree, visitor, err);
}

/* Looks in the root bucket for the one to walk. */
struct search {
    struct kms_bolt *bolt;
    struct kms_bytes name;
    const struct kms_bolt_visitor *visitor;
    bool found;
};

static enum kms_code visit_bucket(void *context, const struct kms_bolt_item *item, uint64_t page,
                                  double fraction, struct kms_error *err)
{
    (void)fraction;
    struct search *search = context;
    if (!item->bucket || !kms_bytes_equal(item->key, search->name))
        return KMS_OK;
    search->found = true;
    return walk_bucket(search->bolt, item->value, page, search->visitor, err);
}

enum kms_code kms_bolt_walk(struct kms_bolt *bolt, const char *name,
                            const struct kms_bolt_visitor *visitor, struct kms_error *err)
{
    struct search search = { .bolt = bolt, .name = kms_bytes_of(name), .visitor = visitor };
    const struct kms_bolt_visitor buckets = { .visit = visit_bucket, .context = &search };
    const struct kms_bytes root = { .data = bolt->meta.root, .len = sizeof bolt->meta.root };
    if (kms_bolt_u64(root.data) == 0)
        return kms_fail(err, KMS_E_CORRUPT, "page 0: the meta page names no root");
    enum kms_code rc = walk_bucket(bolt, root, 0, &buckets, err);
    if (rc == KMS_OK && !search.found)
        return kms_fail(err, KMS_E_CORRUPT,
                        "page %" PRIu64 ": no bucket '%s'; it is not a database of etcd",
                        kms_bolt_u64(root.data), name);
    return rc;
}
