/* SPDX-License-Identifier: Apache-2.0 */
/* What a node remembers: state_dir/ring.json.  The daemon is the only writer and holds
 * state_dir/lock; commands read, and ask for changes by request.h. */
#ifndef KMS_STATE_H
#define KMS_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"

enum { KMS_STATE_VERSION = 1 };

/* A token that held the pinned key when it was listed. */
struct kms_confirmation {
    char name[KMS_TOKEN_NAME_MAX + 1]; /* as the configuration calls it */
    char serial[17];
};

struct kms_pin {
    uint32_t generation;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_confirmation tokens[KMS_TOKENS_MAX]; /* the latest news last */
    size_t token_count;
};

/* An operator asked to leave a token alone for a while. */
struct kms_drain {
    char token[KMS_TOKEN_NAME_MAX + 1];
    int64_t until_utc_s;
};

/* An operator said that @token needn't confirm @generation before that is promoted. */
struct kms_waiver {
    uint32_t generation;
    char token[KMS_TOKEN_NAME_MAX + 1];
};

/* Plain data: pins ascend by generation, waivers by generation and token. Release with
 * kms_state_done(). */
struct kms_state {
    uint32_t promoted; /* the highest generation ever promoted here; 0: none */
    struct kms_pin *pins;
    size_t pin_count;
    uint32_t *tombstones; /* generations that must never exist again; ascending */
    size_t tombstone_count;
    struct kms_drain drains[KMS_TOKENS_MAX]; /* of each token at most one; it may be over */
    size_t drain_count;
    struct kms_waiver *waivers;
    size_t waiver_count;
};
void kms_state_done(struct kms_state *state);
KMS_MUST_CHECK enum kms_code kms_state_copy(const struct kms_state *from, struct kms_state *ret_to,
                                            struct kms_error *err);
/* NULL if @generation has no pin. */
const struct kms_pin *kms_state_pin(const struct kms_state *state, uint32_t generation);
/* Adds a pin (the generation has none yet) that no token confirmed. KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_state_add_pin(struct kms_state *state, uint32_t generation,
                                               const uint8_t *fingerprint, struct kms_error *err);
/* The generation's pin becomes @fingerprint, whether it had one or not; the tokens that confirmed an
 * old one are forgotten. KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_state_repin(struct kms_state *state, uint32_t generation,
                                             const uint8_t *fingerprint, struct kms_error *err);
/* Records in @pin that the token of this name and serial number holds the key; true if that is news.
 * A name has one serial, the last. With KMS_TOKENS_MAX others there the oldest news goes: a token that
 * left the configuration sends none. */
bool kms_state_confirm(struct kms_pin *pin, const char *name, const char *serial);
/* NULL if the token of this name didn't confirm @pin. */
const struct kms_confirmation *kms_pin_confirmation(const struct kms_pin *pin, const char *name);
/* Adds @generation to the tombstones; its pin and waivers go. KMS_E_BUSY: no memory, nothing changed. */
KMS_MUST_CHECK enum kms_code kms_state_bury(struct kms_state *state, uint32_t generation,
                                            struct kms_error *err);
bool kms_state_is_buried(const struct kms_state *state, uint32_t generation);
/* The highest of promoted mark, pins and tombstones. */
uint32_t kms_state_highest(const struct kms_state *state);

/* Leaves @token alone until then, whatever was said of it before.  KMS_E_PRECONDITION: KMS_TOKENS_MAX
 * others are drained. */
KMS_MUST_CHECK enum kms_code kms_state_drain(struct kms_state *state, const char *token,
                                             int64_t until_utc_s, struct kms_error *err);
/* Ends the drain of @token; false: there was none. */
bool kms_state_resume(struct kms_state *state, const char *token);
/* 0: @token isn't drained. The caller looks whether the time has passed. */
int64_t kms_state_drained_until(const struct kms_state *state, const char *token);

/* Does nothing if it is so already. KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_state_waive(struct kms_state *state, uint32_t generation,
                                             const char *token, struct kms_error *err);
bool kms_state_is_waived(const struct kms_state *state, uint32_t generation, const char *token);
/* Which comes first among a state's waivers: below, at or above 0. */
int kms_waiver_order(const struct kms_waiver *a, const struct kms_waiver *b);

/* Removes what says nothing any more: drains that are over, waivers of generations that are promoted
 * or older. */
void kms_state_tidy(struct kms_state *state, int64_t now_utc_s);

/* Reads @state_dir/ring.json of @ring.  Absent: an empty state, *ret_new = true; but absent beside
 * the `served` marker, unparsable, of another ring or of a newer version: KMS_E_PRECONDITION that
 * says what to do, and nothing is changed on disk. */
KMS_MUST_CHECK enum kms_code kms_state_read(const char *state_dir, const char *ring,
                                            struct kms_state *ret_state, bool *ret_new,
                                            struct kms_error *err);

/* The daemon's claim on a state_dir: the directory is made if absent (0700), must be 0700 and ours;
 * holds state_dir/lock until close. KMS_E_PRECONDITION: another daemon lives, wrong owner or mode. */
struct kms_state_dir;
KMS_MUST_CHECK enum kms_code kms_state_dir_open(const char *path, const char *ring,
                                                struct kms_state_dir **ret_dir,
                                                struct kms_error *err);
void kms_state_dir_close(struct kms_state_dir *dir);
KMS_DEFINE_CLOSE_PTR(struct kms_state_dir *, kms_state_dir_close)

/* The path that it was opened with; valid until close. */
const char *kms_state_dir_path(const struct kms_state_dir *dir);

/* Replaces ring.json: write, fsync, rename, fsync of the directory; then, the first time, the
 * `served` marker.  What says nothing any more isn't written (kms_state_tidy()).  On failure the old
 * file stands. */
KMS_MUST_CHECK enum kms_code kms_state_dir_write(struct kms_state_dir *dir,
                                                 const struct kms_state *state,
                                                 struct kms_error *err);

#endif
