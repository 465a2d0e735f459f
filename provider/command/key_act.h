/* SPDX-License-Identifier: Apache-2.0 */
/* What cancel, disable, enable and destroy decide and do, apart from options and output. */
#ifndef KMS_KEY_ACT_H
#define KMS_KEY_ACT_H

#include <stdbool.h>
#include <stdint.h>

#include "key_peer.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "ring.h"

/* Everything that the decision rests on.  Borrowed pointers. */
struct kms_key_scene {
    struct kms_keystore *keystore;
    const char *ring;
    const char *state_dir;
    const struct kms_state *state; /* what ring.json says */
    bool state_known;              /* false: @state is empty, there is no ring.json to read */
    const struct kms_snapshot *snapshot;
    uint32_t
        node_promoted; /* as the plugin on the local socket says; 0: nothing, or nobody there */
    const struct kms_key_peer *peers; /* the nodes that were asked; none: nobody named any */
    size_t peer_count;
    int64_t now_utc_s;
    int64_t refresh_ms, clock_skew_ms;
};

/* Which key is meant. */
struct kms_key_target {
    uint32_t generation;
    const char *fingerprint; /* its first hexadecimal digits; NULL: any */
    const char *cka_id;      /* the same */
};

enum { KMS_KEY_TEXT_MAX = 1024, KMS_KEY_FACTS_MAX = 2 };

/* What only one command's JSON has. */
struct kms_key_fact {
    const char *name;                   /* NULL: none */
    char value[2 * KMS_SHA256_LEN + 1]; /* "": null */
};

/* What the command says in the end; an act that works or refuses returns KMS_OK and fills this. */
struct kms_key_outcome {
    const char *name; /* one word, for JSON */
    bool refused;     /* for safety: nothing was done, @text says why */
    bool changed;
    char text[KMS_KEY_TEXT_MAX];
    char next[KMS_KEY_TEXT_MAX]; /* the next step */
    struct kms_kek_info kek;     /* the key it is about, label "" if there is none */
    struct kms_key_fact facts[KMS_KEY_FACTS_MAX];
};
/* Appended to the next step of what ends a key, where nobody named a node. */
#define KMS_KEY_UNASKED                                                                            \
    ". No other node was asked what it has promoted: --socket and --nodes do that"

/* Return KMS_OK, so that `return kms_key_refuse(…)` reads well. */
enum kms_code kms_key_refuse(struct kms_key_outcome *outcome, const char *fmt, ...)
    KMS_PRINTF(2, 3);
enum kms_code kms_key_report(struct kms_key_outcome *outcome, const char *name, bool changed,
                             const char *fmt, ...) KMS_PRINTF(4, 5);
void kms_key_next(struct kms_key_outcome *outcome, const char *fmt, ...) KMS_PRINTF(2, 3);

/* The highest generation that is promoted as far as this node knows.  Without ring.json that is what
 * a new node would promote now: the highest whose activation has passed, else the lowest. */
uint32_t kms_key_promoted(const struct kms_key_scene *scene);

/* Some node's clock may have passed the activation. */
bool kms_key_is_activated(const struct kms_key_scene *scene, const struct kms_ring_entry *entry);

/* The key on the token that @target names.  NULL: there is none, or there are several: then
 * @outcome is refused and lists them.  A disabled key shows no fingerprint, so it is meant only if
 * no other matches, or on several tokens: then they are one key (kms_key_twins()). */
const struct kms_ring_entry *kms_key_pick(const struct kms_key_scene *scene,
                                          const struct kms_key_target *target,
                                          struct kms_key_outcome *outcome);

/* @entry, which was picked, and the entries of the same key on other tokens, for want of a
 * fingerprint.  Returns how many. */
size_t kms_key_twins(const struct kms_key_scene *scene, const struct kms_key_target *target,
                     const struct kms_ring_entry *entry,
                     const struct kms_ring_entry *ret_twins[KMS_TOKENS_MAX]);

/* The acts: KMS_OK with *outcome, or the failure of the token or of state_dir; a text says what was
 * done until then.  All may be run again. */

/* Destroys a key that no node can have promoted, and buries its number.  This one, disabling and
 * kms_key_destroy() are refused, too, if one of the scene's peers may need the key. */
KMS_MUST_CHECK enum kms_code kms_key_cancel(const struct kms_key_scene *scene,
                                            const struct kms_key_target *target, bool dry_run,
                                            struct kms_key_outcome *outcome, struct kms_error *err);

/* Sets or clears what lets a key be used. */
KMS_MUST_CHECK enum kms_code kms_key_set_usable(const struct kms_key_scene *scene,
                                                const struct kms_key_target *target, bool usable,
                                                bool dry_run, struct kms_key_outcome *outcome,
                                                struct kms_error *err);

/* What shows that nothing needs a key any more: @verified or @prove.  Borrowed. */
struct kms_key_warrant {
    const char *verified; /* "<ring>.v<generation>" as typed by the operator, who answers for it */
    /* False: @outcome is refused.  @again: just before the key's end; NULL: nobody can prove it. */
    bool (*prove)(void *context, bool again, struct kms_key_outcome *outcome);
    /* Before a proof, of a key that is there.  The same; NULL: there is nothing to wait for. */
    bool (*wait)(void *context, struct kms_key_outcome *outcome);
    void *context;
    bool disabled_here; /* this node recorded that it was: its number is no slip of the finger */
};

/* Destroys a disabled key and buries its number, if @warrant lets it. */
KMS_MUST_CHECK enum kms_code kms_key_destroy(const struct kms_key_scene *scene,
                                             const struct kms_key_target *target,
                                             const struct kms_key_warrant *warrant, bool dry_run,
                                             struct kms_key_outcome *outcome,
                                             struct kms_error *err);

#endif
