/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says before a generation ends that it may need: pure functions. */
#ifndef KMS_KEY_PEER_H
#define KMS_KEY_PEER_H

#include <stdbool.h>
#include <stdint.h>

enum { KMS_KEY_PEER_TEXT_MAX = 512 };

/* Longer texts are cut: they are for people. */
struct kms_key_peer {
    char title[256]; /* "NODE (SOURCE)" */
    char ring[64];
    uint32_t promoted; /* 0: nothing yet */
    bool is_export;    /* said so at @told_utc_s, and may have promoted more since */
    int64_t told_utc_s;
    int64_t ahead_ms; /* how far its clock may be ahead of ours, by its clock_skew or as measured */
    bool declines;    /* it has the key before it and can't promote it: disabled, or foreign */
};

/* The generation that is to end. */
struct kms_key_ending {
    const char *ring;
    uint32_t generation;
    bool is_new;   /* cancel: it ends before any node is at it, or beyond it */
    bool on_token; /* false: only its number is to be buried, and the next is 0 */
    int64_t activation_utc_s;
    int64_t now_utc_s;
    int64_t clock_skew_ms; /* as configured here */
};

/* False: @peer stands in the way, and @ret_why says why and what to do.  A promoted number never
 * goes down: a node that is beyond the generation stays there, however old its word is.  One below it
 * may promote it from the activation on. */
bool kms_key_peer_allows(const struct kms_key_peer *peer, const struct kms_key_ending *ending,
                         char ret_why[static KMS_KEY_PEER_TEXT_MAX]);

/* "cp-2 (cp-2.json) has promoted generation 3", of an export with its age at @now_utc_s. */
void kms_key_peer_text(const struct kms_key_peer *peer, int64_t now_utc_s,
                       char ret_text[static KMS_KEY_PEER_TEXT_MAX]);

#endif
