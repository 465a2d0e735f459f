/* SPDX-License-Identifier: Apache-2.0 */
/* Keystore calls and their answers as messages of proto/host.proto. */
#ifndef KMS_HOST_WIRE_H
#define KMS_HOST_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/secret.h"
#include "pack.h"

enum kms_host_op { KMS_HOST_LIST, KMS_HOST_CANARY, KMS_HOST_WRAP, KMS_HOST_UNWRAP, KMS_HOST_SIGN };

/* One call.  Borrowed pointers; as parsed they live in the arena. */
struct kms_host_call {
    enum kms_host_op op;
    uint64_t id; /* comes back in the answer */
    int64_t time_left_ms;
    struct kms_kek_filter filter; /* of LIST */
    bool reload;                  /* of LIST: kms_keystore_reload() first */
    struct kms_kek_ref kek;       /* of the others but SIGN */
    const char *label;            /* of SIGN: of the key pair */
    struct kms_bytes data;        /* seed of WRAP, ciphertext of UNWRAP, message of SIGN */
    enum kms_algorithm algorithm; /* of UNWRAP */
};

/* Owns what it holds; kms_host_answer_done(). */
struct kms_host_answer {
    uint64_t id;              /* of the call */
    struct kms_error failure; /* code KMS_OK: it worked */
    struct kms_token_info token;
    struct kms_inventory inventory; /* of LIST */
    struct kms_secret data;         /* ciphertext of WRAP, seed of UNWRAP */
    enum kms_algorithm algorithm;   /* of WRAP */
    struct kms_signature signature; /* of SIGN; len 0: none */
};
void kms_host_answer_done(struct kms_host_answer *answer);

/* A parsed call; must stay where it is while in use, and be released. */
struct kms_host_request {
    struct kms_host_call call;
    struct kms_kek_name *names; /* owned */
    struct kms_arena arena;
};
void kms_host_request_done(struct kms_host_request *request);

/* All: KMS_E_BUSY without memory; of parsing also KMS_E_INVALID. */
KMS_MUST_CHECK enum kms_code kms_host_pack_call(const struct kms_host_call *call,
                                                struct kms_secret *ret_bytes,
                                                struct kms_error *err);
/* @ret_request needs kms_host_request_done() only after KMS_OK. */
KMS_MUST_CHECK enum kms_code kms_host_parse_call(struct kms_bytes bytes,
                                                 struct kms_host_request *ret_request,
                                                 struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_host_pack_answer(const struct kms_host_answer *answer,
                                                  struct kms_secret *ret_bytes,
                                                  struct kms_error *err);
KMS_MUST_CHECK enum kms_code kms_host_parse_answer(struct kms_bytes bytes,
                                                   struct kms_host_answer *ret_answer,
                                                   struct kms_error *err);

#endif
