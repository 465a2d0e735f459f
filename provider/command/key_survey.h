/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes that --socket and --nodes name, asked once before a generation ends. */
#ifndef KMS_KEY_SURVEY_H
#define KMS_KEY_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "key_peer.h"
#include "kms/error.h"
#include "node_source.h"
#include "node_view.h"

/* Caller owns the struct, zeroed before; kms_key_survey_done(). */
struct kms_key_survey {
    struct kms_node *nodes;     /* owned; they borrow the sources' paths */
    struct kms_key_peer *peers; /* owned; the same nodes */
    size_t count;
    bool unanswered; /* why kms_key_survey_take() failed: a named node doesn't answer */
};

/* Asks every node of @sources, after a Status that brings out a promotion which waits for one; none
 * if @sources names none, else the configured socket too if it has no other.  Starts threads: drop
 * privileges before.  Fails with the first node that doesn't answer, or the first file that can't be
 * read; the text names it. */
KMS_MUST_CHECK enum kms_code kms_key_survey_take(struct kms_key_survey *survey,
                                                 struct kms_node_sources *sources,
                                                 const char *config, uint32_t generation,
                                                 struct kms_error *err);
void kms_key_survey_done(struct kms_key_survey *survey);

/* [ { "node", "source", …, "told" } ] */
json_t *kms_key_survey_json(const struct kms_key_survey *survey);

#endif
