/* SPDX-License-Identifier: Apache-2.0 */
/* A doctor to whom all is well, for tests that spoil one thing. */
#ifndef DOCTOR_RIG_H
#define DOCTOR_RIG_H

#include "check.h"
#include "doctor.h"

enum {
    DOCTOR_USUAL = KMS_KEK_SENSITIVE | KMS_KEK_ALWAYS_SENSITIVE | KMS_KEK_NEVER_EXTRACTABLE |
                   KMS_KEK_LOCAL | KMS_KEK_PRIVATE | KMS_KEK_WRAP | KMS_KEK_UNWRAP,
    DOCTOR_KEKS_MAX = 8,
};

/* A control-plane host below @dir: one token with generation 1, promoted; a unit before kubelet; a
 * socket; an EncryptionConfiguration, a manifest, and the ClusterConfiguration that makes it. */
struct doctor_rig {
    struct kms_doctor doctor;
    struct kms_config_token token;
    struct kms_doctor_finding found; /* of the last check */
    char dir[64];
    char socket[96], pin_file[96], state_dir[96];
    int listener;
};
int doctor_rig_setup(void **state);
int doctor_rig_teardown(void **state);

/* One more KEK on the token; @tag makes its fingerprint and CKA_ID.  Then doctor_rig_judge(). */
struct kms_kek_info *doctor_rig_add_kek(struct doctor_rig *rig, const char *label, uint8_t tag);
struct kms_kek_info *doctor_rig_add_kek_to(struct doctor_rig *rig, size_t token, const char *label,
                                           uint8_t tag);
/* A second token "two", which was listed and is empty. */
void doctor_rig_add_token(struct doctor_rig *rig);
void doctor_rig_pin(struct doctor_rig *rig, uint32_t generation, uint8_t tag);
/* Judges the tokens' inventories as they are now. */
void doctor_rig_judge(struct doctor_rig *rig);

/* Makes @path below the rig's directory hold @text, with its directories. */
void doctor_rig_write(struct doctor_rig *rig, const char *path, const char *text);
void doctor_rig_encryption(struct doctor_rig *rig, const char *text);
void doctor_rig_manifest(struct doctor_rig *rig, const char *text);
void doctor_rig_kubeadm(struct doctor_rig *rig, const char *text);

/* Runs the check @name, which must come to that; @part is in its reason.  A fix goes with everything
 * but "ok". */
void doctor_rig_expect(struct doctor_rig *rig, const char *name, enum kms_doctor_status status,
                       const char *part);

#endif
