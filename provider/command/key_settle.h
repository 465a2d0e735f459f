/* SPDX-License-Identifier: Apache-2.0 */
/* Two `key create` at once, on two hosts: one key stays with the generation, or at worst none. */
#ifndef KMS_KEY_SETTLE_H
#define KMS_KEY_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "kms/error.h"
#include "kms/keystore.h"

enum { KMS_KEY_PATIENCE_MS = 2000 }; /* how long another command may take to act */

/* Lists the keys of @ring, which @filter takes, again for at most @patience_ms while several have the highest generation,
 * and for at most a second while one may be in the making; what stays is listed as what it is. */
KMS_MUST_CHECK enum kms_code kms_key_list_settled(struct kms_keystore *ks, const char *ring,
                                                  const struct kms_kek_filter *filter,
                                                  int64_t patience_ms,
                                                  struct kms_inventory *ret_inventory,
                                                  struct kms_error *err);

/* After @kek was generated: if another key has its generation, the larger CKA_ID destroys itself
 * and the smaller waits for that.  If the rival is still there after @patience_ms, its command had
 * looked before @kek was made and won't act any more: then @kek goes all the same.
 * KMS_OK: *kek stands on the token, and is the rival if *ret_yielded.  Else the text says what is
 * there now. */
KMS_MUST_CHECK enum kms_code kms_key_settle(struct kms_keystore *ks, const char *ring,
                                            int64_t patience_ms, struct kms_kek_info *kek,
                                            bool *ret_yielded, struct kms_error *err);

/* *kek is another command's key, which may still yield to a third one.  Lists until one key has had
 * its generation to itself for @quiet_ms, for at most @patience_ms, and leaves that in *kek.
 * KMS_E_BUSY: all of them withdrew. */
KMS_MUST_CHECK enum kms_code kms_key_confirm(struct kms_keystore *ks, const char *ring,
                                             int64_t quiet_ms, int64_t patience_ms,
                                             struct kms_kek_info *kek, struct kms_error *err);

#endif
