/* SPDX-License-Identifier: Apache-2.0 */
#include "pack.h"

#include <stdalign.h>

enum {
    ARENA_BASE = 4096,  /* bytes: any request of kube-apiserver fits in this alone */
    ARENA_PER_BYTE = 4, /* of the message */
};

void *kms_arena_alloc(struct kms_arena *arena, size_t size)
{
    const size_t align = alignof(max_align_t);
    size_t rounded = 0;
    if (__builtin_add_overflow(size, align - 1, &rounded))
        return NULL;
    rounded -= rounded % align;
    if (rounded > arena->block.cap - arena->used)
        return NULL;
    void *p = arena->block.data + arena->used;
    arena->used += rounded;
    return p;
}

static void *arena_alloc(void *data, size_t size)
{
    return kms_arena_alloc(data, size);
}

/* The block is wiped and freed as a whole. */
static void arena_free(void *data, void *p)
{
    (void)data;
    (void)p;
}

enum kms_code kms_arena_init(struct kms_arena *arena, size_t message_len, struct kms_error *err)
{
    size_t cap = 0;
    if (__builtin_mul_overflow(message_len, (size_t)ARENA_PER_BYTE, &cap) ||
        __builtin_add_overflow(cap, (size_t)ARENA_BASE, &cap))
        return kms_fail(err, KMS_E_INVALID, "message of %zu bytes", message_len);
    *arena = (struct kms_arena){ 0 };
    arena->allocator = (ProtobufCAllocator){ .alloc = arena_alloc,
                                             .free = arena_free,
                                             .allocator_data = arena };
    return kms_secret_init(&arena->block, cap, err);
}

void kms_arena_done(struct kms_arena *arena)
{
    kms_secret_done(&arena->block);
    *arena = (struct kms_arena){ 0 };
}

/* protobuf-c's free tells no size: it stands in front, in as much as keeps malloc's alignment. */
struct sized {
    alignas(max_align_t) size_t cap;
    uint8_t data[];
};

static void *sized_alloc(void *data, size_t size)
{
    (void)data;
    size_t cap = 0;
    if (__builtin_add_overflow(size, sizeof(struct sized), &cap))
        return NULL;
    struct sized *sized = kms_secret_alloc(cap);
    if (sized == NULL)
        return NULL;
    sized->cap = cap;
    return sized->data;
}

static void sized_free(void *data, void *p)
{
    (void)data;
    if (p == NULL)
        return;
    struct sized *sized = (struct sized *)((uint8_t *)p - offsetof(struct sized, data));
    kms_secret_free(sized, sized->cap);
}

ProtobufCAllocator kms_wiping_allocator(void)
{
    return (ProtobufCAllocator){ .alloc = sized_alloc, .free = sized_free };
}

enum kms_code kms_unpack(struct kms_arena *arena, const ProtobufCMessageDescriptor *descriptor,
                         struct kms_bytes bytes, ProtobufCMessage **ret_message,
                         struct kms_error *err)
{
    /* protobuf-c takes no NULL, an empty message has no bytes. */
    const uint8_t *data = bytes.len > 0 ? bytes.data : (const uint8_t *)"";
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &arena->allocator, bytes.len,
                                                          data);
    if (message == NULL)
        return kms_fail(err, KMS_E_INVALID, "malformed %s", descriptor->short_name);
    *ret_message = message;
    return KMS_OK;
}

enum kms_code kms_pack(const ProtobufCMessage *message, struct kms_secret *ret_bytes,
                       struct kms_error *err)
{
    KMS_CLEANUP(kms_secret_done) struct kms_secret packed = { 0 };
    enum kms_code rc = kms_secret_init(&packed, protobuf_c_message_get_packed_size(message), err);
    if (rc != KMS_OK)
        return rc;
    protobuf_c_message_pack(message, packed.data);
    *ret_bytes = kms_secret_take(&packed);
    return KMS_OK;
}

struct kms_bytes kms_pack_bytes(ProtobufCBinaryData data)
{
    return (struct kms_bytes){ .data = data.data, .len = data.len };
}

char *kms_pack_text(const char *text)
{
    union {
        const char *in;
        char *out;
    } same = { .in = text };
    return same.out;
}

ProtobufCBinaryData kms_pack_data(struct kms_bytes bytes)
{
    /* protobuf-c's struct has no const; packing only reads. */
    union {
        const uint8_t *in;
        uint8_t *out;
    } same = { .in = bytes.data };
    return (ProtobufCBinaryData){ .len = bytes.len, .data = same.out };
}
