/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd's unit files of the host say. */
#ifndef KMS_DOCTOR_UNIT_H
#define KMS_DOCTOR_UNIT_H

#include <stdbool.h>

#include "doctor.h"

/* True if the unit has a file. */
bool kms_unit_exists(const struct kms_doctor *doctor, const char *unit);
/* True if setting @key (a list of units) of @unit, drop-ins included, names @word. */
bool kms_unit_lists(const struct kms_doctor *doctor, const char *unit, const char *key,
                    const char *word);

#endif
