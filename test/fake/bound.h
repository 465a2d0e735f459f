/* SPDX-License-Identifier: Apache-2.0 */
/* What stands for AES-GCM in the fake keystore: its length, and a seed that is bound to a key_id. */
#ifndef FAKE_BOUND_H
#define FAKE_BOUND_H

#include "kms/keystore.h"

/* Makes what AES key wrap made @algorithm's, which may bind it to @key_id. */
void fake_bound_add(struct kms_wrapped *wrapped, enum kms_algorithm algorithm, const char *key_id);
/* What AES key wrap made; a zero that it never makes if it is bound to another key_id. */
struct kms_bytes fake_bound_strip(enum kms_algorithm algorithm, const char *key_id,
                                  struct kms_bytes wrapped);

#endif
