/* SPDX-License-Identifier: Apache-2.0 */
/* protobuf-c messages in wiped memory: unpacked, packed.  Bytes are hostile. */
#ifndef KMS_PACK_H
#define KMS_PACK_H

#include <protobuf-c/protobuf-c.h>

#include "kms/error.h"
#include "kms/secret.h"

/* One block of wiped memory in which protobuf-c unpacks a message; freed as a whole.  It is bounded
 * by the message's length, so a message of nothing but tiny fields is refused, not unpacked. */
struct kms_arena {
    struct kms_secret block;
    size_t used; /* bytes */
    ProtobufCAllocator allocator;
};
/* @arena must stay where it is: the allocator points to it.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_arena_init(struct kms_arena *arena, size_t message_len,
                                            struct kms_error *err);
void kms_arena_done(struct kms_arena *arena);
/* NULL: it is full.  Gone with the arena. */
void *kms_arena_alloc(struct kms_arena *arena, size_t size);

/* For messages that outlive the function that unpacked them: wipes on free.  Pass one to unpack and
 * one to free_unpacked; all are alike. */
ProtobufCAllocator kms_wiping_allocator(void);

/* A message of @descriptor inside @arena (inited); it needs no free of its own.
 * KMS_E_INVALID: not such a message, or more fields than @arena holds. */
KMS_MUST_CHECK enum kms_code kms_unpack(struct kms_arena *arena,
                                        const ProtobufCMessageDescriptor *descriptor,
                                        struct kms_bytes bytes, ProtobufCMessage **ret_message,
                                        struct kms_error *err);

/* *ret_bytes owns the packed form. KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_pack(const ProtobufCMessage *message, struct kms_secret *ret_bytes,
                                      struct kms_error *err);

/* As a field of protobuf-c, which knows no const; packing only reads. */
char *kms_pack_text(const char *text);

/* Borrows the bytes of a protobuf-c field, and the other way round. */
struct kms_bytes kms_pack_bytes(ProtobufCBinaryData data);
ProtobufCBinaryData kms_pack_data(struct kms_bytes bytes);

#endif
