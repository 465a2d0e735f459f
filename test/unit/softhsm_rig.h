/* SPDX-License-Identifier: Apache-2.0 */
/* A SoftHSM token of its own in a temporary directory, and a keystore on it. */
#ifndef SOFTHSM_RIG_H
#define SOFTHSM_RIG_H

#include "pkcs11_rig.h"

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_TOKEN "prod"
#define SOFTHSM_PIN "12345678"
#define SOFTHSM_URI "pkcs11:token=" SOFTHSM_TOKEN

extern char softhsm_dir[]; /* temporary; SOFTHSM2_CONF points into it */
extern char softhsm_tokens[64];
extern char softhsm_pin_file[64];

/* Of the group: makes SOFTHSM_TOKEN, and removes all. */
int softhsm_setup(void **state);
int softhsm_teardown(void **state);

void softhsm_make_token(const char *label);
void softhsm_write_file(const char *path, const char *text);

struct kms_keystore *softhsm_open_module(const char *module, const char *uri);
struct kms_keystore *softhsm_open(const char *uri);

/* An inventory, thrown away but for the count. */
enum kms_code softhsm_list(struct kms_keystore *keystore, const char *prefix, size_t *ret_count,
                           struct kms_error *err);
/* Attempts to connect are spaced, so this asks until it is answered, or the deadline. */
enum kms_code softhsm_list_until_ok(struct kms_keystore *keystore, const char *prefix,
                                    size_t *ret_count, struct kms_error *err);

/* A KEK generated, and softhsm_seed wrapped under it. */
struct softhsm_sample {
    struct kms_kek_info kek;
    struct kms_kek_ref ref;
    struct kms_wrapped wrapped;
};
extern const uint8_t softhsm_seed[32];
void softhsm_make_sample(struct kms_keystore *keystore, const char *label,
                         struct softhsm_sample *ret_sample);
/* KMS_E_INTERNAL: the seed is another. */
enum kms_code softhsm_unwrap(struct kms_keystore *keystore, const struct softhsm_sample *sample,
                             struct kms_error *err);

#endif
