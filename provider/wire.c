/* SPDX-License-Identifier: Apache-2.0 */
#include "wire.h"

#include "proto/kmsv2.pb-c.h"

enum kms_code kms_wire_parse_encrypt(struct kms_bytes bytes, struct kms_wire_encrypt *ret,
                                     struct kms_error *err)
{
    enum kms_code rc = kms_arena_init(&ret->arena, bytes.len, err);
    if (rc != KMS_OK)
        return rc;
    ProtobufCMessage *message = NULL;
    rc = kms_unpack(&ret->arena, &v2__encrypt_request__descriptor, bytes, &message, err);
    if (rc != KMS_OK) {
        kms_arena_done(&ret->arena);
        return rc;
    }
    const V2__EncryptRequest *unpacked = (const V2__EncryptRequest *)message;
    ret->request = (struct kms_encrypt_request){ .plaintext = kms_pack_bytes(unpacked->plaintext),
                                                 .uid = kms_pack_bytes(unpacked->uid) };
    return KMS_OK;
}

/* Entries go to the service as they came: it refuses duplicates. */
static enum kms_code copy_annotations(struct kms_arena *arena, const V2__DecryptRequest *unpacked,
                                      struct kms_decrypt_request *request, struct kms_error *err)
{
    size_t count = unpacked->n_annotations;
    if (count == 0)
        return KMS_OK;
    struct kms_annotation *copies = kms_arena_alloc(arena, count * sizeof *copies);
    if (copies == NULL)
        return kms_fail(err, KMS_E_INVALID, "%zu annotations are too many", count);
    for (size_t i = 0; i < count; i++)
        copies[i] = (struct kms_annotation){ .key = kms_pack_bytes(unpacked->annotations[i]->key),
                                             .value = kms_pack_bytes(
                                                 unpacked->annotations[i]->value) };
    request->annotations = copies;
    request->annotation_count = count;
    return KMS_OK;
}

static enum kms_code parse_decrypt(struct kms_bytes bytes, struct kms_wire_decrypt *ret,
                                   struct kms_error *err)
{
    ProtobufCMessage *message = NULL;
    enum kms_code rc = kms_unpack(&ret->arena, &v2__decrypt_request__descriptor, bytes, &message,
                                  err);
    if (rc != KMS_OK)
        return rc;
    const V2__DecryptRequest *unpacked = (const V2__DecryptRequest *)message;
    ret->request = (struct kms_decrypt_request){
        .ciphertext = kms_pack_bytes(unpacked->ciphertext),
        .uid = kms_pack_bytes(unpacked->uid),
        .key_id = kms_pack_bytes(unpacked->key_id),
    };
    return copy_annotations(&ret->arena, unpacked, &ret->request, err);
}

enum kms_code kms_wire_parse_decrypt(struct kms_bytes bytes, struct kms_wire_decrypt *ret,
                                     struct kms_error *err)
{
    enum kms_code rc = kms_arena_init(&ret->arena, bytes.len, err);
    if (rc != KMS_OK)
        return rc;
    rc = parse_decrypt(bytes, ret, err);
    if (rc != KMS_OK)
        kms_arena_done(&ret->arena);
    return rc;
}

void kms_wire_encrypt_done(struct kms_wire_encrypt *parsed)
{
    kms_arena_done(&parsed->arena);
    parsed->request = (struct kms_encrypt_request){ 0 };
}

void kms_wire_decrypt_done(struct kms_wire_decrypt *parsed)
{
    kms_arena_done(&parsed->arena);
    parsed->request = (struct kms_decrypt_request){ 0 };
}
