/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of pkcs11/ share: the fake module, a keystore over it, known keys. */
#ifndef PKCS11_RIG_H
#define PKCS11_RIG_H

#include "check.h"
#include "fake/module.h"
#include "kek.h"
#include "kms/clock.h"
#include "kms/keystore.h"
#include "seam.h"

/* KEK 00..1F and another; their fingerprints are computed by OpenSSL. */
extern const uint8_t rig_key[32];
extern const uint8_t rig_other_key[32];
void rig_fingerprint(const uint8_t key[static 32], uint8_t ret[static KMS_FINGERPRINT_LEN]);
/* RFC 3394 by OpenSSL. */
size_t rig_wrap(const uint8_t key[static 32], struct kms_bytes data,
                uint8_t ret[static KMS_WRAPPED_MAX]);

int64_t rig_soon_ms(void); /* a deadline that no test should reach */

/* A keystore over the fake, with FAKE_PIN, not connected yet. */
struct rig {
    struct fake_module *module;
    struct kms_keystore *keystore;
    struct kms_secret pin;
    char dir[64];                             /* temporary */
    uint8_t fingerprint[KMS_FINGERPRINT_LEN]; /* of rig_key */
    struct kms_kek_ref kek;                   /* "prod.v1" with it */
    size_t place;                             /* of "prod.v1" in the fake */
    struct kms_error err;                     /* scratch */
};
int rig_setup(void **state);           /* with KEK "prod.v1" = rig_key on the token */
int rig_setup_connected(void **state); /* and inventory done once */
int rig_teardown(void **state);        /* checks that nothing leaked */

/* inventory("prod."), the list thrown away. */
enum kms_code rig_inventory(struct rig *rig);
enum kms_code rig_wrap_seed(struct rig *rig, struct kms_wrapped *ret_wrapped);
/* A ciphertext that OpenSSL made with rig_key. */
struct kms_wrapped rig_sample(void);
enum kms_code rig_unwrap(struct rig *rig, const struct kms_wrapped *wrapped);
/* Asserts that this is what unwrapping the sample gives. */
void rig_assert_unwraps(struct rig *rig);
void rig_assert_wraps(struct rig *rig);

/* One initialised session on the fake, logged in, for tests below the keystore. */
struct rig_session {
    struct fake_module *module;
    struct pkcs11_token token; /* zeros: no vendor's */
    struct pkcs11_session session;
    struct pkcs11_probe probe; /* of the three above */
    struct pkcs11_wrap wrap;
    struct pkcs11_place place;
    const char *bound; /* what seeds are bound to */
    struct kms_error err;
};
int rig_session_setup(void **state);
int rig_session_teardown(void **state);
/* A handle for a new KEK "kek" = rig_key that may encrypt and decrypt, too. */
CK_OBJECT_HANDLE rig_session_kek(struct rig_session *rig);
/* A module with a strict policy: no secret key comes in, key wrap is a cipher; chosen anew. */
void rig_use_cipher(struct rig_session *rig);

#endif
