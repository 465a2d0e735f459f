/* SPDX-License-Identifier: Apache-2.0 */
/* Seam 1 without a token: KEKs in memory, wrapped by OpenSSL, failures and blocking on demand. */
#ifndef FAKE_KEYSTORE_H
#define FAKE_KEYSTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kms/keystore.h"

enum fake_op {
    FAKE_INVENTORY,
    FAKE_CANARY,
    FAKE_WRAP,
    FAKE_UNWRAP,
    FAKE_GENERATE,
    FAKE_DESTROY,
    FAKE_COPY,
    FAKE_RELABEL,
    FAKE_SET_USAGE,
    FAKE_INSPECT,
    FAKE_TRANSPORT_KEY,
    FAKE_IMPORT,
    FAKE_GENERATE_FOR_ESCROW,
    FAKE_EXPORT,
    FAKE_SEAL,
    FAKE_AUDIT_KEY,
    FAKE_SIGN,
    FAKE_OP_COUNT
};

enum { FAKE_KEY_LEN = 32 };

struct fake_keystore;
struct fake_keystore *fake_keystore_new(void);
/* The seam's view; kms_keystore_close() on it frees the fake. */
struct kms_keystore *fake_keystore_seam(struct fake_keystore *fake);

/* A blob of the fake is its key's bytes: FAKE_KEY_LEN times @fill. */

/* Adds a sound KEK (local, sensitive, not extractable) whose key bytes are all @fill, with a CKA_ID
 * of its own. */
void fake_keystore_add(struct fake_keystore *fake, const char *label, uint8_t fill);
void fake_keystore_remove(struct fake_keystore *fake, const char *label);
/* Clears or sets attributes (enum kms_kek_attribute) of the KEK with @label. */
void fake_keystore_set(struct fake_keystore *fake, const char *label, uint32_t set, uint32_t clear);
/* What new seeds are wrapped by; AES-GCM is only played. */
enum kms_algorithm *fake_keystore_algorithm(struct fake_keystore *fake);
void fake_keystore_fingerprint(uint8_t fill, uint8_t ret_fingerprint[static KMS_FINGERPRINT_LEN]);

/* The next @count calls of @op fail with @code (-1: all from now on; 0: none). */
void fake_keystore_fail(struct fake_keystore *fake, enum fake_op op, enum kms_code code, int count);
unsigned fake_keystore_calls(struct fake_keystore *fake, enum fake_op op);

/* Inventories, canaries, wraps or unwraps wait for their deadline, and fail with KMS_E_DEADLINE. */
void fake_keystore_hang(struct fake_keystore *fake, enum fake_op op, bool hung);

/* Calls of @op wait inside until unblocked; wait_blocked returns when @count are waiting. */
void fake_keystore_block(struct fake_keystore *fake, enum fake_op op);
void fake_keystore_wait_blocked(struct fake_keystore *fake, enum fake_op op, unsigned count);
void fake_keystore_unblock(struct fake_keystore *fake, enum fake_op op);

#endif
