/* SPDX-License-Identifier: Apache-2.0 */
/* What the `key` commands share: configuration, PIN, the service's account, token and state. */
#ifndef KMS_KEYRING_H
#define KMS_KEYRING_H

#include <argp.h>
#include <stdbool.h>

#include "config.h"
#include "keystore.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/secret.h"
#include "ring.h"
#include "state.h"

/* The options of all `key` commands; an argp child whose input is a kms_keyring_options. */
struct kms_keyring_options {
    const char *config_path;
    const char *pin_file; /* NULL: the configuration's */
    bool ask_pin;
    bool json;
};
extern const struct argp kms_keyring_argp;

/* Whether the PIN is the one that the service logs in with. */
bool kms_keyring_uses_service_pin(const struct kms_keyring_options *options,
                                  const struct kms_config *config);

struct kms_keyring {
    struct kms_config config;
    struct kms_secret pin;
    struct kms_keystore *keystore;
    struct kms_state state;
    bool state_known;             /* ring.json was read; else @state is empty */
    struct kms_error state_fault; /* code not KMS_OK: there is one, but it can't be used */
    struct kms_vouched vouched;   /* the configuration's pins and adoptions */
    char label_prefix[KMS_RING_MAX + 3];
};

/* Loads the configuration, gets the PIN, becomes the owner of state_dir if root isn't that, reads
 * ring.json and opens the token without connecting.  Notes go to stderr.  Call before threads;
 * afterwards kms_keyring_done(), also after a failure. */
KMS_MUST_CHECK enum kms_code kms_keyring_init(struct kms_keyring *keyring,
                                              const struct kms_keyring_options *options,
                                              struct kms_error *err);
void kms_keyring_done(struct kms_keyring *keyring);

/* CLOCK_MONOTONIC: how long a call on the token may take from now. */
int64_t kms_keyring_deadline(void);

/* How the configured token is opened with the PIN that was given; @of_service: it is the service's own.
 * Borrows from @keyring. */
struct pkcs11_keystore_options kms_keyring_token(const struct kms_keyring *keyring,
                                                 bool of_service);

/* The ring's KEKs.  Borrows from @keyring. */
struct kms_kek_filter kms_keyring_filter(const struct kms_keyring *keyring);

/* Lists the ring's KEKs, connecting first. */
KMS_MUST_CHECK enum kms_code kms_keyring_list(struct kms_keyring *keyring,
                                              struct kms_inventory *ret_inventory,
                                              struct kms_error *err);

/* Judges @inventory as this node would at @now_utc_s. */
KMS_MUST_CHECK enum kms_code kms_keyring_judge(const struct kms_keyring *keyring,
                                               const struct kms_inventory *inventory,
                                               int64_t now_utc_s,
                                               struct kms_snapshot **ret_snapshot,
                                               struct kms_error *err);

#endif
