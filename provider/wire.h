/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the KMS v2 messages.  Bytes are hostile: any input gives a request or KMS_E_INVALID.
 * Semantic checks (lengths, uid, key_id, annotations) are the service's. */
#ifndef KMS_WIRE_H
#define KMS_WIRE_H

#include <protobuf-c/protobuf-c.h>

#include "kms/error.h"
#include "kms/secret.h"
#include "service.h"

/* One block of wiped memory in which protobuf-c unpacks a message; freed as a whole.  It is bounded
 * by the message's length, so a message of nothing but tiny fields is refused, not unpacked. */
struct kms_wire_arena {
    struct kms_secret block;
    size_t used; /* bytes */
    ProtobufCAllocator allocator;
};
/* @arena must stay where it is: the allocator points to it.  KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_wire_arena_init(struct kms_wire_arena *arena, size_t message_len,
                                                 struct kms_error *err);
void kms_wire_arena_done(struct kms_wire_arena *arena);

/* For messages that outlive the function that unpacked them: wipes on free.  Pass one to unpack and
 * one to free_unpacked; all are alike. */
ProtobufCAllocator kms_wire_wiping_allocator(void);

/* A message of @descriptor inside @arena (inited); it needs no free of its own.
 * KMS_E_INVALID: not such a message, or more fields than @arena holds. */
KMS_MUST_CHECK enum kms_code kms_wire_unpack(struct kms_wire_arena *arena,
                                             const ProtobufCMessageDescriptor *descriptor,
                                             struct kms_bytes bytes, ProtobufCMessage **ret_message,
                                             struct kms_error *err);

/* *ret_bytes owns the packed form. KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_wire_pack(const ProtobufCMessage *message,
                                           struct kms_secret *ret_bytes, struct kms_error *err);

/* Borrows the bytes of a protobuf-c field, and the other way round. */
struct kms_bytes kms_wire_bytes(ProtobufCBinaryData data);
ProtobufCBinaryData kms_wire_data(struct kms_bytes bytes);

/* A parsed request; *_done() wipes it.  Must stay where it is while in use. */
struct kms_wire_encrypt {
    struct kms_encrypt_request request;
    struct kms_wire_arena arena;
};
struct kms_wire_decrypt {
    struct kms_decrypt_request request;
    struct kms_wire_arena arena;
};

/* Both: KMS_E_INVALID, KMS_E_BUSY; thread-safe. @ret needs *_done() only after KMS_OK. */
KMS_MUST_CHECK enum kms_code kms_wire_parse_encrypt(struct kms_bytes bytes,
                                                    struct kms_wire_encrypt *ret,
                                                    struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_wire_parse_decrypt(struct kms_bytes bytes,
                                                    struct kms_wire_decrypt *ret,
                                                    struct kms_error *err);
void kms_wire_encrypt_done(struct kms_wire_encrypt *parsed);
void kms_wire_decrypt_done(struct kms_wire_decrypt *parsed);

#endif
