/* SPDX-License-Identifier: Apache-2.0 */
/* A report that is shown values, and a prover that says what it is told. */
#ifndef TEST_REPORT_RIG_H
#define TEST_REPORT_RIG_H

#include "etcd_rig.h"
#include "report/report.h"

#define KEY_OF(generation) "prod.v" #generation ".00112233445566778899aabbccddeeff"

struct report_rig {
    struct kms_report_options options; /* of ring "prod", KEY_OF(2) promoted, 1 and 2 known */
    struct kms_report *report;         /* opened with the first value */
    struct kms_prover prover;
    enum kms_proof_result result; /* of each DEK source */
    uint32_t generation;
    bool untried;
    const uint8_t *seed; /* 32 bytes; NULL: zeros */
    int proved;
    int listed; /* findings that options.list was told of */
    struct kms_error err;
};

/* cmocka set-up and tear-down of a test; *state is a struct report_rig. */
int report_rig_set_up(void **state);
int report_rig_tear_down(void **state);
/* options.prover is the rig's from now on. */
void report_rig_prove(struct report_rig *rig, enum kms_proof_result result, uint32_t generation);

/* Visits @value under @key. */
void report_rig_show(struct report_rig *rig, const char *key, struct kms_bytes value,
                     enum kms_etcd_state state);
/* A KMS v2 value of provider "hsm" under @key_id, whose wrapped seed begins with @seed. */
void report_rig_show_kms(struct report_rig *rig, const char *key, const char *key_id, uint8_t seed,
                         enum kms_etcd_state state);
uint64_t report_rig_count(const struct report_rig *rig, enum kms_finding_kind kind);

#endif
