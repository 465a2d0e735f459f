/* SPDX-License-Identifier: Apache-2.0 */
/* A ring on the fake token, a state_dir on disk, and the scene that a lifecycle command sees. */
#ifndef TEST_LIFE_RIG_H
#define TEST_LIFE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "fake/keystore.h"
#include "key_act.h"

enum { LIFE_NOW = 1796126400, LIFE_LEAD_S = 90 }; /* 2026-12-01T12:00:00Z; 2 × 30 s + 30 s */

struct life_rig {
    struct fake_keystore *fake;
    struct kms_key_scene scene;
    struct kms_state memory; /* ring.json; the test fills it, state_known says whether it's there */
    struct kms_snapshot *snapshot;
    char state_dir[32];
    struct kms_key_outcome outcome;
    struct kms_error err;
};

/* cmocka set-up and tear-down; *state is a struct life_rig. */
int life_set_up(void **state);
int life_tear_down(void **state);

/* A sound KEK whose activation is @from_now_s away, with material @fill. */
void life_add(struct life_rig *rig, uint32_t generation, int64_t from_now_s, uint8_t fill);
/* Its label. */
const char *life_label(uint32_t generation, int64_t from_now_s);
/* ring.json: @promoted is promoted and pinned to material @fill. */
void life_remember(struct life_rig *rig, uint32_t promoted, uint8_t fill);
/* Lists and judges anew, and forgets the last outcome: what a command does first. */
struct kms_key_scene *life_look(struct life_rig *rig);

bool life_has(struct life_rig *rig, const char *label);
/* Generation @generation waits to be buried. */
bool life_buries(struct life_rig *rig, uint32_t generation);

#endif
