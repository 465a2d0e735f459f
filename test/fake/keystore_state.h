/* SPDX-License-Identifier: Apache-2.0 */
/* Private to keystore.c (the seam, and how a test controls it) and keystore_manage.c (key commands). */
#ifndef FAKE_KEYSTORE_STATE_H
#define FAKE_KEYSTORE_STATE_H

#include <pthread.h>
#include <stdbool.h>

#include <openssl/evp.h>

#include "keystore.h"
#include "kms/keystore.h"

enum {
    KEKS_MAX = 250,            /* CKA_IDs and generated keys are told apart by one byte */
    FAKE_AES_KEY_GEN = 0x1080, /* CKM_AES_KEY_GEN */
};

struct behaviour {
    enum kms_code code;
    int count; /* calls that still fail; -1: all */
    unsigned calls;
    bool blocked;
    bool hung;
    unsigned waiting;
};

struct fake_keystore {
    struct kms_keystore base;
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    struct kms_kek_info keks[KEKS_MAX];
    uint8_t fills[KEKS_MAX];
    size_t count;
    uint8_t next_id;
    enum kms_algorithm algorithm; /* of new seeds */
    EVP_PKEY *audit_key;          /* owned; NULL: there is none */
    struct behaviour behaviours[FAKE_OP_COUNT];
};

struct fake_keystore *fake_of(struct kms_keystore *ks);

/* Counts the call, waits while blocked, and fails if so told.  Takes the lock; leaves it held. */
enum kms_code fake_enter(struct fake_keystore *fake, enum fake_op op, struct kms_error *err);
/* Releases the lock; returns @rc. */
enum kms_code fake_leave(struct fake_keystore *fake, enum kms_code rc);

/* With the lock held. */
struct kms_kek_info *fake_add(struct fake_keystore *fake, const char *label, uint8_t fill);
void fake_remove_at(struct fake_keystore *fake, size_t at);
/* As a token does: what may not wrap has no fingerprint. */
void fake_judge(struct kms_kek_info *kek, uint8_t fill);

enum kms_code fake_sign(struct kms_keystore *ks, const char *label, struct kms_bytes message,
                        int64_t deadline_ms, struct kms_signature *ret_signature,
                        struct kms_error *err);
extern const struct kms_manage_ops fake_manage_ops;

#endif
