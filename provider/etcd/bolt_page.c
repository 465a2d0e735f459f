/* SPDX-License-Identifier: Apache-2.0 */
#include "bolt_page.h"

#include <inttypes.h>
#include <string.h>

enum {
    BOLT_VERSION = 2,
    META_CHECKED_LEN = 56, /* bytes: all but the checksum */
};
#define BOLT_MAGIC 0xED0CDAEDU
#define FNV64_OFFSET 0xcbf29ce484222325ULL
#define FNV64_PRIME 0x100000001b3ULL

static uint64_t little_endian(const uint8_t *data, size_t len)
{
    uint64_t value = 0;
    for (size_t i = len; i-- > 0;)
        value = value << 8 | data[i];
    return value;
}

uint64_t kms_bolt_u64(const uint8_t *data)
{
    return little_endian(data, sizeof(uint64_t));
}

uint32_t kms_bolt_u32(const uint8_t *data)
{
    return (uint32_t)little_endian(data, sizeof(uint32_t));
}

uint16_t kms_bolt_u16(const uint8_t *data)
{
    return (uint16_t)little_endian(data, sizeof(uint16_t));
}

struct kms_bolt_header kms_bolt_header_read(const uint8_t header[static KMS_BOLT_HEADER_LEN])
{
    return (struct kms_bolt_header){ .id = kms_bolt_u64(header),
                                     .flags = kms_bolt_u16(header + 8),
                                     .count = kms_bolt_u16(header + 10),
                                     .overflow = kms_bolt_u32(header + 12) };
}

uint64_t kms_bolt_fnv64a(struct kms_bytes bytes)
{
    uint64_t hash = FNV64_OFFSET;
    for (size_t i = 0; i < bytes.len; i++)
        hash = (hash ^ bytes.data[i]) * FNV64_PRIME;
    return hash;
}

bool kms_bolt_meta_parse(const uint8_t *page, struct kms_bolt_meta *ret_meta)
{
    const uint8_t *meta = page + KMS_BOLT_HEADER_LEN;
    if (kms_bolt_header_read(page).flags != KMS_BOLT_META || kms_bolt_u32(meta) != BOLT_MAGIC ||
        kms_bolt_u32(meta + 4) != BOLT_VERSION)
        return false;
    const struct kms_bytes checked = { .data = meta, .len = META_CHECKED_LEN };
    if (kms_bolt_fnv64a(checked) != kms_bolt_u64(meta + META_CHECKED_LEN))
        return false;
    uint32_t page_size = kms_bolt_u32(meta + 8);
    if (page_size < KMS_BOLT_PAGE_MIN || page_size > KMS_BOLT_PAGE_MAX ||
        (page_size & (page_size - 1)) != 0)
        return false;
    *ret_meta = (struct kms_bolt_meta){ .page_size = page_size,
                                        .freelist = kms_bolt_u64(meta + 32),
                                        .high_water = kms_bolt_u64(meta + 40),
                                        .txid = kms_bolt_u64(meta + 48) };
    memcpy(ret_meta->root, meta + 16, KMS_BOLT_BUCKET_LEN);
    return true;
}

int kms_bolt_compare(struct kms_bytes a, struct kms_bytes b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

/* Where an item's key and value lie, counted from the item. */
struct place {
    uint64_t at, key_len, value_len; /* bytes; sums of what the format has in u32 don't overflow */
};

/* Branch: at u32, key_len u32, child u64.  Leaf: flags u32, at u32, key_len u32, value_len u32. */
static struct place read_place(const uint8_t *item, bool leaf)
{
    if (leaf)
        return (struct place){ .at = kms_bolt_u32(item + 4),
                               .key_len = kms_bolt_u32(item + 8),
                               .value_len = kms_bolt_u32(item + 12) };
    return (struct place){ .at = kms_bolt_u32(item), .key_len = kms_bolt_u32(item + 4) };
}

static size_t item_offset(size_t at)
{
    return KMS_BOLT_HEADER_LEN + at * KMS_BOLT_ITEM_LEN;
}

struct kms_bolt_item kms_bolt_page_item(const struct kms_bolt_page *page, size_t at)
{
    const uint8_t *data = page->bytes.data + item_offset(at);
    const struct place place = read_place(data, page->leaf);
    struct kms_bolt_item item = { .key = { data + place.at, (size_t)place.key_len } };
    if (!page->leaf) {
        item.child = kms_bolt_u64(data + 8);
        return item;
    }
    item.value = (struct kms_bytes){ data + place.at + place.key_len, (size_t)place.value_len };
    item.bucket = (kms_bolt_u32(data) & KMS_BOLT_ITEM_BUCKET) != 0;
    return item;
}

static enum kms_code check_items(const struct kms_bolt_page *page, struct kms_error *err)
{
    struct kms_bytes before = { 0 };
    for (size_t i = 0; i < page->count; i++) {
        size_t offset = item_offset(i);
        const struct place place = read_place(page->bytes.data + offset, page->leaf);
        if (offset + place.at + place.key_len + place.value_len > page->bytes.len)
            return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": item %zu lies outside the page",
                            page->id, i);
        struct kms_bytes key = kms_bolt_page_item(page, i).key;
        if (i > 0 && kms_bolt_compare(before, key) >= 0)
            return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": item %zu is out of order",
                            page->id, i);
        before = key;
    }
    return KMS_OK;
}

enum kms_code kms_bolt_page_parse(uint64_t id, struct kms_bytes bytes,
                                  struct kms_bolt_page *ret_page, struct kms_error *err)
{
    if (bytes.len < KMS_BOLT_HEADER_LEN)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": too short for its header", id);
    const struct kms_bolt_header header = kms_bolt_header_read(bytes.data);
    if (header.flags != KMS_BOLT_BRANCH && header.flags != KMS_BOLT_LEAF)
        return kms_fail(err, KMS_E_CORRUPT,
                        "page %" PRIu64 ": flags 0x%x where a branch or a leaf should be", id,
                        header.flags);
    const struct kms_bolt_page page = {
        .id = id, .bytes = bytes, .count = header.count, .leaf = header.flags == KMS_BOLT_LEAF
    };
    if (item_offset(page.count) > bytes.len)
        return kms_fail(err, KMS_E_CORRUPT, "page %" PRIu64 ": %zu items don't fit", id,
                        page.count);
    enum kms_code rc = check_items(&page, err);
    if (rc == KMS_OK)
        *ret_page = page;
    return rc;
}
