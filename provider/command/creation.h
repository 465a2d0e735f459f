/* SPDX-License-Identifier: Apache-2.0 */
/* What `key create` and `key rotate` say of what they did. */
#ifndef KMS_CREATION_H
#define KMS_CREATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "key_plan.h"
#include "key_watch.h"

struct kms_creation {
    const char *command; /* "key-create", "key-rotate" */
    const char *name;    /* created, planned, pending, there, yielded */
    bool changed;
    bool dry_run;
    bool waited;  /* --wait: the nodes were followed … */
    bool through; /* … and all of them use the key */
    struct kms_key_plan plan;
    struct kms_kek_info kek;         /* the key that stands; of `planned` only the label */
    char key_id[KMS_KEY_ID_LEN + 1]; /* "" for a planned key */
    uint32_t generation;
    int64_t activation_utc_s;
    const struct kms_watch *watch; /* borrowed; empty if no node was asked */
    size_t export_count;           /* nodes that were checked by their exports only */
    /* of several tokens: as they were listed last, and which of them have the key */
    struct kms_token_listing tokens[KMS_TOKENS_MAX];
    size_t token_count;
    uint32_t required; /* bit i: tokens[i] must have it before it is promoted */
    uint32_t holders;
    const char *waived; /* borrowed: "'a', 'b'", left out by --without; "" if none */
};

/* Fills key_id, generation and activation from @creation->kek. */
void kms_creation_name(struct kms_creation *creation, const char *ring);

/* Some token that was worked on lacks the key; one that can't be listed counts only if it is required. */
bool kms_creation_is_outstanding(const struct kms_creation *creation);

void kms_creation_print_json(const struct kms_creation *creation, const struct kms_config *config);
void kms_creation_print_text(const struct kms_creation *creation, const struct kms_config *config);

#endif
