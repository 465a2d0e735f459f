/* SPDX-License-Identifier: Apache-2.0 */
/* What each of several tokens is to this node, and which of them a generation must be on before it is
 * promoted.  Pure policy over a listing. */
#ifndef KMS_TOKENS_H
#define KMS_TOKENS_H

#include "judge.h"

/* Bit i: the i-th token is drained at @now_utc_s.  Never all of them: then none is. */
uint32_t kms_tokens_drained(const struct kms_token_rules *rules, const struct kms_state *state,
                            int64_t now_utc_s);

/* Fills the tokens of @snapshot, whose entries have got their generations. */
void kms_tokens_judge(const struct kms_evidence *evidence, struct kms_snapshot *snapshot);

/* Bit i: the i-th token must have @entry before that is promoted, and hasn't: it is in use, or required
 * and never confirmed it; nobody waived that.  On a node where nothing is promoted, tokens that can't
 * be reached don't count: it must start. */
uint32_t kms_tokens_lacking(const struct kms_evidence *evidence,
                            const struct kms_snapshot *snapshot,
                            const struct kms_ring_entry *entry);

/* Says of @entry, which some tokens lack, what it waits for. */
void kms_tokens_explain(const struct kms_snapshot *snapshot, const struct kms_ring_entry *entry,
                        char *ret_text, size_t size);

/* "'a', 'b'": the tokens that weren't listed. */
void kms_tokens_name_away(const struct kms_snapshot *snapshot, char *ret_text, size_t size);

/* Records in @pin the tokens that have @kek; true if one is news. @serial: of the only token, where
 * @inventory names none. */
bool kms_tokens_confirm(const struct kms_evidence *evidence, const struct kms_kek_info *kek,
                        const char *serial, struct kms_pin *pin);

#endif
