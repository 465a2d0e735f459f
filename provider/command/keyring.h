/* SPDX-License-Identifier: Apache-2.0 */
/* What the `key` commands share: configuration, PINs, the service's account, tokens and state. */
#ifndef KMS_KEYRING_H
#define KMS_KEYRING_H

#include <argp.h>
#include <stdbool.h>

#include "config.h"
#include "key_spread.h"
#include "keystore.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "kms/secret.h"
#include "ring.h"
#include "state.h"

/* The options of all `key` commands; an argp child whose input is a kms_keyring_options.  Borrowed. */
struct kms_keyring_options {
    const char *config_path;
    const char *pin_files[KMS_TOKENS_MAX]; /* FILE, or NAME=FILE of one of several tokens */
    size_t pin_file_count;
    const char *token;                   /* the only one to work on; NULL: all */
    const char *without[KMS_TOKENS_MAX]; /* tokens to leave out */
    size_t without_count;
    bool ask_pin;
    bool json;
};
extern const struct argp kms_keyring_argp;

/* One of the configured tokens, as the command sees it. */
struct kms_keyring_token {
    const struct kms_config_token *config;
    bool chosen;                 /* the command works on it */
    bool waived;                 /* --without names it */
    int64_t drained_until_utc_s; /* not 0: left out by an operator until then */
    bool of_service;             /* @pin is the one that the service logs in with */
    struct kms_secret pin;
    struct kms_keystore *keystore; /* of a chosen one; borrowed from the keyring's */
};

struct kms_keyring {
    struct kms_config config;
    struct kms_keyring_token tokens[KMS_TOKENS_MAX]; /* as configured */
    size_t token_count;
    struct kms_keystore *keystore; /* of all chosen tokens */
    struct kms_state state;
    bool state_known;             /* ring.json was read; else @state is empty */
    struct kms_error state_fault; /* code not KMS_OK: there is one, but it can't be used */
    struct kms_vouched vouched;   /* the configuration's pins and adoptions */
    char label_prefix[KMS_RING_MAX + 3];
};

/* Loads the configuration, chooses the tokens and gets their PINs, becomes the owner of state_dir if root
 * isn't that, reads ring.json and opens the tokens without connecting.  Notes go to stderr.  Call before
 * threads; afterwards kms_keyring_done(), also after a failure. */
KMS_MUST_CHECK enum kms_code kms_keyring_init(struct kms_keyring *keyring,
                                              const struct kms_keyring_options *options,
                                              struct kms_error *err);
void kms_keyring_done(struct kms_keyring *keyring);

/* CLOCK_MONOTONIC: how long a call on the token may take from now. */
int64_t kms_keyring_deadline(void);

/* For commands that work on one token. KMS_E_INVALID: there are several to choose from. */
KMS_MUST_CHECK enum kms_code kms_keyring_one(const struct kms_keyring *keyring,
                                             const struct kms_keyring_token **ret_token,
                                             struct kms_error *err);

/* How @token is opened with the PIN that was given.  Borrows from @keyring. */
struct pkcs11_keystore_options kms_keyring_open_options(const struct kms_keyring *keyring,
                                                        const struct kms_keyring_token *token);

/* The chosen tokens but those that @inventory says weren't listed, for keys that must be brought to some of
 * them.  Borrows from @keyring. */
struct kms_spread kms_keyring_spread(const struct kms_keyring *keyring,
                                     const struct kms_inventory *inventory);

/* The ring's KEKs.  Borrows from @keyring. */
struct kms_kek_filter kms_keyring_filter(const struct kms_keyring *keyring);

/* Lists the ring's KEKs, connecting first.  Notes say which chosen token wasn't listed. */
KMS_MUST_CHECK enum kms_code kms_keyring_list(struct kms_keyring *keyring,
                                              struct kms_inventory *ret_inventory,
                                              struct kms_error *err);
/* The same notes, of a listing by other means. */
void kms_keyring_note_unlisted(const struct kms_inventory *inventory);

/* Judges @inventory as this node would at @now_utc_s. */
KMS_MUST_CHECK enum kms_code kms_keyring_judge(const struct kms_keyring *keyring,
                                               const struct kms_inventory *inventory,
                                               int64_t now_utc_s,
                                               struct kms_snapshot **ret_snapshot,
                                               struct kms_error *err);

/* Which of several tokens a command must reach, unless --without names them. */
enum kms_keyring_reach {
    KMS_REACH_ANY, /* it only looks, or works on one */
    KMS_REACH_NEW, /* a new key must get to the first, to required ones, and to those that get none later */
    KMS_REACH_ALL, /* a key that lives on anywhere is no ended key */
};
/* False: @ret_why says which token wasn't listed, why, and what to do. */
enum { KMS_REACH_TEXT_MAX = 400 };
KMS_MUST_CHECK bool kms_keyring_reaches(const struct kms_keyring *keyring,
                                        const struct kms_inventory *inventory,
                                        enum kms_keyring_reach reach,
                                        char ret_why[static KMS_REACH_TEXT_MAX]);

/* "'a', 'b'": the tokens that --without names; "" if none. */
enum { KMS_NAMES_TEXT_MAX = KMS_TOKENS_MAX * (KMS_TOKEN_NAME_MAX + 4) + 1 };
void kms_keyring_name_waived(const struct kms_keyring *keyring,
                             char ret_text[static KMS_NAMES_TEXT_MAX]);

/* Asks this node's plugin to promote @generation though the tokens that --without names haven't confirmed
 * it. */
KMS_MUST_CHECK enum kms_code kms_keyring_waive(const struct kms_keyring *keyring,
                                               uint32_t generation, struct kms_error *err);

/* --- keyring_tokens.c: for keyring.c --- */

/* Fills the tokens from the configuration, and chooses.  KMS_E_INVALID: an option names none of them. */
KMS_MUST_CHECK enum kms_code kms_keyring_choose(struct kms_keyring *keyring,
                                                const struct kms_keyring_options *options,
                                                struct kms_error *err);
/* Gets the PINs of the chosen tokens, and becomes the owner of state_dir. */
KMS_MUST_CHECK enum kms_code kms_keyring_get_pins(struct kms_keyring *keyring,
                                                  const struct kms_keyring_options *options,
                                                  struct kms_error *err);

#endif
