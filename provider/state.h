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

struct kms_pin {
    uint32_t generation;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    char serials[2][17]; /* serial numbers of tokens that confirmed the generation; "" if none */
};

/* Plain data: pins ascend by generation. Release with kms_state_done(). */
struct kms_state {
    uint32_t promoted; /* the highest generation ever promoted here; 0: none */
    struct kms_pin *pins;
    size_t pin_count;
    uint32_t *tombstones; /* generations that must never exist again; ascending */
    size_t tombstone_count;
};
void kms_state_done(struct kms_state *state);
KMS_MUST_CHECK enum kms_code kms_state_copy(const struct kms_state *from, struct kms_state *ret_to,
                                            struct kms_error *err);
/* NULL if @generation has no pin. */
const struct kms_pin *kms_state_pin(const struct kms_state *state, uint32_t generation);
/* Adds a pin (the generation has none yet). KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_state_add_pin(struct kms_state *state, uint32_t generation,
                                               const uint8_t *fingerprint, const char *serial,
                                               struct kms_error *err);
/* The generation's pin becomes @fingerprint, whether it had one or not; the tokens that confirmed an
 * old one are forgotten. KMS_E_BUSY: no memory. */
KMS_MUST_CHECK enum kms_code kms_state_repin(struct kms_state *state, uint32_t generation,
                                             const uint8_t *fingerprint, struct kms_error *err);
/* Adds @generation to the tombstones and removes its pin. KMS_E_BUSY: no memory, nothing changed. */
KMS_MUST_CHECK enum kms_code kms_state_bury(struct kms_state *state, uint32_t generation,
                                            struct kms_error *err);
bool kms_state_is_buried(const struct kms_state *state, uint32_t generation);
/* The highest of promoted mark, pins and tombstones. */
uint32_t kms_state_highest(const struct kms_state *state);

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
 * `served` marker.  On failure the old file stands. */
KMS_MUST_CHECK enum kms_code kms_state_dir_write(struct kms_state_dir *dir,
                                                 const struct kms_state *state,
                                                 struct kms_error *err);

#endif
