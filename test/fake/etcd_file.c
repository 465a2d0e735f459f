/* SPDX-License-Identifier: Apache-2.0 */
#include "etcd_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

enum { HEADER_LEN = 16, ITEM_LEN = 16, META_LEN = 64, FIRST_PAGE = 2, INLINE_MAX = 256 };
enum { BRANCH = 0x01, LEAF = 0x02, META = 0x04, FREELIST = 0x10 };

/* Items that become one page, and what leads to it. */
struct page {
    uint8_t *table, *data; /* owned */
    size_t count, data_len;
};
struct link {
    uint8_t key[32];
    size_t key_len;
    uint64_t page;
};
struct links {
    struct link *items; /* owned */
    size_t count, cap;
};

struct etcd_file {
    FILE *out;
    size_t page_size;
    uint64_t next; /* page */
    struct page page;
    struct links links; /* to the leaves */
};

static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "etcd_file: %s\n", what);
    abort();
}

static void put(uint8_t *to, uint64_t value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static void *grown(void *data, size_t len)
{
    void *more = realloc(data, len + 1);
    must(more != NULL, "out of memory");
    return more;
}

struct etcd_file *etcd_file_open(const char *path, size_t page_size)
{
    struct etcd_file *file = calloc(1, sizeof *file);
    must(file != NULL, "out of memory");
    file->out = fopen(path, "w+be");
    must(file->out != NULL, path);
    file->page_size = page_size;
    file->next = FIRST_PAGE;
    return file;
}

/* --- pages --- */

static size_t page_len(const struct page *page)
{
    return HEADER_LEN + page->count * ITEM_LEN + page->data_len;
}

/* Positions are counted from the item: the table moves them when it is complete. */
static void page_add(struct page *page, bool leaf, struct kms_bytes key, struct kms_bytes value,
                     uint64_t number)
{
    page->table = grown(page->table, (page->count + 1) * ITEM_LEN);
    page->data = grown(page->data, page->data_len + key.len + value.len);
    uint8_t *item = page->table + page->count * ITEM_LEN;
    put(item, leaf ? number : page->data_len, 4);
    put(item + 4, leaf ? page->data_len : key.len, 4);
    put(item + 8, leaf ? key.len | (uint64_t)value.len << 32 : number, 8);
    memcpy(page->data + page->data_len, key.data, key.len);
    page->data_len += key.len;
    if (value.len > 0)
        memcpy(page->data + page->data_len, value.data, value.len);
    page->data_len += value.len;
    page->count++;
}

static uint64_t get_u32(const uint8_t *from)
{
    return (uint64_t)from[0] | (uint64_t)from[1] << 8 | (uint64_t)from[2] << 16 |
           (uint64_t)from[3] << 24;
}

/* Empties @page into @to (page_len() bytes). */
static void page_print(struct page *page, uint64_t id, int flags, size_t page_size, uint8_t *to)
{
    size_t len = page_len(page);
    put(to, id, 8);
    put(to + 8, (uint64_t)flags, 2);
    put(to + 10, page->count, 2);
    put(to + 12, page_size > 0 ? (len - 1) / page_size : 0, 4);
    for (size_t i = 0; i < page->count; i++) {
        uint8_t *at = page->table + i * ITEM_LEN + (flags == LEAF ? 4 : 0);
        put(at, get_u32(at) + (page->count - i) * ITEM_LEN, 4);
    }
    if (page->count > 0) {
        memcpy(to + HEADER_LEN, page->table, page->count * ITEM_LEN);
        memcpy(to + HEADER_LEN + page->count * ITEM_LEN, page->data, page->data_len);
    }
    free(page->table);
    free(page->data);
    *page = (struct page){ 0 };
}

static void write_at(struct etcd_file *file, uint64_t page, const uint8_t *data, size_t len)
{
    must(fseek(file->out, (long)(page * file->page_size), SEEK_SET) == 0, "seek");
    must(fwrite(data, 1, len, file->out) == len, "write");
}

static uint64_t write_page(struct etcd_file *file, struct page *page, int flags)
{
    uint64_t id = file->next;
    size_t pages = (page_len(page) + file->page_size - 1) / file->page_size;
    uint8_t *data = calloc(pages, file->page_size);
    must(data != NULL, "out of memory");
    page_print(page, id, flags, file->page_size, data);
    write_at(file, id, data, pages * file->page_size);
    free(data);
    file->next += pages;
    return id;
}

static void add_link(struct links *links, struct kms_bytes key, uint64_t page)
{
    if (links->count == links->cap) {
        links->cap = links->cap > 0 ? links->cap * 2 : 64;
        links->items = grown(links->items, links->cap * sizeof *links->items);
    }
    struct link *link = &links->items[links->count++];
    *link = (struct link){ .page = page, .key_len = key.len };
    if (key.len > 0)
        memcpy(link->key, key.data, key.len);
}

/* Writes @page, which has items, and a link to it by its first key. */
static void write_linked(struct etcd_file *file, struct page *page, int flags, struct links *links)
{
    uint8_t copy[sizeof links->items->key];
    size_t len = (size_t)get_u32(page->table + (flags == LEAF ? 8 : 4));
    must(len <= sizeof copy, "a key that is too long for a branch");
    memcpy(copy, page->data, len);
    uint64_t id = write_page(file, page, flags);
    add_link(links, (struct kms_bytes){ copy, len }, id);
}

/* --- the bucket "key" --- */

void etcd_file_item(struct etcd_file *file, struct kms_bytes key, struct kms_bytes value)
{
    size_t len = page_len(&file->page) + ITEM_LEN + key.len + value.len;
    if (file->page.count > 0 && len > file->page_size)
        write_linked(file, &file->page, LEAF, &file->links);
    page_add(&file->page, true, key, value, 0);
}

static size_t put_varint(uint8_t *to, uint64_t value)
{
    size_t len = 0;
    for (; value >= 0x80; value >>= 7)
        to[len++] = (uint8_t)(value | 0x80);
    to[len++] = (uint8_t)value;
    return len;
}

static size_t put_bytes(uint8_t *to, uint8_t tag, struct kms_bytes bytes)
{
    *to = tag;
    size_t len = 1 + put_varint(to + 1, bytes.len);
    if (bytes.len > 0)
        memcpy(to + len, bytes.data, bytes.len);
    return len + bytes.len;
}

static size_t put_number(uint8_t *to, uint8_t tag, int64_t number)
{
    *to = tag;
    return 1 + put_varint(to + 1, (uint64_t)number);
}

static struct kms_bytes print_revision(int64_t main, int64_t sub, bool tombstone, uint8_t to[18])
{
    for (size_t i = 0; i < 8; i++) {
        to[i] = (uint8_t)((uint64_t)main >> (56 - 8 * i));
        to[9 + i] = (uint8_t)((uint64_t)sub >> (56 - 8 * i));
    }
    to[8] = '_';
    to[17] = 't';
    return (struct kms_bytes){ .data = to, .len = tombstone ? 18 : 17 };
}

void etcd_file_put(struct etcd_file *file, int64_t main, int64_t sub, const char *key,
                   struct kms_bytes value)
{
    uint8_t revision[18];
    uint8_t *kv = malloc(strlen(key) + value.len + 64);
    must(kv != NULL, "out of memory");
    size_t len = put_bytes(kv, 0x0a, kms_bytes_of(key));
    len += put_number(kv + len, 0x10, main);
    len += put_number(kv + len, 0x18, main);
    len += put_number(kv + len, 0x20, 1);
    len += put_bytes(kv + len, 0x2a, value);
    etcd_file_item(file, print_revision(main, sub, false, revision), (struct kms_bytes){ kv, len });
    free(kv);
}

void etcd_file_delete(struct etcd_file *file, int64_t main, int64_t sub, const char *key)
{
    uint8_t revision[18], kv[256];
    must(strlen(key) < sizeof kv - 8, "a key that is too long");
    size_t len = put_bytes(kv, 0x0a, kms_bytes_of(key));
    etcd_file_item(file, print_revision(main, sub, true, revision), (struct kms_bytes){ kv, len });
}

static uint64_t write_branches(struct etcd_file *file)
{
    struct links below = file->links;
    while (below.count > 1) {
        struct links above = { 0 };
        struct page page = { 0 };
        for (size_t i = 0; i < below.count; i++) {
            const struct link *link = &below.items[i];
            const struct kms_bytes key = { link->key, link->key_len };
            page_add(&page, false, key, (struct kms_bytes){ 0 }, link->page);
            if (page_len(&page) + ITEM_LEN + sizeof link->key > file->page_size ||
                i + 1 == below.count)
                write_linked(file, &page, BRANCH, &above);
        }
        free(below.items);
        below = above;
    }
    uint64_t root = below.items[0].page;
    free(below.items);
    return root;
}

/* --- the end --- */

/* The value of a bucket whose only page is inside. */
static struct kms_bytes print_inline(struct page *page, uint8_t to[INLINE_MAX])
{
    size_t len = page_len(page);
    must(HEADER_LEN + len <= INLINE_MAX, "a bucket that is too long");
    memset(to, 0, HEADER_LEN); /* root 0, sequence 0 */
    page_print(page, 0, LEAF, 0, to + HEADER_LEN);
    return (struct kms_bytes){ .data = to, .len = HEADER_LEN + len };
}

static uint64_t write_root(struct etcd_file *file, const struct etcd_file_end *end, uint64_t keys)
{
    static const uint8_t index[8] = { 0, 0, 0, 0, 0, 0, 0, 42 };
    uint8_t cluster[INLINE_MAX], meta[INLINE_MAX], key[HEADER_LEN] = { 0 }, revision[18];
    struct page inner = { 0 }, root = { 0 };
    page_add(&inner, true, kms_bytes_of("clusterVersion"), kms_bytes_of("3.5.0"), 0);
    page_add(&root, true, kms_bytes_of("cluster"), print_inline(&inner, cluster), 1);
    put(key, keys, 8);
    if (!end->no_keys)
        page_add(&root, true, kms_bytes_of("key"), (struct kms_bytes){ key, sizeof key }, 1);
    page_add(&inner, true, kms_bytes_of("consistent_index"),
             (struct kms_bytes){ index, sizeof index }, 0);
    page_add(&inner, true, kms_bytes_of("finishedCompactRev"),
             print_revision(2, 0, false, revision), 0);
    page_add(&root, true, kms_bytes_of("meta"), print_inline(&inner, meta), 1);
    return write_page(file, &root, LEAF);
}

void etcd_file_mend_meta(uint8_t *page)
{
    uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-64a */
    for (size_t i = 0; i < META_LEN - 8; i++)
        hash = (hash ^ page[HEADER_LEN + i]) * 0x100000001b3ULL;
    put(page + HEADER_LEN + META_LEN - 8, hash, 8);
}

static void write_meta(struct etcd_file *file, uint64_t id, uint64_t root, uint64_t freelist)
{
    uint8_t page[HEADER_LEN + META_LEN] = { 0 };
    uint8_t *meta = page + HEADER_LEN;
    put(page, id, 8);
    put(page + 8, META, 2);
    put(meta, 0xED0CDAED, 4);
    put(meta + 4, 2, 4);
    put(meta + 8, file->page_size, 4);
    put(meta + 16, root, 8);
    put(meta + 32, freelist, 8);
    put(meta + 40, file->next, 8);
    put(meta + 48, 10 + id, 8); /* page 1 is the newer one */
    etcd_file_mend_meta(page);
    write_at(file, id, page, sizeof page);
}

static void write_digest(struct etcd_file *file)
{
    uint8_t piece[4096], digest[32];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    must(context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1, "SHA-256");
    must(fseek(file->out, 0, SEEK_SET) == 0, "seek");
    for (size_t got; (got = fread(piece, 1, sizeof piece, file->out)) > 0;)
        must(EVP_DigestUpdate(context, piece, got) == 1, "SHA-256");
    must(EVP_DigestFinal_ex(context, digest, NULL) == 1, "SHA-256");
    EVP_MD_CTX_free(context);
    write_at(file, file->next, digest, sizeof digest);
}

void etcd_file_close(struct etcd_file *file, const struct etcd_file_end *end)
{
    if (file->page.count > 0)
        write_linked(file, &file->page, LEAF, &file->links);
    if (file->links.count == 0) /* a bucket without keys is an empty leaf */
        add_link(&file->links, (struct kms_bytes){ 0 }, write_page(file, &file->page, LEAF));
    uint64_t root = write_root(file, end, write_branches(file));
    struct page none = { 0 };
    uint64_t freelist = end->freelist ? write_page(file, &none, FREELIST) : UINT64_MAX;
    write_meta(file, 0, root, freelist);
    write_meta(file, 1, root, freelist);
    if (end->digest)
        write_digest(file);
    must(fclose(file->out) == 0, "close");
    free(file);
}
