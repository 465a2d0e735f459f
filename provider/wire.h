/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the KMS v2 messages.  Bytes are hostile: any input gives a request or KMS_E_INVALID.
 * Semantic checks (lengths, uid, key_id, annotations) are the service's. */
#ifndef KMS_WIRE_H
#define KMS_WIRE_H

#include "kms/error.h"
#include "pack.h"
#include "service.h"

/* A parsed request; *_done() wipes it.  Must stay where it is while in use. */
struct kms_wire_encrypt {
    struct kms_encrypt_request request;
    struct kms_arena arena;
};
struct kms_wire_decrypt {
    struct kms_decrypt_request request;
    struct kms_arena arena;
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
