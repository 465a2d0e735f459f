/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator should look at, though the node may be healthy. */
#ifndef KMS_ATTENTION_H
#define KMS_ATTENTION_H

#include <stddef.h>

#include <jansson.h>

#include "kek_view.h"

enum { KMS_ATTENTION_TEXT_MAX = 512 };

/* Caller owns the struct, which starts as zeros. */
struct kms_attention {
    size_t count;
    char first[KMS_ATTENTION_TEXT_MAX]; /* "generation 3 is refused: …" */
    char names[KMS_ATTENTION_TEXT_MAX]; /* "generation 3 (refused), generation 5 (missing)" */
    json_t *texts;                      /* owned: one for each */
};

/* A KEK that is refused or missing; any other is passed over. */
void kms_attention_add_kek(struct kms_attention *attention, const struct kms_kek_view *view);
/* The active KEK, if that is older than @max_age_ms (policy.max_age; 0: any age will do); any other
 * is passed over. */
void kms_attention_add_age(struct kms_attention *attention, const struct kms_kek_view *view,
                           int64_t max_age_ms, int64_t now_utc_s);
/* @name in the list, @text alone. */
void kms_attention_add(struct kms_attention *attention, const char *name, const char *text);

/* What the last line of a command's output says of it: one with its reason, several by their
 * names. */
const char *kms_attention_line(const struct kms_attention *attention);

/* A copy of the array, for "attention" in JSON. */
json_t *kms_attention_json(const struct kms_attention *attention);

void kms_attention_done(struct kms_attention *attention);

#endif
