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
};

/* Fills key_id, generation and activation from @creation->kek. */
void kms_creation_name(struct kms_creation *creation, const char *ring);

void kms_creation_print_json(const struct kms_creation *creation, const struct kms_config *config);
void kms_creation_print_text(const struct kms_creation *creation, const struct kms_config *config);

#endif
