/* SPDX-License-Identifier: Apache-2.0 */
/* Ring, refresher and service over a fake keystore and a state_dir of their own. */
#ifndef TEST_POLICY_RIG_H
#define TEST_POLICY_RIG_H

#include "fake/keystore.h"
#include "refresher.h"
#include "ring.h"
#include "service.h"
#include "state.h"

struct rig {
    char dir_path[64];
    struct fake_keystore *token;
    struct kms_state_dir *dir;
    struct kms_ring *ring;
    struct kms_refresher *refresher;
    struct kms_service *service;
};

/* The refresher isn't started yet, so that a test can prepare the token. Returns 0. */
int rig_open(struct rig *rig, int64_t refresh_ms, int64_t canary_ms);
int rig_close(struct rig *rig);

/* Starts the refresher and waits until it is healthy. */
void rig_start(struct rig *rig);
/* Waits for a listing begun from now on. */
void rig_refresh(struct rig *rig);
/* Waits until Status answers @code (or @key_id, unless NULL); fails after 30 s. */
void rig_await_status(struct rig *rig, enum kms_code code, const char *key_id);
/* key_id of generation @generation of the key filled with @fill. Static storage. */
const char *rig_key_id(uint32_t generation, uint8_t fill);

#endif
