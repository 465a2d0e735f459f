/* SPDX-License-Identifier: Apache-2.0 */
/* What doctor's checks of KEKs and of the node's memory have in common. */
#ifndef KMS_DOCTOR_KEK_H
#define KMS_DOCTOR_KEK_H

#include "doctor.h"

/* Calls @look for each KEK that is on a token. */
void kms_doctor_each_kek(const struct kms_doctor *doctor, struct kms_doctor_finding *finding,
                         void (*look)(const struct kms_doctor *doctor,
                                      const struct kms_doctor_token *token,
                                      const struct kms_ring_entry *entry,
                                      struct kms_doctor_finding *finding));

/* The node's own pin of @generation, else the configuration's; NULL if there is none.  Borrowed. */
const struct kms_pin *kms_doctor_pin_of(const struct kms_doctor *doctor, uint32_t generation);
/* @entry has the fingerprint of that pin. */
bool kms_doctor_is_pinned(const struct kms_doctor *doctor, const struct kms_ring_entry *entry);

#endif
