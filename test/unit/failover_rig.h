/* SPDX-License-Identifier: Apache-2.0 */
/* Up to three fake tokens, 'a', 'b' and 'c', as one keystore; each holds KEK "prod.v1". */
#ifndef TEST_FAILOVER_RIG_H
#define TEST_FAILOVER_RIG_H

#include "check.h"

#include "failover.h"
#include "fake/keystore.h"

enum { FAILOVER_RIG_MAX = 3, FAILOVER_FILL = 7 };

struct failover_rig {
    struct fake_keystore *fakes[FAILOVER_RIG_MAX]; /* owned by @keystore */
    struct kms_keystore *keystore;
    uint8_t fingerprint[KMS_FINGERPRINT_LEN];
    struct kms_kek_ref kek;
    struct kms_error err; /* of the last call */
    int log;              /* memory: what was logged since the rig was opened */
};

/* Listed once, unless a test wants otherwise; the log goes to memory. */
void failover_rig_open(struct failover_rig *rig, size_t count);
void failover_rig_open_unlisted(struct failover_rig *rig, size_t count);
void failover_rig_close(struct failover_rig *rig);

/* Lists; the outcome can be looked at where @ret_inventory isn't NULL. */
enum kms_code failover_rig_list(struct failover_rig *rig, uint32_t drained,
                                struct kms_inventory *ret_inventory);
enum kms_code failover_rig_list_within(struct failover_rig *rig, int64_t ms, uint32_t drained,
                                       struct kms_inventory *ret_inventory);
enum kms_code failover_rig_wrap(struct failover_rig *rig, int64_t ms);
/* Of what was wrapped under the KEK; fails the test where the seed is another. */
enum kms_code failover_rig_unwrap(struct failover_rig *rig, int64_t ms);
enum kms_code failover_rig_canary(struct failover_rig *rig, int64_t ms);

/* All calls that serve fail with @code from now on; KMS_OK: none. */
void failover_rig_fail(struct failover_rig *rig, size_t token, enum kms_code code);
struct kms_token_info failover_rig_info(struct failover_rig *rig, size_t token);
bool failover_rig_rests(struct failover_rig *rig, size_t token);
/* Wraps that reached the token so far. */
unsigned failover_rig_wraps(struct failover_rig *rig, size_t token);
/* How many lines of the log have @part. */
size_t failover_rig_logged(struct failover_rig *rig, const char *part);

#endif
